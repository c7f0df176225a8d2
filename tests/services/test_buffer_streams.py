"""Streams of records over a real channel: acknowledged, resumed, fenced, held while frozen, tailed, ended."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from google.protobuf.duration_pb2 import Duration
from tests.services.buffer_calls import (
    LAB,
    LIVE,
    PART,
    Writer,
    append,
    cut,
    data_of,
    get,
    headers,
    make,
    read,
    rest_of,
    tail,
)
from tests.services.file_calls import refused as reason
from tests.services.refusals import refused
from tests.stores import EVERY

from measurand.core.buffers.records import MAX_RECORD_BYTES
from measurand.services import buffer_streams
from measurand.v1 import buffers_pb2
from measurand.wire.codec import pack, unpack

if TYPE_CHECKING:
    from tests.services.buffer_calls import Stub

    from measurand.server.process import Process


@pytest.mark.stores(*EVERY)
async def test_a_writer_is_told_how_far_all_is_durable_and_where_it_went(buffers: Stub) -> None:
    await make(buffers)
    await append(buffers, b"before")
    writer = Writer(buffers, writer="w")
    opened = await writer.open()
    assert (opened.acknowledged_writer_sequence, list(opened.runs)) == (0, [])
    assert opened.window_bytes >= 2**20
    await writer.send(b"1", b"", b"333", first_writer_sequence=1)
    await writer.until(3)
    await writer.send(b"4444", first_writer_sequence=4, flush=True)
    assert await writer.end() == 4
    assert [run[:3] for run in writer.runs] == [(1, 2, 3), (4, 5, 1)]
    found = await tail(buffers, after_sequence=1)
    assert data_of(found) == [b"1", b"", b"333", b"4444"]
    assert {one.header.writer for one in found} == {"w"}


@pytest.mark.stores(*EVERY)
async def test_a_writer_that_comes_back_stores_nothing_twice(buffers: Stub) -> None:
    await make(buffers)
    writer = Writer(buffers, writer="w")
    await writer.send(b"1", b"2", first_writer_sequence=1)
    await writer.until(2)
    writer.call.cancel()
    again = Writer(buffers, writer="w")
    assert (await again.open()).acknowledged_writer_sequence == 2
    await again.send(b"2", b"3", first_writer_sequence=2)
    assert await again.end() == 3
    assert data_of(await read(buffers)) == [b"1", b"2", b"3"]
    gap = Writer(buffers, writer="w")
    await gap.open()
    await gap.send(b"9", first_writer_sequence=9)
    code, info, _ = await refused(gap.drained())
    assert code is grpc.StatusCode.OUT_OF_RANGE
    assert (info.reason, info.metadata["expected_writer_sequence"]) == ("WRITER_SEQUENCE_GAP", "4")


@pytest.mark.stores(*EVERY)
async def test_of_two_streams_of_one_writer_the_newer_wins(buffers: Stub) -> None:
    await make(buffers)
    first, second = Writer(buffers, writer="w"), Writer(buffers, writer="w")
    await first.open()
    await first.send(b"1", first_writer_sequence=1)
    await first.until(1)
    assert (await second.open()).acknowledged_writer_sequence == 1
    await first.send(b"x", first_writer_sequence=2)
    assert await reason(first.drained()) == "WRITER_FENCED"
    await second.send(b"2", first_writer_sequence=2)
    assert await second.end() == 2
    assert data_of(await read(buffers)) == [b"1", b"2"]


async def test_records_of_one_message_lie_next_to_each_other_however_many_write(buffers: Stub) -> None:
    await make(buffers)

    async def write(name: str) -> None:
        writer = Writer(buffers, writer=name)
        for number in range(5):
            await writer.send(*[name.encode()] * 20, first_writer_sequence=1 + 20 * number)
        assert await writer.end() == 100

    await asyncio.gather(*(write(f"w{number}") for number in range(8)))
    found = await read(buffers, max_records=1000)
    assert [one.header.sequence for one in found] == list(range(1, 801))
    data = data_of(found)
    for begin in range(0, 800, 20):
        assert len(set(data[begin : begin + 20])) == 1
    stats = (await get(buffers)).stats
    assert (stats.window_records, stats.window_bytes, stats.active_writers) == (800, 1600, 8)


@pytest.mark.stores(*EVERY)
async def test_a_record_larger_than_a_message_comes_and_goes_in_parts(buffers: Stub) -> None:
    await make(buffers)
    large = bytes(range(256)) * 4096 * 5 + b"tail"
    writer = Writer(buffers, writer="w")
    await writer.send(b"before", first_writer_sequence=1)
    await writer.send_large(large, first_writer_sequence=2, header={"id": "large"})
    await writer.send(b"after", first_writer_sequence=3)
    assert await writer.end() == 3
    found = await tail(buffers)
    assert data_of(found) == [b"before", large, b"after"]
    assert (found[1].header.size, found[1].header.id) == (len(large), "large")
    parts, offset = [], 0
    while offset < len(large):
        (one,) = await read(buffers, after_sequence=1, max_records=1, part_offset=offset)
        assert one.header.size == len(large)
        parts.append(one.data)
        offset += len(one.data)
    assert b"".join(parts) == large
    assert len((await read(buffers, headers_only=True))[1].data) == 0


async def test_the_largest_record_is_taken_and_one_byte_more_is_not(buffers: Stub) -> None:
    await make(buffers)
    writer = Writer(buffers, writer="w")
    await writer.send_large(bytes(MAX_RECORD_BYTES), first_writer_sequence=1)
    assert await writer.end() == 1
    (found,) = await read(buffers, headers_only=True)
    assert found.header.size == MAX_RECORD_BYTES
    too_large = Writer(buffers, writer="w")
    await too_large.open()
    await too_large.send_large(bytes(PART), size=MAX_RECORD_BYTES + 1, first_writer_sequence=2)
    code, info, _ = await refused(too_large.drained())
    assert (code, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "TOO_LARGE")
    assert (info.metadata["limit"], info.metadata["actual"]) == (str(MAX_RECORD_BYTES), str(MAX_RECORD_BYTES + 1))


async def test_what_came_before_a_bad_message_is_acknowledged(buffers: Stub) -> None:
    await make(buffers)
    writer = Writer(buffers)
    await writer.send(b"good", b"too")
    await writer.send(b"bad", crc32c=1)
    code, info, _ = await refused(writer.drained())
    assert (code, info.reason) == (grpc.StatusCode.DATA_LOSS, "CHECKSUM_MISMATCH")
    assert writer.acknowledged == 2
    assert data_of(await read(buffers)) == [b"good", b"too"]


BAD: list[tuple[dict[str, Any], bytes, str]] = [
    ({"headers": headers(3)}, b"1234", "headers.size"),
    ({"headers": headers(2, 3)}, b"1234", "headers.size"),
    ({"headers": headers(-1, 5)}, b"1234", "headers.size"),
    ({"headers": []}, b"1234", "headers.size"),
    ({"headers": headers(*[0] * 10_001)}, b"", "headers"),
    ({"headers": headers(8), "part_offset": 4}, b"1234", "part_offset"),
    ({"headers": headers(4, 4), "part_offset": 4}, b"1234", "headers"),
    ({"headers": headers(4), "writer": "other"}, b"1234", "writer"),
    ({"headers": headers(4), "first_writer_sequence": -1}, b"1234", "first_writer_sequence"),
]


@pytest.mark.parametrize(("message", "data", "field"), BAD)
async def test_a_message_that_makes_no_sense_is_refused(
    buffers: Stub, message: dict[str, Any], data: bytes, field: str
) -> None:
    await make(buffers)
    writer = Writer(buffers, writer="w")
    await writer.open()
    await writer.call.write(pack(buffers_pb2.AppendRecordsRequest(**message), data))
    code, info, fault = await refused(writer.drained())
    assert code is grpc.StatusCode.INVALID_ARGUMENT, info
    assert info.metadata.get("field", fault) == field
    assert (await get(buffers)).stats.next_sequence == 1


async def test_a_large_record_that_breaks_off_is_not_stored(buffers: Stub) -> None:
    await make(buffers)
    writer = Writer(buffers, writer="w")
    await writer.send_large(bytes(10), size=20, first_writer_sequence=1)
    await writer.call.done_writing()
    _, info, _ = await refused(writer.drained())
    assert (info.reason, info.metadata["field"]) == ("FIELD_INVALID", "headers.size")
    other = Writer(buffers, writer="w")
    await other.send_large(bytes(10), size=20, first_writer_sequence=1)
    await other.call.write(
        pack(buffers_pb2.AppendRecordsRequest(headers=headers(20), part_offset=10, first_writer_sequence=2), bytes(10))
    )
    _, info, _ = await refused(other.drained())
    assert info.metadata["field"] == "first_writer_sequence"
    assert (await get(buffers)).stats.next_sequence == 1


@pytest.mark.stores(*EVERY)
async def test_a_writer_waits_while_the_buffer_is_frozen_if_it_says_so(buffers: Stub) -> None:
    await make(buffers)
    await append(buffers, b"first")
    frozen = await buffers.FreezeBuffer(buffers_pb2.FreezeBufferRequest(name=LIVE, force=True))
    impatient = Writer(buffers, writer="impatient")
    await impatient.send(b"x", first_writer_sequence=1)
    assert await reason(impatient.drained()) == "BUFFER_FROZEN"
    patient = Writer(buffers, writer="patient", wait_while_frozen=Duration(seconds=600))
    await patient.send(b"second", first_writer_sequence=1)
    await patient.send(b"third", first_writer_sequence=2)
    reading = asyncio.ensure_future(patient.until(2))
    await asyncio.sleep(0.1)
    assert not reading.done()
    assert (await get(buffers)).stats.next_sequence == 2
    await buffers.UnfreezeBuffer(buffers_pb2.UnfreezeBufferRequest(name=LIVE, freeze_token=frozen.freeze_token))
    await reading
    assert await patient.end() == 2
    assert [one.header.window for one in await read(buffers)] == [1, 2, 2]


@pytest.mark.stores(*EVERY)
async def test_a_tail_gives_what_is_stored_and_then_what_comes_to_the_end(buffers: Stub) -> None:
    await make(buffers)
    await append(buffers, b"1", b"2")
    call = buffers.TailBuffer(buffers_pb2.TailBufferRequest(name=LIVE, after_sequence=1))
    first: Any = await call.read()
    assert data_of(cut(first)) == [b"2"]
    await append(buffers, b"3")
    second: Any = await call.read()
    assert data_of(cut(second)) == [b"3"]
    await buffers.RotateBuffer(buffers_pb2.RotateBufferRequest(name=LIVE))
    await append(buffers, b"4")
    assert data_of(await tail(buffers, most=4)) == [b"1", b"2", b"3", b"4"]
    following = f"{LAB}/buffers/v2"
    await buffers.FinishBuffer(buffers_pb2.FinishBufferRequest(name=LIVE, next_buffer=following))
    rest = await rest_of(call)
    assert [one.data for message in rest for one in cut(message)] == [b"4"]
    last = unpack(rest[-1]).head
    assert (last.state, last.next_buffer, last.next_sequence) == (buffers_pb2.BUFFER_STATE_FINISHED, following, 5)


async def test_small_records_come_many_in_a_message(buffers: Stub) -> None:
    await make(buffers)
    writer = Writer(buffers, writer="w")
    for number in range(3):
        await writer.send(*[bytes([number]) * 100] * 1000, first_writer_sequence=1 + 1000 * number)
    assert await writer.end() == 3000
    messages = [
        message async for message in buffers.TailBuffer(buffers_pb2.TailBufferRequest(name=LIVE, stop_at_end=True))
    ]
    assert len(messages) <= 3
    assert [one.header.sequence for message in messages for one in cut(message)] == list(range(1, 3001))


async def test_a_server_that_goes_away_acknowledges_what_it_has_taken(buffers: Stub, server: Process) -> None:
    await make(buffers)
    writer = Writer(buffers, writer="w")
    await writer.open()
    call = buffers.TailBuffer(buffers_pb2.TailBufferRequest(name=LIVE))
    assert await call.read() is not grpc.aio.EOF
    for number in range(1, 51):
        await writer.send(bytes(1000), first_writer_sequence=number)
    await writer.until(1)
    stopping = asyncio.ensure_future(server.stop())
    code, info, _ = await refused(writer.drained())
    assert (code, info.reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
    assert 1 <= writer.acknowledged <= 50
    assert await reason(rest_of(call)) == "SHUTTING_DOWN"
    await stopping


async def test_a_writer_that_waits_for_a_frozen_buffer_does_not_keep_a_server(
    buffers: Stub, server: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buffer_streams, "ENDING_SECONDS", 0.1)
    await make(buffers)
    await buffers.FreezeBuffer(buffers_pb2.FreezeBufferRequest(name=LIVE, force=True))
    patient = Writer(buffers, writer="patient", wait_while_frozen=Duration(seconds=3600))
    await patient.send(b"held", first_writer_sequence=1)
    await patient.open()
    stopping = asyncio.ensure_future(server.stop())
    assert await reason(patient.drained()) == "SHUTTING_DOWN"
    assert patient.acknowledged == 0
    await stopping


async def test_large_records_on_their_way_take_no_more_memory_than_they_may(
    buffers: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buffer_streams, "ASSEMBLED_BYTES", 30)
    await make(buffers)
    first, second = Writer(buffers, writer="a"), Writer(buffers, writer="b")
    await first.open()
    await first.send_large(bytes(10), size=20, first_writer_sequence=1)
    await second.open()
    await second.send_large(bytes(10), size=20, first_writer_sequence=1)
    code, info, _ = await refused(second.drained())
    assert (code, info.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "SERVER_BUSY")
    rest = buffers_pb2.AppendRecordsRequest(headers=headers(20), part_offset=10)
    await first.call.write(pack(rest, bytes(10)))
    assert await first.end() == 1
    again = Writer(buffers, writer="b")
    await again.send_large(bytes(20), first_writer_sequence=1)
    assert await again.end() == 1
