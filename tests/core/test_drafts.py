"""Drafts: filled while nobody finds them, shown whole by one write, and thrown away when they are left alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.core.array_rooms import ArrayRooms
from tests.core.crashing import Crash, Fuse, fused
from tests.core.dataset_rooms import whole
from tests.core.rooms import Rooms, make_rooms

from measurand.core.catalog_documents import CatalogDraft
from measurand.core.counters import Counters
from measurand.core.dataset_documents import DATASETS, Dataset
from measurand.core.dataset_edits import DatasetDraft, DatasetEdit
from measurand.core.dataset_making import NewDataset
from measurand.core.dataset_watch import DatasetChange
from measurand.core.file_documents import Digests, FileSpec
from measurand.core.metadata import MetadataReader
from measurand.core.moving.contents import content_of
from measurand.core.names import CatalogName
from measurand.core.principal import LOCAL_USER
from measurand.core.small_files import SmallFile
from measurand.wire.errors import (
    AlreadyExists,
    Conflict,
    InvalidArgument,
    MeasurandError,
    NotFound,
    RequestIdReused,
)

LAB = CatalogName("lab")
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


@pytest.fixture
async def rooms() -> Rooms:
    return await begin()


async def begin(rooms: Rooms | None = None) -> Rooms:
    rooms = rooms or make_rooms()
    await rooms.catalogs.create(LOCAL_USER, "lab", CatalogDraft())
    return rooms


async def draft(
    rooms: Rooms,
    metadata: str = '{"a": 1}',
    *,
    id: str = "run",  # noqa: A002  # the field's word
    request_id: str = "",
) -> Dataset:
    new = NewDataset(DatasetDraft("t", tags=("x",), metadata=metadata), id, request_id, is_draft=True)
    return await rooms.datasets.create(LOCAL_USER, LAB, new)


async def put(rooms: Rooms, path: str = "a", data: bytes = b"abc") -> None:
    await rooms.small_files.put(LOCAL_USER, SmallFile(FileSpec(rooms.file(path)), data, Digests()))


async def shown(rooms: Rooms) -> set[str]:
    """Return by which ways any dataset can be seen."""
    search = rooms.datasets.search
    ways = {
        "list": (await search.find(LOCAL_USER, LAB, whole)).items,
        "list of all": (await search.find(LOCAL_USER, None, whole, show_deleted=True)).items,
        "list by order": (await search.find(LOCAL_USER, LAB, whole, order_by="-created,title")).items,
        "list by filter": (await search.find(LOCAL_USER, LAB, whole, filter_text="a = 1 OR deleted:*")).items,
        "list by state": (await search.find(LOCAL_USER, LAB, whole, filter_text="NOT state = deleted")).items,
        "count": await search.count(LOCAL_USER, LAB),
        "count of all": await search.count(LOCAL_USER, LAB, show_deleted=True),
        "batch": (await search.get_many(LOCAL_USER, LAB, ["catalogs/lab/datasets/run"], whole)).items,
        "tags": (await search.tags(LOCAL_USER, LAB)).tags,
    }
    return {way for way, found in ways.items() if found}


async def watched(rooms: Rooms, work: Callable[[], Awaitable[object]], **more: Any) -> list[tuple[str, str]]:
    """Return what a watch tells of some work: the kind and the id."""
    watch = rooms.datasets.watch
    token = (await watch.poll(LOCAL_USER, LAB, packed, **more)).token
    await work()
    changes = (await watch.poll(LOCAL_USER, LAB, packed, resume_token=token, **more)).changes
    return [(change.kind, change.name.dataset if change.name else "") for change in changes]


async def packed(change: DatasetChange) -> tuple[DatasetChange, int]:
    return change, 1


async def test_a_draft_is_had_by_its_name_and_found_by_nobody(rooms: Rooms) -> None:
    made = await draft(rooms)
    assert (made.state, made.revision) == ("draft", 1)
    assert await shown(rooms) == set()
    assert await rooms.datasets.get(LOCAL_USER, made.name) == made
    with pytest.raises(AlreadyExists):
        await draft(rooms)
    with pytest.raises(NotFound):
        await rooms.datasets.create(LOCAL_USER, LAB, NewDataset(DatasetDraft(parents=(str(made.name),))))


async def test_what_was_put_into_a_draft_is_shown_with_it_and_it_is_as_if_just_made(rooms: Rooms) -> None:
    made = await draft(rooms)
    await put(rooms)
    rooms.clock.move(HOUR)
    await rooms.datasets.update(LOCAL_USER, made.name, DatasetEdit(patch='{"b": 2}'), etag=made.etag)
    with pytest.raises(Conflict):
        await rooms.datasets.update(LOCAL_USER, made.name, DatasetEdit(patch='{"b": 3}'), etag=made.etag)
    await Counters(rooms.documents, rooms.means, rooms.limits).run_once()
    assert await shown(rooms) == set()
    rooms.clock.move(HOUR)
    committed = await rooms.drafts.commit(LOCAL_USER, made.name)
    assert (committed.state, committed.revision, committed.metadata) == ("open", 1, '{"a":1,"b":2}')
    assert committed.create_time == committed.update_time == rooms.clock.time
    assert (committed.file_count, await rooms.content("a")) == (1, b"abc")
    assert len(await shown(rooms)) == 9
    assert await rooms.datasets.get(LOCAL_USER, made.name) == committed
    assert await rooms.drafts.commit(LOCAL_USER, made.name) == committed


async def test_a_committed_draft_has_the_history_of_a_dataset_that_was_never_one(rooms: Rooms) -> None:
    made = await draft(rooms)
    for number in range(3):
        await rooms.datasets.update(LOCAL_USER, made.name, DatasetEdit(patch=f'{{"n": {number}}}'))
    committed = await rooms.drafts.commit(LOCAL_USER, made.name)
    assert committed.etag != made.etag
    changed = await rooms.datasets.update(LOCAL_USER, made.name, DatasetEdit(patch='{"n": 7}'), etag=committed.etag)
    assert changed.revision == 2

    async def pack(revision: Any) -> tuple[tuple[int, str], int]:
        return (revision.dataset.revision, revision.dataset.metadata), 1

    page = await rooms.datasets.revisions.find(LOCAL_USER, made.name, pack)
    assert page.items == [(2, '{"a":1,"n":7}'), (1, '{"a":1,"n":2}')]
    assert await rooms.documents.count("revisions") == 1


async def test_a_watch_tells_of_a_draft_when_it_is_committed(rooms: Rooms) -> None:
    async def fill() -> None:
        made = await draft(rooms)
        await rooms.datasets.update(LOCAL_USER, made.name, DatasetEdit(patch='{"b": 2}'))
        await put(rooms)
        await Counters(rooms.documents, rooms.means, rooms.limits).run_once()
        await rooms.datasets.note_change(LOCAL_USER, made.name, ["files/a"])

    async def commit() -> None:
        await rooms.drafts.commit(LOCAL_USER, rooms.name)

    async def both() -> None:
        await rooms.datasets.purge(LOCAL_USER, rooms.name, force=True)
        await fill()
        await commit()
        await rooms.datasets.update(LOCAL_USER, rooms.name, DatasetEdit(patch='{"b": 3}'))

    assert await watched(rooms, fill, filter_text="file_count >= 0") == []
    assert await watched(rooms, commit) == [("created", "run")]
    # One that looks later than all of it sees the same.
    assert (await watched(rooms, both))[-2:] == [("created", "run"), ("updated", "run")]


@pytest.mark.parametrize("way", ["delete", "purge", "expire"])
async def test_a_draft_that_goes_is_gone_for_good_and_nobody_hears_of_it(rooms: Rooms, way: str) -> None:
    async def go() -> None:
        made = await draft(rooms)
        await put(rooms)
        match way:
            case "delete":
                assert (await rooms.datasets.delete(LOCAL_USER, made.name)).state == "deleted"
                assert await shown(rooms) == set()
                with pytest.raises(NotFound):
                    await rooms.datasets.undelete(LOCAL_USER, made.name)
                assert await rooms.datasets.purge_expired() == 1
            case "purge":
                await rooms.datasets.purge(LOCAL_USER, made.name, force=True)
            case _:
                rooms.clock.move(DAY)
                assert await rooms.drafts.expire() == 1
        for call in (rooms.datasets.get(LOCAL_USER, made.name), rooms.drafts.commit(LOCAL_USER, made.name)):
            with pytest.raises(NotFound):
                await call

    assert await watched(rooms, go) == []
    assert await rooms.documents.count("files") == await rooms.documents.count("datasets") == 0
    assert (await draft(rooms)).state == "draft"


async def test_only_a_draft_that_was_left_alone_for_a_day_expires(rooms: Rooms) -> None:
    made = await draft(rooms)

    async def upload() -> None:
        await rooms.uploads.create(LOCAL_USER, FileSpec(rooms.file("b")), None, Digests(), "")

    touches: list[Callable[[], Awaitable[object]]] = [
        lambda: rooms.datasets.update(LOCAL_USER, made.name, DatasetEdit(patch='{"b": 2}')),
        lambda: put(rooms),
        upload,
        lambda: rooms.files.delete(LOCAL_USER, rooms.file("a")),
    ]
    for touch in touches:
        rooms.clock.move(DAY - HOUR)
        await touch()
        assert await rooms.drafts.expire() == await rooms.datasets.purge_expired() == 0
    rooms.clock.move(DAY - HOUR)
    assert await rooms.drafts.expire() == 0
    rooms.clock.move(HOUR)
    assert await rooms.drafts.expire() == 1


async def test_a_draft_whose_arrays_are_written_does_not_expire(rooms: Rooms) -> None:
    arrays = ArrayRooms(rooms)
    await draft(rooms)
    rooms.clock.move(DAY - HOUR)
    array = await arrays.create("a")
    rooms.clock.move(DAY - HOUR)
    assert await rooms.drafts.expire() == 0
    await arrays.write(array, (0,), b"1")
    rooms.clock.move(DAY - HOUR)
    assert await rooms.drafts.expire() == 0
    staged = await arrays.create("b", staged=True)
    rooms.clock.move(DAY - HOUR)
    assert await rooms.drafts.expire() == 0
    await arrays.write(staged, (0,), b"1")
    rooms.clock.move(DAY - HOUR)
    assert await rooms.drafts.expire() == 0
    rooms.clock.move(DAY)
    assert await rooms.drafts.expire() == 1
    assert await rooms.documents.count("arrays") == await rooms.documents.count("array_chunks") == 0


async def test_a_committed_dataset_never_expires(rooms: Rooms) -> None:
    await draft(rooms)
    committed = await rooms.drafts.commit(LOCAL_USER, rooms.name)
    rooms.clock.move(100 * DAY)
    assert await rooms.drafts.expire() == await rooms.datasets.purge_expired() == 0
    assert await rooms.datasets.get(LOCAL_USER, rooms.name) == committed


@pytest.mark.parametrize("id", ["", "run"])
async def test_a_repeated_create_gives_the_draft_or_the_dataset_that_it_became(
    rooms: Rooms,
    id: str,  # noqa: A002
) -> None:
    made = await draft(rooms, id=id, request_id="r")
    await rooms.datasets.update(LOCAL_USER, made.name, DatasetEdit(patch='{"b": 2}'))
    assert await draft(rooms.restarted(), id=id, request_id="r") == made
    with pytest.raises(RequestIdReused):
        await draft(rooms, '{"other": 1}', id=id, request_id="r")
    new = NewDataset(DatasetDraft("t", tags=("x",), metadata='{"a": 1}'), id, "r")
    with pytest.raises(RequestIdReused):
        await rooms.datasets.create(LOCAL_USER, LAB, new)
    committed = await rooms.drafts.commit(LOCAL_USER, made.name)
    assert await draft(rooms, id=id, request_id="r") == committed
    await rooms.datasets.update(LOCAL_USER, made.name, DatasetEdit(patch='{"b": 3}'))
    assert await draft(rooms, id=id, request_id="r") == committed
    assert await rooms.datasets.search.count(LOCAL_USER, LAB) == 1


async def test_a_catalog_with_drafts_alone_can_be_deleted_and_takes_them_along(rooms: Rooms) -> None:
    await draft(rooms)
    await rooms.catalogs.delete(LOCAL_USER, LAB)
    rooms.clock.move(31 * DAY)
    await rooms.datasets.purge_expired()
    assert await rooms.documents.count("datasets") == 0


@pytest.mark.parametrize("after", [False, True])
async def test_a_commit_cut_short_anywhere_shows_all_or_nothing_and_can_be_repeated(after: bool) -> None:
    for at in range(100):
        rooms = await begin()
        made = await draft(rooms, request_id="r")
        await put(rooms)
        await rooms.datasets.update(LOCAL_USER, made.name, DatasetEdit(patch='{"b": 2}'))
        fuse = Fuse(at, after)
        documents, blobs = fused(rooms.documents, rooms.blobs, fuse)
        dying = Rooms(rooms.clock, rooms.means, rooms.limits, documents, blobs)
        try:
            await dying.drafts.commit(LOCAL_USER, made.name)
        except Crash:
            pass
        else:
            assert not fuse.blown
            assert at > 3
            return
        assert len(await shown(rooms)) in (0, 9)
        committed = await rooms.drafts.commit(LOCAL_USER, made.name)
        assert len(await shown(rooms)) == 9 and committed.revision == 1
        changed = await rooms.datasets.update(LOCAL_USER, made.name, DatasetEdit(patch='{"b": 4}'))
        assert changed.revision == 2
        assert await draft(rooms, request_id="r") == committed
    raise AssertionError("it never came through")


async def test_a_put_into_a_draft_that_goes_meanwhile_fails(rooms: Rooms) -> None:
    await draft(rooms)
    await rooms.datasets.purge(LOCAL_USER, rooms.name, force=True)
    with pytest.raises(NotFound):
        await put(rooms)
    with pytest.raises(MeasurandError):
        await rooms.drafts.commit(LOCAL_USER, rooms.name)


async def test_a_draft_cannot_be_sealed_before_it_is_committed(rooms: Rooms) -> None:
    await draft(rooms)
    with pytest.raises(MeasurandError) as caught:
        await rooms.sealing.seal(LOCAL_USER, rooms.name)
    assert caught.value.reason == "STATE_WRONG" and not isinstance(caught.value, InvalidArgument)


async def test_a_draft_in_a_copied_store_is_found_by_nobody_and_expires_there(rooms: Rooms) -> None:
    made = await draft(rooms)
    found = await rooms.documents.fetch(DATASETS, str(made.name))
    assert found is not None
    await rooms.documents.remove(DATASETS, found.key)
    view = await content_of(DATASETS).view(found, MetadataReader(rooms.means, rooms.limits))
    await rooms.documents.insert(DATASETS, replace(found, view=view))
    assert await shown(rooms) == set()
    rooms.clock.move(DAY - HOUR)
    assert await rooms.drafts.expire() == await rooms.datasets.purge_expired() == 0
    rooms.clock.move(HOUR)
    assert await rooms.drafts.expire() == 1
