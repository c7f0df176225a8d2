"""The handle of a buffer: appends records, reads and follows them, holds still, and knows its figures."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from measurand.client import display, methods, names, retries, values
from measurand.client._async.buffer_freezing import AsyncBufferFreezing
from measurand.client._async.buffer_groups import AsyncBufferGroups
from measurand.client._async.buffer_log import follow_log, read_log
from measurand.client._async.buffer_tails import AsyncTail, SlowReader, tail_request
from measurand.client._async.buffer_writers import AsyncBufferWriter
from measurand.client._async.calls import AsyncCalls
from measurand.client._async.record_reads import selection
from measurand.client.buffer_facts import BufferEvent, Freeze, Stats
from measurand.client.buffer_settings import Freezes, Retains, Span, policy_of, settings_of, span_of
from measurand.client.records import Given, Part, Record, given
from measurand.client.results import time_of
from measurand.v1 import buffers_pb2, common_pb2
from measurand.wire.errors import NotFound

__all__ = ["AsyncBuffer"]

JSON = common_pb2.DOCUMENT_FORM_JSON
MOST_UNARY_BYTES = 2 << 20


class AsyncBuffer(AsyncBufferFreezing, AsyncBufferGroups):
    """A live, ordered, append-only stream of records.

    Made by `create_buffer` and `buffer` of a catalog.
    """

    def __init__(self, calls: AsyncCalls, message: buffers_pb2.Buffer) -> None:
        self._calls = calls
        self._message = message
        self._source = message.name
        self._freeze: Freeze | None = None

    @property
    def id(self) -> str:
        """Its id."""
        return names.last_part(self._message.name)

    @property
    def description(self) -> str:
        """Free text."""
        return self._message.description

    @property
    def metadata(self) -> dict[str, Any]:
        """What is measured; it becomes part of the metadata of every batch. Changing this dict changes nothing."""
        return values.from_text(self._message.metadata.json)

    @property
    def policy(self) -> dict[str, Any]:
        """What it does by itself, in the words of `create_buffer`; spans are in seconds."""
        return settings_of(self._message.policy)

    @property
    def created(self) -> datetime | None:
        """When it was made."""
        return time_of(self._message, "create_time")

    # -------------------------------------------------------------------------------------------------------- writing

    async def append(
        self,
        data: Any,
        metadata: Mapping[str, Any] | None = None,
        *,
        time: Any = None,
        gps: Any = None,
        id: str | None = None,  # noqa: A002  # the field's word
        part: Part | tuple[str, int, int] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  # it goes to the server
    ) -> int:
        """Append one record; it is durable when this returns. Many are faster through `writer`.

        Parameters
        ----------
        data : bytes or ndarray
            At most 64 MiB. An array keeps dtype and shape.
        metadata : mapping, optional
            What is to be said about it, at most 64 KiB.
        time : datetime, numpy.datetime64 or float, optional
            When it was measured; a naive datetime is local time, a number is seconds since 1970.
        gps : float, optional
            Instead of it, in GPS seconds.
        id : str, optional
            An id of your own: a record with an id that was stored in the open window or in the last 24 hours is not
            stored again.
        part : Part or tuple, optional
            `(set, index, count)`: it is one of several that belong together.
        timeout : float, optional
            Give up after so many seconds; 60 unless given.

        Returns
        -------
        int
            Its sequence: 1, 2, 3, … over the life of the buffer.

        Raises
        ------
        Frozen
            BUFFER_FROZEN: somebody holds the buffer still; the details say who.
        RequestIdReused
            REQUEST_ID_REUSED: another record has this id.
        Busy
            SERVER_BUSY: too much was waiting all the time.
        """
        record = given(data, metadata, time=time, gps=gps, id=id, part=part)
        if len(record.data) > MOST_UNARY_BYTES:
            return await self._append_large(record, timeout or self._calls.deadlines.change)
        header = buffers_pb2.RecordHeader.FromString(record.header)
        request = buffers_pb2.AppendRequest(
            name=self.name,
            records=[buffers_pb2.Record(header=header, data=record.data)],
            request_id=names.request_id(),
        )
        return (await self._calls.unary(methods.APPEND, request, patience=timeout)).first_sequence

    def writer(
        self,
        *,
        spool: str | os.PathLike[str] | None = None,
        spool_bytes: int = 16 << 30,
        window_bytes: int = 64 << 20,
        wait_while_frozen: Span | None = None,
        retry_for: Span = retries.STREAM_PATIENCE,
    ) -> AsyncBufferWriter:
        """Return a writer of many records: each is stored once, over lost connections and restarted servers.

        Parameters
        ----------
        spool : path, optional
            A folder on this machine's disk that each record goes to first. While the server is away or the buffer is
            frozen, records gather there. A process that was killed goes on by the same call with the same folder.
        spool_bytes : int
            The spool takes at most so much of the disk.
        window_bytes : int
            At most so much is handed over and not durable; then `write` waits. With a spool, so much is in memory.
        wait_while_frozen : float, str or timedelta, optional
            Wait so long for a frozen buffer; 0 fails at once. As long as `retry_for` unless given.
        retry_for : float, str or timedelta
            Give up after so long without progress.

        Examples
        --------
        >>> with strain.writer() as out:  # doctest: +SKIP
        ...     for gps, block in detector:
        ...         out.write(block, {"channel": "V1:Hrec"}, gps=gps)
        """
        patience = span_of(retry_for, "retry_for")
        frozen = patience if wait_while_frozen is None else span_of(wait_while_frozen, "wait_while_frozen")
        return AsyncBufferWriter(
            self._calls,
            self.name,
            spool=None if spool is None else Path(spool),
            spool_bytes=spool_bytes,
            window_bytes=window_bytes,
            wait_while_frozen=frozen,
            retry_for=patience,
        )

    # -------------------------------------------------------------------------------------------------------- reading

    def tail(
        self,
        after: int | str | None = None,
        *,
        timeout: float | None = None,
        slow: SlowReader = "wait",
        filter: str = "",  # noqa: A002  # the field's word
        data: bool = True,
    ) -> AsyncTail:
        """Return the records from a point on, to loop over: first what is stored, then live.

        It goes on over lost connections, restarted servers, freezes and rotations, and ends where the buffer is
        finished: `next` of the tail is then the name of the buffer that follows.

        Parameters
        ----------
        after : int or str, optional
            Begin after this sequence; "begin": with the oldest there is, as it does unless given; "now": with the next
            to come.
        timeout : float, optional
            End when no record has come for so many seconds.
        slow : str
            For a loop that is slower than the writers. "wait": every record comes. "skip": records are left out, so
            that none is older than a second. "fail": HistoryTrimmed.
        filter : str
            Only these, such as `metadata.channel = "h"`.
        data : bool
            With their bytes.

        Raises
        ------
        HistoryTrimmed
            HISTORY_TRIMMED, in the loop: the records after `after` are gone; the details have the `first_sequence`.
        """
        request = buffers_pb2.TailBufferRequest(
            name=self.name, headers_only=not data, selection=selection(filter), document_form=JSON
        )
        return AsyncTail(self._calls, tail_request(request, after, slow), timeout)

    async def last(self) -> Record | None:
        """Return the newest record. None: there is none."""
        return next(iter(await self._newest(1)), None)

    async def snapshot(self, last: int | str) -> list[Record]:
        """Return the newest records that there are now, with their bytes, while others keep coming.

        Parameters
        ----------
        last : int or str
            How many; or a span such as "8s": those that were stored so long before the newest.
        """
        await self.refresh()
        return await self._snapshot(last, self._message)

    # ------------------------------------------------------------------------------------------------------ the buffer

    def log(
        self, after: int = 0, *, follow: bool = False, limit: int | None = None
    ) -> AsyncGenerator[BufferEvent, None]:
        """Yield the entries of the event log after a number, oldest first.

        Parameters
        ----------
        follow : bool
            Go on with new ones as they happen.
        limit : int, optional
            At most so many; without `follow`.
        """
        return follow_log(self._calls, self.name, after) if follow else read_log(self._calls, self.name, after, limit)

    async def note(self, text: str) -> BufferEvent:
        """Write a note into the event log."""
        request = buffers_pb2.AddBufferNoteRequest(name=self.name, message=text, request_id=names.request_id())
        return BufferEvent.of(await self._calls.unary(methods.ADD_BUFFER_NOTE, request))

    async def finish(self, next: AsyncBuffer | str | None = None) -> None:  # noqa: A002  # the field's word
        """Say that no more records come, and perhaps in which buffer the stream goes on; tails and groups end there.

        Parameters
        ----------
        next : Buffer or str, optional
            A handle, the id of a buffer of this catalog, or a name.
        """
        following = next.name if isinstance(next, AsyncBuffer) else next or ""
        if following and "/" not in following:
            following = f"{self.name.rpartition('/')[0]}/{following}"
        request = buffers_pb2.FinishBufferRequest(
            name=self.name, next_buffer=following, document_form=JSON, request_id=names.request_id()
        )
        self._message = await self._calls.unary(methods.FINISH_BUFFER, request)

    async def update(
        self,
        metadata: Mapping[str, Any] | None = None,
        *,
        description: str | None = None,
        freeze_after: Freezes | None = None,
        rotate: bool = False,
        retention: Retains | None = None,
        keep_sealed: Span | None = None,
        batch_title: str = "",
    ) -> None:
        """Change what is given: metadata by a JSON merge patch; of the policy all of it, where any of it is given.

        Raises
        ------
        Conflict
            ETAG_MISMATCH: it was changed since the handle was read.
        """
        request = buffers_pb2.UpdateBufferRequest(
            buffer=buffers_pb2.Buffer(name=self.name, etag=self._message.etag),
            document_form=JSON,
            request_id=names.request_id(),
        )
        mask = []
        if metadata is not None:
            request.metadata_patch.json = values.to_text(metadata)
        if description is not None:
            request.buffer.description = description
            mask.append("description")
        if freeze_after is not None or rotate or retention is not None or keep_sealed is not None or batch_title:
            request.buffer.policy.CopyFrom(
                policy_of(
                    freeze_after, rotate=rotate, retention=retention, keep_sealed=keep_sealed, batch_title=batch_title
                )
            )
            mask.append("policy")
        request.update_mask.CopyFrom(FieldMask(paths=mask))
        self._message = await self._calls.unary(methods.UPDATE_BUFFER, request)

    async def refresh(self) -> AsyncBuffer:
        """Read the buffer anew; returns the handle itself."""
        await self.stats()
        return self

    async def delete(self, *, force: bool = False) -> None:
        """Remove the buffer; its batches stay.

        Parameters
        ----------
        force : bool
            Even if it holds records that are in no batch. Without it that is a ResourceInUse.
        """
        await self._calls.unary(methods.DELETE_BUFFER, buffers_pb2.DeleteBufferRequest(name=self.name, force=force))

    def __repr__(self) -> str:
        known = Stats.of(self._message)
        facts = {"state": known.state, "records": known.records, "next_sequence": known.next_sequence}
        return display.line("Buffer", self.id, facts)

    def _repr_html_(self) -> str:
        known = Stats.of(self._message)
        rows: list[tuple[str, Any]] = [("description", self.description), ("state", known.state)]
        rows += [("records", known.records), ("size", display.bytes_text(known.bytes)), ("window", known.window)]
        rows += [("frozen by", known.owner), ("since", known.since), ("newest", known.last_time)]
        return display.table(f"Buffer {self.id}", [*rows, ("batches", known.batches), ("metadata", self.metadata)])

    async def _append_large(self, record: Given, patience: float) -> int:
        """Append a record that is too large for one message."""
        places: list[int | None] = []
        writer = self.writer(wait_while_frozen=0, retry_for=patience)
        writer.on_durable(lambda _, sequence: places.append(sequence))
        async with writer:
            await writer.put(record, patience)
        (sequence,) = places
        if sequence is not None:
            return sequence
        # Stored by an earlier try, whose answer was lost.
        async for found in self.records(filter=f'writer = "{writer.id}"', limit=1):
            return found.seq
        raise NotFound(f"{self.name}: the record was stored and is gone", resource=self.name)
