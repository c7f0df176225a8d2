from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from tests.core.batch_rooms import BatchRooms, start_batches
from tests.core.reader_rooms import data_of, numbered, sequences_of

from measurand.core.buffers.group_documents import Settings
from measurand.core.buffers.groups import Groups
from measurand.core.buffers.selecting import Selection
from measurand.core.buffers.tailing import Tails
from measurand.core.names import GroupName
from measurand.core.principal import LOCAL_USER
from measurand.wire.errors import NotFound, ResourceDeleted


@pytest.fixture
async def rooms() -> AsyncIterator[BatchRooms]:
    made = await start_batches()
    yield made
    await made.close()


async def test_a_batch_is_read_as_its_buffer_was(rooms: BatchRooms) -> None:
    await rooms.cycle(*numbered(3))
    batch = await rooms.cycle(*numbered(5))
    await rooms.append(b"later")
    page = await rooms.records.read(LOCAL_USER, batch)
    assert sequences_of(page) == [4, 5, 6, 7, 8] and data_of(page) == numbered(5)
    assert (page.state, page.next_sequence, page.is_last) == (None, 9, True)
    assert sequences_of(await rooms.records.read(LOCAL_USER, batch, after=5, most=2)) == [6, 7]
    assert sequences_of(await rooms.records.read(LOCAL_USER, batch, newest=True, most=2)) == [7, 8]
    assert sequences_of(await rooms.records.read(LOCAL_USER, batch, selection=Selection("sequence > 6"))) == [7, 8]
    assert not (await rooms.records.read(LOCAL_USER, batch, after=-1)).records
    assert not (await rooms.records.read(LOCAL_USER, batch, after=8)).records


async def test_a_batch_outlives_trimming_and_its_buffer(rooms: BatchRooms) -> None:
    for _ in range(150):
        await rooms.append(b"x" * 10)
    batch = await rooms.cycle(b"last")
    head = await rooms.head()
    await rooms.releasing.trim(head, head.next_sequence)
    found: list[int] = []
    while len(found) < 151:
        found += sequences_of(await rooms.records.read(LOCAL_USER, batch, after=found[-1] if found else 0))
    assert found == list(range(1, 152))
    await rooms.append(b"new")
    await rooms.buffers.delete(LOCAL_USER, rooms.name, force=True)
    other = rooms.another()
    assert sequences_of(await other.records.read(LOCAL_USER, batch, newest=True, most=2)) == [150, 151]
    assert sequences_of(await other.records.read(LOCAL_USER, batch, most=2)) == [1, 2]
    with pytest.raises(NotFound):
        await other.records.read(LOCAL_USER, rooms.name)
    await other.close()


async def test_a_deleted_batch_says_so(rooms: BatchRooms) -> None:
    batch = await rooms.cycle(b"one")
    await rooms.datasets.delete(LOCAL_USER, batch)
    with pytest.raises(ResourceDeleted):
        await rooms.records.read(LOCAL_USER, batch)


async def test_a_dataset_that_is_no_batch_says_so(rooms: BatchRooms) -> None:
    with pytest.raises(NotFound, match="no batch"):
        await rooms.records.read(LOCAL_USER, rooms.rooms.name)


async def test_tails_and_groups_go_on_over_freezes_and_rotations(rooms: BatchRooms) -> None:
    groups = Groups(rooms.rooms.documents, rooms.records, rooms.board, rooms.rooms.means, rooms.rooms.limits)
    name = GroupName(rooms.name.catalog, rooms.name.buffer, "train")
    await groups.put(LOCAL_USER, name, Settings())
    tails = Tails(rooms.records, rooms.board, rooms.rooms.means, rooms.rooms.limits)
    found: list[int] = []

    async def follow() -> None:
        async with aclosing(tails.follow(LOCAL_USER, rooms.name)) as pages:
            async for page in pages:
                found.extend(sequences_of(page))

    following = asyncio.ensure_future(follow())
    for _ in range(5):
        await rooms.cycle(b"a", b"b")
        await rooms.append(b"c")
        await rooms.rotate()
    await rooms.buffers.finish(LOCAL_USER, rooms.name)
    await following
    assert found == list(range(1, 16))
    assert (await groups.get(LOCAL_USER, name)).lag == 15
