"""Chunks on their way up: whole ones in one stream, parts of one by reading, changing and writing it back."""

from __future__ import annotations

from measurand.chunks.selections import Part, Selection, parts
from measurand.client import methods
from measurand.client._async.array_chunk_streams import AsyncChunkStream
from measurand.client._async.array_reads import fetch_chunk
from measurand.client._async.calls import AsyncCalls
from measurand.client._transport import aio
from measurand.client.array_encoding import encoded_parts
from measurand.client.array_layouts import Elements, Layout
from measurand.client.array_plans import changed, renews, shrunk
from measurand.client.hashing import Bytes, crc32c
from measurand.v1 import arrays_pb2
from measurand.wire.codec import Bulk
from measurand.wire.errors import Conflict, SelectionInvalid

__all__ = ["write_selection", "write_whole"]

SMALL = 2 << 20
"""A chunk of at most so many bytes is written by one call."""
PARALLEL = 8
"""So many chunks are read, changed and written at a time."""
PARALLEL_BYTES = 64 << 20
"""And so much of them in all."""


async def write_whole(calls: AsyncCalls, layout: Layout, box: Elements, selection: Selection) -> None:
    """Write a box of which every chunk is new: to an array that nobody else can write to."""
    await _send(calls, layout, [*parts(selection, layout.grid)], box)


async def write_selection(calls: AsyncCalls, layout: Layout, box: Elements, selection: Selection) -> None:
    """Write a box to where it was selected. Durable when it returns; each chunk changes in one step.

    Chunks that are covered are written without reading. Of the others everything else stays, whoever writes to them at
    the same time.
    """
    if not box.size:
        return
    whole: list[Part] = []
    partial: list[Part] = []
    for part in parts(selection, layout.grid):
        # What lies beyond the shape that we know of may have become part of the array since: it stays, too.
        (whole if renews(part, layout.grid) else partial).append(part)

    async def change(part: Part) -> None:
        await _change(calls, layout, part, box)

    try:
        await _send(calls, layout, whole, box)
        if partial:
            bound = max(1, min(PARALLEL, PARALLEL_BYTES // (layout.chunk_bytes or 1)))
            await aio.parallel(change, partial, bound=bound)
    except SelectionInvalid as error:
        raise shrunk(layout) from error


async def _send(calls: AsyncCalls, layout: Layout, whole: list[Part], box: Elements) -> None:
    """Write chunks anew, whatever they were."""
    if len(whole) == 1 and layout.chunk_bytes < SMALL:
        await _put(calls, layout, whole[0].index, await aio.in_thread(_encoded, layout, whole[0], box, None), None)
    elif whole:
        stream = AsyncChunkStream(calls, layout.name, uid=layout.uid)
        try:
            async with aio.ahead(encoded_parts(layout, whole, box), depth=1) as chunks:
                async for index, data in chunks:
                    await stream.write(index, data)
            await stream.flush()
        finally:
            await stream.close()


async def _change(calls: AsyncCalls, layout: Layout, part: Part, box: Elements) -> None:
    """Read a chunk, change a part of it, and write it if nobody else has meanwhile; else once more."""
    tries = calls.tries()
    while True:
        found = await fetch_chunk(calls, layout, part.index)
        data = await aio.in_thread(_encoded, layout, part, box, found.data)
        try:
            return await _put(calls, layout, part.index, data, found.etag)
        except Conflict as failure:
            error = failure
        # The next look at the chunk tells whether it was another writer of it, or the array is another.
        await calls.pause(tries, error)


async def _put(calls: AsyncCalls, layout: Layout, index: tuple[int, ...], data: Bytes, if_etag: str | None) -> None:
    """Write one encoded chunk: by one call, or in parts if it is large."""
    if len(data) > SMALL:
        stream = AsyncChunkStream(calls, layout.name, uid=layout.uid)
        try:
            await stream.write(index, data, if_etag=if_etag)
            await stream.flush()
        finally:
            await stream.close()
        return
    head = arrays_pb2.WriteArrayChunkRequest(name=layout.name, uid=layout.uid, index=index, crc32c=crc32c(data))
    if if_etag is not None:
        head.if_chunk_etag = if_etag
    await calls.unary(methods.WRITE_ARRAY_CHUNK, Bulk(head, data))


def _encoded(layout: Layout, part: Part, box: Elements, data: Bytes | None) -> Bytes:
    return layout.pipeline.encode(changed(layout, part, box, data))
