"""The process dies at every single call of a store while an array is written: what was acknowledged stays."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

import pytest
from tests.core.array_rooms import ArrayRooms
from tests.core.crashing import Crash, Fuse, fused
from tests.core.rooms import make_rooms, prepare
from tests.core.stumbling import Stumble, persistently, stumbling

from measurand.core.arrays.documents import Array
from measurand.core.principal import LOCAL_USER
from measurand.wire.errors import MeasurandError, NotFound

ROWS = 4
LARGE = 300 * 1024


def row(number: int) -> bytes:
    return bytes([number + 1]) * (LARGE if number % 2 else 100)


async def start() -> tuple[ArrayRooms, Array]:
    rooms = make_rooms()
    await prepare(rooms)
    arrays = ArrayRooms(rooms)
    return arrays, await arrays.create(shape=(0,))


async def append(arrays: ArrayRooms, array: Array, rows: int) -> None:
    """Append what is missing, each row shown by itself."""
    writer = await arrays.open(array, append=True)
    sequence = 0
    for number in range(writer.opening.visible_rows, rows):
        await writer.take(sequence + 1, (number,), row(number), None)
        await writer.grow_to(sequence + 2, number + 1)
        sequence += 2
        for _ in range(20):  # so that there are several groups
            await asyncio.sleep(0)
    await writer.close(is_complete=True)


async def check_appended(arrays: ArrayRooms, array: Array, acknowledged: int) -> None:
    """Whatever has happened: acknowledged rows are there, all that is seen is right, and another goes on."""
    there = await arrays.now(array)
    assert acknowledged <= there.shape[0] <= ROWS
    assert await arrays.read(array) == [row(number) for number in range(there.shape[0])]
    await append(arrays, array, ROWS)
    assert await arrays.read(array) == [row(number) for number in range(ROWS)]
    await check_garbage(arrays, array)


async def check_garbage(arrays: ArrayRooms, array: Array) -> None:
    """What nobody names goes, all else stays, and when the array goes nothing stays."""
    rooms, before = arrays.rooms, await arrays.read(array)
    for _ in range(4):
        rooms.clock.move(rooms.limits.blob_grace * 2)
        await arrays.arrays.expire()
        await rooms.collector.run_once()
    assert await arrays.read(array) == before
    assert sum([blob.size async for blob in rooms.blobs.scan()]) == sum(len(data or b"") for data in before)
    await arrays.arrays.delete(LOCAL_USER, array.name)
    for _ in range(3):
        rooms.clock.move(rooms.limits.blob_grace * 2)
        await arrays.arrays.expire()
        await rooms.collector.run_once()
    assert not [blob.key async for blob in rooms.blobs.scan()]
    for collection in ("arrays", "staged_arrays", "array_chunks"):
        assert not await rooms.documents.find(collection)


@pytest.mark.parametrize("after", [False, True])
async def test_an_appender_that_dies_anywhere_loses_nothing_acknowledged(after: bool) -> None:
    at, is_over = 0, False
    while not is_over:
        arrays, array = await start()
        fuse = Fuse(at, after)
        documents, blobs = fused(arrays.rooms.documents, arrays.rooms.blobs, fuse)
        dying = ArrayRooms(replace(arrays.rooms, documents=documents, blobs=blobs))
        with contextlib.suppress(Crash):
            await append(dying, array, ROWS)
        is_over = not fuse.blown
        await check_appended(arrays, array, max((ack.visible_rows for ack in dying.acks), default=0))
        at += 1
    assert at > 10


@pytest.mark.parametrize("after", [False, True])
async def test_a_whole_array_that_is_written_anew_is_the_old_or_the_new_one(after: bool) -> None:
    async def write(arrays: ArrayRooms, fill: int) -> None:
        array = await arrays.create(shape=(ROWS,), staged=True)
        await asyncio.gather(*(arrays.write(array, (index,), bytes([fill]) * 10) for index in range(ROWS)))
        await arrays.arrays.commit(LOCAL_USER, array.name, array.uid)

    at, is_over = 0, False
    old, new = ([bytes([fill]) * 10] * ROWS for fill in (1, 2))
    while not is_over:
        arrays, _ = await start()
        await write(arrays, 1)
        fuse = Fuse(at, after)
        documents, blobs = fused(arrays.rooms.documents, arrays.rooms.blobs, fuse)
        dying = ArrayRooms(replace(arrays.rooms, documents=documents, blobs=blobs))
        with contextlib.suppress(Crash):
            await write(dying, 2)
        is_over = not fuse.blown
        array = await arrays.arrays.get(LOCAL_USER, arrays.name())
        assert await arrays.read(array) in ((old, new) if fuse.blown else (new,))
        arrays.rooms.clock.move(arrays.rooms.limits.upload_lifetime * 2)
        await check_garbage(arrays, array)
        at += 1
    assert at > 10


@pytest.mark.parametrize("after", [False, True])
async def test_a_store_that_stumbles_anywhere_doubles_nothing_and_loses_nothing(after: bool) -> None:
    at, is_over = 0, False
    while not is_over:
        arrays, array = await start()
        stumble = Stumble(at, after)
        documents, blobs = stumbling(arrays.rooms.documents, arrays.rooms.blobs, stumble)
        server = ArrayRooms(replace(arrays.rooms, documents=documents, blobs=blobs))
        await persistently(lambda: append(server, array, ROWS))  # noqa: B023  # it is done within the turn
        is_over = not stumble.has_happened
        await check_appended(arrays, array, ROWS)
        at += 1
    assert at > 10


async def test_a_purge_in_the_middle_of_writing_leaves_nothing() -> None:
    for turns in range(0, 60, 3):
        arrays, array = await start()
        writing = asyncio.ensure_future(append(arrays, array, ROWS))
        for _ in range(turns):
            await asyncio.sleep(0)
        rooms = arrays.rooms
        await rooms.datasets.purge(LOCAL_USER, rooms.name, force=True)
        with contextlib.suppress(NotFound, MeasurandError):
            await writing
        for collection in ("arrays", "staged_arrays", "array_chunks"):
            assert not await rooms.documents.find(collection), turns
