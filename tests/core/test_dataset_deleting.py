"""Deleting datasets: hidden at once, brought back whole, and then gone with all that was theirs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from measurand.core.dataset_documents import DATASETS
from measurand.core.principal import LOCAL_USER
from measurand.server.patterns import compile_pattern
from measurand.storage.documents.memory import Memory
from measurand.wire.errors import (
    Conflict,
    FailedPrecondition,
    NotFound,
    ResourceDeleted,
)

from .dataset_rooms import DatasetRooms, Failing, metadata_of


@pytest.fixture
async def rooms() -> DatasetRooms:
    rooms = DatasetRooms()
    await rooms.catalog()
    return rooms


async def test_a_deleted_dataset_is_hidden_and_comes_back_whole(rooms: DatasetRooms) -> None:
    run = await rooms.make({"a": 1}, tags=("x",))
    deleted = await rooms.datasets.delete(LOCAL_USER, run.name)
    assert (deleted.state, deleted.purge_time) == ("deleted", rooms.clock.time + timedelta(days=30))
    with pytest.raises(ResourceDeleted) as caught:
        await rooms.datasets.get(LOCAL_USER, run.name)
    assert "purge_time" in caught.value.details
    assert await rooms.ids() == [] and await rooms.ids(show_deleted=True) == [run.name.dataset]
    assert await rooms.datasets.get(LOCAL_USER, run.name, show_deleted=True) == deleted
    for refused in (rooms.patch(run.name, {"a": 2}), rooms.datasets.require_open(LOCAL_USER, run.name)):
        with pytest.raises(ResourceDeleted):
            await refused
    restored = await rooms.datasets.undelete(LOCAL_USER, run.name)
    assert (restored.state, restored.metadata, restored.revision) == ("open", run.metadata, 3)
    assert await rooms.ids() == [run.name.dataset]


async def test_deleting_again_changes_nothing_and_undeleting_what_is_there_is_refused(rooms: DatasetRooms) -> None:
    run = await rooms.make()
    with pytest.raises(Conflict):
        await rooms.datasets.delete(LOCAL_USER, run.name, etag="old")
    first = await rooms.datasets.delete(LOCAL_USER, run.name, etag=run.etag, request_id="d")
    rooms.clock.move(timedelta(hours=1))
    assert await rooms.datasets.delete(LOCAL_USER, run.name) == first
    back = await rooms.datasets.undelete(LOCAL_USER, run.name, request_id="u")
    assert await rooms.datasets.undelete(LOCAL_USER, run.name, request_id="u") == back
    assert await rooms.datasets.delete(LOCAL_USER, run.name, etag=run.etag, request_id="d") == first
    with pytest.raises(FailedPrecondition):
        await rooms.datasets.undelete(LOCAL_USER, run.name)


async def test_with_no_window_what_is_deleted_is_gone_at_once(rooms: DatasetRooms) -> None:
    catalog = await rooms.catalog("brief", undelete_window=timedelta())
    run = await rooms.make(catalog=catalog, id="run")
    await rooms.datasets.delete(LOCAL_USER, run.name)
    for call in (
        rooms.datasets.undelete(LOCAL_USER, run.name),
        rooms.datasets.get(LOCAL_USER, run.name, show_deleted=True),
    ):
        with pytest.raises(NotFound) as caught:
            await call
        assert caught.value.reason == "RESOURCE_NOT_FOUND"
    assert await rooms.ids(parent=catalog, show_deleted=True) == []
    again = await rooms.make({"second": 1}, catalog=catalog, id="run")
    assert again.revision == 1 and await rooms.ids(parent=catalog) == ["run"]


async def test_what_is_deleted_is_purged_after_its_window_and_nothing_else(rooms: DatasetRooms) -> None:
    kept, gone = await rooms.make({"k": 1}), await rooms.make({"g": 1})
    for run in (kept, gone):
        await rooms.add_file(run.name, "a", 3)
        await rooms.patch(run.name, {"x": 1})
    await rooms.datasets.delete(LOCAL_USER, gone.name)
    rooms.clock.move(timedelta(days=29))
    assert await rooms.datasets.purge_expired() == 0
    rooms.clock.move(timedelta(days=1))
    assert await rooms.datasets.purge_expired() == 1
    assert await rooms.ids(show_deleted=True) == [kept.name.dataset]
    assert await rooms.documents.count("files") == 1
    assert await rooms.documents.count("revisions", scopes=[str(gone.name)]) == 0
    assert not await rooms.datasets.is_there(gone.name) and await rooms.datasets.is_there(kept.name)


async def test_a_purge_asks_for_a_delete_first_or_force(rooms: DatasetRooms) -> None:
    run = await rooms.make()
    with pytest.raises(FailedPrecondition):
        await rooms.datasets.purge(LOCAL_USER, run.name)
    with pytest.raises(Conflict):
        await rooms.datasets.purge(LOCAL_USER, run.name, etag="old", force=True)
    await rooms.datasets.purge(LOCAL_USER, run.name, force=True)
    with pytest.raises(NotFound):
        await rooms.datasets.purge(LOCAL_USER, run.name, force=True)
    other = await rooms.make()
    await rooms.datasets.delete(LOCAL_USER, other.name)
    await rooms.datasets.purge(LOCAL_USER, other.name)
    assert await rooms.documents.count("datasets") == 0


@pytest.mark.parametrize("collection", ["files", "superseded", "uploads", "revisions", "datasets"])
async def test_a_purge_cut_short_anywhere_hides_the_dataset_and_is_finished_later(collection: str) -> None:
    documents = Failing()
    rooms = DatasetRooms(documents)
    await rooms.catalog()
    run = await rooms.make({"a": 1})
    await rooms.patch(run.name, {"a": 2})
    for part in ("superseded", "uploads"):
        await rooms.add_file(run.name, part, 1)
        document = await documents.fetch("files", f"{run.name}/files/{part}")
        assert document is not None
        await documents.insert(part, document)
    documents.fail("remove", collection)
    with pytest.raises(ConnectionError):
        await rooms.datasets.purge(LOCAL_USER, run.name, force=True)
    documents.heal()
    assert await rooms.ids(show_deleted=True) == [] and not await rooms.datasets.is_there(run.name)
    with pytest.raises(NotFound):
        await rooms.patch(run.name, {"a": 3})
    assert await rooms.restarted().datasets.purge_expired() == 1
    for part in ("files", "superseded", "uploads", "revisions", "datasets"):
        assert await documents.count(part) == 0


class Overtaken(Memory):
    """A store in which somebody else does something right before a document is removed for the first time."""

    def __init__(self) -> None:
        super().__init__(compile_pattern)
        self.overtake: Callable[[], Awaitable[object]] | None = None

    async def remove(self, collection: str, key: str, *, expected_revision: int | None = None) -> bool:
        if collection == DATASETS and self.overtake is not None:
            overtake, self.overtake = self.overtake, None
            await overtake()
        return await super().remove(collection, key, expected_revision=expected_revision)


async def test_a_purge_that_the_work_in_the_background_finishes_succeeds() -> None:
    documents = Overtaken()
    rooms = DatasetRooms(documents)
    await rooms.catalog()
    run = await rooms.make()
    documents.overtake = rooms.restarted().datasets.purge_expired
    await rooms.datasets.purge(LOCAL_USER, run.name, force=True)
    assert await rooms.ids(show_deleted=True) == []


async def test_a_purged_dataset_leaves_nothing_to_one_of_its_name(rooms: DatasetRooms) -> None:
    old = await rooms.make({"old": 1}, id="run")
    await rooms.patch(old.name, {"old": 2})
    leftover = await rooms.documents.fetch("revisions", f"{old.name}/revisions/1")
    assert leftover is not None
    await rooms.datasets.purge(LOCAL_USER, old.name, force=True)
    await rooms.documents.insert("revisions", leftover)  # by a change that was under way during the purge
    rooms.clock.move(timedelta(seconds=1))
    young = await rooms.make({"new": 1}, id="run")
    with pytest.raises(Conflict):
        await rooms.patch(young.name, {"new": 2}, etag=old.etag)
    await rooms.patch(young.name, {"new": 2})
    first = await rooms.datasets.revisions.get(LOCAL_USER, young.name, 1)
    assert metadata_of(first.dataset) == {"new": 1}
