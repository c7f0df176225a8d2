"""Arrays read as plain elements, for callers that know no Zarr: the server decodes."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from measurand.chunks.selections import Part, Selection, parts
from measurand.core.arrays.arrays import Arrays
from measurand.core.arrays.blocks import Index
from measurand.core.arrays.documents import Array
from measurand.core.arrays.elements import Elements, Placed, element_bytes
from measurand.core.arrays.reading import ChunkReading
from measurand.core.arrays.selecting import Key, select
from measurand.core.arrays.slabs import Slab, slabs
from measurand.core.blob_rules import closing
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.names import ArrayName
from measurand.core.ports import Buffer
from measurand.core.principal import Principal
from measurand.wire.errors import Conflict, OutOfRange, SelectionInvalid, TooLarge

__all__ = ["ElementPart", "ElementReading", "Opened"]

_SLAB_BYTES = 8 * 1024 * 1024
_LONGEST_SLAB_BYTES = 64 * 1024 * 1024
"""Of a row of chunks, which is gathered at once up to this size: a smaller slab would decode its chunks again."""
_BATCH_BYTES = 1024 * 1024
_BATCH_CHUNKS = 256
_BATCHES_AT_ONCE = 3
_SMALLEST_PART = 64 * 1024


@dataclass(frozen=True, slots=True)
class ElementPart:
    """Bytes of a result, from `offset`, with their CRC-32C."""

    offset: int
    data: Buffer
    crc32c: int


@dataclass(frozen=True, slots=True)
class Opened:
    """A selection that is about to be read.

    Parameters
    ----------
    shape : tuple of int
        Of the result.
    size : int
        Of the result, in bytes.
    """

    array: Array
    shape: tuple[int, ...]
    size: int
    parts: AsyncGenerator[ElementPart, None]


class ElementReading:
    """Reads elements, slab by slab: however much is selected, only a little is held."""

    def __init__(self, arrays: Arrays, reading: ChunkReading, elements: Elements, means: Means, limits: Limits) -> None:
        self._arrays = arrays
        self._reading = reading
        self._elements = elements
        self._means = means
        self._limits = limits

    async def open(
        self,
        principal: Principal,
        name: ArrayName,
        key: Key,
        *,
        offset: int = 0,
        etag: str = "",
        chunk_bytes: int = 0,
    ) -> Opened:
        """Return an array and the selected elements, in C order, little-endian.

        Parameters
        ----------
        offset : int
            So many bytes of the result are skipped.
        etag : str
            Only if the array still has it. Empty: no check.
        chunk_bytes : int
            Size of the parts, taken as between 64 KiB and 2 MiB; 0: the server's choice.

        Raises
        ------
        SelectionInvalid
            SELECTION_INVALID: it names what the array does not have.
        Conflict
            ETAG_MISMATCH: the array has changed.
        OutOfRange
            BEYOND_END: the offset lies behind the end of the result.
        DataLoss
            STORED_DATA_CORRUPT: a stored chunk is damaged or gone. What was yielded before is right.
        """
        array = await self._arrays.require(principal, name)
        if etag and etag != array.etag:
            raise Conflict(f"{name} has changed since etag {etag}; read it again", resource=name, etag=array.etag)
        selection = select(array, key)
        size = prod(selection.box_shape) * element_bytes(array)
        if size >= 2**63:
            raise SelectionInvalid(f"{name}: {size} bytes are selected, more than can be counted; select less", axis=0)
        if not 0 <= offset <= size:
            raise OutOfRange(f"{name}: the result has {size} bytes; {offset} lies outside", size=size)
        wanted = chunk_bytes or self._limits.preferred_chunk_bytes
        part_bytes = min(max(wanted, _SMALLEST_PART), self._limits.max_data_bytes)
        return Opened(array, selection.shape, size, self._parts(array, selection, offset, part_bytes))

    async def read(
        self, principal: Principal, name: ArrayName, key: Key, *, etag: str = ""
    ) -> tuple[Opened, ElementPart]:
        """Return a selection of at most 2 MiB at once. Errors: as `open`, and TooLarge."""
        opened = await self.open(principal, name, key, etag=etag, chunk_bytes=self._limits.max_data_bytes)
        if opened.size > self._limits.max_data_bytes:
            raise TooLarge(
                f"{name}: {opened.size} bytes are selected; at once come at most {self._limits.max_data_bytes}; "
                "stream them with ReadArray or select less",
                limit=self._limits.max_data_bytes,
                actual=opened.size,
            )
        found = [part async for part in opened.parts]
        if len(found) == 1:
            return opened, found[0]
        data = b"".join(part.data for part in found)
        return opened, ElementPart(0, data, self._means.crc32c(data, 0))

    async def _parts(
        self, array: Array, selection: Selection, offset: int, part_bytes: int
    ) -> AsyncGenerator[ElementPart, None]:
        item = element_bytes(array)
        pieces = slabs(
            selection,
            array.chunk_shape,
            most=max(1, _SLAB_BYTES // item),
            longest=max(1, _LONGEST_SLAB_BYTES // item),
            begin=offset // item,
        )
        following = asyncio.ensure_future(self._gathered(array, next(pieces, None)))
        try:
            while (found := await following) is not None:
                begin, data = found[0] * item, memoryview(found[1])
                # The next slab is gathered while this one is being sent.
                following = asyncio.ensure_future(self._gathered(array, next(pieces, None)))
                for start in range(max(0, offset - begin), len(data), part_bytes):
                    piece = data[start : start + part_bytes]
                    yield ElementPart(begin + start, piece, self._means.crc32c(piece, 0))
        finally:
            await _cancelled(following)

    async def _gathered(self, array: Array, slab: Slab | None) -> tuple[int, Buffer] | None:
        """Return where a slab begins in the result, and its elements."""
        if slab is None:
            return None
        box = await self._means.in_thread(self._elements.box, array, slab.selection.box_shape)
        wanted = deque[Part]()
        copying = deque[asyncio.Future[None]]()
        batch, size = list[Placed](), 0

        def asked() -> Iterator[Index]:
            for part in parts(slab.selection, array.grid):
                wanted.append(part)
                yield part.index

        def copy(batch: Sequence[Placed]) -> None:
            copying.append(asyncio.ensure_future(self._means.in_thread(box.put, batch)))

        try:
            async with closing(self._reading.chunks(array, asked())) as chunks:
                async for chunk in chunks:
                    part = wanted.popleft()  # chunks come in the order in which they were asked for
                    if chunk.data is None:
                        continue
                    batch.append(Placed(part, chunk.data))
                    size += len(chunk.data)
                    if size >= _BATCH_BYTES or len(batch) == _BATCH_CHUNKS:
                        copy(batch)
                        batch, size = [], 0
                    if len(copying) > _BATCHES_AT_ONCE:
                        await copying.popleft()
            copy(batch)
            while copying:
                await copying.popleft()
        finally:
            for task in copying:
                await _cancelled(task)
        return slab.begin, box.elements()


async def _cancelled(task: asyncio.Future[Any]) -> None:
    """End what nobody waits for any more; what has failed in it was told before, or does not matter."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, Exception):
        await task
