"""Buffers over a real channel: made, listed, changed, removed; records in and out, windows closed, events told."""

from __future__ import annotations

import asyncio
import json
import struct
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from tests.services.buffer_calls import LAB, LIVE, Writer, append, data_of, get, make, read, record, tail
from tests.services.file_calls import crc
from tests.services.file_calls import refused as reason
from tests.services.refusals import refused
from tests.stores import EVERY

from measurand.v1 import buffers_pb2, common_pb2

if TYPE_CHECKING:
    from tests.services.buffer_calls import Stub

STRANGE = struct.pack("<6Q", 0x7FF8DEAD00000001, 0x7FF0000000000001, 1 << 63, 0x7FF0000000000000, 0xFFF0000000000000, 1)
"""Doubles: two NaN with payloads, -0.0, both infinities, the least subnormal."""


@pytest.mark.stores(*EVERY)
async def test_a_buffer_is_made_read_listed_changed_and_removed(buffers: Stub) -> None:
    policy = buffers_pb2.BufferPolicy(freeze_after_records=1000, keep_sealed=Duration(seconds=3600), batch_title="x")
    said: dict[str, Any] = {
        "description": "strain",
        "metadata": common_pb2.Document(json='{"site":"V1"}'),
        "policy": policy,
    }
    made = await make(buffers, **said)
    assert (made.name, made.state, made.window) == (LIVE, buffers_pb2.BUFFER_STATE_ACTIVE, 1)
    assert (made.description, json.loads(made.metadata.json), made.policy) == ("strain", {"site": "V1"}, policy)
    stats = made.stats
    assert (stats.window_records, stats.window_bytes, stats.first_sequence, stats.next_sequence) == (0, 0, 1, 1)
    assert await get(buffers) == made
    await make(buffers, "other")
    request = buffers_pb2.ListBuffersRequest(parent=LAB, page_size=1)
    names = []
    while True:
        page = await buffers.ListBuffers(request)
        names += [one.name for one in page.buffers]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert names == [LIVE, f"{LAB}/buffers/other"]
    everywhere = await buffers.ListBuffers(
        buffers_pb2.ListBuffersRequest(parent="catalogs/-", read_mask=FieldMask(paths=["name"]))
    )
    assert [str(one).strip() for one in everywhere.buffers] == [f'name: "{name}"' for name in names]
    change = buffers_pb2.Buffer(name=LIVE, description="", etag=made.etag)
    update = buffers_pb2.UpdateBufferRequest(
        buffer=change,
        update_mask=FieldMask(paths=["description"]),
        metadata_patch=common_pb2.Document(json='{"rate":16384}'),
        document_form=common_pb2.DOCUMENT_FORM_JSON,
    )
    changed = await buffers.UpdateBuffer(update)
    assert (changed.description, json.loads(changed.metadata.json)) == ("", {"site": "V1", "rate": 16384})
    assert changed.policy == policy
    assert await reason(buffers.UpdateBuffer(update)) == "ETAG_MISMATCH"
    await append(buffers, b"1")
    assert (await get(buffers)).etag == changed.etag
    assert await reason(buffers.DeleteBuffer(buffers_pb2.DeleteBufferRequest(name=LIVE))) == "RESOURCE_IN_USE"
    await buffers.DeleteBuffer(buffers_pb2.DeleteBufferRequest(name=LIVE, force=True))
    assert await reason(get(buffers)) == "RESOURCE_NOT_FOUND"


@pytest.mark.stores(*EVERY)
async def test_records_come_back_bit_by_bit_with_what_was_said_of_them(buffers: Stub) -> None:
    await make(buffers)
    header: dict[str, Any] = {
        "event_time": Timestamp(seconds=1126259462, nanos=391_000),
        "metadata": common_pb2.Document(json='{"t0":{"$numberDouble":"NaN"},"channel":"Hrec_hoft"}'),
        "array": buffers_pb2.ArrayLayout(data_type="float64", shape=[2, 3]),
        "id": "frame-1",
        "part": buffers_pb2.SetPart(set="e1", index=1, count=3),
        "crc32c": crc(STRANGE),
    }
    answer = await append(buffers, record(STRANGE, **header), b"")
    assert (answer.first_sequence, answer.count, answer.window) == (1, 2, 1)
    for records in (await read(buffers), await tail(buffers)):
        assert data_of(records) == [STRANGE, b""]
        first, second = (one.header for one in records)
        for field, value in header.items():
            assert getattr(first, field) == value, field
        assert (first.sequence, first.size, first.window, first.writer) == (1, 48, 1, "")
        assert (second.sequence, second.size, second.crc32c) == (2, 0, 0)
        assert not second.HasField("metadata")
        assert first.append_time == second.append_time
        assert first.append_time.seconds > 1_700_000_000
    fields = await buffers.ReadRecords(buffers_pb2.ReadRecordsRequest(name=LIVE, max_records=1))
    assert fields.records[0].header.metadata.fields["channel"] == "Hrec_hoft"
    assert (fields.next_sequence, fields.read_sequence) == (3, 1)
    stats = (await get(buffers)).stats
    assert (stats.window_records, stats.window_bytes) == (2, 48 + len(header["metadata"].json))


@pytest.mark.stores(*EVERY)
async def test_the_bits_are_the_same_wherever_they_are_read(buffers: Stub) -> None:
    await make(buffers)
    values = STRANGE * 50
    layout = buffers_pb2.ArrayLayout(data_type="float64", shape=[300])
    await append(buffers, record(values, array=layout))
    group = f"{LIVE}/groups/all"
    await buffers.PutConsumerGroup(buffers_pb2.PutConsumerGroupRequest(group=buffers_pb2.ConsumerGroup(name=group)))
    consumed = await buffers.FetchRecords(buffers_pb2.FetchRecordsRequest(name=group, consumer="a"))
    found = [*await tail(buffers), *await read(buffers), *consumed.records]
    batch = (await buffers.RotateBuffer(buffers_pb2.RotateBufferRequest(name=LIVE))).batch
    found += await read(buffers, batch.dataset)
    found += await tail(buffers)
    assert data_of(found) == [values] * 5
    assert [one.header.array for one in found] == [layout] * 5


async def test_many_appends_at_once_are_each_stored_once(buffers: Stub) -> None:
    await make(buffers)

    async def one_by_one(name: str) -> list[tuple[int, bytes]]:
        data = [f"{name} {number}".encode() for number in range(16)]
        return [((await append(buffers, one)).first_sequence, one) for one in data]

    async def by_a_writer(name: str) -> list[tuple[int, bytes]]:
        data = [f"{name} {number}".encode() for number in range(16)]
        writer = Writer(buffers, writer=name)
        for number, one in enumerate(data, 1):
            await writer.send(one, first_writer_sequence=number)
        assert await writer.end() == 16
        places = [run[1] + step for run in sorted(writer.runs) for step in range(run[2])]
        return list(zip(places, data, strict=True))

    tasks = [(one_by_one if number % 2 else by_a_writer)(f"p{number}") for number in range(64)]
    placed = [place for places in await asyncio.gather(*tasks) for place in places]
    assert sorted(sequence for sequence, _ in placed) == list(range(1, 1025))
    found = await read(buffers, max_records=2000)
    assert {one.header.sequence: one.data for one in found} == dict(placed)
    stats = (await get(buffers)).stats
    assert (stats.window_records, stats.window_bytes) == (1024, sum(len(data) for _, data in placed))


async def test_records_are_chosen_by_filter_by_time_and_from_the_end(buffers: Stub) -> None:
    await make(buffers)
    for number in range(6):
        said = common_pb2.Document(json=json.dumps({"shot": number}))
        time = Timestamp(seconds=1_000_000 + number)
        await append(buffers, record(bytes([number]), metadata=said, event_time=time))

    async def sequences(**more: Any) -> list[int]:
        return [one.header.sequence for one in await read(buffers, headers_only=True, **more)]

    assert await sequences(selection={"filter": "shot >= 2 AND metadata.shot < 4"}) == [3, 4]
    span = {"start_time": Timestamp(seconds=1_000_001), "end_time": Timestamp(seconds=1_000_003)}
    assert await sequences(selection={**span, "by_event_time": True}) == [2, 3]
    assert await sequences(selection=span) == []
    assert await sequences(newest=True, max_records=2) == [5, 6]
    assert await sequences(after_sequence=4) == [5, 6]
    assert await sequences(after_sequence=-1) == []
    assert await sequences(selection={"last_sequence": 1}) == [1]


async def test_a_repeated_append_is_stored_once(buffers: Stub) -> None:
    await make(buffers)
    for _ in range(2):
        assert (await append(buffers, b"a", b"b", request_id="r1")).first_sequence == 1
        assert (await append(buffers, record(b"c", id="x17"))).first_sequence == 3
        assert (await append(buffers, b"d", writer="w", first_writer_sequence=1)).first_sequence == 4
    assert await reason(append(buffers, b"z", request_id="r1")) == "REQUEST_ID_REUSED"
    assert await reason(append(buffers, record(b"z", id="x17"))) == "REQUEST_ID_REUSED"
    code, info, _ = await refused(append(buffers, b"f", writer="w", first_writer_sequence=3))
    assert code is grpc.StatusCode.OUT_OF_RANGE
    assert (info.reason, info.metadata["expected_writer_sequence"]) == ("WRITER_SEQUENCE_GAP", "2")
    assert data_of(await read(buffers)) == [b"a", b"b", b"c", b"d"]


async def test_a_read_waits_for_what_is_to_come(buffers: Stub) -> None:
    await make(buffers)
    waiting = asyncio.ensure_future(read(buffers, after_sequence=-1, wait=Duration(seconds=30)))
    await asyncio.sleep(0.05)
    await append(buffers, b"now")
    assert data_of(await waiting) == [b"now"]


@pytest.mark.stores(*EVERY)
async def test_a_window_is_frozen_sealed_and_read_as_a_batch(buffers: Stub) -> None:
    await make(buffers, policy=buffers_pb2.BufferPolicy(freeze_after_bytes=2000))
    for _ in range(5):
        await append(buffers, bytes(399))
    waiting = await buffers.FreezeBuffer(buffers_pb2.FreezeBufferRequest(name=LIVE))
    assert (waiting.waiting, waiting.freeze_token, waiting.buffer.stats.window_bytes) == (True, "", 1995)
    forced = buffers_pb2.FreezeBufferRequest(name=LIVE, force=True, lease=Duration(seconds=900), comment="run 3")
    frozen = await buffers.FreezeBuffer(forced)
    assert frozen.freeze_token
    assert (frozen.buffer.state, frozen.buffer.freeze_owner) == (buffers_pb2.BUFFER_STATE_FROZEN, "users/local")
    assert frozen.buffer.freeze_expire_time.seconds - frozen.buffer.freeze_time.seconds in (899, 900, 901)
    code, info, _ = await refused(append(buffers, b"late"))
    assert (code, info.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "BUFFER_FROZEN")
    assert (info.metadata["owner"], info.metadata["window"]) == ("users/local", "1")
    unfreeze = buffers_pb2.UnfreezeBufferRequest(name=LIVE, window=1, document_form=common_pb2.DOCUMENT_FORM_JSON)
    assert await reason(buffers.UnfreezeBuffer(unfreeze)) == "PERMISSION_DENIED"
    unfreeze.freeze_token = frozen.freeze_token
    unfreeze.batch.CopyFrom(buffers_pb2.Batch(title="t", tags=["good"], metadata=common_pb2.Document(json='{"run":3}')))
    answer = await buffers.UnfreezeBuffer(unfreeze)
    batch = answer.batch
    assert (batch.buffer, batch.window, batch.records, batch.size) == (LIVE, 1, 5, 1995)
    assert (batch.first_sequence, batch.last_sequence, batch.title, list(batch.tags)) == (1, 5, "t", ["good"])
    assert json.loads(batch.metadata.json)["run"] == 3
    assert (answer.buffer.state, answer.buffer.window) == (buffers_pb2.BUFFER_STATE_ACTIVE, 2)
    assert (await buffers.UnfreezeBuffer(unfreeze)).batch == batch
    assert data_of(await read(buffers, batch.dataset)) == [bytes(399)] * 5
    await append(buffers, b"next")
    rotate = buffers_pb2.RotateBufferRequest(name=LIVE, document_form=common_pb2.DOCUMENT_FORM_JSON)
    second = (await buffers.RotateBuffer(rotate)).batch
    listed = buffers_pb2.ListBatchesRequest(parent=LIVE, document_form=common_pb2.DOCUMENT_FORM_JSON)
    assert list((await buffers.ListBatches(listed)).batches) == [second, batch]
    assert (await get(buffers)).stats.batch_count == 2


async def test_a_finished_buffer_takes_no_more_and_says_where_it_goes_on(buffers: Stub) -> None:
    await make(buffers)
    await append(buffers, b"last")
    following = f"{LAB}/buffers/v2"
    finished = await buffers.FinishBuffer(buffers_pb2.FinishBufferRequest(name=LIVE, next_buffer=following))
    assert (finished.state, finished.next_buffer) == (buffers_pb2.BUFFER_STATE_FINISHED, following)
    assert await reason(append(buffers, b"more")) == "STATE_WRONG"
    page = await buffers.ReadRecords(buffers_pb2.ReadRecordsRequest(name=LIVE, after_sequence=1))
    assert (page.state, page.next_buffer) == (buffers_pb2.BUFFER_STATE_FINISHED, following)


@pytest.mark.stores(*EVERY)
async def test_the_log_tells_what_happened_and_goes_on(buffers: Stub) -> None:
    await make(buffers)
    note = await buffers.AddBufferNote(buffers_pb2.AddBufferNoteRequest(name=LIVE, message="beam on"))
    assert (note.number, note.kind, note.message) == (2, buffers_pb2.BUFFER_EVENT_KIND_NOTE, "beam on")
    assert note.actor == "users/local"
    request = buffers_pb2.ListBufferEventsRequest(parent=LIVE, page_size=1)
    newest = await buffers.ListBufferEvents(request)
    assert list(newest.events) == [note]
    request.page_token = newest.next_page_token
    assert (await buffers.ListBufferEvents(request)).events[0].kind == buffers_pb2.BUFFER_EVENT_KIND_CREATED
    call = buffers.TailBufferEvents(buffers_pb2.TailBufferEventsRequest(name=LIVE, after_number=1))
    assert await call.read() == note
    await append(buffers, b"1")
    await buffers.FreezeBuffer(buffers_pb2.FreezeBufferRequest(name=LIVE, force=True, comment="stop"))
    frozen: Any = await call.read()
    assert (frozen.number, frozen.kind, frozen.message) == (3, buffers_pb2.BUFFER_EVENT_KIND_FROZEN, "stop")
    assert (frozen.window, frozen.next_sequence) == (1, 2)
    call.cancel()


@pytest.mark.stores(*EVERY)
async def test_a_window_that_is_old_enough_is_sealed_by_itself(buffers: Stub) -> None:
    await make(buffers, policy=buffers_pb2.BufferPolicy(freeze_after_age=Duration(nanos=50_000_000), rotate=True))
    call = buffers.TailBufferEvents(buffers_pb2.TailBufferEventsRequest(name=LIVE))
    await append(buffers, b"1", b"2")
    event: Any = await call.read()
    while event.kind != buffers_pb2.BUFFER_EVENT_KIND_SEALED:
        event = await call.read()
    assert (event.window, event.actor) == (1, "system")
    assert data_of(await read(buffers, event.dataset)) == [b"1", b"2"]
    assert (await get(buffers)).window == 2
    call.cancel()
