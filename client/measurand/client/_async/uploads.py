"""Files on their way up: small ones in one call, larger ones as uploads that go on where they were."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from measurand.client import methods, names
from measurand.client._async.calls import AsyncCalls
from measurand.client._async.upload_streams import AsyncUploadStream
from measurand.client._transport import aio
from measurand.client.hashing import Bytes, crc32c, digest
from measurand.client.journal import Journal
from measurand.client.progress import Meter
from measurand.client.sources import FileSource, Source, StreamSource
from measurand.client.storage import Storage, storage_message
from measurand.v1 import common_pb2, files_pb2
from measurand.wire.codec import Bulk
from measurand.wire.errors import (
    DataLoss,
    DigestMismatch,
    FailedPrecondition,
    MeasurandError,
    NotFound,
    WriterFenced,
)

__all__ = ["SMALL", "file_spec", "put_small", "send_source", "start_upload"]

SMALL = 1 << 20
"""Files up to this size go in one call."""
READ_AHEAD = 4
"""So many chunks are read and hashed before they are needed."""


def file_spec(
    name: str,
    *,
    content_type: str = "",
    attributes: Mapping[str, str] | None = None,
    if_generation: int | None = None,
    storage: str | Storage | None = None,
) -> files_pb2.FileSpec:
    """Return what a new file shall be."""
    policy = None if storage is None else storage_message(storage)
    spec = files_pb2.FileSpec(name=name, content_type=content_type, attributes=attributes, storage_policy=policy)
    if if_generation is not None:
        spec.if_generation = if_generation
    return spec


async def put_small(calls: AsyncCalls, spec: files_pb2.FileSpec, data: Bytes) -> files_pb2.File:
    """Store a small file in one call."""
    checksums = common_pb2.Checksums(crc32c=crc32c(data), blake3=digest(data))
    head = files_pb2.PutFileRequest(file=spec, checksums=checksums, request_id=names.request_id())
    return await calls.unary(methods.PUT_FILE, Bulk(head, data))


async def start_upload(calls: AsyncCalls, spec: files_pb2.FileSpec, size: int | None) -> files_pb2.Upload:
    """Begin an upload."""
    request = files_pb2.CreateUploadRequest(file=spec, request_id=names.request_id())
    if size is not None:
        request.size = size
    return await calls.unary(methods.CREATE_UPLOAD, request)


async def send_source(calls: AsyncCalls, spec: files_pb2.FileSpec, source: Source, meter: Meter) -> files_pb2.File:
    """Store whatever the source holds; a file of this machine goes on where an earlier run of the program was."""
    if not isinstance(source, StreamSource) and source.size is not None and source.size <= SMALL:
        data = await aio.in_thread(source.read_whole)
        stored = await put_small(calls, spec, data)
        meter.add(len(data))
        return stored
    journal = Journal.of(str(calls.address), spec.name, source) if isinstance(source, FileSource) else None
    upload, takes_over = await _resume_or_start(calls, spec, source, journal)
    if upload.state == files_pb2.UPLOAD_STATE_COMMITTED:
        meter.add(upload.committed_file.size)
    else:
        try:
            upload.committed_file.CopyFrom(await _send(calls, upload, source, meter, takes_over=takes_over))
        except WriterFenced:  # the other writer goes on with it
            raise
        except (DigestMismatch, FailedPrecondition, DataLoss):  # these bytes will never become that file
            await _abandon(calls, upload.name)
            if journal is not None:
                journal.remove()
            raise
    if journal is not None:
        await aio.in_thread(journal.remove)
    return upload.committed_file


async def _send(
    calls: AsyncCalls, upload: files_pb2.Upload, source: Any, meter: Meter, *, takes_over: bool
) -> files_pb2.File:
    stream = AsyncUploadStream(calls, upload, takes_over=takes_over, tell=meter.add)
    try:
        meter.add(stream.replay.persisted_size)
        start = await stream.open()
        async with aio.ahead(source.chunks(start, stream.chunk_bytes), depth=READ_AHEAD) as chunks:
            async for chunk in chunks:
                await stream.write(chunk)
        return await stream.commit(source.digest.hexdigest())
    finally:
        await stream.close()


async def _resume_or_start(
    calls: AsyncCalls, spec: files_pb2.FileSpec, source: Source, journal: Journal | None
) -> tuple[files_pb2.Upload, bool]:
    """Return the upload to go on with, and whether an earlier run began it."""
    begun = await aio.in_thread(journal.read) if journal is not None else None
    if begun is not None:
        name, is_unchanged = begun
        try:
            upload = await calls.unary(methods.GET_UPLOAD, files_pb2.GetUploadRequest(name=name))
        except NotFound:  # expired, or another server's
            upload = None
        if upload is not None and is_unchanged and upload.file == spec:
            if upload.state in (files_pb2.UPLOAD_STATE_OPEN, files_pb2.UPLOAD_STATE_COMMITTED):
                return upload, True
        elif upload is not None and upload.state == files_pb2.UPLOAD_STATE_OPEN:
            await _abandon(calls, name)
    upload = await start_upload(calls, spec, source.size)
    if journal is not None:
        await aio.in_thread(journal.write, upload.name)
    return upload, False


async def _abandon(calls: AsyncCalls, name: str) -> None:
    """Throw an upload away; if that fails, it expires."""
    with contextlib.suppress(MeasurandError):
        await calls.unary(methods.ABORT_UPLOAD, files_pb2.AbortUploadRequest(name=name))
