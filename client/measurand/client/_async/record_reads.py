"""Records of a buffer or of a batch, read by their sequence, by time and by filter."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import datetime, timedelta
from typing import Any, overload

from measurand.client import methods
from measurand.client._async.calls import AsyncCalls
from measurand.client.buffer_settings import Span, span_of
from measurand.client.gps import event_time
from measurand.client.records import Record
from measurand.client.results import time_of
from measurand.v1 import buffers_pb2, common_pb2
from measurand.wire.errors import InvalidArgument, NotFound

__all__ = ["AsyncRecordReads", "selection"]

JSON = common_pb2.DOCUMENT_FORM_JSON
PAGE = 1000
"""Records in a page, at most; the server ends one at 2 MiB."""


def selection(
    filter: str,  # noqa: A002  # the field's word
    start: Any = None,
    end: Any = None,
    *,
    by_event_time: bool = False,
    last: int = 0,
) -> buffers_pb2.RecordSelection | None:
    """Return which records are wanted; None: all."""
    if not filter and start is None and end is None and not last:
        return None
    wanted = buffers_pb2.RecordSelection(filter=filter, by_event_time=by_event_time, last_sequence=last)
    if (stamp := event_time(start, None)) is not None:
        wanted.start_time.CopyFrom(stamp)
    if (stamp := event_time(end, None)) is not None:
        wanted.end_time.CopyFrom(stamp)
    return wanted


class AsyncRecordReads:
    """What a buffer and a batch have in common: records that can be read."""

    _calls: AsyncCalls
    _source: str
    """Name of the buffer, or of the dataset of the batch."""

    @overload
    async def read(self, which: int) -> Record: ...

    @overload
    async def read(self, which: range) -> list[Record]: ...

    async def read(self, which: int | range) -> Record | list[Record]:
        """Return one record, or those of a range of sequences, with their bytes.

        Parameters
        ----------
        which : int or range
            A sequence, or a `range` of them with step 1: `read(range(first, end))`.

        Returns
        -------
        Record or list of Record

        Raises
        ------
        HistoryTrimmed
            HISTORY_TRIMMED: it is no longer here; its batch may have it.
        NotFound
            RESOURCE_NOT_FOUND: there is no record with this sequence.
        """
        if isinstance(which, range):
            if which.step != 1 or which.start < 1:
                raise InvalidArgument(f"{which!r} is no range of sequences; give range(first, end)", field="which")
            wanted = selection("", last=which.stop - 1)
            found = [record async for record in self._walk(which.start - 1, wanted)] if len(which) else []
            if len(found) < len(which):
                missing = found[-1].seq + 1 if found else which.start
                raise NotFound(f"{self._source} has no record {missing}", resource=f"{self._source}/records/{missing}")
            return found
        if which < 1:
            raise InvalidArgument(f"{which!r} is no sequence; they begin at 1", field="which")
        async for record in self._walk(which - 1, selection("", last=which), limit=1):
            return record
        raise NotFound(f"{self._source} has no record {which}", resource=f"{self._source}/records/{which}")

    async def records(
        self,
        after: int = 0,
        *,
        limit: int | None = None,
        filter: str = "",  # noqa: A002
        start: datetime | float | None = None,
        end: datetime | float | None = None,
        by_event_time: bool = False,
        data: bool = False,
    ) -> AsyncGenerator[Record, None]:
        """Yield what is known of records, without their bytes, in the order of their sequence.

        Parameters
        ----------
        after : int
            Begin after this sequence.
        limit : int, optional
            At most so many.
        filter : str
            Such as `metadata.channel = "h" AND size > 100`.
        start, end : datetime or float, optional
            Stored from this time on, and before that one; a number is seconds since 1970.
        by_event_time : bool
            They mean when it was measured.
        data : bool
            With their bytes.
        """
        wanted = selection(filter, start, end, by_event_time=by_event_time)
        walk = self._walk(after, wanted, limit=limit, headers_only=not data, skip_trimmed=after == 0)
        async for record in walk:
            yield record

    async def _walk(
        self,
        after: int,
        wanted: buffers_pb2.RecordSelection | None = None,
        *,
        limit: int | None = None,
        headers_only: bool = False,
        skip_trimmed: bool = False,
    ) -> AsyncGenerator[Record, None]:
        """Yield records page by page, up to the end of what there was when the last page was read."""
        left = limit
        while left is None or left > 0:
            request = buffers_pb2.ReadRecordsRequest(
                name=self._source,
                after_sequence=after,
                max_records=PAGE if left is None else min(left, PAGE),
                headers_only=headers_only,
                skip_trimmed=skip_trimmed,
                selection=wanted,
                document_form=JSON,
            )
            answer = await self._calls.unary(methods.READ_RECORDS, request)
            for message in answer.records:
                yield await self._whole(message, headers_only=headers_only)
            if left is not None:
                left -= len(answer.records)
            read = max(answer.read_sequence, answer.records[-1].header.sequence if answer.records else 0)
            last = wanted.last_sequence if wanted is not None else 0
            if read <= after or read + 1 >= answer.next_sequence or (last and read >= last):
                return
            after = read

    async def _whole(self, message: buffers_pb2.Record, *, headers_only: bool) -> Record:
        """Return a record with all of its bytes: of a large one the first page had a part."""
        if headers_only:
            return Record(message.header, None)
        size = message.header.size
        if len(message.data) == size:
            return Record(message.header, message.data)
        parts = bytearray(message.data)
        while len(parts) < size:
            request = buffers_pb2.ReadRecordsRequest(
                name=self._source, after_sequence=message.header.sequence - 1, max_records=1, part_offset=len(parts)
            )
            answer = await self._calls.unary(methods.READ_RECORDS, request)
            if not answer.records or not answer.records[0].data:
                raise NotFound(
                    f"{self._source}: record {message.header.sequence} went while it was read",
                    resource=f"{self._source}/records/{message.header.sequence}",
                )
            parts += answer.records[0].data
        return Record(message.header, bytes(parts))

    async def _newest(self, count: int) -> list[Record]:
        request = buffers_pb2.ReadRecordsRequest(name=self._source, max_records=count, newest=True, document_form=JSON)
        answer = await self._calls.unary(methods.READ_RECORDS, request)
        return [await self._whole(message, headers_only=False) for message in answer.records]

    async def _snapshot(self, last: int | Span, message: buffers_pb2.Buffer) -> list[Record]:
        stats = message.stats
        end = stats.next_sequence
        if isinstance(last, int):
            first = max(stats.first_sequence, end - last, 1)
            wanted = selection("", last=end - 1)
        else:
            newest = time_of(stats, "last_append_time")
            if newest is None:
                return []
            first = max(stats.first_sequence, 1)
            wanted = selection("", newest - timedelta(seconds=span_of(last, "last")), last=end - 1)
        if first >= end:
            return []
        return [record async for record in self._walk(first - 1, wanted, skip_trimmed=True)]
