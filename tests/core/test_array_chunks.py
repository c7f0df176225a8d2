"""Chunks: what is acknowledged is named and read back whole, whoever else writes beside, before or too late."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.core.array_rooms import ArrayRooms
from tests.core.gated import another, blobs, make_gated_rooms

from measurand.core.ports import Blob
from measurand.core.principal import LOCAL_USER
from measurand.wire.errors import (
    ChecksumMismatch,
    Conflict,
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    MeasurandError,
    NotFound,
    SelectionInvalid,
    SizeMismatch,
    StoreFull,
)

KiB = 1 << 10


@pytest.fixture
async def rooms() -> ArrayRooms:
    return await make_gated_rooms()


# ------------------------------------------------------------------------------------------------------------- chunks


async def test_chunks_come_back_and_those_never_written_are_known(rooms: ArrayRooms) -> None:
    array = await rooms.create(shape=(4, 6), chunk_shape=(2, 2))
    await asyncio.gather(rooms.write(array, (0, 1), b"one"), rooms.write(array, (1, 2), b"x" * 300 * KiB))
    assert await rooms.read(array) == [None, b"one", None, None, None, b"x" * 300 * KiB]
    assert await ArrayRooms(rooms.rooms.restarted()).read(array, (1, 2), (0, 1)) == [b"x" * 300 * KiB, b"one"]


async def test_an_array_without_axes_has_one_chunk(rooms: ArrayRooms) -> None:
    array = await rooms.create(shape=(), chunk_shape=())
    assert await rooms.read(array) == [None]
    await rooms.write(array, (), b"7")
    assert await rooms.read(array) == [b"7"]


async def test_small_chunks_that_come_together_share_a_blob_and_are_read_with_one_call(rooms: ArrayRooms) -> None:
    array = await rooms.create(shape=(600,))
    before = blobs(rooms).puts
    await asyncio.gather(*(rooms.write(array, (index,), bytes([index % 251])) for index in range(600)))
    assert blobs(rooms).puts - before == 3  # one for each index document
    assert await rooms.read(array) == [bytes([index % 251]) for index in range(600)]
    assert blobs(rooms).opens == 3


async def test_of_several_writes_of_a_chunk_the_last_counts(rooms: ArrayRooms) -> None:
    array = await rooms.create()
    etags = await asyncio.gather(*(rooms.write(array, (1,), b"%d" % number) for number in range(50)))
    assert len(set(etags)) == 50
    assert await rooms.read(array, (1,)) == [b"49"]


async def test_a_chunk_can_be_removed(rooms: ArrayRooms) -> None:
    array = await rooms.create()
    await rooms.write(array, (1,), b"x")
    assert await rooms.write(array, (1,), None) == ""
    assert await rooms.read(array) == [None] * 4


async def test_a_condition_on_the_chunk_holds_or_changes_nothing(rooms: ArrayRooms) -> None:
    array, other = await rooms.create(), another(rooms)
    first = await rooms.write(array, (1,), b"1", if_etag="")
    second = await other.write(array, (1,), b"2", if_etag=first)
    for etag in ("", first, "nonsense"):
        with pytest.raises(Conflict) as caught:
            await rooms.write(array, (1,), b"3", if_etag=etag)
        assert caught.value.details["etag"] == second
    assert await rooms.read(array, (1,)) == [b"2"]


async def test_read_change_write_from_two_servers_loses_nothing(rooms: ArrayRooms) -> None:
    array, other = await rooms.create(), another(rooms)

    async def add(server: ArrayRooms, times: int) -> None:
        for _ in range(times):
            while True:
                [chunk] = [item async for item in server.reading.chunks(array, [(0,)])]
                value = int(bytes(chunk.data or b"0"))
                try:
                    await server.write(array, (0,), b"%d" % (value + 1), if_etag=chunk.etag)
                    break
                except Conflict:
                    continue

    await asyncio.gather(*(add(server, 10) for server in (rooms, other) for _ in range(3)))
    assert await rooms.read(array, (0,)) == [b"60"]


async def test_writers_of_other_chunks_of_a_block_need_no_lock(rooms: ArrayRooms) -> None:
    array = await rooms.create(shape=(200,))
    servers = [another(rooms) for _ in range(4)]
    await asyncio.gather(
        *(servers[index % 4].write(array, (index,), bytes([index])) for index in range(200)),
    )
    assert await rooms.read(array) == [bytes([index]) for index in range(200)]


async def test_what_the_store_does_not_take_fails_alone(rooms: ArrayRooms) -> None:
    array = await rooms.create(shape=(4,))
    await rooms.write(array, (0,), b"old")
    blobs(rooms).full = True
    with pytest.raises(StoreFull):
        await rooms.write(array, (0,), b"new")
    blobs(rooms).full = False
    assert await rooms.read(array) == [b"old", None, None, None]
    await rooms.write(array, (0,), b"new")
    assert await rooms.read(array, (0,)) == [b"new"]


async def test_a_damaged_chunk_is_told_by_array_and_chunk(rooms: ArrayRooms) -> None:
    array = await rooms.create(shape=(4, 4), chunk_shape=(2, 2))
    await asyncio.gather(*(rooms.write(array, (row, 1), b"abc" * 100) for row in range(2)))
    [key] = [blob.key async for blob in rooms.rooms.blobs.scan("arrays/")]
    data = bytearray(b"".join([bytes(piece) async for piece in rooms.rooms.blobs.open(Blob(key, 600))]))
    data[450] ^= 1
    await rooms.rooms.blobs.delete(key)
    await rooms.rooms.blobs.put(key, [bytes(data)])
    assert await rooms.read(array, (0, 1)) == [b"abc" * 100]
    with pytest.raises(DataLoss, match=r"arrays/a: .*chunk \[1, 1\]"):
        await rooms.read(array)
    await rooms.rooms.blobs.delete(key)
    with pytest.raises(DataLoss, match=r"chunk \[0, 1\]"):
        await rooms.read(array)


async def test_a_chunk_that_was_written_anew_while_it_was_read_comes_as_it_is_now(rooms: ArrayRooms) -> None:
    array = await rooms.create(shape=(100,))
    await asyncio.gather(*(rooms.write(array, (index,), b"old" * 100 * KiB) for index in range(100)))
    reading = rooms.reading.chunks(array, list(array.grid.indexes()))
    assert bytes((await anext(reading)).data or b"")[:3] == b"old"
    old = [blob.key async for blob in rooms.rooms.blobs.scan("arrays/")]
    await asyncio.gather(*(rooms.write(array, (index,), b"new" * 100 * KiB) for index in range(100)))
    for key in old:  # as the collector will
        await rooms.rooms.blobs.delete(key)
    rest = [bytes(chunk.data or b"")[:3] async for chunk in reading]
    assert len(rest) == 99 and set(rest) == {b"old", b"new"} and rest[-1] == b"new"


async def test_a_reader_of_an_array_that_goes_ends_with_not_found(rooms: ArrayRooms) -> None:
    array = await rooms.create(shape=(300,))
    value = b"x" * 256 * KiB
    await asyncio.gather(*(rooms.write(array, (index,), value) for index in range(300)))
    reading = rooms.reading.chunks(array, list(array.grid.indexes()))
    assert bytes((await anext(reading)).data or b"") == value
    await rooms.arrays.delete(LOCAL_USER, array.name)
    rooms.rooms.clock.move(rooms.rooms.limits.blob_grace * 3)
    await rooms.arrays.expire()
    with pytest.raises(NotFound):
        assert {bytes(chunk.data or b"") async for chunk in reading} == {value}


async def test_chunks_of_an_array_that_is_gone_are_refused_and_leave_nothing(rooms: ArrayRooms) -> None:
    array = await rooms.create(staged=True)
    gate = blobs(rooms).gate = asyncio.Event()
    writing = asyncio.ensure_future(rooms.write(array, (0,), b"x"))
    await blobs(rooms).arrived.wait()
    await rooms.arrays.delete(LOCAL_USER, array.name, uid=array.uid)
    rooms.rooms.clock.move(rooms.rooms.limits.blob_grace * 3)
    await rooms.arrays.expire()
    gate.set()
    with pytest.raises(NotFound):
        await writing
    assert not await rooms.rooms.documents.find("array_chunks")


async def test_a_staged_array_can_be_committed_while_it_is_written(rooms: ArrayRooms) -> None:
    array = await rooms.create(staged=True)
    await rooms.write(array, (0,), b"before")
    await rooms.arrays.commit(LOCAL_USER, array.name, array.uid)
    await rooms.write(array, (1,), b"after")
    assert await rooms.read(array) == [b"before", b"after", None, None]


# ------------------------------------------------------------------------------------------------------------ streams


async def test_a_stream_is_acknowledged_in_order_and_ends_when_all_is_durable(rooms: ArrayRooms) -> None:
    array = await rooms.create(shape=(8,))
    writer = await rooms.open(array)
    assert writer.opening.sequence == 0
    for number in range(8):
        await writer.take(number + 1, (number,), bytes([number]), None)
    await writer.flush(9)
    await writer.close(is_complete=True)
    assert [ack.sequence for ack in rooms.acks] == sorted({ack.sequence for ack in rooms.acks})
    assert rooms.acks[-1].sequence == 9
    assert await rooms.read(array) == [bytes([number]) for number in range(8)]


async def test_parts_of_a_chunk_are_put_together(rooms: ArrayRooms) -> None:
    array = await rooms.create()
    writer, crc32c = await rooms.open(array), rooms.rooms.means.crc32c
    parts = [bytes([value]) * 300 * KiB for value in range(4)]
    for number, part in enumerate(parts):
        await writer.take(1, (2,), part, crc32c(part, 0), chunk_size=1200 * KiB, part_offset=number * 300 * KiB)
    await writer.close(is_complete=True)
    assert await rooms.read(array, (2,)) == [b"".join(parts)]


async def test_what_does_not_fit_is_refused_and_stores_nothing(rooms: ArrayRooms) -> None:
    array = await rooms.create(shape=(4, 4), chunk_shape=(2, 2))
    refused: list[tuple[type[MeasurandError], dict[str, Any]]] = [
        (SelectionInvalid, {"index": (2, 0)}),
        (SelectionInvalid, {"index": (-1, 0)}),
        (SelectionInvalid, {"index": (0,)}),
        (SelectionInvalid, {"index": (0, 1 << 60)}),
        (ChecksumMismatch, {"crc32c": 1}),
        (SizeMismatch, {"data": b""}),
        (SizeMismatch, {"part_offset": 5, "chunk_size": 10}),
        (SizeMismatch, {"chunk_size": 2}),
        (InvalidArgument, {"remove": True}),
        (InvalidArgument, {"sequence": 0}),
    ]
    for error, more in refused:
        writer = await rooms.open(array)
        given = {"sequence": 1, "index": (0, 0), "data": b"data", "crc32c": None, **more}
        with pytest.raises(error):
            await writer.take(**given)
        await writer.close(is_complete=False)
    writer = await rooms.open(array)
    with pytest.raises(FailedPrecondition):
        await writer.grow_to(1, 9)
    await writer.close(is_complete=False)
    assert await rooms.read(array) == [None] * 4


async def test_a_failure_reaches_the_writer_and_what_came_behind_is_not_acknowledged(rooms: ArrayRooms) -> None:
    array = await rooms.create(shape=(4,))
    writer = await rooms.open(array)
    await writer.take(1, (0,), b"x", None)
    await writer.take(2, (1,), b"y", None, if_etag="nonsense")
    await writer.take(3, (2,), b"z", None)
    with pytest.raises(Conflict):
        await writer.close(is_complete=True)
    assert {ack.sequence for ack in rooms.acks} <= {1}
    assert await rooms.read(array, (1,)) == [None]


async def test_a_writer_waits_while_its_window_is_full(rooms: ArrayRooms) -> None:
    array = await rooms.create(shape=(64,))
    gate = blobs(rooms).gate = asyncio.Event()
    writer = await rooms.open(array)
    taken = 0

    async def write() -> None:
        nonlocal taken
        for number in range(64):
            await writer.take(number + 1, (number,), bytes(1 << 20), None)
            taken += 1

    writing = asyncio.create_task(write())
    await blobs(rooms).arrived.wait()
    for _ in range(200):
        await asyncio.sleep(0)
    assert taken * (1 << 20) <= rooms.rooms.limits.window_bytes
    gate.set()
    await writing
    await writer.close(is_complete=True)
    assert rooms.acks[-1].sequence == 64


async def test_a_reader_of_an_array_that_is_cut_down_is_told_so(rooms: ArrayRooms) -> None:
    array = await rooms.create(shape=(300,))
    value = b"x" * 256 * KiB
    await asyncio.gather(*(rooms.write(array, (index,), value) for index in range(300)))
    reading = rooms.reading.chunks(array, list(array.grid.indexes()))
    assert bytes((await anext(reading)).data or b"") == value
    await rooms.resizing.resize(LOCAL_USER, array.name, (10,))
    with pytest.raises(Conflict):
        _ = [chunk async for chunk in reading]
