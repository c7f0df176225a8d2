"""Plain elements written into arrays, for callers that know no Zarr: the server decodes, changes and encodes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from math import prod
from weakref import WeakValueDictionary

from measurand.chunks.selections import Part, Selection, parts
from measurand.core.arrays.arrays import Arrays
from measurand.core.arrays.blocks import Index
from measurand.core.arrays.chunk_writes import ChunkWrite
from measurand.core.arrays.committing import Commits
from measurand.core.arrays.documents import Array
from measurand.core.arrays.elements import Elements, Region, element_bytes
from measurand.core.arrays.reading import ChunkReading
from measurand.core.arrays.selecting import Key, axes_of, select_within
from measurand.core.arrays.slabs import count_met
from measurand.core.arrays.writers import check_index
from measurand.core.files import DatasetGate
from measurand.core.means import Means
from measurand.core.names import ArrayName
from measurand.core.ports import Buffer
from measurand.core.principal import Principal
from measurand.wire.errors import ChecksumMismatch, Conflict, Contention, SizeMismatch, TooLarge

__all__ = ["ElementWriting", "touched_parts"]

_MOST_CHUNKS = 10_000
_WRITES_AT_ONCE = 8
_TRIES = 60


class ElementWriting:
    """Writes elements into regions."""

    def __init__(
        self,
        datasets: DatasetGate,
        arrays: Arrays,
        reading: ChunkReading,
        commits: Commits,
        elements: Elements,
        means: Means,
    ) -> None:
        self._datasets = datasets
        self._arrays = arrays
        self._reading = reading
        self._commits = commits
        self._elements = elements
        self._means = means
        self._turns: WeakValueDictionary[tuple[str, Index], asyncio.Lock] = WeakValueDictionary()

    async def write(
        self, principal: Principal, name: ArrayName, key: Key, data: Buffer, crc32c: int | None = None
    ) -> int:
        """Write elements, and return how many chunks were changed. Durable when it returns.

        Each chunk changes in one step and keeps what others wrote into its other elements; the region as a whole does
        not change in one step.

        Parameters
        ----------
        data : buffer
            The elements in C order, little-endian; or a single one, which is written everywhere.

        Raises
        ------
        SelectionInvalid
            SELECTION_INVALID: it reaches beyond the array. Nothing was written.
        SizeMismatch
            SIZE_MISMATCH: the bytes are neither as many as the selection has, nor one element.
        ChecksumMismatch
            CHECKSUM_MISMATCH: they arrived damaged; send them again.
        Sealed
            DATASET_SEALED.
        """
        if crc32c is not None and (actual := self._means.crc32c(data, 0)) != crc32c:
            raise ChecksumMismatch(
                f"{name}: the elements arrived damaged; send them again",
                offset=0,
                expected=f"{crc32c:08x}",
                actual=f"{actual:08x}",
            )
        await self._datasets.require_open(principal, name.parent)
        array = await self._arrays.require(principal, name)
        selection = select_within(array, key)
        item = element_bytes(array)
        expected = prod(selection.box_shape) * item
        if len(data) not in (expected, item):
            raise SizeMismatch(
                f"{name}: the selection has {expected} bytes, and an element has {item}; {len(data)} came",
                expected=expected,
                actual=len(data),
            )
        touched = touched_parts(array, selection)
        region = self._elements.region(array, selection.box_shape, data)
        lane = asyncio.Semaphore(_WRITES_AT_ONCE)

        async def change(part: Part) -> None:
            async with lane:
                await self._change(principal, array, region, part)

        tasks = [asyncio.ensure_future(change(part)) for part in touched]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        return len(touched)

    async def _change(self, principal: Principal, array: Array, region: Region, part: Part) -> None:
        """Write one chunk: blindly if nothing of it stays, else on condition that nobody else has changed it."""
        if _is_whole(part, array):
            await self._store(array, region, part, None, None)
            return
        # Writers in this process take turns; those elsewhere are found out by the chunk's etag.
        async with self._turns.setdefault((array.uid, part.index), asyncio.Lock()):
            for number in range(_TRIES):
                stored = await self._reading.one(array, part.index)
                try:
                    await self._store(array, region, part, stored.data, stored.etag)
                except Conflict as error:
                    if error.reason != Conflict.reason:
                        raise
                    await self._arrays.require(principal, array.name, array.uid)  # or it was not the chunk that changed
                    await asyncio.sleep(self._means.random_bytes(1)[0] / 255 * min(0.005 * number, 0.2))
                else:
                    return
        raise Contention(f"{array.name}: too many writers in chunk {part.index}; try again", retry_seconds=0.1)

    async def _store(
        self, array: Array, region: Region, part: Part, before: Buffer | None, if_etag: str | None
    ) -> None:
        def change() -> ChunkWrite:
            chunk = region.change(part, before)
            return ChunkWrite(part.index, chunk, self._means.crc32c(chunk, 0), if_etag)

        await self._commits.submit(array, await self._means.in_thread(change))


def touched_parts(array: Array, selection: Selection) -> Sequence[Part]:
    """Return what each chunk has to do with elements that are to be written.

    Raises
    ------
    TooLarge
        TOO_LARGE: they lie in more chunks than one call may change.
    SelectionInvalid
        SELECTION_INVALID: they lie in chunks further away than there may be any.
    """
    met = prod(map(count_met, axes_of(selection), array.chunk_shape))
    if met > _MOST_CHUNKS:
        raise TooLarge(
            f"{array.name}: the region lies in {met} chunks; one call writes at most {_MOST_CHUNKS}; "
            "use several calls, or write whole chunks",
            limit=_MOST_CHUNKS,
            actual=met,
        )
    touched = list(parts(selection, array.grid))
    for part in (*touched[:1], *touched[-1:]):
        check_index(array, part.index)
    return touched


def _is_whole(part: Part, array: Array) -> bool:
    """Tell whether every element of a chunk is written, also those beyond the shape, which it may grow over."""
    return all(
        isinstance(taken, slice) and len(range(*taken.indices(length))) == length
        for taken, length in zip(part.chunk_key, array.chunk_shape, strict=True)
    )
