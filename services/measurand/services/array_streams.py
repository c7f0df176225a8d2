"""The stream of a writer of chunks, and its acknowledgements."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc.aio

from measurand.core.arrays.writers import Ack, ArrayWriter
from measurand.core.arrays.writing import Writing
from measurand.core.limits import Limits
from measurand.core.names import parse_array
from measurand.core.ports import Buffer
from measurand.core.principal import Principal
from measurand.services.array_messages import ack_message
from measurand.services.file_messages import optional
from measurand.services.file_streams import check_data
from measurand.services.writing_streams import next_message
from measurand.v1 import arrays_pb2
from measurand.wire.codec import unpack
from measurand.wire.errors import InvalidArgument, NameInvalid, ShuttingDown, SizeMismatch

__all__ = ["write_chunks"]


async def write_chunks(
    writing: Writing,
    limits: Limits,
    caller: Principal,
    context: grpc.aio.ServicerContext[Any, Any],
    draining: asyncio.Event,
) -> None:
    """Serve one WriteArrayChunks stream."""
    message = await context.read()
    if message is grpc.aio.EOF:
        return
    head, data = unpack(message)
    if head.HasField("expected_epoch") and not head.append:
        raise InvalidArgument("expected_epoch: only an appender has an epoch; set append", field="expected_epoch")

    async def acknowledge(ack: Ack) -> None:
        await context.write(ack_message(ack))

    writer = await writing.open(
        caller,
        parse_array(head.name),
        head.uid,
        acknowledge,
        append=head.append,
        expected_epoch=optional(head, "expected_epoch", head.expected_epoch),
    )
    is_complete = False
    try:
        await context.write(ack_message(writer.opening, window_bytes=limits.window_bytes))
        await _take_all(writer, limits, head, data, context, draining)
        try:
            await writer.close(is_complete=True)
            is_complete = True
        except SizeMismatch:  # in the middle of a chunk; that is no fault of the caller's where the server ends it
            if not draining.is_set():
                raise
        if draining.is_set():
            raise ShuttingDown("this server is going away; go on at another one", retry_seconds=0.2)
    finally:
        if not is_complete:
            await asyncio.shield(asyncio.ensure_future(writer.close(is_complete=False)))


async def _take_all(
    writer: ArrayWriter,
    limits: Limits,
    head: arrays_pb2.WriteArrayChunksRequest,
    data: Buffer,
    context: grpc.aio.ServicerContext[Any, Any],
    draining: asyncio.Event,
) -> None:
    """Hand message after message to the writer until the caller ends, or the server does."""
    name, uid = head.name, head.uid
    stop = asyncio.ensure_future(draining.wait())
    try:
        while True:
            if head.name not in ("", name):
                raise NameInvalid(f"name: {head.name} is not the array of this stream", field="name", name=head.name)
            if head.uid not in ("", uid):
                raise InvalidArgument(f"uid: {head.uid} is not the array of this stream", field="uid")
            check_data(data, limits)
            await _take(writer, head, data)
            message = await next_message(context, writer, stop)
            if message is None or message is grpc.aio.EOF:
                return
            head, data = unpack(message)
    finally:
        stop.cancel()


async def _take(writer: ArrayWriter, head: arrays_pb2.WriteArrayChunksRequest, data: Buffer) -> None:
    """Hand a message to the writer: first its chunk, or the part of one, then its steps."""
    if len(data) or head.index or head.remove or head.chunk_size:
        await writer.take(
            head.sequence,
            tuple(head.index),
            data,
            optional(head, "crc32c", head.crc32c),
            if_etag=head.if_chunk_etag if head.HasField("if_chunk_etag") else None,
            remove=head.remove,
            chunk_size=head.chunk_size,
            part_offset=head.part_offset,
        )
    if head.HasField("grow_to"):
        await writer.grow_to(head.sequence, head.grow_to)
    if head.flush:
        await writer.flush(head.sequence)
