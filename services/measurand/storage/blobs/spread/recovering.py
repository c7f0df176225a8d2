"""How far a staged blob goes whose writer died: found out from the headers of its frames."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from measurand.core.blob_rules import closing
from measurand.core.containers.placements import Part, Placement, Segment
from measurand.core.containers.stripes import HEADER_BYTES, piece_bytes
from measurand.core.means import Means
from measurand.core.ports import Blob, BlobStore
from measurand.storage.blobs.spread.calling import Calling
from measurand.storage.blobs.spread.frames import Frames
from measurand.storage.blobs.spread.shortage import shortage
from measurand.wire.errors import MeasurandError

__all__ = ["recovered"]

HeaderAt = Callable[[int], Awaitable[tuple[int, int] | None]]
"""Returns the number and the size of the stripe whose frame begins there, or None."""


async def recovered(placement: Placement, size: int, calling: Calling, means: Means) -> Sequence[Segment]:
    """Return the segments of a staged blob, the last one as far as it is needed for `size` bytes, or as there is.

    Notes
    -----
    What was acknowledged lies in enough parts; behind it there may be more in some of them, whole or torn. Parts can be
    read only when they are finished, so all are finished as long as they are; nobody writes to them any more.
    """
    last = len(placement.segments) - 1
    parts = [part for part in placement.parts_of(last) if part.index not in placement.missing]
    found = await asyncio.gather(*(_finish(calling, part) for part in parts))
    errors = [one for one in found if isinstance(one, MeasurandError)]
    sizes = sorted(((one, part) for one, part in zip(found, parts, strict=True) if isinstance(one, int)), key=_size)
    if len(sizes) < placement.data_parts:
        raise shortage(errors, placement.data_parts, len(sizes))
    there, _ = sizes[-placement.data_parts]
    base = sum(segment.size for segment in placement.segments[:-1])
    frames = Frames(
        placement.uid,
        last,
        base,
        data_parts=placement.data_parts,
        parity_parts=placement.parity_parts,
        crc32c=means.crc32c,
    )

    async def header_at(offset: int) -> tuple[int, int] | None:
        """Ask one part after the other: some may be damaged, or go away meanwhile."""
        failures: list[MeasurandError] = []
        asked = [(size, part) for size, part in reversed(sizes) if offset + HEADER_BYTES <= min(size, there)]
        for size, part in asked:
            try:
                header = await calling.in_time(
                    part.container, "read", HEADER_BYTES, partial(_read, part, size, offset), can_wait=lambda: False
                )
            except MeasurandError as error:
                failures.append(error)
                continue
            if (found := frames.stripe_of(header)) is not None:
                return found
        if asked and len(failures) == len(asked):
            raise shortage(failures, placement.data_parts, 0)
        return None

    segment = await _walked(header_at, size - base, there, placement)
    return (*placement.segments[:-1], segment)


async def _walked(header_at: HeaderAt, wanted: int, there: int, placement: Placement) -> Segment:
    """Go from frame to frame until `wanted` bytes are covered or whole frames end."""
    whole = placement.data_parts * placement.unit
    frame = HEADER_BYTES + placement.unit
    number = offset = frame_end = 0
    shorts: list[tuple[int, int]] = []
    while offset < wanted:
        # Whole frames have one size: if the header of stripe number + n stands n frames further, all between are whole.
        low, high = 0, max((there - frame_end) // frame, 0)
        while low < high:
            middle = (low + high + 1) // 2
            found = await header_at(frame_end + middle * frame)
            low, high = (middle, high) if found and found[0] == number + middle else (low, middle - 1)
        number, offset, frame_end = number + low, offset + low * whole, frame_end + low * frame
        found = await header_at(frame_end)
        if found is None or found[0] != number:
            break
        end = frame_end + HEADER_BYTES + piece_bytes(found[1], placement.data_parts)
        if end > there:
            break
        if found[1] != whole:
            shorts.append(found)
        number, offset, frame_end = number + 1, offset + found[1], end
    return Segment(offset, frame_end, tuple(shorts))


async def _finish(calling: Calling, part: Part) -> int | MeasurandError:
    """Finish a part with all that is there of it, and return its size."""

    async def finish(store: BlobStore) -> int:
        async with closing(store.scan(part.key)) as blobs:
            async for blob in blobs:
                if blob.key == part.key and blob.staged:
                    await store.finish(part.key, blob.size)
        return (await store.stat(part.key)).size

    try:
        return await calling.in_time(part.container, "write", 0, finish, can_wait=lambda: False)
    except MeasurandError as error:
        return error


async def _read(part: Part, size: int, offset: int, store: BlobStore) -> bytes:
    async with closing(store.open(Blob(part.key, size), offset, HEADER_BYTES)) as chunks:
        return b"".join([bytes(chunk) async for chunk in chunks])


def _size(found: tuple[int, Part]) -> int:
    return found[0]
