"""Chunks on their way down: decoded beside what still comes, and asked for again where a stream broke."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from measurand.chunks.selections import Part, Selection, parts
from measurand.client import methods, retries
from measurand.client._async.calls import AsyncCalls
from measurand.client._transport import aio
from measurand.client.array_layouts import Elements, Layout
from measurand.client.array_plans import box_of, place, result_of, shrunk
from measurand.client.chunk_parts import ChunkParts, Found, cut
from measurand.v1 import arrays_pb2
from measurand.wire.errors import ChecksumMismatch, Conflict, MeasurandError, SelectionInvalid, Unavailable

__all__ = ["fetch_chunk", "fetch_chunks", "read_selection", "written_chunks"]

SMALL = 2 << 20
"""A chunk of at most so many bytes comes alone by one call."""
LANES = 4
"""Large readings go over so many streams at a time, where there are processors for them."""
LANE_BYTES = 8 << 20
"""Each of them brings at least so much."""
LARGEST_BYTES = 32 << 20
"""Chunks that large come over one stream: a few of them fill the memory."""
AHEAD_BYTES = 8 << 20
"""So much waits to be decoded, in each of them."""
MOST_DAMAGED = 5


async def read_selection(calls: AsyncCalls, layout: Layout, selection: Selection, out: Any = None) -> Any:
    """Return the elements of a selection as numpy would; `out` is filled with them if it is given."""
    filled, box = box_of(layout, selection, out)
    wanted = {part.index: part for part in parts(selection, layout.grid)} if filled.size else {}
    try:
        if len(wanted) == 1 and layout.chunk_bytes <= SMALL:
            (part,) = wanted.values()
            place(layout, box, part, (await fetch_chunk(calls, layout, part.index)).data)
        elif wanted:
            await _read_parts(calls, layout, wanted, box)
    except SelectionInvalid as error:
        raise shrunk(layout) from error
    return result_of(filled, selection)


async def _read_parts(calls: AsyncCalls, layout: Layout, wanted: dict[tuple[int, ...], Part], box: Elements) -> None:
    size = layout.chunk_bytes or 1
    lanes = max(1, min(LANES, os.cpu_count() or 1, len(wanted) * size // LANE_BYTES, LARGEST_BYTES // size))

    async def read(indexes: Sequence[tuple[int, ...]]) -> None:
        async with aio.Behind(max(2, min(64, AHEAD_BYTES // size))) as hands:
            async with aclosing(fetch_chunks(calls, layout, indexes)) as chunks:
                async for found in chunks:
                    await hands.put(place, layout, box, wanted[found.index], found.data)
            await hands.drain()

    await aio.parallel(read, cut([*wanted], lanes), bound=lanes)


async def fetch_chunks(
    calls: AsyncCalls, layout: Layout, indexes: Sequence[tuple[int, ...]]
) -> AsyncGenerator[Found, None]:
    """Yield encoded chunks, each once, in any order; a broken stream is opened again for those that are missing.

    Parameters
    ----------
    indexes : sequence of tuple of int
        Which chunks; at most 30,000 numbers.

    Raises
    ------
    Conflict
        ETAG_MISMATCH: the name stands for another array now.
    NotFound
        RESOURCE_NOT_FOUND: the array was removed.
    """
    if not layout.grid.shape:  # an empty index in a stream could be no chunk or the only one
        yield await fetch_chunk(calls, layout, ())
        return
    transport = await calls.transport()
    tries = calls.tries()
    left = dict.fromkeys(indexes)
    damaged = 0
    while left:
        request = arrays_pb2.ReadArrayChunksRequest(name=layout.name, uid=layout.uid)
        for index in left:
            request.indexes.extend(index)
        parts_of = ChunkParts(layout.name)
        try:
            async with aclosing(transport.stream(methods.READ_ARRAY_CHUNKS, request)) as answers:
                async for answer in answers:
                    found = parts_of.add(answer) if answer.head.index else None
                    if found is not None and found.index in left:
                        del left[found.index]
                        tries.progress()
                        yield found
            if left:
                raise Unavailable(f"{layout.name}: the stream ended before {len(left)} of its chunks", transport="OK")
        except MeasurandError as failure:
            error = failure
        else:
            return
        damaged += isinstance(error, ChecksumMismatch)
        if not retries.may_reopen(error) or damaged == MOST_DAMAGED:
            raise error
        await calls.pause(tries, error)


async def fetch_chunk(calls: AsyncCalls, layout: Layout, index: Sequence[int]) -> Found:
    """Return an encoded chunk by one call, or by as many as it has parts of 2 MiB. Errors: as `fetch_chunks`."""
    tries = calls.tries(calls.deadlines.read)
    while True:
        parts_of = ChunkParts(layout.name)
        request = arrays_pb2.ReadArrayChunkRequest(name=layout.name, index=index, uid=layout.uid)
        try:
            while (found := parts_of.add(await calls.unary(methods.READ_ARRAY_CHUNK, request))) is None:
                request.part_offset, request.chunk_etag = parts_of.size, parts_of.etag
        except (ChecksumMismatch, Conflict) as failure:
            # After the first part: the chunk was written anew, or the array is another now; the next try will tell.
            if isinstance(failure, Conflict) and not request.part_offset:
                raise
            error = failure
        else:
            return replace(found, index=tuple(index))
        await calls.pause(tries, error)


async def written_chunks(calls: AsyncCalls, layout: Layout) -> list[tuple[int, ...]]:
    """Return the index of every chunk that was written, in C order."""
    request = arrays_pb2.ListArrayChunksRequest(name=layout.name, uid=layout.uid, page_size=10_000)
    found: list[tuple[int, ...]] = []
    while True:
        page = await calls.unary(methods.LIST_ARRAY_CHUNKS, request)
        found += [tuple(chunk.index) for chunk in page.chunks]
        request.page_token = page.next_page_token
        if not page.next_page_token:
            return found
