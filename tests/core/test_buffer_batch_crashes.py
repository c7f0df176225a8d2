"""A window on its way to a batch, where a server dies or a store stumbles at every single call: all of it or none."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial

import pytest
from tests.core.batch_rooms import BatchRooms, check_batches, start_batches
from tests.core.crashing import Crash, Fuse, fused
from tests.core.stumbling import Stumble, persistently, stumbling

from measurand.core.buffers.freezing import UnfreezeAnswer
from measurand.core.buffers.heads import EventKind, State
from measurand.wire.errors import FailedPrecondition, MeasurandError


async def by_hand(rooms: BatchRooms) -> UnfreezeAnswer:
    with contextlib.suppress(FailedPrecondition):  # sealed already, when this is done once more
        await rooms.freeze_window(request_id="freeze", window=1)
    return await rooms.unfreeze(force=True, window=1)


async def rotated(rooms: BatchRooms) -> UnfreezeAnswer:
    return await rooms.rotate(window=1)


async def thrown_away(rooms: BatchRooms) -> UnfreezeAnswer:
    with contextlib.suppress(FailedPrecondition):  # sealed already, when this is done once more
        await rooms.freeze_window(request_id="freeze", window=1)
    return await rooms.unfreeze(force=True, window=1, discard=True)


async def lapsed(rooms: BatchRooms) -> None:
    with contextlib.suppress(FailedPrecondition):
        await rooms.freeze_window(request_id="freeze", window=1, lease=timedelta(minutes=1))
    rooms.rooms.clock.move(timedelta(minutes=2))
    await rooms.closings.settle()


WAYS = [by_hand, rotated, thrown_away, lapsed]
Way = Callable[[BatchRooms], Awaitable[object]]


async def started() -> BatchRooms:
    rooms = await start_batches()
    for number in range(3):
        await rooms.append(str(number).encode())
    return rooms


async def check_halfway(rooms: BatchRooms) -> None:
    """Whatever the moment: the counters are those of the window that is open or frozen, never 0 with data in place."""
    head = await rooms.head()
    assert (head.window, head.window_records, head.window_counted) in ((1, 3, 3), (2, 0, 0))
    if head.window == 1:
        assert not await rooms.windows()
    else:
        assert head.state is State.ACTIVE
        assert len(head.closing) + len(await rooms.windows()) >= 1


async def check_end(rooms: BatchRooms, way: Way) -> None:
    head = await rooms.head()
    assert (head.state, head.window, head.closing) == (State.ACTIVE, 2, ())
    await rooms.append(b"new")
    log = [event.kind for event in await rooms.log()]
    assert [event.number for event in await rooms.log()] == list(range(1, len(log) + 1))
    if way is thrown_away:
        assert (head.first_sequence, head.batch_count, log.count(EventKind.DISCARDED)) == (4, 0, 1)
        assert head.segments == ()
    else:
        assert await check_batches(rooms) == [b"0", b"1", b"2", b"new"]
        assert (head.batch_count, log.count(EventKind.SEALED)) == (1, 1)
    assert log.count(EventKind.OPENED) == 1


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("after", [False, True])
async def test_a_server_that_dies_anywhere_leaves_it_frozen_or_sealed(way: Way, after: bool) -> None:
    at, is_over = 0, False
    while not is_over:
        rooms = await started()
        fuse = Fuse(at, after)
        documents, blobs = fused(rooms.rooms.documents, rooms.rooms.blobs, fuse)
        dying = rooms.another(documents=documents, blobs=blobs)
        with contextlib.suppress(Crash):
            await way(dying)
        await dying.close()
        is_over = not fuse.blown
        await check_halfway(rooms)
        # Those who come after: the job, and the caller, who asks again.
        await rooms.closings.settle()
        await check_halfway(rooms)
        if (await rooms.head()).window == 1:
            await way(rooms)
        await check_end(rooms, way)
        await rooms.close()
        at += 1
    assert at > 5


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("after", [False, True])
async def test_a_store_that_stumbles_anywhere_changes_nothing_in_the_end(way: Way, after: bool) -> None:
    at, is_over = 0, False
    while not is_over:
        rooms = await started()
        stumble = Stumble(at, after)
        documents, blobs = stumbling(rooms.rooms.documents, rooms.rooms.blobs, stumble)
        stumbled = rooms.another(documents=documents, blobs=blobs)
        if way is lapsed:
            with contextlib.suppress(MeasurandError):
                await lapsed(stumbled)
            if (await rooms.head()).window == 1:
                await persistently(partial(lapsed, stumbled))
            await rooms.closings.settle()
        else:
            await persistently(partial(way, stumbled))
        is_over = not stumble.has_happened
        await check_end(rooms, way)
        await stumbled.close()
        await rooms.close()
        at += 1
    assert at > 5
