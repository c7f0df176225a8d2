"""The handle of a group of consumers: where it stands, where it goes on, what it has given up."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from measurand.client import methods, names
from measurand.client._async.calls import AsyncCalls
from measurand.client._async.record_reads import AsyncRecordReads
from measurand.client.buffer_facts import GroupFacts
from measurand.client.gps import event_time
from measurand.client.records import Record
from measurand.client.results import time_of
from measurand.v1 import buffers_pb2, common_pb2
from measurand.wire.errors import InvalidArgument, NotFound

__all__ = ["AsyncGroup", "GivenUp"]


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A record that a group has given up.

    Parameters
    ----------
    seq : int
        Which.
    attempts : int
        How often it was delivered.
    time : datetime
        When it was given up.
    consumer : str
        The consumer that had it last.
    """

    seq: int
    attempts: int
    time: datetime | None
    consumer: str


class AsyncGroup(AsyncRecordReads):
    """A group of consumers of a buffer. Made by `group` of a buffer; `consume` makes the group itself."""

    def __init__(self, calls: AsyncCalls, buffer: str, group: str) -> None:
        self._calls = calls
        self._source = buffer
        self._name = f"{buffer}/groups/{group}"

    @property
    def name(self) -> str:
        """Its resource name."""
        return self._name

    async def facts(self, *, unacknowledged: bool = False) -> GroupFacts:
        """Return where it stands. NotFound: there is no such group."""
        request = buffers_pb2.GetConsumerGroupRequest(name=self._name, with_unsettled=unacknowledged)
        return GroupFacts.of(await self._calls.unary(methods.GET_CONSUMER_GROUP, request))

    async def position(self) -> int:
        """Return up to which sequence every record is acknowledged or given up."""
        return (await self.facts()).settled

    async def lag(self) -> int:
        """Return how many records there are that are not acknowledged."""
        return (await self.facts()).lag

    async def unacknowledged(self) -> list[int]:
        """Return the sequences that were delivered and not acknowledged, oldest first."""
        return list((await self.facts(unacknowledged=True)).unacknowledged)

    async def dead(self) -> list[GivenUp]:
        """Return the records that were given up after too many deliveries, oldest first; they are kept for 30 days."""
        found: list[GivenUp] = []
        request = buffers_pb2.ListGivenUpRecordsRequest(parent=self._name, page_size=1000)
        while True:
            page = await self._calls.unary(methods.LIST_GIVEN_UP_RECORDS, request)
            found += [
                GivenUp(one.sequence, one.attempts, time_of(one, "give_up_time"), one.consumer) for one in page.records
            ]
            request.page_token = page.next_page_token
            if not page.next_page_token:
                return found

    async def seek(self, to: int | str | datetime | Any) -> None:
        """Go on elsewhere, and forget what is out with consumers.

        Parameters
        ----------
        to : int, str or datetime
            With this sequence; at the "begin"; with the next record to come ("end"); with the first record that was
            stored at this time or later.
        """
        request = buffers_pb2.SeekConsumerGroupRequest(name=self._name)
        if isinstance(to, int):
            if to < 1:
                raise InvalidArgument(f"{to!r} is no sequence; they begin at 1", field="to")
            request.after_sequence = to - 1
        elif isinstance(to, str):
            if to not in ("begin", "end"):
                raise InvalidArgument(f'{to!r}: give a sequence, "begin", "end" or a time', field="to")
            request.after_sequence = -1 if to == "end" else 0
        else:
            stamp = event_time(to, None)
            assert stamp is not None
            request.time.CopyFrom(stamp)
        await self._calls.unary(methods.SEEK_CONSUMER_GROUP, request)

    async def last(self, *, once: bool = True) -> Record | None:
        """Return the newest record; what lies before it is passed over.

        Parameters
        ----------
        once : bool
            None if anybody of the group has had it.
        """
        if not once:
            return next(iter(await self._newest(1)), None)
        consumer = names.request_id()
        request = buffers_pb2.FetchRecordsRequest(
            name=self._name,
            consumer=consumer,
            max_records=1,
            newest=True,
            document_form=common_pb2.DOCUMENT_FORM_JSON,
        )
        try:
            answer = await self._calls.unary(methods.FETCH_RECORDS, request)
        except NotFound as error:
            if error.details.get("resource") != self._name:
                raise
            make = buffers_pb2.PutConsumerGroupRequest(group=buffers_pb2.ConsumerGroup(name=self._name))
            await self._calls.unary(methods.PUT_CONSUMER_GROUP, make)
            answer = await self._calls.unary(methods.FETCH_RECORDS, request)
        if not answer.records:
            return None
        record = await self._whole(answer.records[0], headers_only=False)
        settle = buffers_pb2.SettleRecordsRequest(
            name=self._name, consumer=consumer, settlement=buffers_pb2.Settlement(acknowledge=[record.seq])
        )
        await self._calls.unary(methods.SETTLE_RECORDS, settle)
        return record

    async def get(self, seq: int) -> Record:
        """Return a record by its sequence, whoever has it."""
        return await self.read(seq)

    async def delete(self) -> None:
        """Remove the group. Removing it again changes nothing."""
        await self._calls.unary(methods.DELETE_CONSUMER_GROUP, buffers_pb2.DeleteConsumerGroupRequest(name=self._name))

    def __repr__(self) -> str:
        return f"<Group {self._name}>"
