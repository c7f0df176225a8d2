"""Chunks as callers that know Zarr ask for them: encoded, one or many, by index or by what they have to do with."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass

from measurand.core.arrays.arrays import Arrays
from measurand.core.arrays.blocks import Index
from measurand.core.arrays.chunk_writes import ChunkWrite
from measurand.core.arrays.committing import Commits
from measurand.core.arrays.documents import Array
from measurand.core.arrays.reading import ChunkReading, StoredChunk
from measurand.core.arrays.selecting import Key, select
from measurand.core.arrays.slabs import chunks_met
from measurand.core.arrays.writers import check_index
from measurand.core.blob_rules import closing
from measurand.core.files import DatasetGate
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.names import ArrayName
from measurand.core.ports import Buffer
from measurand.core.principal import Principal
from measurand.wire.errors import (
    ChecksumMismatch,
    Conflict,
    InvalidArgument,
    OutOfRange,
    SelectionInvalid,
    SizeMismatch,
    TooLarge,
)

__all__ = ["ChunkPart", "Chunks"]

MOST_NUMBERS = 100_000


@dataclass(frozen=True, slots=True)
class ChunkPart:
    """A part of an encoded chunk.

    Parameters
    ----------
    size : int
        Of the whole chunk. 0: it was never written, and reads as fill.
    offset : int
        Where `data` begins in it.
    crc32c : int or None
        Of `data`, if there is any.
    """

    index: Index
    etag: str
    size: int
    offset: int
    data: Buffer
    crc32c: int | None


class Chunks:
    """Reads and writes encoded chunks."""

    def __init__(
        self,
        datasets: DatasetGate,
        arrays: Arrays,
        reading: ChunkReading,
        commits: Commits,
        means: Means,
        limits: Limits,
    ) -> None:
        self._datasets = datasets
        self._arrays = arrays
        self._reading = reading
        self._commits = commits
        self._means = means
        self._limits = limits

    async def open(
        self, principal: Principal, name: ArrayName, uid: str, numbers: Sequence[int], key: Key | None
    ) -> tuple[Array, AsyncGenerator[ChunkPart, None]]:
        """Return an array, and chunks of it in parts of at most 2 MiB.

        Parameters
        ----------
        uid : str
            Of the array that is meant; empty: the visible one.
        numbers : sequence of int
            The indexes of the chunks, one after the other.
        key : Key, optional
            Instead of indexes: all chunks that this selection meets.

        Raises
        ------
        SelectionInvalid
            SELECTION_INVALID: a chunk or a position that the array does not have.
        Conflict
            ETAG_MISMATCH: the name stands for another array than `uid`.
        DataLoss
            STORED_DATA_CORRUPT: a chunk is damaged or gone. What was yielded before is right.
        """
        if len(numbers) > MOST_NUMBERS:
            raise TooLarge(
                f"{name}: {len(numbers)} numbers of chunk indexes; the most is {MOST_NUMBERS}; ask in several calls",
                limit=MOST_NUMBERS,
                actual=len(numbers),
            )
        array = await self._arrays.require(principal, name, uid)
        if key is not None:
            if numbers:
                raise InvalidArgument(f"{name}: indexes and a selection; give one of them", field="selection")
            wanted: Iterable[Index] = chunks_met(select(array, key), array.chunk_shape)
        else:
            wanted = _indexes(array, numbers)
        return array, self._parts(array, wanted)

    async def read(
        self, principal: Principal, name: ArrayName, uid: str, index: Index, *, offset: int = 0, etag: str = ""
    ) -> tuple[Array, ChunkPart]:
        """Return at most 2 MiB of one chunk.

        Parameters
        ----------
        offset : int
            Where to begin in the chunk.
        etag : str
            Only if the chunk still has it. Empty: no check.

        Raises
        ------
        OutOfRange
            BEYOND_END: the offset lies behind the chunk's end.
        Conflict
            ETAG_MISMATCH: the chunk was written meanwhile, or the name stands for another array than `uid`.
        """
        array = await self._arrays.require(principal, name, uid)
        check_index(array, index)
        chunk = await self._reading.one(array, index)
        if etag and etag != chunk.etag:
            raise Conflict(
                f"{name}: chunk {list(index)} was written meanwhile; read it from its beginning",
                resource=name,
                etag=chunk.etag,
            )
        size = 0 if chunk.data is None else len(chunk.data)
        if not 0 <= offset <= size:
            raise OutOfRange(f"{name}: chunk {list(index)} has {size} bytes; {offset} lies outside", size=size)
        return array, self._part(chunk, offset)

    async def write(
        self,
        principal: Principal,
        name: ArrayName,
        uid: str,
        index: Index,
        data: Buffer,
        crc32c: int | None,
        *,
        if_etag: str | None = None,
        remove: bool = False,
    ) -> str:
        """Write or remove one encoded chunk, and return its etag. Durable when it returns.

        Parameters
        ----------
        if_etag : str, optional
            Only if the chunk has this etag; empty: only if it was never written. None: whatever is there.

        Raises
        ------
        ChecksumMismatch
            CHECKSUM_MISMATCH: the bytes arrived damaged; send them again.
        SelectionInvalid, SizeMismatch
            The chunk does not fit the array, or has no bytes.
        Conflict, Sealed, NotFound
            See `Commits.submit`.
        """
        await self._datasets.require_open(principal, name.parent)
        array = await self._arrays.require(principal, name, uid)
        check_index(array, index)
        actual = self._means.crc32c(data, 0)
        if crc32c not in (None, actual):
            raise ChecksumMismatch(
                f"{name}: chunk {list(index)} arrived damaged; send it again",
                index="/".join(map(str, index)),
                expected=f"{crc32c:08x}",
                actual=f"{actual:08x}",
            )
        if remove and len(data):
            raise InvalidArgument(f"{name}: a chunk to be removed comes without data", field="data")
        if not remove and not len(data):
            raise SizeMismatch(f"{name}: chunk {list(index)} has no bytes; set `remove` to remove it", actual=0)
        return await self._commits.submit(array, ChunkWrite(index, None if remove else data, actual, if_etag))

    async def _parts(self, array: Array, wanted: Iterable[Index]) -> AsyncGenerator[ChunkPart, None]:
        async with closing(self._reading.chunks(array, wanted)) as chunks:
            async for chunk in chunks:
                size = 0 if chunk.data is None else len(chunk.data)
                for offset in range(0, max(size, 1), self._limits.max_data_bytes):
                    yield self._part(chunk, offset)

    def _part(self, chunk: StoredChunk, offset: int) -> ChunkPart:
        if chunk.data is None:
            return ChunkPart(chunk.index, chunk.etag, 0, 0, b"", None)
        size = len(chunk.data)
        if size <= self._limits.max_data_bytes and not offset:
            return ChunkPart(chunk.index, chunk.etag, size, 0, chunk.data, chunk.crc32c)
        data = memoryview(chunk.data)[offset : offset + self._limits.max_data_bytes]
        crc32c = self._means.crc32c(data, 0) if len(data) else None
        return ChunkPart(chunk.index, chunk.etag, size, offset, data, crc32c)


def _indexes(array: Array, numbers: Sequence[int]) -> list[Index]:
    """Return the indexes that stand one after the other. Raises SelectionInvalid."""
    axes = len(array.shape)
    if not axes:
        if numbers:
            raise SelectionInvalid(f"{array.name} has no axes, and its one chunk no index; leave indexes empty", axis=0)
        return [()]
    if len(numbers) % axes:
        raise SelectionInvalid(
            f"{array.name}: {len(numbers)} numbers are no whole chunk indexes; each has {axes}",
            axis=len(numbers) % axes,
        )
    indexes = [tuple(numbers[start : start + axes]) for start in range(0, len(numbers), axes)]
    counts = array.grid.counts
    for index in indexes:
        if not all(0 <= at < count for at, count in zip(index, counts, strict=True)):
            check_index(array, index)  # raises
    return indexes
