"""What a store says of its format, and the steps from older ones."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.core.busy import Busy
from tests.core.crashing import Crash, Fuse, fused
from tests.core.rooms import Rooms, make_rooms

from measurand.core.deployments import (
    DEPLOYMENTS,
    FORMAT,
    begin_deployment,
    fetch_deployment,
    keep_deployment,
    open_deployment,
)
from measurand.core.file_documents import SUPERSEDED, file_of, superseded_view
from measurand.core.limits import Limits
from measurand.core.migrating import STEPS, migrate
from measurand.core.ports import Document
from measurand.wire.errors import Contention, FailedPrecondition

DAY = timedelta(days=1)


async def older(seed: int = 1) -> Rooms:
    """Return the rooms of a store as the release before formats had numbers has left it."""
    rooms = make_rooms(Limits(), seed=seed)
    busy = Busy(rooms, random.Random(seed))
    await busy.begin()
    for _ in range(60):
        await busy.put()
    for item in await rooms.documents.find(SUPERSEDED, limit=1000):
        old = item.document
        expires = old.body["expires"]
        assert isinstance(expires, int)
        body = {key: value for key, value in old.body.items() if key != "expires"}
        new = Document(old.key, old.scope, body, view=superseded_view(file_of(old), expires))
        assert await rooms.documents.replace(SUPERSEDED, new, expected_revision=old.revision)
    await rooms.documents.insert(DEPLOYMENTS, Document("deployment", "", {"id": "01OLD"}))
    return rooms


def test_there_is_a_step_to_each_format() -> None:
    assert [step.to for step in STEPS] == list(range(1, FORMAT + 1))


async def test_a_store_is_brought_up_and_keeps_what_it_had() -> None:
    rooms = await older()
    count = await rooms.documents.count(SUPERSEDED)
    with pytest.raises(FailedPrecondition, match="measurand migrate"):
        await open_deployment(rooms.documents, lambda: "01NEW")
    [(step, changed)] = await migrate(rooms.documents)
    assert (step.to, changed) == (1, count) and count > 10
    assert (await open_deployment(rooms.documents, lambda: "01NEW")).id == "01OLD"
    assert await migrate(rooms.documents) == []
    assert await rooms.files.expire_superseded() == 0
    assert all("expires" in item.document.body for item in await rooms.documents.find(SUPERSEDED, limit=1000))
    rooms.clock.move(31 * DAY)
    assert await rooms.files.expire_superseded() == count


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_migration_killed_at_any_call_is_taken_up_again(after: bool) -> None:
    for at in range(0, 500, 5):
        rooms = await older()
        documents, _ = fused(rooms.documents, rooms.blobs, Fuse(at, after))
        try:
            await migrate(documents)
        except Crash:
            await migrate(rooms.documents)
        else:
            assert at > 20
            return
        assert all("expires" in item.document.body for item in await rooms.documents.find(SUPERSEDED, limit=1000))
        assert (await open_deployment(rooms.documents, lambda: "01NEW")).format == FORMAT
    raise AssertionError("the migration did not end within 500 calls")


async def test_an_unfinished_store_is_opened_by_what_began_it_alone() -> None:
    documents = make_rooms().documents
    begun = await begin_deployment(documents, lambda: "01A", "copy of 01X")
    with pytest.raises(FailedPrecondition, match="unfinished copy of 01X"):
        await open_deployment(documents, lambda: "01B")
    with pytest.raises(FailedPrecondition, match="an unfinished copy of 01X; name an empty one"):
        await begin_deployment(documents, lambda: "01B", "copy of 01Y")
    with pytest.raises(FailedPrecondition, match="unfinished"):
        await migrate(documents)
    assert await begin_deployment(documents, lambda: "01B", "copy of 01X") == begun
    await keep_deployment(documents, replace(begun, unfinished=""))
    assert (await open_deployment(documents, lambda: "01B")).id == "01A"
    with pytest.raises(FailedPrecondition, match="this store is deployment 01A; name an empty one"):
        await begin_deployment(documents, lambda: "01B", "copy of 01X")
    with pytest.raises(Contention):
        await keep_deployment(documents, begun)


async def test_a_newer_store_is_neither_opened_nor_migrated() -> None:
    documents = make_rooms().documents
    await documents.insert(DEPLOYMENTS, Document("deployment", "", {"id": "01A", "format": FORMAT + 1}))
    for asking in (open_deployment(documents, lambda: "01B"), migrate(documents)):
        with pytest.raises(FailedPrecondition, match=f"format {FORMAT + 1}, and this release knows formats up to"):
            await asking
    found = await fetch_deployment(documents)
    assert found is not None and found.format == FORMAT + 1


async def test_a_store_that_nobody_has_used_needs_no_migration() -> None:
    with pytest.raises(FailedPrecondition, match="nothing to migrate"):
        await migrate(make_rooms().documents)
