"""Streams of chunks over a real channel: acknowledged, fenced, refused, watched."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration
from tests.services.array_calls import Writer, append, chunks, encoded, get, make, name, read, write_chunk
from tests.services.file_calls import refused
from tests.services.refusals import refused as refused_with
from tests.stores import EVERY

from measurand.core.limits import Limits
from measurand.v1 import arrays_pb2, common_pb2

if TYPE_CHECKING:
    from tests.services.array_calls import Stub

    from measurand.server.process import Process


@pytest.mark.stores(*EVERY)
async def test_a_writer_is_told_how_far_all_is_durable(arrays: Stub) -> None:
    made = await make(arrays, "x", (6, 4), chunks=(2, 2))
    writer = Writer(arrays, made)
    opened = await writer.open()
    assert (opened.acknowledged_sequence, opened.visible_rows, opened.etag) == (0, 6, made.etag)
    assert opened.window_bytes >= 2**20
    for sequence, index in enumerate(((2, 1), (0, 0), (1, 1)), 1):
        await writer.put(sequence, index, sequence)
    await writer.send(4, flush=True)
    assert (await writer.acknowledged(4)).etag == made.etag
    assert (await read(arrays, "x"))[::2, ::2].tolist() == [[2, 0], [0, 3], [0, 1]]
    await writer.put(5, (0, 0), 5)
    assert await writer.end() == 5
    assert (await read(arrays, "x", (0, 0))).item() == 5


@pytest.mark.stores(*EVERY)
async def test_rows_are_seen_when_the_appender_says_so_and_only_complete(arrays: Stub) -> None:
    made = await make(arrays, "x", (0, 2), chunks=(3, 2))
    writer = Writer(arrays, made, append=True)
    opened = await writer.open()
    assert (opened.visible_rows, opened.append_epoch) == (0, 1)
    assert (await get(arrays, "x")).growing
    await writer.put(1, (1, 0), 11)
    await writer.put(2, (0, 0), 10, flush=True)
    await writer.acknowledged(2)
    assert list((await get(arrays, "x")).shape) == [0, 2]
    await writer.send(3, grow_to=4)
    assert (await writer.acknowledged(3)).visible_rows == 4
    assert (await read(arrays, "x"))[:, 0].tolist() == [10, 10, 10, 11]
    await writer.put(4, (1, 0), 12, grow_to=6)
    assert await writer.end() == 4
    found = await get(arrays, "x")
    assert (list(found.shape), found.growing, found.append_epoch) == ([6, 2], False, 1)
    assert (await read(arrays, "x"))[:, 0].tolist() == [10] * 3 + [12] * 3


@pytest.mark.stores(*EVERY)
async def test_the_newest_appender_is_the_only_one(arrays: Stub) -> None:
    made = await make(arrays, "x", (0,), chunks=(2,))
    first, second = Writer(arrays, made, append=True), Writer(arrays, made, append=True)
    await first.open()
    await first.put(1, (0,), 1, grow_to=2)
    await first.acknowledged(1)
    assert (await second.open()).visible_rows == 2
    await second.put(1, (1,), 2, grow_to=4)
    await second.acknowledged(1)
    await first.put(2, (1,), 9, grow_to=4)
    _, info, _ = await refused_with(first.drained())
    assert (info.reason, info.metadata["epoch"], info.metadata["rows"]) == ("WRITER_FENCED", "2", "2")
    late = Writer(arrays, made, append=True, expected_epoch=1)
    assert await refused(late.open_and_drain()) == "WRITER_FENCED"
    assert await second.end() == 1
    assert (await read(arrays, "x")).tolist() == [1, 1, 2, 2]


async def test_rows_that_nobody_ever_saw_do_not_come_back(arrays: Stub) -> None:
    made = await make(arrays, "x", (0,), chunks=(2,))
    writer = Writer(arrays, made, append=True)
    await writer.open()
    await writer.put(1, (0,), 1, grow_to=2)
    await writer.put(2, (1,), 7, flush=True)
    await writer.acknowledged(2)
    writer.call.cancel()
    again = Writer(arrays, made, append=True)
    assert (await again.open()).visible_rows == 2
    await again.send(1, grow_to=4)
    assert await again.end() == 1
    assert (await read(arrays, "x")).tolist() == [1, 1, 0, 0]


async def test_an_append_waits_for_no_appender_that_is_at_work_unless_it_is_told_to_fence_it(arrays: Stub) -> None:
    made = await make(arrays, "x", (0,), chunks=(2,))
    writer = Writer(arrays, made, append=True)
    await writer.open()
    row = np.ones(1, "int32")
    assert await refused(append(arrays, "x", row)) == "WRITER_FENCED"
    resize = arrays_pb2.ResizeArrayRequest(name=name("x"), shape=[5])
    assert await refused(arrays.ResizeArray(resize)) == "WRITER_FENCED"
    assert (await append(arrays, "x", row, force=True)).visible_rows == 1
    await writer.put(1, (0,), 9)
    assert await refused(writer.drained()) == "WRITER_FENCED"
    assert (await read(arrays, "x")).tolist() == [1]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"sequence": 1, "index": (3,), "data": b"1234"}, "SELECTION_INVALID"),
        ({"sequence": 1, "index": (-1,), "data": b"1234"}, "SELECTION_INVALID"),
        ({"sequence": 1, "index": (2**63 - 1,), "data": b"1234"}, "SELECTION_INVALID"),
        ({"sequence": 1, "index": (0, 0), "data": b"1234"}, "SELECTION_INVALID"),
        ({"sequence": 1, "index": (), "data": b"1234"}, "SELECTION_INVALID"),
        ({"sequence": 0, "index": (0,), "data": b"1234"}, "FIELD_INVALID"),
        ({"sequence": -5, "index": (0,), "data": b"1234"}, "FIELD_INVALID"),
        ({"sequence": 1, "index": (0,), "data": b"1234", "crc32c": 5}, "CHECKSUM_MISMATCH"),
        ({"sequence": 1, "index": (0,)}, "SIZE_MISMATCH"),
        ({"sequence": 1, "index": (0,), "data": b"1234", "remove": True}, "FIELD_INVALID"),
        ({"sequence": 1, "index": (0,), "data": b"1234", "chunk_size": 3}, "SIZE_MISMATCH"),
        ({"sequence": 1, "index": (0,), "data": b"1234", "chunk_size": -3}, "SIZE_MISMATCH"),
        ({"sequence": 1, "index": (0,), "data": b"1234", "chunk_size": 9, "part_offset": 2}, "SIZE_MISMATCH"),
        ({"sequence": 1, "index": (0,), "data": b"1234", "chunk_size": 9, "part_offset": -2}, "SIZE_MISMATCH"),
        ({"sequence": 1, "index": (0,), "data": b"1234", "chunk_size": 2**27 + 1}, "TOO_LARGE"),
        ({"sequence": 1, "index": (0,), "data": bytes(2**21 + 1)}, "TOO_LARGE"),
        ({"sequence": 1, "grow_to": 3}, "STATE_WRONG"),
        ({"sequence": 1, "name": "catalogs/lab/datasets/run/arrays/other"}, "NAME_INVALID"),
        ({"sequence": 1, "uid": "0" * 26}, "FIELD_INVALID"),
        ({"sequence": 1, "index": (0,), "data": b"1234", "if_chunk_etag": "x"}, "ETAG_MISMATCH"),
    ],
)
async def test_what_is_wrong_ends_the_stream_and_nothing_is_stored(
    arrays: Stub, message: dict[str, Any], reason: str
) -> None:
    made = await make(arrays, "x", (3,), "uint8", (1,))
    writer = Writer(arrays, made)
    await writer.open()
    await writer.send(**message)
    assert await refused(writer.drained()) == reason
    assert (await get(arrays, "x")).stored_bytes == 0


async def test_damaged_bytes_are_named_by_their_chunk(arrays: Stub) -> None:
    made = await make(arrays, "x", (3, 3), "uint8", (1, 1))
    writer = Writer(arrays, made)
    await writer.open()
    await writer.send(1, (2, 1), b"1234", crc32c=5)
    _, info, _ = await refused_with(writer.drained())
    assert (info.reason, info.metadata["index"]) == ("CHECKSUM_MISMATCH", "2/1")


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        ({"sequence": 1, "index": (1,), "chunk_size": 9, "part_offset": 4}, "FIELD_INVALID"),
        ({"sequence": 1, "index": (0,), "chunk_size": 8, "part_offset": 4}, "FIELD_INVALID"),
        ({"sequence": 2, "index": (0,), "chunk_size": 9, "part_offset": 4}, "FIELD_INVALID"),
        ({"sequence": 1, "index": (0,), "chunk_size": 9, "part_offset": 5}, "SIZE_MISMATCH"),
        ({"sequence": 1, "index": (0,), "chunk_size": 9, "part_offset": 0}, "SIZE_MISMATCH"),
    ],
)
async def test_parts_must_fit_each_other(arrays: Stub, second: dict[str, Any], reason: str) -> None:
    made = await make(arrays, "x", (3,), "uint8", (1,))
    writer = Writer(arrays, made)
    await writer.open()
    await writer.send(1, (0,), b"1234", chunk_size=9)
    await writer.send(data=b"abcd", **second)
    assert await refused(writer.drained()) == reason
    assert (await get(arrays, "x")).stored_bytes == 0


async def test_a_stream_that_ends_in_the_middle_of_a_chunk_has_stored_the_whole_ones(arrays: Stub) -> None:
    made = await make(arrays, "x", (3,), "uint8", (1,))
    writer = Writer(arrays, made)
    await writer.open()
    await writer.put(1, (1,), 5, flush=True)
    await writer.acknowledged(1)
    await writer.send(2, (0,), b"1234", chunk_size=9)
    await writer.call.done_writing()
    assert await refused(writer.drained()) == "SIZE_MISMATCH"
    assert (await read(arrays, "x")).tolist() == [0, 5, 0]


async def test_the_condition_of_the_first_part_counts(arrays: Stub) -> None:
    made = await make(arrays, "x", (4,), "uint8", (4,))
    await write_chunk(arrays, made, (0,), 1)
    data = encoded(made, 2)
    writer = Writer(arrays, made)
    await writer.open()
    await writer.send(1, (0,), data[:5], chunk_size=8, if_chunk_etag="")
    await writer.send(1, (0,), data[5:], chunk_size=8, part_offset=5)
    assert await refused(writer.drained()) == "ETAG_MISMATCH"
    assert (await read(arrays, "x")).tolist() == [1] * 4


async def test_chunks_that_never_get_their_last_part_do_not_fill_the_memory(arrays: Stub) -> None:
    largest = 2**27
    made = await make(arrays, "x", (largest,), "uint8", (largest - 4,))
    writers = [Writer(arrays, made) for _ in range(9)]
    for writer in writers:
        await writer.open()
        await writer.send(1, (0,), b"begin", chunk_size=largest)
    ends = [asyncio.ensure_future(refused_with(writer.drained())) for writer in writers]
    done, waiting = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    code, info, _ = done.pop().result()
    assert (code, info.reason, done) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "SERVER_BUSY", set())
    whole = Writer(arrays, made)
    await whole.open()
    await whole.send(1, (0,), b"whole")
    assert await whole.end() == 1
    for end in waiting:
        end.cancel()
    for writer in writers:
        writer.call.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    while True:  # until the server has heard of it
        again = Writer(arrays, made)
        await again.open()
        await again.send(1, (0,), b"begin", chunk_size=largest)
        await again.send(1, (0,), b"", chunk_size=largest, part_offset=9)
        if await refused(again.drained()) == "SIZE_MISMATCH":
            break


async def test_an_epoch_is_an_appenders_alone(arrays: Stub) -> None:
    made = await make(arrays, "x", (4,), chunks=(4,))
    assert await refused(Writer(arrays, made, expected_epoch=0).open_and_drain()) == "FIELD_INVALID"
    zero = await make(arrays, "zero", ())
    assert await refused(Writer(arrays, zero, append=True).open_and_drain()) == "STATE_WRONG"


async def test_more_than_a_window_is_taken_bit_by_bit(arrays: Stub) -> None:
    size = 2**20
    made = await make(arrays, "x", (24 * size,), "uint8", (size,))
    writer = Writer(arrays, made)
    opened = await writer.open()
    assert opened.window_bytes == Limits().window_bytes

    async def send_all() -> None:
        for number in range(24):
            await writer.put(number + 1, (number,), number)
        await writer.call.done_writing()

    sending = asyncio.ensure_future(send_all())
    await writer.acknowledged(24)
    await sending
    await writer.drained()
    assert [data[0] async for _, _, data in chunks(arrays, name=made.name, indexes=list(range(24)))] == list(range(24))


async def test_a_server_that_goes_away_says_so_and_has_kept_what_it_acknowledged(arrays: Stub, server: Process) -> None:
    made = await make(arrays, "x", (0,), "uint8", (1,))
    writer = Writer(arrays, made, append=True)
    await writer.open()
    await writer.put(1, (0,), 3, grow_to=1)
    await writer.acknowledged(1)
    await writer.send(2, (1,), b"12", chunk_size=5)
    closing = asyncio.ensure_future(server.stop())
    assert await refused(writer.drained()) == "SHUTTING_DOWN"
    await closing


async def test_a_watcher_sees_each_state_and_the_end(arrays: Stub) -> None:
    made = await make(arrays, "x", (0,), chunks=(2,))
    watch = arrays.WatchArray(arrays_pb2.WatchArrayRequest(name=made.name, min_interval=Duration()))

    async def change() -> arrays_pb2.ArrayChange:
        found = await watch.read()
        assert isinstance(found, arrays_pb2.ArrayChange)
        return found

    first = await change()
    assert (first.kind, list(first.array.shape)) == (common_pb2.CHANGE_KIND_UPDATED, [0])
    rows = seen = 0
    for count in (2, 3):
        rows += count
        await append(arrays, "x", np.ones(count, "int32"))
        while seen != rows:
            shown = (await change()).array.shape[0]
            assert shown >= seen
            seen = shown
    await arrays.DeleteArray(arrays_pb2.DeleteArrayRequest(name=made.name))
    while (await change()).kind != common_pb2.CHANGE_KIND_DELETED:
        pass
    assert await watch.read() is grpc.aio.EOF


async def test_a_poll_answers_when_the_array_is_another(arrays: Stub) -> None:
    made = await make(arrays, "x", (0,), chunks=(2,))
    at_once = await arrays.PollArray(arrays_pb2.PollArrayRequest(name=made.name))
    assert at_once.array.etag == made.etag
    same = await arrays.PollArray(arrays_pb2.PollArrayRequest(name=made.name, etag=made.etag))
    assert same.kind == common_pb2.CHANGE_KIND_HEARTBEAT
    request = arrays_pb2.PollArrayRequest(name=made.name, etag=made.etag, wait=Duration(seconds=30))
    waiting = asyncio.ensure_future(arrays.PollArray(request))
    await append(arrays, "x", np.ones(1, "int32"))
    assert (await waiting).kind == common_pb2.CHANGE_KIND_UPDATED
    request = arrays_pb2.PollArrayRequest(name=made.name, wait=Duration(seconds=31), etag="x")
    assert await refused(arrays.PollArray(request)) == "FIELD_INVALID"
    watch = arrays_pb2.WatchArrayRequest(name=made.name, min_interval=Duration(seconds=-1))
    assert await refused(arrays.WatchArray(watch).read()) == "FIELD_INVALID"
