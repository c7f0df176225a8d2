"""Records for one consumer of a group: delivered, acknowledged behind the caller's back, and delivered again."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncGenerator
from datetime import datetime

from measurand.client import methods, retries
from measurand.client._async.calls import AsyncCalls
from measurand.client._transport import aio
from measurand.client.buffer_settings import Span, duration, span_of
from measurand.client.record_pages import RecordPages
from measurand.client.records import Record
from measurand.client.results import time_of
from measurand.client.settlements import Settlements
from measurand.v1 import buffers_pb2, common_pb2
from measurand.wire.codec import Bulk
from measurand.wire.errors import InvalidArgument, MeasurandError, Unavailable

__all__ = ["AsyncConsumer", "AsyncDelivery", "consumer_settings"]

Request = buffers_pb2.ConsumeRecordsRequest
Answer = Bulk[buffers_pb2.ConsumeRecordsResponse]
Stream = aio.Duplex[Request, Answer]

PARTING_SECONDS = 30.0
"""So long the end of the block waits until the server knows what was acknowledged."""


def consumer_settings(
    name: str,
    *,
    ack_timeout: Span,
    attempts: int,
    ordered: bool,
    whole_sets: bool,
    part_timeout: Span,
) -> buffers_pb2.ConsumerGroup:
    """Return how a group shares records."""
    return buffers_pb2.ConsumerGroup(
        name=name,
        ack_deadline=duration(span_of(ack_timeout, "ack_timeout")),
        max_deliveries=attempts,
        ordered=ordered,
        whole_sets=whole_sets,
        part_timeout=duration(span_of(part_timeout, "part_timeout")),
    )


class AsyncDelivery(Record):
    """A record that is this consumer's until it is acknowledged, given back, or its time is over."""

    __slots__ = ("_consumer", "_delivery")

    def __init__(self, record: Record, consumer: AsyncConsumer, delivery: buffers_pb2.Delivery) -> None:
        super().__init__(record._header, record._data)  # noqa: SLF001  # one thing in two classes
        self._consumer = consumer
        self._delivery = delivery

    @property
    def delivery(self) -> int:
        """How often it has been delivered to the group, this time included."""
        return self._delivery.attempt

    @property
    def deadline(self) -> datetime | None:
        """Acknowledge it before this time, or it is delivered again."""
        return time_of(self._delivery, "ack_deadline_time")

    @property
    def missing_parts(self) -> tuple[int, ...]:
        """Parts of its set that did not come in time."""
        return tuple(self._delivery.missing_parts)

    async def ack(self) -> None:
        """It is done: never deliver it again. Doing so twice is harmless; `flush` of the consumer waits for it."""
        self._consumer.settlements.acknowledge(self.seq)
        self._consumer.ring()

    async def nack(self, delay: float = 0.0) -> None:
        """Give it back, to be delivered again after so many seconds."""
        self._consumer.settlements.give_back(self.seq, delay)
        self._consumer.ring()

    async def extend(self) -> None:
        """Hold it for another `ack_timeout` from now."""
        self._consumer.settlements.extend(self.seq)
        self._consumer.ring()


class AsyncConsumer:
    """Records of a group for one consumer. Made by `consume` of a buffer; use it in a `with` block and loop over it.

    What is not acknowledged when the block is left is given back at once. The loop ends where the buffer is finished
    and every record is settled, and where no record has come for `timeout` seconds. Over a lost connection it goes on.
    """

    def __init__(
        self,
        calls: AsyncCalls,
        group: buffers_pb2.ConsumerGroup,
        *,
        after: int | str,
        most: int,
        timeout: float | None,
        consumer: str,
    ) -> None:
        if isinstance(after, str) and after not in ("begin", "end"):
            raise InvalidArgument(f'after={after!r}; give a sequence, "begin" or "end"', field="after")
        self.settlements = Settlements()
        self._calls = calls
        self._group = group
        self._after = {"begin": 0, "end": -1}[after] if isinstance(after, str) else after
        self._most = most
        self._timeout = timeout
        self._id = consumer
        self._waiting: dict[int, AsyncDelivery] = {}
        self._deliveries: dict[int, buffers_pb2.Delivery] = {}
        self._guard = threading.Lock()
        self._bell = aio.Bell()
        self._news = aio.Bell()
        self._pages = RecordPages()
        self._beside: aio.Beside | None = None
        self._failure: BaseException | None = None
        self._is_closing = False
        self._is_over = False

    @property
    def id(self) -> str:
        """Id of the consumer in its group."""
        return self._id

    async def open(self) -> None:
        """Make the group if need be, and join it; entering the `with` block does so."""
        request = buffers_pb2.PutConsumerGroupRequest(group=self._group, after_sequence=self._after)
        await self._calls.unary(methods.PUT_CONSUMER_GROUP, request)
        self._beside = aio.Beside(self._run, f"consumer of {self._group.name}")

    async def flush(self) -> None:
        """Return when the server knows, durably, what was acknowledged and given back."""
        while not self.settlements.is_empty:
            rings = self._news.rings
            if self._failure is not None:
                raise self._failure
            if self._is_over or self.settlements.is_empty:
                return
            await self._news.wait(rings)

    async def close(self) -> None:
        """Settle what was said, give back the rest, and leave the group."""
        beside, self._beside = self._beside, None
        if beside is None:
            return
        self._is_closing = True
        self._bell.ring()
        if not await beside.join(PARTING_SECONDS):
            await beside.give_up()
            raise Unavailable(f"{self._group.name}: what was acknowledged could not be told in {PARTING_SECONDS:g} s")
        if self._failure is not None:
            raise self._failure

    def ring(self) -> None:
        """Have what was said of records sent."""
        self._bell.ring()

    def __aiter__(self) -> AsyncGenerator[AsyncDelivery, None]:
        return self._records()

    async def __aenter__(self) -> AsyncConsumer:
        await self.open()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, *_: object) -> None:
        if error is None:
            await self.close()
            return
        try:
            await self.close()
        except MeasurandError as failure:
            error.add_note(f"the consumer of {self._group.name} could not tell what was acknowledged: {failure}")

    def __repr__(self) -> str:
        return f"<Consumer {self._group.name}: {len(self.settlements.held)} records are not acknowledged>"

    # ---------------------------------------------------------------------------------------------------------- inside

    async def _records(self) -> AsyncGenerator[AsyncDelivery, None]:
        since = time.monotonic()
        while True:
            rings = self._news.rings
            with self._guard:
                record = self._waiting.pop(next(iter(self._waiting))) if self._waiting else None
            if record is not None:
                yield record
                since = time.monotonic()
                continue
            if self._failure is not None:
                raise self._failure
            if self._is_over or self._beside is None:
                return
            left = None if self._timeout is None else since + self._timeout - time.monotonic()
            if left is not None and left <= 0:
                return
            await self._news.wait(rings, left)

    async def _run(self) -> None:
        """Take records and settle them, over lost connections, until it is closed or no more will come."""
        tries = self._calls.tries()
        try:
            while not await self._has_ended(tries):
                pass
        except Exception as error:  # told to whoever loops
            self._failure = error
        finally:
            self._is_over = True
            self._news.ring()

    async def _has_ended(self, tries: retries.Tries) -> bool:
        stream: Stream | None = None
        try:
            transport = await self._calls.transport()
            stream = await transport.duplex(methods.CONSUME_RECORDS, bell=self._bell)
            await stream.send(
                Request(
                    name=self._group.name,
                    consumer=self._id,
                    max_unsettled=self._most,
                    document_form=common_pb2.DOCUMENT_FORM_JSON,
                )
            )
            await self._serve(stream, tries)
        except MeasurandError as error:
            if not retries.may_reopen(error):
                raise
            failure = error
        else:
            return True
        finally:
            if stream is not None:
                await stream.close()
            self.settlements.begin_again()
            self._forget_unfinished()
        await self._calls.pause(tries, failure)
        return False

    async def _serve(self, stream: Stream, tries: retries.Tries) -> None:
        heard = time.monotonic()
        while True:
            rings = self._bell.rings
            settlement = self.settlements.next_message()
            if settlement is not None:
                await stream.send(Request(settlement=settlement))
            if stream.has_news:
                answer = await stream.receive()
                if answer is None:
                    return
                heard = time.monotonic()
                tries.progress()
                self._take(answer)
                continue  # it may be what the next settlement has waited for
            if self._is_closing and self.settlements.is_empty:
                await stream.finish()
                while (answer := await stream.receive()) is not None:
                    for delivery in answer[0].deliveries:
                        self.settlements.deliver(delivery.sequence)
                await self._give_back_all()
                return
            left = heard + retries.SILENCE - time.monotonic()
            if left <= 0:
                raise Unavailable(f"{self._group.name}: nothing came for a minute", transport="UNAVAILABLE")
            await self._bell.wait(rings, left)

    def _take(self, answer: Answer) -> None:
        head, data = answer
        self.settlements.answered(head.settled, head.not_held)
        for delivery in head.deliveries:
            self._deliveries[delivery.sequence] = delivery
            self.settlements.deliver(delivery.sequence)
        if head.headers:
            checksum = head.crc32c if head.HasField("crc32c") else None
            for record in self._pages.take(head.headers, data, head.part_offset, checksum):
                whole = AsyncDelivery(record, self, self._deliveries.pop(record.seq))
                with self._guard:
                    self._waiting[record.seq] = whole
        with self._guard:
            for sequence in head.not_held:  # its time was over before anybody looked at it
                self._waiting.pop(sequence, None)
        self._news.ring()

    async def _give_back_all(self) -> None:
        """Give back what nothing was said of. Not before the stream has ended: it would come again at once."""
        held = sorted(self.settlements.held)
        if held:
            request = buffers_pb2.SettleRecordsRequest(
                name=self._group.name, consumer=self._id, settlement=buffers_pb2.Settlement(give_back=held)
            )
            await self._calls.unary(methods.SETTLE_RECORDS, request)

    def _forget_unfinished(self) -> None:
        """Give back the record of which only a part has come."""
        if self._pages.unfinished:
            self.settlements.give_back(self._pages.unfinished)
        self._pages = RecordPages()
        self._deliveries.clear()
