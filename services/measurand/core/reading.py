"""Reading files: whole, by range, many ranges at once; every byte is checked before it is handed on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from measurand.core.extents import cut
from measurand.core.file_documents import File, file_of
from measurand.core.files import Files
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.names import FileName
from measurand.core.ports import BlobStore, Buffer
from measurand.core.principal import Principal
from measurand.wire.errors import DataLoss, InvalidArgument, NotFound, OutOfRange, TooLarge

__all__ = ["ByteRange", "Part", "RangePart", "Reading"]

MAX_RANGES = 4096
_SMALLEST_CHUNK = 64 * 1024
_NEAR = 64 * 1024
"""Ranges with a smaller gap between them are read as one."""


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes of a file, from `offset`, with their CRC-32C."""

    offset: int
    data: Buffer
    crc32c: int


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes `offset` to `offset + length` of a file."""

    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class RangePart:
    """A part of one of several ranges; `last` when the range is complete with it."""

    index: int
    part: Part
    last: bool


class Reading:
    """Reads what `Files` knows of."""

    def __init__(self, blobs: BlobStore, files: Files, means: Means, limits: Limits) -> None:
        self._blobs = blobs
        self._files = files
        self._means = means
        self._limits = limits

    async def open(
        self,
        principal: Principal,
        name: FileName,
        *,
        generation: int = 0,
        offset: int = 0,
        length: int | None = None,
        chunk_bytes: int = 0,
    ) -> tuple[File, AsyncIterator[Part]]:
        """Return a file and the parts of it from `offset`, in order and without gaps.

        Parameters
        ----------
        offset : int
            Negative: so many bytes before the end, at most the whole file.
        length : int, optional
            None, or more than there are: to the end.
        chunk_bytes : int
            Size of the parts, taken as between 64 KiB and 2 MiB; 0: what suits the store.

        Raises
        ------
        NotFound
            RESOURCE_NOT_FOUND: there is no such file, or its bytes were collected while it was read.
        OutOfRange
            BEYOND_END: the offset lies behind the end.
        DataLoss
            STORED_DATA_CORRUPT: the bytes at rest are damaged or gone. What was yielded before is right.
        """
        file = await self._files.get(principal, name, generation)
        if length is not None and length < 0:
            raise InvalidArgument(f"{name}: the length {length} is negative", field="length")
        begin = max(0, file.size + offset) if offset < 0 else offset
        if begin > file.size:
            raise OutOfRange(f"{name} has {file.size} bytes; {begin} lies behind its end", size=file.size)
        count = file.size - begin if length is None else min(length, file.size - begin)
        wanted = chunk_bytes or self._limits.preferred_chunk_bytes
        return file, self._parts(file, begin, count, min(max(wanted, _SMALLEST_CHUNK), self._limits.max_data_bytes))

    async def read(
        self, principal: Principal, name: FileName, *, generation: int, offset: int, length: int
    ) -> tuple[File, Part]:
        """Return at most `length` bytes at once."""
        if length > self._limits.max_data_bytes:
            raise TooLarge(
                f"{name}: {length} bytes asked for at once; the most is {self._limits.max_data_bytes}; stream it",
                limit=self._limits.max_data_bytes,
                actual=length,
            )
        file, parts = await self.open(
            principal, name, generation=generation, offset=offset, length=length, chunk_bytes=length
        )
        begin = max(0, file.size + offset) if offset < 0 else offset
        found = [part async for part in parts]
        data = found[0].data if len(found) == 1 else b"".join(part.data for part in found)
        return file, Part(begin, data, self._means.crc32c(data, 0))

    async def open_ranges(
        self, principal: Principal, name: FileName, *, generation: int, ranges: Sequence[ByteRange]
    ) -> tuple[File, AsyncIterator[RangePart]]:
        """Return a file and the parts of many ranges of it; the parts of one range come in order."""
        file = await self._files.get(principal, name, generation)
        if len(ranges) > MAX_RANGES:
            raise TooLarge(
                f"{name}: {len(ranges)} ranges; the most is {MAX_RANGES}", limit=MAX_RANGES, actual=len(ranges)
            )
        for item in ranges:
            if item.offset < 0 or item.length < 0:
                raise InvalidArgument(f"{name}: a range with a negative offset or length", field="ranges")
            if item.offset + item.length > file.size:
                raise OutOfRange(
                    f"{name} has {file.size} bytes; the range {item.offset}+{item.length} does not lie within",
                    size=file.size,
                )
        return file, self._range_parts(file, ranges)

    def parts(self, file: File) -> AsyncIterator[Part]:
        """Yield all of a file that was found before."""
        return self._parts(file, 0, file.size, self._limits.preferred_chunk_bytes)

    async def _parts(self, file: File, offset: int, length: int, chunk_bytes: int) -> AsyncIterator[Part]:
        if length == 0:
            return
        try:
            if any(extent.blob.checks is None for extent in file.extents):
                proved = (await self._proved(file))[offset : offset + length]
                for start in range(0, length, chunk_bytes):
                    small = proved[start : start + chunk_bytes]
                    yield Part(offset + start, small, self._means.crc32c(small, 0))
                return
            for extent in cut(file.extents, offset, length):
                async for chunk in self._blobs.open(extent.blob, extent.offset, extent.size):
                    for start in range(0, len(chunk), chunk_bytes):
                        piece = chunk if len(chunk) <= chunk_bytes else memoryview(chunk)[start : start + chunk_bytes]
                        yield Part(offset, piece, self._means.crc32c(piece, 0))
                        offset += len(piece)
        except DataLoss as error:
            if error.details.get("resource") == str(file.name):
                raise
            # The store knows only the blob; whoever reads wants to know which file it is.
            raise DataLoss(
                f"{file.name}: its stored bytes are damaged; restore it from a copy ({error.message})",
                resource=file.name,
            ) from error
        except NotFound as error:
            current = (await self._files.fetch_many([file.name])).get(str(file.name))
            if current is not None and file_of(current).generation == file.generation:
                # Nobody has removed the file, so its bytes must not be missing.
                raise DataLoss(
                    f"{file.name}: its stored bytes are gone; restore it from a copy ({error.message})",
                    resource=file.name,
                ) from error
            raise NotFound(f"{file.name}: its bytes were removed while it was read", resource=file.name) from error

    async def _proved(self, file: File) -> memoryview:
        """Return all bytes of a file whose blobs have no checks: the crc32c of the whole proves them."""
        pieces: list[Buffer] = []
        for extent in file.extents:
            pieces += [chunk async for chunk in self._blobs.open(extent.blob, extent.offset, extent.size)]
        data = memoryview(pieces[0]) if len(pieces) == 1 else memoryview(b"".join(pieces))
        self.prove(file, data)
        return data

    def prove(self, file: File, data: Buffer) -> None:
        """Raise DataLoss unless these are the bytes of the file."""
        if len(data) != file.size or self._means.crc32c(data, 0) != file.digests.crc32c:
            raise DataLoss(f"{file.name}: its stored bytes are damaged; restore it from a copy", resource=file.name)

    async def _range_parts(self, file: File, ranges: Sequence[ByteRange]) -> AsyncIterator[RangePart]:
        order = sorted(range(len(ranges)), key=lambda index: ranges[index].offset)
        start = 0
        while start < len(order):
            # Neighbours that are read as one, as long as the read stays small enough to be held.
            first = ranges[order[start]]
            stop, end = start + 1, first.offset + first.length
            while stop < len(order):
                following = ranges[order[stop]]
                reach = max(end, following.offset + following.length)
                if following.offset > end + _NEAR or reach - first.offset > self._limits.max_data_bytes:
                    break
                stop, end = stop + 1, reach
            if stop == start + 1:
                async for item in self._one_range(file, order[start], first):
                    yield item
            else:
                pieces = [
                    part.data
                    async for part in self._parts(file, first.offset, end - first.offset, self._limits.max_data_bytes)
                ]
                data = memoryview(b"".join(pieces))
                for index in order[start:stop]:
                    begin = ranges[index].offset - first.offset
                    piece = data[begin : begin + ranges[index].length]
                    yield RangePart(index, Part(ranges[index].offset, piece, self._means.crc32c(piece, 0)), last=True)
            start = stop

    async def _one_range(self, file: File, index: int, wanted: ByteRange) -> AsyncIterator[RangePart]:
        end = wanted.offset + wanted.length
        if not wanted.length:
            yield RangePart(index, Part(wanted.offset, b"", 0), last=True)
        async for part in self._parts(file, wanted.offset, wanted.length, self._limits.preferred_chunk_bytes):
            yield RangePart(index, part, last=part.offset + len(part.data) == end)
