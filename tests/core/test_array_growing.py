"""Appending: rows are seen when they are durable, and by one appender at a time, however late another is."""

from __future__ import annotations

import asyncio

import pytest
from tests.core.array_rooms import ArrayRooms
from tests.core.gated import acknowledged, another, blobs, make_gated_rooms

from measurand.wire.errors import (
    FailedPrecondition,
    StoreFull,
    WriterFenced,
)

KiB = 1 << 10


@pytest.fixture
async def rooms() -> ArrayRooms:
    return await make_gated_rooms()


# ---------------------------------------------------------------------------------------------------------- appending


async def test_rows_become_visible_when_their_chunks_are_durable(rooms: ArrayRooms) -> None:
    array = await rooms.create(shape=(0, 2), chunk_shape=(4, 2))
    writer = await rooms.open(array, append=True)
    assert (writer.opening.visible_rows, writer.opening.epoch) == (0, 1)
    gate = blobs(rooms).gate = asyncio.Event()
    await writer.take(1, (0, 0), b"first", None)
    await writer.grow_to(2, 4)
    await blobs(rooms).arrived.wait()
    assert (await rooms.now(array)).shape == (0, 2)
    gate.set()
    await writer.take(3, (1, 0), b"second", None)
    await writer.grow_to(4, 6)
    await writer.grow_to(5, 5)  # never less than before
    await writer.close(is_complete=True)
    assert (rooms.acks[-1].sequence, rooms.acks[-1].visible_rows) == (5, 6)
    assert await rooms.read(array) == [b"first", b"second"]
    assert not (await rooms.now(array)).is_growing(rooms.rooms.clock.time)


async def test_rows_whose_chunks_were_refused_are_not_shown(rooms: ArrayRooms) -> None:
    array = await rooms.create(shape=(0,))
    writer = await rooms.open(array, append=True)
    blobs(rooms).full = True
    await writer.take(1, (0,), b"x", None)
    await writer.grow_to(2, 1)
    with pytest.raises(StoreFull):
        await writer.close(is_complete=True)
    assert (await rooms.now(array)).shape == (0,)
    assert not rooms.acks


async def test_the_newest_appender_is_the_only_one_and_learns_how_far_the_last_came(rooms: ArrayRooms) -> None:
    array, other = await rooms.create(shape=(0,)), another(rooms)
    first = await rooms.open(array, append=True)
    await first.take(1, (0,), b"a", None)
    await first.grow_to(2, 1)
    await first.take(3, (1,), b"b", None)
    await acknowledged(rooms, 3)
    second = await other.open(array, append=True, expected_epoch=1)
    assert (second.opening.visible_rows, second.opening.epoch) == (1, 2)
    await first.grow_to(4, 2)
    with pytest.raises(WriterFenced) as caught:
        await first.close(is_complete=True)
    assert (caught.value.details["epoch"], caught.value.details["rows"]) == ("2", "1")
    with pytest.raises(WriterFenced) as caught:
        await rooms.open(array, append=True, expected_epoch=1)
    assert caught.value.details["rows"] == "1"
    await second.take(1, (1,), b"B", None)
    await second.grow_to(2, 2)
    await second.close(is_complete=True)
    assert await rooms.read(array) == [b"a", b"B"]


async def test_a_late_write_does_not_undo_what_the_next_appender_was_told_is_safe(rooms: ArrayRooms) -> None:
    """A6: the first appender's server stands still in the middle of a put, and goes on when all is over."""
    array = await rooms.create(shape=(0,))
    slow = ArrayRooms(rooms.rooms.restarted())
    first = await slow.open(array, append=True)
    gate = blobs(rooms).gate = asyncio.Event()
    await first.take(1, (0,), b"late", None)
    await first.take(2, (1,), b"late", None)
    await first.grow_to(3, 2)
    await blobs(rooms).arrived.wait()
    blobs(rooms).gate = None
    second = await rooms.open(array, append=True)
    await second.take(1, (0,), b"safe", None)
    await second.grow_to(2, 1)
    await second.close(is_complete=True)
    gate.set()
    with pytest.raises(WriterFenced):
        await first.close(is_complete=True)
    assert not slow.acks
    assert await rooms.read(array) == [b"safe"]
    third = await rooms.open(array, append=True)
    await third.grow_to(1, 2)  # without having written the row: it shows as fill, not as what came too late
    await third.close(is_complete=True)
    assert await rooms.read(array) == [b"safe", None]


async def test_what_a_dead_appender_left_unseen_is_not_shown_by_the_next(rooms: ArrayRooms) -> None:
    array = await rooms.create(shape=(0, 3), chunk_shape=(2, 1))
    writer = await rooms.open(array, append=True)
    for number in range(600):
        await writer.take(number + 1, (number // 3, number % 3), b"seen" if number < 3 else b"unseen", None)
    await writer.grow_to(601, 2)
    await acknowledged(rooms, 601)
    await writer.close(is_complete=False)
    next_one = await another(rooms).open(array, append=True)
    await next_one.grow_to(1, 400)
    await next_one.close(is_complete=True)
    assert await rooms.read(array) == [b"seen"] * 3 + [None] * 597


async def test_an_array_without_axes_cannot_grow(rooms: ArrayRooms) -> None:
    array = await rooms.create(shape=(), chunk_shape=())
    with pytest.raises(FailedPrecondition):
        await rooms.open(array, append=True)
