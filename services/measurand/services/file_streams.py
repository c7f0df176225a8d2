"""The streams of the files service: a writer and its acknowledgements, many small files at once, many files read."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio

from measurand.core.file_documents import File, request_of
from measurand.core.limits import Limits
from measurand.core.names import parse_dataset, parse_upload
from measurand.core.principal import Principal
from measurand.core.reading_many import Frame, Quota, ReadingMany, Result
from measurand.core.small_files import SmallFile, SmallFiles
from measurand.core.upload_writer import Ack, UploadWriter
from measurand.core.uploading import Uploads
from measurand.services.file_messages import digests_of, file_message, optional, spec_of
from measurand.services.status import problem_of
from measurand.services.writing_streams import next_message
from measurand.v1 import files_pb2
from measurand.wire.codec import pack, unpack
from measurand.wire.errors import InvalidArgument, MeasurandError, NameInvalid, ShuttingDown, TooLarge

__all__ = ["check_data", "put_files", "read_files", "write_upload"]

_MOST_FRAMES = 256
_MOST_WAITING_FILES = 4000
_MOST_WAITING_BYTES = 16 * 1024 * 1024

_RESULTS = {result: files_pb2.FileResult.Value(f"FILE_RESULT_{result.name}") for result in Result}


def check_data(data: bytes | bytearray | memoryview, limits: Limits) -> None:
    """Raise TooLarge for a message with more bulk data than one may carry."""
    if len(data) > limits.max_data_bytes:
        raise TooLarge(
            f"{len(data)} bytes of data in one message; the most is {limits.max_data_bytes}",
            limit=limits.max_data_bytes,
            actual=len(data),
        )


async def write_upload(
    uploads: Uploads,
    limits: Limits,
    caller: Principal,
    context: grpc.aio.ServicerContext[Any, Any],
    draining: asyncio.Event,
) -> None:
    """Serve one WriteUpload stream: the newest stream is the writer (U4)."""
    first = await context.read()
    if first is grpc.aio.EOF:
        return
    head, data = unpack(first)
    upload_id = parse_upload(head.name)
    epoch = optional(head, "expected_epoch", head.expected_epoch)

    async def acknowledge(ack: Ack) -> None:
        await context.write(files_pb2.WriteUploadResponse(persisted_size=ack.persisted_size, epoch=ack.epoch))

    writer = await uploads.open_writer(caller, upload_id, epoch, acknowledge)
    try:
        await context.write(
            files_pb2.WriteUploadResponse(
                persisted_size=writer.upload.persisted_size,
                epoch=writer.upload.epoch,
                chunk_bytes=limits.preferred_chunk_bytes,
                window_bytes=limits.window_bytes,
            )
        )
        await _take_all(writer, head, data, context, draining)
        await writer.close()
        if draining.is_set():
            raise ShuttingDown("this server is going away; go on at another one", retry_seconds=0.2)
    finally:
        # A caller that has gone leaves what it sent: persisted, it need not be sent again.
        await asyncio.shield(asyncio.ensure_future(_let_go(uploads, writer)))


async def _let_go(uploads: Uploads, writer: UploadWriter) -> None:
    await writer.abandon()
    uploads.closed(writer)


async def _take_all(
    writer: UploadWriter,
    head: files_pb2.WriteUploadRequest,
    data: bytes | bytearray | memoryview,
    context: grpc.aio.ServicerContext[Any, Any],
    draining: asyncio.Event,
) -> None:
    """Hand chunk after chunk to the writer until the caller ends, or the server does."""
    stop = asyncio.ensure_future(draining.wait())
    try:
        while True:
            if head.name and head.name != writer.upload.name:
                raise NameInvalid(f"name: {head.name} is not the upload of this stream", field="name", name=head.name)
            if len(data) or head.flush or head.state_lookup:
                crc32c = optional(head, "crc32c", head.crc32c)
                await writer.take(head.offset, data, crc32c, flush=head.flush, state_lookup=head.state_lookup)
            message = await next_message(context, writer, stop)
            if message is None or message is grpc.aio.EOF:
                return
            head, data = unpack(message)
    finally:
        stop.cancel()


async def put_files(
    small_files: SmallFiles,
    limits: Limits,
    caller: Principal,
    context: grpc.aio.ServicerContext[Any, Any],
) -> None:
    """Serve one PutFiles stream: files are answered in groups, as they become durable."""
    parent = request_id = ""
    answers = _Answers(context)
    try:
        while (message := await context.read()) is not grpc.aio.EOF:
            head, data = unpack(message)
            if not parent:
                parent, request_id = str(parse_dataset(head.parent, field="parent")), head.request_id
            elif head.parent not in ("", parent):
                raise NameInvalid(f"parent: {head.parent} is not {parent}", field="parent", name=head.parent)
            check_data(data, limits)
            if sum(item.size for item in head.files) != len(data) or any(item.size < 0 for item in head.files):
                raise InvalidArgument(
                    f"the sizes of the files add up to {sum(item.size for item in head.files)} bytes, "
                    f"but there are {len(data)}",
                    field="files.size",
                )
            offset = 0
            for item in head.files:
                _begin(small_files, caller, parent, request_id, item, data[offset : offset + item.size], answers)
                offset += item.size
            await answers.room()
        await answers.finish()
    finally:
        answers.stop()


def _begin(
    small_files: SmallFiles,
    caller: Principal,
    parent: str,
    request_id: str,
    item: files_pb2.SmallFile,
    data: bytes | bytearray | memoryview,
    answers: _Answers,
) -> None:
    try:
        spec = spec_of(item.file, field="files.file.name")
        if str(spec.name.parent) != parent:
            raise NameInvalid(f"{spec.name} does not lie in {parent}", field="files.file.name", name=str(spec.name))
        promised = digests_of(item.checksums)
        request = request_of(request_id, spec, len(data), promised.crc32c, index=item.index)
        future = small_files.begin(caller, SmallFile(spec, data, promised, request))
    except MeasurandError as error:
        answers.refuse(item.index, error)
    else:
        answers.expect(item.index, len(data), future)


class _Answers:
    """Gathers the outcomes of files and sends those that are there together."""

    def __init__(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        self._context = context
        self._files = self._bytes = 0  # on their way
        self._settled = asyncio.Event()
        self._ready: list[files_pb2.PutFilesResult] = []
        self._changed = asyncio.Event()
        self._ended = False
        self._failure: BaseException | None = None  # a fault of the server, which ends the stream
        self._task = asyncio.create_task(self._send())

    def refuse(self, index: int, error: MeasurandError) -> None:
        self._ready.append(files_pb2.PutFilesResult(index=index, problem=problem_of(error)))
        self._changed.set()

    def expect(self, index: int, size: int, future: asyncio.Future[File]) -> None:
        self._files += 1
        self._bytes += size

        def done(finished: asyncio.Future[File]) -> None:
            self._files -= 1
            self._bytes -= size
            self._settled.set()
            if finished.cancelled():
                return
            error = finished.exception()
            if error is None:
                self._ready.append(files_pb2.PutFilesResult(index=index, file=file_message(finished.result())))
            elif isinstance(error, MeasurandError):
                self._ready.append(files_pb2.PutFilesResult(index=index, problem=problem_of(error)))
            else:
                self._failure = error
            self._changed.set()

        future.add_done_callback(done)

    async def room(self) -> None:
        """Wait until little enough is on its way for more to be taken."""
        while self._files > _MOST_WAITING_FILES or self._bytes > _MOST_WAITING_BYTES:
            self._settled.clear()
            await self._settled.wait()
        if self._task.done():
            await self._task

    async def finish(self) -> None:
        """Wait until every file has its outcome, and send the last ones."""
        while self._files:
            self._settled.clear()
            await self._settled.wait()
        self._ended = True
        self._changed.set()
        await self._task

    def stop(self) -> None:
        self._task.cancel()

    async def _send(self) -> None:
        while True:
            if self._failure is not None:
                raise self._failure
            if not self._ready:
                if self._ended:
                    return
                self._changed.clear()
                await self._changed.wait()
                await asyncio.sleep(0)  # the outcomes of one group come in one turn of the loop
                continue
            batch, self._ready = self._ready[:1000], self._ready[1000:]
            await self._context.write(files_pb2.PutFilesResponse(results=batch))


async def read_files(
    reading: ReadingMany, limits: Limits, caller: Principal, request: files_pb2.ReadFilesRequest
) -> AsyncIterator[files_pb2.ReadFilesResponse]:
    """Serve one ReadFiles stream: several small files travel in one message."""
    quota = Quota(request.max_file_bytes, request.max_bytes, request.max_files)
    summary = files_pb2.ReadFilesSummary()
    frames: list[files_pb2.FileFrame] = []
    pieces: list[bytes | bytearray | memoryview] = []
    size = 0
    async with contextlib.aclosing(reading.read(caller, list(request.names), quota)) as found:
        async for frame in found:
            if frames and (len(frames) == _MOST_FRAMES or size + len(frame.data) > limits.preferred_chunk_bytes):
                yield _response(frames, pieces)
                frames, pieces, size = [], [], 0
            frames.append(_frame_message(frame))
            if len(frame.data):
                pieces.append(frame.data)
                size += len(frame.data)
                summary.sent_bytes += len(frame.data)
            if frame.result is Result.OK:
                summary.ok_count += 1
            elif frame.result is not None:
                summary.failed_count += 1
    last = files_pb2.ReadFilesResponse(frames=frames, summary=summary)
    yield pack(last, pieces[0] if len(pieces) == 1 else b"".join(pieces))


def _response(
    frames: list[files_pb2.FileFrame], pieces: list[bytes | bytearray | memoryview]
) -> files_pb2.ReadFilesResponse:
    data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    return pack(files_pb2.ReadFilesResponse(frames=frames), data)


def _frame_message(frame: Frame) -> files_pb2.FileFrame:
    return files_pb2.FileFrame(
        name=frame.name,
        file=file_message(frame.file) if frame.file else None,
        size=len(frame.data),
        crc32c=frame.crc32c if len(frame.data) else None,
        result=_RESULTS[frame.result] if frame.result else files_pb2.FILE_RESULT_UNSPECIFIED,
        message=frame.message,
    )
