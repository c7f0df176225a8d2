"""Changing datasets: in whole steps, on condition, with nothing lost between many writers."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from measurand.core.dataset_edits import DatasetDraft, DatasetEdit
from measurand.core.names import DatasetName
from measurand.core.ports import Document
from measurand.core.principal import LOCAL_USER
from measurand.server.patterns import compile_pattern
from measurand.storage.documents.memory import Memory
from measurand.wire.documents import encode
from measurand.wire.errors import (
    Conflict,
    Contention,
    InvalidArgument,
    MeasurandError,
    NotFound,
    RequestIdReused,
)

from .dataset_rooms import DatasetRooms, Failing, metadata_of


@pytest.fixture
async def rooms() -> DatasetRooms:
    rooms = DatasetRooms()
    await rooms.catalog()
    return rooms


async def edit(rooms: DatasetRooms, name: DatasetName, edit: DatasetEdit, **more: str) -> Any:
    return await rooms.datasets.update(LOCAL_USER, name, edit, **more)


async def test_a_merge_patch_changes_what_it_names_and_notes_it(rooms: DatasetRooms) -> None:
    run = await rooms.make({"a": {"b": 1, "c": 2}, "d": 3})
    rooms.clock.move(timedelta(seconds=1))
    changed = await rooms.patch(run.name, {"a": {"b": 5}, "d": None, "e": [1]})
    assert metadata_of(changed) == {"a": {"b": 5, "c": 2}, "e": [1]}
    assert (changed.revision, changed.update_time) == (2, rooms.clock.time) and changed.etag != run.etag
    revision = await rooms.datasets.revisions.get(LOCAL_USER, run.name, 2)
    assert set(revision.note.changed_paths) == {"metadata.a.b", "metadata.d", "metadata.e"}
    assert await rooms.ids("a.b = 5 AND NOT d:*") == [run.name.dataset]


async def test_the_named_fields_are_replaced_and_the_others_stay(rooms: DatasetRooms) -> None:
    run = await rooms.make({"a": 1}, title="t", tags=("x",), start_time=rooms.clock.time)
    draft = DatasetDraft(title="new", kind="ignored", metadata='{"b": 2}')
    changed = await edit(rooms, run.name, DatasetEdit(draft, ("title", "metadata", "start_time")))
    assert (changed.title, changed.kind, changed.tags, changed.start_time) == ("new", "dataset", ("x",), None)
    assert metadata_of(changed) == {"b": 2}


async def test_tags_are_added_and_then_taken_away(rooms: DatasetRooms) -> None:
    run = await rooms.make(tags=("a", "b"))
    changed = await edit(rooms, run.name, DatasetEdit(add_tags=("c", "d"), remove_tags=("a", "d", "none")))
    assert changed.tags == ("b", "c")


@pytest.mark.parametrize(
    "unclear",
    [
        DatasetEdit(fields=("metadata",), patch="{}"),
        DatasetEdit(fields=("tags",), add_tags=("a",)),
        DatasetEdit(fields=("tags",), remove_tags=("a",)),
        DatasetEdit(fields=("revision",)),
        DatasetEdit(comment="x" * 1001),
    ],
)
async def test_an_unclear_change_is_refused(rooms: DatasetRooms, unclear: DatasetEdit) -> None:
    run = await rooms.make()
    with pytest.raises(InvalidArgument):
        await edit(rooms, run.name, unclear)


@pytest.mark.parametrize(
    "nothing",
    [
        DatasetEdit(),
        DatasetEdit(patch='{"a": 1, "none": null}'),
        DatasetEdit(DatasetDraft(metadata='{ "a": 1}'), ("metadata",)),
        DatasetEdit(add_tags=("x",), remove_tags=("y",), comment="nothing"),
        DatasetEdit(DatasetDraft(title="t"), ("title",)),
    ],
)
async def test_a_change_that_changes_nothing_makes_no_revision(rooms: DatasetRooms, nothing: DatasetEdit) -> None:
    run = await rooms.make({"a": 1}, title="t", tags=("x",))
    assert await edit(rooms, run.name, nothing) == run


async def test_one_and_one_point_zero_are_a_change(rooms: DatasetRooms) -> None:
    run = await rooms.make({"a": 1})
    assert (await rooms.patch(run.name, {"a": 1.0})).metadata == '{"a":1.0}'


async def test_a_change_with_an_old_etag_is_refused_with_the_new_one(rooms: DatasetRooms) -> None:
    run = await rooms.make({"a": 1})
    changed = await rooms.patch(run.name, {"a": 2}, etag=run.etag)
    with pytest.raises(Conflict) as caught:
        await rooms.patch(run.name, {"a": 3}, etag=run.etag)
    assert caught.value.reason == "ETAG_MISMATCH" and caught.value.details["etag"] == changed.etag
    assert (await rooms.datasets.get(LOCAL_USER, run.name)) == changed


async def test_a_repeated_change_gives_the_first_outcome_whatever_came_after(rooms: DatasetRooms) -> None:
    run = await rooms.make({"n": 0})
    first = await rooms.patch(run.name, {"n": 1}, etag=run.etag, request_id="r")
    assert await rooms.patch(run.name, {"n": 1}, etag=run.etag, request_id="r") == first
    await rooms.patch(run.name, {"n": 2})
    await rooms.patch(run.name, {"n": 3})
    assert await rooms.restarted().patch(run.name, {"n": 1}, etag=run.etag, request_id="r") == first
    with pytest.raises(RequestIdReused):
        await rooms.patch(run.name, {"n": 9}, request_id="r")
    assert metadata_of(await rooms.datasets.get(LOCAL_USER, run.name)) == {"n": 3}


async def test_a_change_whose_archive_was_written_but_not_itself_is_not_taken_for_made() -> None:
    documents = Failing()
    rooms = DatasetRooms(documents)
    await rooms.catalog()
    run = await rooms.make({"n": 0}, request_id="c")
    documents.fail("replace", "datasets")
    with pytest.raises(ConnectionError):
        await rooms.patch(run.name, {"n": 1}, request_id="r")
    documents.heal()
    assert await rooms.datasets.get(LOCAL_USER, run.name) == run
    assert (await rooms.patch(run.name, {"n": 1}, request_id="r")).revision == 2


async def test_only_new_parents_must_be_there(rooms: DatasetRooms) -> None:
    parent = await rooms.make()
    run = await rooms.make(parents=(str(parent.name),))
    await rooms.datasets.delete(LOCAL_USER, parent.name)
    changed = await edit(
        rooms, run.name, DatasetEdit(DatasetDraft(title="t", parents=run.parents), ("title", "parents"))
    )
    assert changed.parents == run.parents
    with pytest.raises(NotFound, match="none"):
        await edit(rooms, run.name, DatasetEdit(DatasetDraft(parents=("catalogs/lab/datasets/none",)), ("parents",)))
    with pytest.raises(InvalidArgument, match="own parent"):
        await edit(rooms, run.name, DatasetEdit(DatasetDraft(parents=(str(run.name),)), ("parents",)))


async def test_counters_with_etags_and_retries_lose_nothing(rooms: DatasetRooms) -> None:
    run = await rooms.make({"n": 0})
    others = [rooms.restarted() for _ in range(4)]  # the processes of a fleet do not share locks

    async def count(process: DatasetRooms) -> None:
        for _ in range(10):
            while True:
                present = await process.datasets.get(LOCAL_USER, run.name)
                try:
                    await process.patch(run.name, {"n": metadata_of(present)["n"] + 1}, etag=present.etag)
                    break
                except Conflict:
                    await asyncio.sleep(0)

    await asyncio.gather(*(count(others[number % 4]) for number in range(32)))
    final = await rooms.datasets.get(LOCAL_USER, run.name)
    assert metadata_of(final) == {"n": 320} and final.revision == 321


async def test_writers_of_different_keys_lose_nothing_without_etags(rooms: DatasetRooms) -> None:
    run = await rooms.make({"a": 0, "b": 0})
    other = rooms.restarted()

    async def write(process: DatasetRooms, key: str) -> None:
        for number in range(1, 101):
            await process.patch(run.name, {key: number})

    await asyncio.gather(write(rooms, "a"), write(other, "b"))
    final = await rooms.datasets.get(LOCAL_USER, run.name)
    assert metadata_of(final) == {"a": 100, "b": 100} and final.revision == 201


class Overtaken(Memory):
    """A memory store in which somebody else is faster every time."""

    async def fetch(self, collection: str, key: str) -> Document | None:
        document = await super().fetch(collection, key)
        if collection == "datasets" and document is not None:
            await self.replace(collection, document, expected_revision=document.revision)
        return document


async def test_a_change_that_always_loses_gives_up_and_says_when_to_try_again() -> None:
    rooms = DatasetRooms(Overtaken(compile_pattern))
    await rooms.catalog()
    run = await rooms.make({"n": 0})
    with pytest.raises(Contention) as caught:
        await rooms.patch(run.name, {"n": 1})
    assert caught.value.retry_seconds is not None


async def test_what_files_note_is_a_revision(rooms: DatasetRooms) -> None:
    run = await rooms.make({"a": 1})
    noted = await asyncio.gather(
        *(rooms.datasets.note_change(LOCAL_USER, run.name, [f"files/{number}"]) for number in range(30))
    )
    assert sorted(dataset.revision for dataset in noted) == list(range(2, 32))
    assert (await rooms.datasets.revisions.get(LOCAL_USER, run.name, 31)).note.changed_paths[0].startswith("files/")
    assert await rooms.ids("a = 1") == [run.name.dataset]


async def test_an_error_says_what_was_named_and_what_to_do(rooms: DatasetRooms) -> None:
    run = await rooms.make({"a": 1}, id="run")
    mistakes: list[tuple[Any, str]] = [
        (rooms.datasets.get(LOCAL_USER, DatasetName("lab", "rnu")), "catalogs/lab/datasets/rnu"),
        (rooms.make(id="run"), "choose another id"),
        (rooms.find("a == 1"), "position 3"),
        (rooms.find(order_by="created sideways"), "sideways"),
        (rooms.patch(run.name, {}, etag="stale"), "read it again"),
        (rooms.datasets.purge(LOCAL_USER, run.name), "delete it first"),
        (edit(rooms, run.name, DatasetEdit(fields=("colour",))), "'colour'"),
    ]
    for call, said in mistakes:
        with pytest.raises(MeasurandError) as caught:
            await call
        assert said in caught.value.message


async def test_a_large_document_goes_round(rooms: DatasetRooms) -> None:
    document = {f"key {number}": "x" * 100 for number in range(20_000)}
    run = await rooms.make(document)
    assert (await rooms.datasets.get(LOCAL_USER, run.name)).metadata == encode(document)
