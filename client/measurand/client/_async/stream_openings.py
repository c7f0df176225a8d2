"""How a stream of frames begins: its array is made or found, and it is seen which frames are there."""

from __future__ import annotations

from itertools import product

from measurand.client import methods, names
from measurand.client._async.array_reads import fetch_chunk, written_chunks
from measurand.client._async.calls import AsyncCalls
from measurand.client._transport import aio
from measurand.client.frame_chunks import FrameChunks
from measurand.client.frames import FixedFrames, GrowingFrames, Prefix
from measurand.client.stream_plans import StreamPlan
from measurand.v1 import arrays_pb2
from measurand.wire.errors import AlreadyExists, NotFound

__all__ = ["frames_left", "made_or_found"]


async def made_or_found(calls: AsyncCalls, plan: StreamPlan, *, may_exist: bool, patience: float) -> arrays_pb2.Array:
    """Return the array of a stream.

    Parameters
    ----------
    may_exist : bool
        It is gone on with if it is there.
    patience : float
        The server counts as away after so many seconds.

    Raises
    ------
    AlreadyExists
        RESOURCE_EXISTS: it is there, and was not to be gone on with.
    Conflict
        ETAG_MISMATCH: it is there, and has other frames.
    """
    find = arrays_pb2.GetArrayRequest(name=plan.name)
    if may_exist:
        try:
            array = await calls.unary(methods.GET_ARRAY, find, patience=patience)
        except NotFound:  # or the dataset is not there: making the array will say so
            pass
        else:
            plan.check(array)
            return array
    parent, _, array_id = plan.name.partition("/arrays/")
    make = arrays_pb2.CreateArrayRequest(
        parent=parent, array_id=array_id, array=plan.array, request_id=names.request_id()
    )
    try:
        return await calls.unary(methods.CREATE_ARRAY, make, patience=patience)
    except AlreadyExists as error:
        if not may_exist:
            raise AlreadyExists(
                f"{plan.name} is there already; go on with it by resume=True, or give the stream another name",
                resource=plan.name,
            ) from error
    array = await calls.unary(methods.GET_ARRAY, find, patience=patience)
    plan.check(array)
    return array


async def frames_left(
    calls: AsyncCalls, plan: StreamPlan, chunks: FrameChunks, rows: int, *, is_asked: bool
) -> tuple[GrowingFrames | FixedFrames, Prefix]:
    """Return what puts the frames to come together, and which frames are there.

    Parameters
    ----------
    rows : int
        Of an array that grows: so many can be seen.
    is_asked : bool
        Somebody wants to know which frames of a fixed array are there; it costs a listing.
    """
    if plan.length is not None:
        fixed = FixedFrames(plan.length, chunks.frames_shape)
        return fixed, await _written(calls, plan, chunks) if is_asked else Prefix()
    (size,) = chunks.frames_shape
    growing = GrowingFrames(size, rows)
    if growing.edge_rows:
        first = growing.edge_rows.start
        block = (first // size,)
        found = {index: (await fetch_chunk(calls, chunks.layout, index)).data for index in [*chunks.indexes(block)]}
        stored = await aio.in_thread(chunks.frames_of, found, block)
        for row in growing.edge_rows:
            growing.restore(row, stored[row - first])
    return growing, Prefix(rows)


async def _written(calls: AsyncCalls, plan: StreamPlan, chunks: FrameChunks) -> Prefix:
    """Return which frames of a fixed array are there: those of which all chunks were written."""
    prefix, shape = Prefix(), chunks.frames_shape
    counts: dict[tuple[int, ...], int] = {}
    for index in await written_chunks(calls, chunks.layout):
        block = index[: len(shape)]
        counts[block] = counts.get(block, 0) + 1
    for block, count in counts.items():
        if count < chunks.frame_grid.size:
            continue
        for within in product(*map(range, shape)):
            place = tuple(at * length + inner for at, length, inner in zip(block, shape, within, strict=True))
            if all(at < length for at, length in zip(place, plan.lengths, strict=True)):
                prefix.add(plan.flat(place))
    return prefix
