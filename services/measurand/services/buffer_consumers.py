"""Consumer groups: as messages and back, and the stream of a consumer, which gets records and settles them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from datetime import timedelta
from typing import Any

import grpc.aio

from measurand.core.buffers.consuming import Consuming, Delivery, Fetched, Settlement
from measurand.core.buffers.group_documents import GivenUp, Settings
from measurand.core.buffers.groups import ConsumerGroup
from measurand.core.buffers.pages import StoredRecord
from measurand.core.buffers.reading import Records
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.names import GroupName, parse_group
from measurand.core.principal import Principal
from measurand.core.times import from_microseconds, microseconds
from measurand.services.buffer_messages import duration, wait_of
from measurand.services.buffer_streams import joined
from measurand.services.messages import check_fits, span_of, time_message
from measurand.services.record_messages import Headers, record_message, timestamp
from measurand.v1 import buffers_pb2, common_pb2
from measurand.wire.codec import pack
from measurand.wire.errors import InvalidArgument, MeasurandError, NameInvalid, ShuttingDown

__all__ = ["consume", "fetch", "given_up_message", "group_message", "settings_of", "settlement_of"]

DEFAULT_UNSETTLED = 100
MOST_UNSETTLED = 10_000
TURN = timedelta(seconds=0.5)
"""One fetch of a stream waits so long for records; then the stream looks whether it is to end."""


def settings_of(message: buffers_pb2.ConsumerGroup) -> Settings:
    """Return how a group is to share records; what is not set is the default."""
    standard = Settings()
    return Settings(
        ack_deadline=_span(message, "ack_deadline", standard.ack_deadline),
        max_deliveries=message.max_deliveries,
        max_outstanding=message.max_outstanding,
        ordered=message.ordered,
        whole_sets=message.whole_sets,
        part_timeout=_span(message, "part_timeout", standard.part_timeout),
    )


def settlement_of(message: buffers_pb2.Settlement) -> Settlement:
    """Return what becomes of records that a consumer holds."""
    return Settlement(
        tuple(message.acknowledge),
        tuple(message.give_back),
        tuple(message.extend),
        span_of(message, "give_back_delay", "settlement.give_back_delay") or timedelta(),
    )


def group_message(group: ConsumerGroup) -> buffers_pb2.ConsumerGroup:
    """Return a group as callers see it."""
    settings = group.settings
    return buffers_pb2.ConsumerGroup(
        name=str(group.name),
        settled_sequence=group.settled_sequence,
        outstanding=group.outstanding,
        returned=group.returned,
        lag=group.lag,
        given_up=group.given_up,
        ack_deadline=duration(settings.ack_deadline),
        max_deliveries=settings.max_deliveries,
        max_outstanding=settings.max_outstanding,
        ordered=settings.ordered,
        etag=group.etag,
        create_time=time_message(group.create_time),
        whole_sets=settings.whole_sets,
        part_timeout=duration(settings.part_timeout),
        unsettled=group.unsettled,
    )


def given_up_message(record: GivenUp) -> buffers_pb2.GivenUpRecord:
    """Return a record that a group has given up."""
    return buffers_pb2.GivenUpRecord(
        sequence=record.sequence,
        attempts=record.attempts,
        give_up_time=time_message(from_microseconds(record.time)),
        consumer=record.consumer,
    )


def _fetched_message(
    fetched: Fetched, form: common_pb2.DocumentForm.ValueType, limits: Limits
) -> buffers_pb2.FetchRecordsResponse:
    """Return the answer of FetchRecords."""
    response = buffers_pb2.FetchRecordsResponse(not_held=fetched.not_held)
    headers = Headers(form)
    for delivery in fetched.deliveries:
        record_message(response.records.add(), delivery.stored, headers)
        _fill(response.deliveries.add(), delivery)
    check_fits(response, limits.max_message_bytes)
    return response


async def fetch(
    consuming: Consuming,
    limits: Limits,
    caller: Principal,
    request: buffers_pb2.FetchRecordsRequest,
    draining: asyncio.Event,
) -> buffers_pb2.FetchRecordsResponse:
    """Serve one FetchRecords call. Nobody waits for records at a server that is going away."""
    wait = wait_of(request)
    fetched = await consuming.fetch(
        caller,
        parse_group(request.name),
        request.consumer,
        most=request.max_records,
        settlement=settlement_of(request.settlement),
        newest=request.newest,
        wait=wait,
        ending=draining,
    )
    has_news = fetched.deliveries or fetched.settled or fetched.not_held
    if wait and draining.is_set() and not has_news:
        raise _going()
    return _fetched_message(fetched, request.document_form, limits)


async def consume(
    consuming: Consuming,
    records: Records,
    means: Means,
    limits: Limits,
    caller: Principal,
    context: grpc.aio.ServicerContext[Any, Any],
    draining: asyncio.Event,
) -> None:
    """Serve one ConsumeRecords stream. It ends when the consumer ends it, or when no record will come any more."""
    opening = await context.read()
    if opening is grpc.aio.EOF:
        return
    if not 0 <= opening.max_unsettled <= MOST_UNSETTLED:
        raise InvalidArgument(
            f"max_unsettled: {opening.max_unsettled} is not within 0 and {MOST_UNSETTLED}", field="max_unsettled"
        )
    consumer = _Consumer(consuming, records, means, limits, caller, context, opening)
    stop = asyncio.ensure_future(draining.wait())
    settling = asyncio.create_task(consumer.settle_all(opening), name="settling")
    delivering = asyncio.create_task(consumer.deliver_all(), name="delivering")
    try:
        await asyncio.wait((stop, settling, delivering), return_when=asyncio.FIRST_COMPLETED)
        for task in (settling, delivering):
            if task.done():
                task.result()
        if not settling.done() and not delivering.done():
            raise _going()
    finally:
        stop.cancel()
        settling.cancel()
        await asyncio.shield(asyncio.ensure_future(consumer.close(settling, delivering)))


class _Consumer:
    """One consumer of a group, as long as its stream lasts."""

    def __init__(
        self,
        consuming: Consuming,
        records: Records,
        means: Means,
        limits: Limits,
        caller: Principal,
        context: grpc.aio.ServicerContext[Any, Any],
        opening: buffers_pb2.ConsumeRecordsRequest,
    ) -> None:
        self._consuming = consuming
        self._records = records
        self._means = means
        self._limits = limits
        self._caller = caller
        self._context = context
        self._name: GroupName = parse_group(opening.name)
        self._consumer = opening.consumer
        self._most = opening.max_unsettled or DEFAULT_UNSETTLED
        self._gives_back = opening.give_back_on_close
        self._headers = Headers(opening.document_form)
        self._held: dict[int, tuple[int, int]] = {}
        """What was delivered here and is not settled: until when it is ours, and how long that was, in microseconds."""
        self._unsent: list[int] = []
        self._settled = asyncio.Event()
        self._writing = asyncio.Lock()
        self._ending = asyncio.Event()

    async def settle_all(self, message: Any) -> None:
        """Settle what message after message says, until the consumer has no more to say."""
        while True:
            if message.HasField("settlement"):
                await self._settle(settlement_of(message.settlement))
            message = await self._context.read()
            if message is grpc.aio.EOF:
                return
            if message.name not in ("", str(self._name)):
                raise NameInvalid(
                    f"name: {message.name} is not the group of this stream", field="name", name=message.name
                )
            if message.consumer not in ("", self._consumer):
                raise InvalidArgument("consumer: it is not the consumer of this stream", field="consumer")

    async def deliver_all(self) -> None:
        """Send records while there is room, until no more will come."""
        clock = asyncio.get_running_loop().time
        silent_since = clock()
        while not self._ending.is_set():
            if clock() - silent_since >= self._limits.heartbeat.total_seconds():
                await self._write(buffers_pb2.ConsumeRecordsResponse())
                silent_since = clock()
            room = self._most - len(self._held)
            if room <= 0:
                await self._wait_for_room()
                continue
            fetched = await self._consuming.fetch(
                self._caller,
                self._name,
                self._consumer,
                most=room,
                most_bytes=self._limits.preferred_chunk_bytes,
                wait=TURN,
                until_end=True,
                ending=self._ending,
            )
            self._unsent = [delivery.stored.sequence for delivery in fetched.deliveries]
            if self._ending.is_set():
                return
            async with aclosing(self._messages(fetched.deliveries)) as messages:
                async for message in messages:
                    await self._write(message)
            self._unsent = []
            if fetched.deliveries:
                silent_since = clock()
            elif fetched.has_ended:
                return

    async def close(self, settling: asyncio.Task[None], delivering: asyncio.Task[None]) -> None:
        """End what is under way, and give back what was not sent, or all where the consumer has said so."""
        self._ending.set()
        self._settled.set()
        await asyncio.gather(settling, return_exceptions=True)
        _, late = await asyncio.wait((delivering,), timeout=2 * TURN.total_seconds())
        for task in late:  # the consumer does not take what is sent
            task.cancel()
        await asyncio.gather(delivering, return_exceptions=True)
        left = sorted({*self._unsent, *(self._held if self._gives_back else ())})
        if left:
            with suppress(MeasurandError):  # else they come again after their deadline
                await self._consuming.settle(self._caller, self._name, self._consumer, Settlement(give_back=left))

    async def _settle(self, settlement: Settlement) -> None:
        answer = await self._consuming.settle(self._caller, self._name, self._consumer, settlement)
        now = microseconds(self._means.now())
        for sequence in (*settlement.acknowledge, *settlement.give_back, *answer.not_held):
            self._held.pop(sequence, None)
        for sequence in settlement.extend:
            if sequence in self._held:
                _, span = self._held[sequence]
                self._held[sequence] = now + span, span
        self._settled.set()
        await self._write(buffers_pb2.ConsumeRecordsResponse(settled=answer.settled, not_held=answer.not_held))

    async def _wait_for_room(self) -> None:
        """Return when something was settled, or is no longer ours, or soon."""
        now = microseconds(self._means.now())
        over = [sequence for sequence, (until, _) in self._held.items() if until <= now]
        for sequence in over:
            del self._held[sequence]
        if not over:
            self._settled.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(TURN.total_seconds()):
                    await self._settled.wait()

    async def _messages(
        self, deliveries: Sequence[Delivery]
    ) -> AsyncGenerator[buffers_pb2.ConsumeRecordsResponse, None]:
        """Yield the messages of deliveries: many small records in one, a large one in parts."""
        together: list[Delivery] = []
        for delivery in deliveries:
            stored = delivery.stored
            if len(stored.record.data) == stored.size:
                together.append(delivery)
                continue
            if together:
                yield self._message(together, [one.stored for one in together])
                together = []
            offset = 0
            while offset < stored.size:
                page = await self._records.read(
                    self._caller, self._name.parent, after=stored.sequence - 1, most=1, part_offset=offset
                )
                yield self._message([delivery], page.records)
                offset += len(page.records[0].record.data)
        if together:
            yield self._message(together, [one.stored for one in together])

    def _message(
        self, deliveries: Sequence[Delivery], records: Sequence[StoredRecord]
    ) -> buffers_pb2.ConsumeRecordsResponse:
        data, now = joined(records), microseconds(self._means.now())
        message = buffers_pb2.ConsumeRecordsResponse(
            part_offset=records[0].offset, crc32c=self._means.crc32c(data, 0) if len(data) else None
        )
        for delivery, stored in zip(deliveries, records, strict=True):
            self._headers.fill(message.headers.add(), stored)
            _fill(message.deliveries.add(), delivery)
            self._held[stored.sequence] = delivery.until, max(0, delivery.until - now)
        return pack(message, data)

    async def _write(self, message: buffers_pb2.ConsumeRecordsResponse) -> None:
        async with self._writing:  # records and settlements come from two tasks
            await self._context.write(message)


def _going() -> ShuttingDown:
    return ShuttingDown("this server is going away; go on at another one", retry_seconds=0.2)


def _fill(message: buffers_pb2.Delivery, delivery: Delivery) -> None:
    message.sequence = delivery.stored.sequence
    message.attempt = delivery.attempt
    message.ack_deadline_time.CopyFrom(timestamp(delivery.until))
    message.missing_parts.extend(delivery.missing_parts)


def _span(message: buffers_pb2.ConsumerGroup, field: str, standard: timedelta) -> timedelta:
    span = span_of(message, field, f"group.{field}")
    return standard if span is None else span
