"""The streams of records: a writer with its acknowledgements, and tails."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import grpc.aio

from measurand.core.buffers.appending import Ack, Appending, BufferWriter
from measurand.core.buffers.pages import Page, StoredRecord
from measurand.core.buffers.records import MAX_RECORD_BYTES, Record
from measurand.core.buffers.tailing import Tails
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.names import parse_buffer
from measurand.core.ports import Buffer
from measurand.core.principal import Principal
from measurand.services.buffer_messages import STATES, run_message, selection_of, slow_reader_of, wait_of
from measurand.services.file_streams import check_data
from measurand.services.record_messages import Checksum, Headers, check_sum, header_of, records_of
from measurand.services.writing_streams import next_message
from measurand.v1 import buffers_pb2
from measurand.wire.codec import pack, unpack
from measurand.wire.errors import Busy, InvalidArgument, MeasurandError, NameInvalid, ShuttingDown, TooLarge

__all__ = ["Assembly", "append_records", "joined", "tail_buffer"]

ASSEMBLED_BYTES = 256 * 1024 * 1024
"""The most that large records on their way may take in one process."""
THREAD_BYTES = 256 * 1024
"""Larger headers, which are full of metadata, are read beside the event loop."""
ENDING_SECONDS = 5.0
"""What was taken is given so long to become durable when the stream has to end."""


async def append_records(
    appending: Appending,
    assembly: Assembly,
    means: Means,
    limits: Limits,
    caller: Principal,
    context: grpc.aio.ServicerContext[Any, Any],
    draining: asyncio.Event,
) -> None:
    """Serve one AppendRecords stream: of the streams of one writer the newest may write (B5)."""
    message = await context.read()
    if message is grpc.aio.EOF:
        return
    head, data = unpack(message)

    async def acknowledge(ack: Ack) -> None:
        await context.write(
            buffers_pb2.AppendRecordsResponse(
                acknowledged_writer_sequence=ack.number, runs=[run_message(run) for run in ack.runs]
            )
        )

    wait = wait_of(head, "wait_while_frozen").total_seconds()
    if wait < 0:
        raise InvalidArgument(f"wait_while_frozen: {wait:g} s is negative", field="wait_while_frozen")
    writer = await appending.open_writer(caller, parse_buffer(head.name), head.writer, acknowledge, wait)
    ending = asyncio.create_task(_end(writer, draining), name=f"end of a writer of {head.name}")
    try:
        await context.write(
            buffers_pb2.AppendRecordsResponse(
                acknowledged_writer_sequence=writer.opening.number, window_bytes=limits.window_bytes
            )
        )
        try:
            await _take_all(writer, assembly, means, limits, head, data, context, draining)
        except MeasurandError:
            # A message is refused; those before it were taken and are acknowledged first.
            with contextlib.suppress(MeasurandError, TimeoutError):
                async with asyncio.timeout(ENDING_SECONDS):
                    await writer.close()
            raise
        await writer.close()
    except MeasurandError:
        if draining.is_set():
            raise _shutting_down() from None
        raise
    finally:
        ending.cancel()
        await asyncio.shield(asyncio.ensure_future(writer.close(is_complete=False)))
    if draining.is_set():
        raise _shutting_down()


async def _end(writer: BufferWriter, draining: asyncio.Event) -> None:
    """End a writer that holds records back for a frozen buffer although the server is going away."""
    await draining.wait()
    await asyncio.sleep(ENDING_SECONDS)
    await writer.close(is_complete=False)


def _shutting_down() -> ShuttingDown:
    return ShuttingDown("this server is going away; go on at another one", retry_seconds=0.2)


async def _take_all(
    writer: BufferWriter,
    assembly: Assembly,
    means: Means,
    limits: Limits,
    head: buffers_pb2.AppendRecordsRequest,
    data: Buffer,
    context: grpc.aio.ServicerContext[Any, Any],
    draining: asyncio.Event,
) -> None:
    """Hand message after message to the writer until the caller ends, or the server does."""
    name, own = head.name, head.writer
    large = _LargeRecord(means.crc32c, assembly)
    stop = asyncio.ensure_future(draining.wait())
    try:
        while True:
            if head.name not in ("", name):
                raise NameInvalid(f"name: {head.name} is not the buffer of this stream", field="name", name=head.name)
            if head.writer not in ("", own):
                raise InvalidArgument("writer: it is not the writer of this stream", field="writer")
            check_data(data, limits)
            work = large, head, data, means.crc32c
            is_costly = head.ByteSize() > THREAD_BYTES
            records = await means.in_thread(_records, *work) if is_costly else _records(*work)
            if records:
                await writer.take(head.first_writer_sequence, records)
            message = await next_message(context, writer, stop)
            if message is None:
                return
            if message is grpc.aio.EOF:
                large.check_complete()
                return
            head, data = unpack(message)
    finally:
        stop.cancel()
        large.drop()


def _records(
    large: _LargeRecord, head: buffers_pb2.AppendRecordsRequest, data: Buffer, crc32c: Checksum
) -> Sequence[Record]:
    """Return the records that a message completes; none where it only flushes, or is a part of a large record."""
    if head.HasField("crc32c"):
        check_sum(crc32c(data, 0), head.crc32c, f"the message of record {head.first_writer_sequence}")
    headers = head.headers
    if large.is_open or head.part_offset or (len(headers) == 1 and headers[0].size > len(data)):
        record = large.take(head, data)
        return () if record is None else (record,)
    return records_of(headers, data, crc32c)


class Assembly:
    """Counts the bytes of records that streams are putting together, of the whole process."""

    def __init__(self) -> None:
        self.held_bytes = 0

    def take(self, size: int) -> None:
        """Make room for a record, or raise Busy."""
        if self.held_bytes and self.held_bytes + size > ASSEMBLED_BYTES:
            raise Busy(
                f"{self.held_bytes} bytes of large records are on their way already; try again", retry_seconds=1.0
            )
        self.held_bytes += size

    def let_go(self, size: int) -> None:
        """Give back the room of a record."""
        self.held_bytes -= size


class _LargeRecord:
    """Puts a record together that comes in parts."""

    def __init__(self, crc32c: Checksum, assembly: Assembly) -> None:
        self._crc32c = crc32c
        self._assembly = assembly
        self._header = buffers_pb2.RecordHeader()
        self._number = 0
        self._data = bytearray()
        self._received = 0
        self._sum = 0
        self.is_open = False

    def take(self, head: buffers_pb2.AppendRecordsRequest, data: Buffer) -> Record | None:
        """Take the next part. Returns the record when it is complete."""
        if len(head.headers) > 1:
            raise InvalidArgument(
                "headers: a record larger than one message comes alone in each of them", field="headers"
            )
        if head.part_offset != self._received:
            raise InvalidArgument(
                f"part_offset: {head.part_offset}, where {self._received} is next; send the parts of a record in "
                "order, from 0",
                field="part_offset",
            )
        if not self.is_open:
            self._begin(head)
        elif head.first_writer_sequence not in (0, self._number):
            raise InvalidArgument(
                f"first_writer_sequence: {head.first_writer_sequence} in the middle of record {self._number}",
                field="first_writer_sequence",
            )
        end = self._received + len(data)
        size = len(self._data)
        if end > size or not len(data) or (head.headers and head.headers[0].size != size):
            raise InvalidArgument(
                f"headers.size: a part up to byte {end} does not fit a record of {size} bytes", field="headers.size"
            )
        self._data[self._received : end] = data
        self._sum = self._crc32c(data, self._sum)
        self._received = end
        if end < size:
            return None
        record = header_of(self._header, memoryview(self._data).toreadonly(), self._sum, "headers[0]")
        self.drop()
        return record

    def drop(self) -> None:
        """Forget the record that is being put together, if there is one."""
        self._assembly.let_go(len(self._data))
        self._data, self._received, self._sum, self.is_open = bytearray(), 0, 0, False

    def check_complete(self) -> None:
        """Raise InvalidArgument in the middle of a record."""
        if self.is_open:
            raise InvalidArgument(
                f"headers.size: the stream ended after {self._received} of {len(self._data)} bytes of a record",
                field="headers.size",
            )

    def _begin(self, head: buffers_pb2.AppendRecordsRequest) -> None:
        if not head.headers:
            raise InvalidArgument("headers: there is none for the data", field="headers")
        size = head.headers[0].size
        if size > MAX_RECORD_BYTES:
            raise TooLarge(
                f"headers.size: {size} bytes; the most in a record is {MAX_RECORD_BYTES}; make smaller ones",
                limit=MAX_RECORD_BYTES,
                actual=size,
                field="headers.size",
            )
        self._assembly.take(size)
        self._header.CopyFrom(head.headers[0])
        self._number = head.first_writer_sequence
        self._data = bytearray(size)
        self.is_open = True


async def tail_buffer(
    tails: Tails, means: Means, caller: Principal, request: buffers_pb2.TailBufferRequest
) -> AsyncGenerator[buffers_pb2.TailBufferResponse, None]:
    """Serve one TailBuffer stream: each page of core is a message."""
    headers = Headers(request.document_form)
    pages = tails.follow(
        caller,
        parse_buffer(request.name),
        after=request.after_sequence,
        most=request.max_records,
        stop_at_end=request.stop_at_end,
        headers_only=request.headers_only,
        skip_trimmed=request.skip_trimmed,
        selection=selection_of(request),
        slow_reader=slow_reader_of(request.slow_reader),
    )
    async with contextlib.aclosing(pages):
        async for page in pages:
            yield _tail_message(page, headers, means.crc32c)


def _tail_message(page: Page, headers: Headers, crc32c: Checksum) -> buffers_pb2.TailBufferResponse:
    data = joined(page.records)
    message = buffers_pb2.TailBufferResponse(
        part_offset=page.records[0].offset if page.records else 0,
        crc32c=crc32c(data, 0) if len(data) else None,
        next_sequence=page.next_sequence,
        state=buffers_pb2.BUFFER_STATE_UNSPECIFIED if page.state is None else STATES[page.state],
        next_buffer=page.next_buffer,
        skipped_to_sequence=page.skipped_to,
    )
    add = message.headers.add
    for stored in page.records:
        headers.fill(add(), stored)
    return pack(message, data)


def joined(records: Sequence[StoredRecord]) -> Buffer:
    """Return the bytes of records, one after the other."""
    return records[0].record.data if len(records) == 1 else b"".join([stored.record.data for stored in records])
