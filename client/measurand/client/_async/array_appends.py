"""Rows added to the end of an array, once, whatever breaks on the way: A3 to A6 of the protocol, for one block."""

from __future__ import annotations

import contextlib
from dataclasses import replace

from measurand.chunks.grid import Grid
from measurand.chunks.selections import Part, parse, parts
from measurand.client import methods
from measurand.client._async.array_chunk_streams import AsyncChunkStream
from measurand.client._async.array_reads import fetch_chunk
from measurand.client._async.calls import AsyncCalls
from measurand.client._transport import aio
from measurand.client.array_encoding import encoded_parts
from measurand.client.array_facts import get_array
from measurand.client.array_layouts import Elements, Layout
from measurand.client.array_plans import extended
from measurand.client.hashing import Bytes
from measurand.v1 import arrays_pb2
from measurand.wire.errors import Conflict, MeasurandError, WriterFenced

__all__ = ["append_rows"]

PATIENCE = 60.0
"""So long an append waits for its turn, in seconds."""
LEAVINGS = 3


async def append_rows(
    calls: AsyncCalls, array: arrays_pb2.Array, layout: Layout, block: Elements, *, force: bool
) -> tuple[int, arrays_pb2.Array]:
    """Add a block of rows; they are durable and seen when this returns, all of them or none.

    Parameters
    ----------
    array : Array
        As it was seen last.
    force : bool
        Fence an appender that is at work.

    Returns
    -------
    int
        The first of the new rows.
    Array
        As it is then.

    Raises
    ------
    WriterFenced
        WRITER_FENCED: another appender is at work, and did not end within a minute; nothing was added.
    """
    tries = calls.tries(PATIENCE)
    while True:
        if array.growing and not force:
            error = WriterFenced(
                f"{layout.name}: an appender is at work; wait until it has ended, or append with force=True",
                resource=layout.name,
                epoch=array.append_epoch,
            )
        else:
            stream = AsyncChunkStream(calls, layout.name, uid=layout.uid, append=True)
            # Who took over since the array was looked at is not fenced unasked.
            stream.epoch = None if force else array.append_epoch
            first = -1
            try:
                first = await stream.open()
                await _add(calls, stream, layout, block, first)
                return first, await _leave(calls, stream, array, first + len(block))
            except WriterFenced as failure:
                error = failure
            except MeasurandError:
                with contextlib.suppress(MeasurandError):
                    await stream.finish()
                raise
            finally:
                await stream.close()
            if first >= 0:
                if "rows" not in error.details:  # nobody knows any more how far it came
                    raise error
                if int(error.details["rows"]) >= first + len(block):
                    return first, await calls.unary(methods.GET_ARRAY, get_array(layout.name))
        await calls.pause(tries, error)
        array = await calls.unary(methods.GET_ARRAY, get_array(layout.name))


async def _add(calls: AsyncCalls, stream: AsyncChunkStream, layout: Layout, block: Elements, first: int) -> None:
    """Write the chunks of the rows from `first` on, and show them."""
    chunk_shape = layout.grid.chunk_shape
    end = first + len(block)
    grown = replace(layout, grid=Grid((end, *layout.grid.shape[1:]), chunk_shape))
    begun, kept = divmod(first, chunk_shape[0])
    fresh: list[Part] = []
    for part in parts(parse((slice(first, None),), grown.grid.shape), grown.grid):
        if kept and part.index[0] == begun:
            await _extend(calls, stream, grown, part, block, kept)
        else:
            fresh.append(part)
    async with aio.ahead(encoded_parts(grown, fresh, block), depth=1) as chunks:
        async for index, data in chunks:
            await stream.write(index, data)
    await stream.grow(end)
    await stream.flush()


async def _leave(calls: AsyncCalls, stream: AsyncChunkStream, array: arrays_pb2.Array, rows: int) -> arrays_pb2.Array:
    """End the appender, so that nobody waits for it, and return the array as it is then. The rows are safe already."""
    try:
        for _ in range(LEAVINGS):
            await stream.finish()
            found = await calls.unary(methods.GET_ARRAY, get_array(array.name))
            if not found.growing or found.append_epoch != stream.epoch:
                return found
            await stream.open()  # the connection broke before the server heard of it
    except MeasurandError:  # not worth an error: who calls again would add the rows again
        pass
    seen = arrays_pb2.Array()
    seen.CopyFrom(array)
    seen.shape[0] = rows
    return seen


async def _extend(
    calls: AsyncCalls, stream: AsyncChunkStream, layout: Layout, part: Part, block: Elements, kept: int
) -> None:
    """Write a chunk anew with rows behind those it has, if nobody else has changed it meanwhile; else once more."""
    tries = calls.tries()
    while True:
        found = await fetch_chunk(calls, layout, part.index)
        data = await aio.in_thread(_extended, layout, part, block, found.data, kept)
        try:
            await stream.write(part.index, data, if_etag=found.etag)
            return await stream.flush()
        except WriterFenced:
            raise
        except Conflict as failure:
            error = failure
        await calls.pause(tries, error)


def _extended(layout: Layout, part: Part, block: Elements, data: Bytes | None, kept: int) -> Bytes:
    return layout.pipeline.encode(extended(layout, part, block, data, kept))
