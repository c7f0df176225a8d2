"""What buffers forget by themselves, and what is left of those that are removed."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from functools import partial

import pytest
from tests.core.batch_rooms import BatchRooms, start_batches
from tests.core.crashing import Crash, Fuse, fused
from tests.core.rooms import make_rooms
from tests.core.stumbling import Stumble, persistently, stumbling

from measurand.core.buffers.batches import BATCHES
from measurand.core.buffers.documents import BUFFERS, SEGMENTS
from measurand.core.buffers.heads import EventKind, Policy
from measurand.core.buffers.remembering import EVENTS, MEMORIES
from measurand.core.buffers.retention import PINNED
from measurand.core.dataset_edits import DatasetEdit
from measurand.core.names import DatasetName
from measurand.core.principal import LOCAL_USER
from measurand.wire.errors import HistoryTrimmed, NotFound

SIZE = 100_000


async def windows_left(rooms: BatchRooms) -> list[int]:
    page = await rooms.batches.page(LOCAL_USER, rooms.name, size=1000)
    return [one.batch.window for one in page.batches][::-1]


async def ten(rooms: BatchRooms) -> list[DatasetName]:
    """Make ten batches, the second of them pinned, and leave a record in the open window."""
    names = []
    for number in range(10):
        names.append(await rooms.cycle(bytes([number]) * SIZE))
        rooms.rooms.clock.move(timedelta(hours=1))
    await rooms.datasets.update(LOCAL_USER, names[1], DatasetEdit(add_tags=(PINNED,)))
    await rooms.append(b"open")
    return names


async def stored_bytes(rooms: BatchRooms) -> int:
    return sum([blob.size async for blob in rooms.rooms.blobs.scan("buffers/")])


async def collect(rooms: BatchRooms) -> None:
    for _ in range(3):
        rooms.rooms.clock.move(timedelta(hours=1))
        await rooms.rooms.collector.run_once()


@pytest.mark.parametrize(
    "policy",
    [
        Policy(keep_batches=3),
        Policy(keep_batches_bytes=3 * SIZE),
        Policy(keep_batches_for=timedelta(hours=3, minutes=30)),
    ],
)
async def test_the_oldest_batches_go_but_for_pinned_ones(policy: Policy) -> None:
    rooms = await start_batches(policy)
    names = await ten(rooms)
    before = await stored_bytes(rooms)
    assert await rooms.retention.run_once() == 6
    assert await windows_left(rooms) == [2, 8, 9, 10]
    await collect(rooms)
    assert abs(before - await stored_bytes(rooms) - 6 * SIZE) < 1000
    for number in (1, 7, 8, 9):
        assert [data for _, data in await rooms.read(names[number])] == [bytes([number]) * SIZE]
    with pytest.raises(NotFound):
        await rooms.read(names[0])
    head = await rooms.head()
    assert (head.first_sequence, head.window_records, head.batch_count) == (8, 1, 4)
    expired = [event for event in await rooms.log() if event.kind is EventKind.BATCH_EXPIRED]
    assert [event.window for event in expired] == [1, 3, 4, 5, 6, 7]
    assert all(event.actor == "system" and event.dataset and event.time for event in expired)
    page = await rooms.records.read(LOCAL_USER, rooms.name, after=7, most_bytes=1 << 20)
    assert [one.sequence for one in page.records] == [8, 9, 10, 11]
    with pytest.raises(HistoryTrimmed):
        await rooms.records.read(LOCAL_USER, rooms.name, after=2)
    await rooms.close()


async def test_records_of_sealed_windows_are_forgotten_and_stay_in_their_batch() -> None:
    rooms = await start_batches(Policy(keep_sealed=timedelta(hours=3)))
    names = await ten(rooms)
    await rooms.retention.run_once()
    head = await rooms.head()
    assert head.first_sequence == 9
    assert (await rooms.log())[-1].kind is EventKind.TRIMMED
    assert len(await rooms.named()) == 11
    for number, name in enumerate(names):
        assert [data for _, data in await rooms.read(name)] == [bytes([number]) * SIZE]
    before = await rooms.head()
    await rooms.retention.run_once()
    assert (await rooms.head()).events == before.events
    await rooms.close()


async def test_a_batch_that_is_being_read_stays_for_ten_minutes_and_no_younger_one_goes_for_it() -> None:
    rooms = await start_batches(Policy(keep_batches=3))
    names = await ten(rooms)
    await rooms.read(names[0])
    assert await rooms.retention.run_once() == 5
    assert await windows_left(rooms) == [1, 2, 8, 9, 10]
    rooms.rooms.clock.move(timedelta(minutes=9))
    assert await rooms.retention.run_once() == 0
    assert await rooms.read(names[0]) == [(1, bytes(SIZE))]
    rooms.rooms.clock.move(timedelta(minutes=9))
    assert await rooms.retention.run_once() == 0
    rooms.rooms.clock.move(timedelta(minutes=1))
    assert await rooms.retention.run_once() == 1
    assert await windows_left(rooms) == [2, 8, 9, 10]
    await rooms.close()


async def test_a_purged_batch_keeps_its_records_in_the_buffer_for_as_long_as_the_policy_says() -> None:
    rooms = await start_batches(Policy(keep_sealed=timedelta(hours=5)))
    name = await rooms.cycle(b"one")
    await rooms.datasets.purge(LOCAL_USER, name, force=True)
    page = await rooms.records.read(LOCAL_USER, rooms.name, after=0)
    assert [one.sequence for one in page.records] == [1]
    rooms.rooms.clock.move(timedelta(hours=5))
    await rooms.retention.run_once()
    assert (await rooms.head()).first_sequence == 2
    assert not await rooms.named()
    rooms.rooms.clock.move(timedelta(days=2))
    await rooms.retention.run_once()
    assert not await rooms.windows()
    await rooms.close()


async def test_old_segments_are_let_go_of_in_the_index_too() -> None:
    rooms = await start_batches()
    for _ in range(100):
        await rooms.append(b"one")
        await asyncio.sleep(0)
    first = (await rooms.rotate()).batch
    for _ in range(100):
        await rooms.append(b"two")
        await asyncio.sleep(0)
    second = (await rooms.rotate()).batch
    assert first is not None and second is not None
    assert await rooms.rooms.documents.count(SEGMENTS) > 3
    await rooms.datasets.purge(LOCAL_USER, first.dataset.name, force=True)
    assert len(await rooms.named()) == 100
    assert len(await rooms.read(second.dataset.name)) == 100
    await rooms.datasets.purge(LOCAL_USER, second.dataset.name, force=True)
    assert not await rooms.named()
    assert await rooms.rooms.documents.count(SEGMENTS) == 0
    await rooms.close()


async def test_batches_outlive_their_buffer() -> None:
    rooms = await start_batches()
    kept, purged = await rooms.cycle(b"one", b"two"), await rooms.cycle(b"three")
    await rooms.datasets.purge(LOCAL_USER, purged, force=True)
    await rooms.append(b"open")
    await rooms.buffers.delete(LOCAL_USER, rooms.name, force=True)
    assert await rooms.read(kept) == [(1, b"one"), (2, b"two")]
    assert len(await rooms.named()) == 1
    await collect(rooms)
    assert await rooms.read(kept) == [(1, b"one"), (2, b"two")]
    for collection in (EVENTS, MEMORIES):
        assert await rooms.rooms.documents.count(collection) == 0
    await rooms.create()
    assert (await rooms.batches.page(LOCAL_USER, rooms.name)).batches == []
    assert await rooms.read(kept) == [(1, b"one"), (2, b"two")]
    await rooms.datasets.purge(LOCAL_USER, kept, force=True)
    assert not await rooms.named()
    await rooms.close()


async def test_a_purged_catalog_takes_its_buffers_along() -> None:
    rooms = await start_batches()
    await rooms.cycle(b"one")
    for _ in range(100):
        await rooms.append(b"open")
    await rooms.rooms.catalogs.delete(LOCAL_USER, rooms.name.parent, force=True)
    rooms.rooms.clock.move(timedelta(days=31))
    await rooms.datasets.purge_expired()
    assert not await rooms.named()
    await rooms.buffers.expire()
    rooms.rooms.clock.move(timedelta(days=2))
    await rooms.buffers.expire()
    await rooms.retention.run_once()
    for collection in (BUFFERS, SEGMENTS, BATCHES, EVENTS, MEMORIES):
        assert await rooms.rooms.documents.count(collection) == 0, collection
    await collect(rooms)
    assert await stored_bytes(rooms) == 0
    await rooms.close()


async def test_a_discarded_window_is_let_go_of() -> None:
    rooms = await start_batches()
    await rooms.append(bytes(SIZE))
    await rooms.freeze_window()
    await rooms.unfreeze(force=True, discard=True)
    await collect(rooms)
    assert await stored_bytes(rooms) == 0
    await rooms.close()


# ------------------------------------------------------------------------------------------- at every call of a store


async def started() -> BatchRooms:
    rooms = await start_batches(Policy(keep_batches=1, keep_sealed=timedelta(hours=2)), rooms=make_rooms())
    for number in range(3):
        await rooms.append(str(number).encode())
        await rooms.cycle(str(number).encode())
        rooms.rooms.clock.move(timedelta(hours=1))
    return rooms


async def check_end(rooms: BatchRooms) -> None:
    head = await rooms.head()
    assert (head.first_sequence, head.batch_count, await windows_left(rooms)) == (5, 1, [3])
    log = [event.kind for event in await rooms.log()]
    assert (log.count(EventKind.BATCH_EXPIRED), log.count(EventKind.TRIMMED)) == (2, 1)
    listed = (await rooms.batches.page(LOCAL_USER, rooms.name)).batches
    assert [data for _, data in await rooms.read(listed[0].dataset.name)] == [b"2", b"2"]
    assert len(await rooms.named()) == 2


@pytest.mark.parametrize("after", [False, True])
async def test_retention_that_dies_anywhere_is_done_by_the_next(after: bool) -> None:
    at, is_over = 0, False
    while not is_over:
        rooms = await started()
        fuse = Fuse(at, after)
        documents, blobs = fused(rooms.rooms.documents, rooms.rooms.blobs, fuse)
        dying = rooms.another(documents=documents, blobs=blobs)
        with contextlib.suppress(Crash):
            await dying.retention.run_once()
        await dying.close()
        is_over = not fuse.blown
        # Whatever the moment, each batch that is listed can be read.
        for one in (await rooms.batches.page(LOCAL_USER, rooms.name)).batches:
            with contextlib.suppress(NotFound):
                assert len(await rooms.read(one.dataset.name)) == 2
        rooms.rooms.clock.move(timedelta(minutes=10))
        await rooms.datasets.purge_expired()
        await rooms.another().retention.run_once()
        await check_end(rooms)
        await rooms.close()
        at += 1
    assert at > 10


@pytest.mark.parametrize("after", [False, True])
async def test_retention_that_stumbles_anywhere_is_done_again(after: bool) -> None:
    at, is_over = 0, False
    while not is_over:
        rooms = await started()
        stumble = Stumble(at, after)
        documents, blobs = stumbling(rooms.rooms.documents, rooms.rooms.blobs, stumble)
        stumbled = rooms.another(documents=documents, blobs=blobs)
        await persistently(partial(stumbled.retention.run_once))
        is_over = not stumble.has_happened
        await rooms.datasets.purge_expired()
        await rooms.another().retention.run_once()
        await check_end(rooms)
        await stumbled.close()
        await rooms.close()
        at += 1
    assert at > 10
