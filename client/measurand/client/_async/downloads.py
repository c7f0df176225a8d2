"""Bytes on their way down: checked as they come, and asked for again from where a stream broke."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

from measurand.client import methods, retries
from measurand.client._async.calls import AsyncCalls
from measurand.client._transport import aio
from measurand.client.hashing import crc32c
from measurand.client.parts import Part
from measurand.client.progress import Meter
from measurand.v1 import files_pb2
from measurand.wire.codec import Bulk
from measurand.wire.errors import ChecksumMismatch, DigestMismatch, MeasurandError, Unavailable

__all__ = ["check_chunk", "download_to", "read_on", "read_part"]

FIRST_READ = 1 << 20
"""So much comes with the first call, which is all of a small file."""
WRITE_BEHIND = 8
MOST_DAMAGED = 5


async def read_on(
    calls: AsyncCalls, name: str, *, generation: int, offset: int, end: int
) -> AsyncGenerator[memoryview, None]:
    """Yield the bytes of one generation of a file from `offset` to `end`, in order and without gaps."""
    transport = await calls.transport()
    tries = calls.tries()
    damaged = 0
    while offset < end:
        request = files_pb2.ReadFileRequest(name=name, generation=generation, offset=offset, length=end - offset)
        try:
            async with aclosing(transport.stream(methods.READ_FILE, request)) as answers:
                async for answer in answers:
                    data = check_chunk(name, answer, offset)
                    if data:
                        tries.progress()
                        offset += len(data)
                        yield data
            if offset < end:
                raise Unavailable(f"{name}: the stream ended at {offset} of {end}", transport="OK")
        except MeasurandError as failure:
            error = failure
        else:
            return
        damaged += isinstance(error, ChecksumMismatch)
        if not retries.may_reopen(error) or damaged == MOST_DAMAGED:
            raise error
        await calls.pause(tries, error)


async def read_part(
    calls: AsyncCalls, name: str, *, generation: int = 0, offset: int = 0, length: int = FIRST_READ
) -> tuple[files_pb2.File, memoryview]:
    """Return at most 2 MiB of a file, and what it is, by one call. A negative offset counts from the end."""
    request = files_pb2.ReadFileChunkRequest(name=name, generation=generation, offset=offset, length=length)
    tries = calls.tries(calls.deadlines.read)
    while True:
        answer = await calls.unary(methods.READ_FILE_CHUNK, request)
        try:
            return answer.head.file, check_chunk(name, answer, None)
        except ChecksumMismatch as failure:
            error = failure
        await calls.pause(tries, error)


def check_chunk(name: str, answer: Bulk[files_pb2.ReadFileResponse], offset: int | None) -> memoryview:
    """Return the bytes of an answer, proven to be the right ones, or raise ChecksumMismatch."""
    head, data = answer
    view = memoryview(data)
    if view.nbytes and offset is not None and head.offset != offset:
        raise ChecksumMismatch(f"{name}: bytes came from {head.offset}, but {offset} was next", offset=head.offset)
    if view.nbytes and crc32c(view) != head.crc32c:
        raise ChecksumMismatch(f"{name}: bytes from {head.offset} on were damaged on their way", offset=head.offset)
    return view


async def download_to(calls: AsyncCalls, file: files_pb2.File, target: Path, meter: Meter) -> None:
    """Write a file of the store to a path: durable, whole and verified when this returns, or not there at all.

    Raises
    ------
    DigestMismatch
        DIGEST_MISMATCH: what came has another digest; nothing is left behind.
    """
    part = Part(target, file)
    try:
        for is_last in (False, True):
            await aio.in_thread(part.open)
            meter.add(part.size)
            async with aio.Behind(WRITE_BEHIND) as disk:
                pieces = read_on(calls, file.name, generation=file.generation, offset=part.size, end=file.size)
                async with aclosing(pieces):
                    async for data in pieces:
                        await disk.put(part.write, data)
                        meter.add(len(data))
                await disk.drain()
            try:
                return await aio.in_thread(part.finish)
            except DigestMismatch:
                # What an earlier run left may have been damaged by a power cut: once more from the beginning.
                await aio.in_thread(part.discard)
                if is_last or not part.was_resumed:
                    raise
                meter.add(-file.size)
    finally:
        part.close()
