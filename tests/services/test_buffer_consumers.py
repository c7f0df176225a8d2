"""Consumer groups over a real channel: fetched, settled, given back, given up, streamed, moved."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from google.protobuf.duration_pb2 import Duration
from tests.services.buffer_calls import LIVE, Writer, append, cut, data_of, make, record, rest_of
from tests.services.file_calls import refused as reason
from tests.services.refusals import refused
from tests.stores import EVERY

from measurand.v1 import buffers_pb2
from measurand.wire.codec import unpack

if TYPE_CHECKING:
    from tests.services.buffer_calls import Stub

    from measurand.server.process import Process

TRAIN = f"{LIVE}/groups/train"


async def put(stub: Stub, name: str = TRAIN, *, after_sequence: int = 0, **fields: Any) -> buffers_pb2.ConsumerGroup:
    group = buffers_pb2.ConsumerGroup(name=name, **fields)
    return await stub.PutConsumerGroup(buffers_pb2.PutConsumerGroupRequest(group=group, after_sequence=after_sequence))


async def fetch(stub: Stub, consumer: str = "a", **fields: Any) -> buffers_pb2.FetchRecordsResponse:
    return await stub.FetchRecords(buffers_pb2.FetchRecordsRequest(name=TRAIN, consumer=consumer, **fields))


async def settle(stub: Stub, consumer: str = "a", **fields: Any) -> buffers_pb2.SettleRecordsResponse:
    settlement = buffers_pb2.Settlement(**fields)
    request = buffers_pb2.SettleRecordsRequest(name=TRAIN, consumer=consumer, settlement=settlement)
    return await stub.SettleRecords(request)


async def group(stub: Stub) -> buffers_pb2.ConsumerGroup:
    return await stub.GetConsumerGroup(buffers_pb2.GetConsumerGroupRequest(name=TRAIN, with_unsettled=True))


def sequences(fetched: buffers_pb2.FetchRecordsResponse) -> list[int]:
    assert [one.sequence for one in fetched.deliveries] == [one.header.sequence for one in fetched.records]
    return [one.sequence for one in fetched.deliveries]


class Consumer:
    """One ConsumeRecords stream."""

    def __init__(self, stub: Stub, consumer: str = "a", **opening: Any) -> None:
        self.call = stub.ConsumeRecords()
        self._opening = buffers_pb2.ConsumeRecordsRequest(name=TRAIN, consumer=consumer, **opening)
        self.settled: list[int] = []
        self.not_held: list[int] = []

    async def open(self) -> Consumer:
        await self.call.write(self._opening)
        return self

    async def take(self, count: int) -> tuple[list[buffers_pb2.Record], list[buffers_pb2.Delivery]]:
        """Read so many records, the large ones put together."""
        records: list[buffers_pb2.Record] = []
        deliveries: list[buffers_pb2.Delivery] = []
        while len(records) < count or len(records[-1].data) < records[-1].header.size:
            message: Any = await self.call.read()
            assert message is not grpc.aio.EOF
            head, found = unpack(message).head, cut(message)
            self.settled += head.settled
            self.not_held += head.not_held
            if head.part_offset:
                assert head.part_offset == len(records[-1].data)
                records[-1].data += found[0].data
            else:
                records += found
                deliveries += head.deliveries
        return records, deliveries

    async def settle(self, **fields: Any) -> None:
        await self.call.write(buffers_pb2.ConsumeRecordsRequest(settlement=buffers_pb2.Settlement(**fields)))


@pytest.mark.stores(*EVERY)
async def test_records_are_shared_settled_given_back_and_kept(buffers: Stub) -> None:
    await make(buffers)
    await append(buffers, *[bytes([number]) for number in range(10)])
    made = await put(buffers, ack_deadline=Duration(seconds=30), max_deliveries=5)
    assert (made.name, made.settled_sequence, made.lag, made.max_deliveries) == (TRAIN, 0, 10, 5)
    assert made.part_timeout == Duration(seconds=10)
    first, second = await fetch(buffers, max_records=4), await fetch(buffers, "b", max_records=20)
    assert (sequences(first), sequences(second)) == ([1, 2, 3, 4], [5, 6, 7, 8, 9, 10])
    assert data_of(first.records) == [b"\0", b"\1", b"\2", b"\3"]
    assert {one.attempt for one in first.deliveries} == {1}
    assert sequences(await fetch(buffers, "c", max_records=20)) == []
    assert (await settle(buffers, acknowledge=[1, 2, 5])).not_held == [5]
    again = await settle(buffers, acknowledge=[1], give_back=[3], extend=[4])
    assert (list(again.not_held), again.settled_sequence) == ([1], 2)
    found = await fetch(buffers, "c", max_records=20)
    assert (sequences(found), [one.attempt for one in found.deliveries]) == ([3], [2])
    stands = await group(buffers)
    assert (stands.settled_sequence, stands.outstanding, stands.lag) == (2, 8, 0)
    assert list(stands.unsettled) == [3, 4, 5, 6, 7, 8, 9, 10]
    rest = buffers_pb2.Settlement(acknowledge=range(5, 11))
    assert sequences(await fetch(buffers, "b", settlement=rest)) == []
    assert list((await group(buffers)).unsettled) == [3, 4]


@pytest.mark.stores(*EVERY)
async def test_a_record_that_fails_too_often_is_given_up(buffers: Stub) -> None:
    await make(buffers)
    await append(buffers, b"bad", b"good")
    await put(buffers, max_deliveries=2)
    for attempt in (1, 2):
        found = await fetch(buffers)
        assert (sequences(found), found.deliveries[0].attempt) == ([1], attempt)
        await settle(buffers, give_back=[1])
    assert sequences(await fetch(buffers)) == [2]
    given_up = await buffers.ListGivenUpRecords(buffers_pb2.ListGivenUpRecordsRequest(parent=TRAIN))
    assert [(one.sequence, one.attempts, one.consumer) for one in given_up.records] == [(1, 2, "a")]
    assert given_up.records[0].give_up_time.seconds > 1_700_000_000
    assert (await group(buffers)).given_up == 1


async def test_groups_are_listed_moved_changed_and_removed(buffers: Stub) -> None:
    await make(buffers)
    await append(buffers, b"1", b"2", b"3")
    await put(buffers, f"{LIVE}/groups/Other", after_sequence=-1)
    made = await put(buffers, after_sequence=1)
    listed = await buffers.ListConsumerGroups(buffers_pb2.ListConsumerGroupsRequest(parent=LIVE))
    assert [(one.name, one.lag) for one in listed.groups] == [(f"{LIVE}/groups/Other", 0), (TRAIN, 2)]
    assert sequences(await fetch(buffers, max_records=9)) == [2, 3]
    seek = buffers_pb2.SeekConsumerGroupRequest(name=TRAIN, after_sequence=2, etag=made.etag)
    moved = await buffers.SeekConsumerGroup(seek)
    assert (moved.settled_sequence, moved.outstanding, moved.lag) == (2, 0, 1)
    assert await reason(buffers.SeekConsumerGroup(seek)) == "ETAG_MISMATCH"
    assert sequences(await fetch(buffers, newest=True)) == [3]
    assert (await put(buffers, max_deliveries=3)).max_deliveries == 3
    for _ in range(2):
        await buffers.DeleteConsumerGroup(buffers_pb2.DeleteConsumerGroupRequest(name=TRAIN))
    code, info, _ = await refused(fetch(buffers))
    assert (code, info.reason) == (grpc.StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"ack_deadline": Duration(seconds=3601)}, "group.ack_deadline"),
        ({"ack_deadline": Duration(seconds=-1)}, "group.ack_deadline"),
        ({"max_outstanding": 10_001}, "group.max_outstanding"),
        ({"max_deliveries": -1}, "group.max_deliveries"),
        ({"part_timeout": Duration()}, "group.part_timeout"),
        ({"name": f"{LIVE}/groups/-x"}, "group.name"),
    ],
)
async def test_a_group_that_cannot_be_is_not_made(buffers: Stub, fields: dict[str, Any], field: str) -> None:
    await make(buffers)
    code, info, fault = await refused(put(buffers, **fields))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert info.metadata.get("field", fault) == field


@pytest.mark.stores(*EVERY)
async def test_a_stream_delivers_as_records_come_and_settles_them(buffers: Stub) -> None:
    await make(buffers)
    await put(buffers)
    await append(buffers, b"1", b"2", b"3")
    consumer = await Consumer(buffers, max_unsettled=2).open()
    records, deliveries = await consumer.take(2)
    assert data_of(records) == [b"1", b"2"]
    assert [(one.sequence, one.attempt) for one in deliveries] == [(1, 1), (2, 1)]
    assert (await group(buffers)).outstanding == 2
    await consumer.settle(acknowledge=[1, 77])
    records, _ = await consumer.take(1)
    assert data_of(records) == [b"3"]
    assert (consumer.settled, consumer.not_held) == ([1], [77])
    await consumer.settle(acknowledge=[2], give_back=[3])
    records, deliveries = await consumer.take(1)
    assert [(one.sequence, one.attempt) for one in deliveries] == [(3, 2)]
    await append(buffers, b"4")
    assert data_of((await consumer.take(1))[0]) == [b"4"]
    await consumer.settle(acknowledge=[3, 4])
    await consumer.call.done_writing()
    await rest_of(consumer.call)
    assert await consumer.call.code() is grpc.StatusCode.OK
    assert (await group(buffers)).settled_sequence == 4


async def test_a_large_record_goes_to_a_consumer_in_parts(buffers: Stub) -> None:
    await make(buffers)
    large = bytes(range(256)) * 4096 * 5
    writer = Writer(buffers, writer="w")
    await writer.send(b"before", first_writer_sequence=1)
    await writer.send_large(large, first_writer_sequence=2)
    await writer.send(b"after", first_writer_sequence=3)
    assert await writer.end() == 3
    await put(buffers)
    consumer = await Consumer(buffers).open()
    records, deliveries = await consumer.take(3)
    assert data_of(records) == [b"before", large, b"after"]
    assert [one.sequence for one in deliveries] == [1, 2, 3]
    await consumer.call.done_writing()
    await rest_of(consumer.call)
    await buffers.SeekConsumerGroup(buffers_pb2.SeekConsumerGroupRequest(name=TRAIN, after_sequence=1))
    (alone,) = (await fetch(buffers, max_records=2)).records
    assert (alone.header.size, alone.data) == (len(large), b"")


@pytest.mark.stores(*EVERY)
async def test_what_is_not_settled_is_given_back_at_the_end_if_it_says_so(buffers: Stub) -> None:
    await make(buffers)
    await put(buffers)
    await append(buffers, b"1", b"2", b"3")
    consumer = await Consumer(buffers, give_back_on_close=True).open()
    await consumer.take(3)
    await consumer.settle(acknowledge=[2])
    await consumer.call.done_writing()
    await rest_of(consumer.call)
    found = await fetch(buffers, "b", max_records=9)
    assert [(one.sequence, one.attempt) for one in found.deliveries] == [(1, 2), (3, 2)]


async def test_a_stream_ends_when_a_finished_buffer_is_settled(buffers: Stub) -> None:
    await make(buffers)
    await put(buffers)
    await append(buffers, b"1")
    await buffers.FinishBuffer(buffers_pb2.FinishBufferRequest(name=LIVE))
    consumer = await Consumer(buffers).open()
    await consumer.take(1)
    await consumer.settle(acknowledge=[1])
    await rest_of(consumer.call)
    assert await consumer.call.code() is grpc.StatusCode.OK


async def test_the_parts_of_a_set_come_together(buffers: Stub) -> None:
    await make(buffers)
    await put(buffers, whole_sets=True)

    def part(index: int) -> buffers_pb2.Record:
        return record(bytes([index]), part=buffers_pb2.SetPart(set="e", index=index, count=3))

    await append(buffers, part(2), part(0))
    assert sequences(await fetch(buffers, max_records=1)) == []
    await append(buffers, part(1))
    assert data_of((await fetch(buffers, max_records=1)).records) == [b"\0", b"\1", b"\2"]


async def test_a_server_that_goes_away_ends_the_streams_of_consumers(buffers: Stub, server: Process) -> None:
    await make(buffers)
    await put(buffers)
    await append(buffers, b"1")
    consumer = await Consumer(buffers).open()
    await consumer.take(1)
    stopping = asyncio.ensure_future(server.stop())
    assert await reason(rest_of(consumer.call)) == "SHUTTING_DOWN"
    await stopping
