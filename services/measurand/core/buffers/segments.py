"""Segments as readers need them: which there are, their tables, and the wanted bytes, every one of them checked."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from measurand.core.blob_rules import closing
from measurand.core.buffers.documents import SEGMENTS, blob_key, index_of
from measurand.core.buffers.heads import Segment, SegmentIndex
from measurand.core.buffers.live import Board
from measurand.core.buffers.records import Table, read_table
from measurand.core.filters.tree import Compare
from measurand.core.means import Means
from measurand.core.names import BufferName, DatasetName
from measurand.core.ports import Blob, BlobStore, Buffer, DocumentStore, Order
from measurand.core.view import Scalar
from measurand.wire.errors import DataLoss, NotFound

__all__ = ["BLOCK_BYTES", "Segments", "Span"]

BLOCK_BYTES = 2 * 1024 * 1024
"""Larger records are read and proved in blocks of this size, and neighbours together up to it."""

SMALL_BYTES = 32 * 1024
"""A segment that is not larger is read whole: one call of the store instead of two."""
NEAR_BYTES = 4 * 1024
"""Wanted bytes with a smaller gap between them are read as one."""
TABLES_BYTES = 8 * 1024 * 1024
MOST_INDEXES = 64
MOST_PROVED = 256


@dataclass(frozen=True, slots=True)
class Span:
    """The records that somebody reads in: of a buffer as its head says, or of one window.

    Parameters
    ----------
    name : BufferName or DatasetName
        As errors name it.
    uid : str
        Of the buffer.
    first, end : int
        Sequences: of the first record, and the one behind the last.
    newest : sequence of Segment
        Those of the head. Older ones are looked for.
    """

    name: BufferName | DatasetName
    buffer: BufferName
    uid: str
    first: int
    end: int
    newest: Sequence[Segment]


@dataclass(frozen=True, slots=True)
class _Known:
    """The table of a segment, and all of the segment where it is small."""

    table: Table
    weight: int
    whole: Buffer | None = None


class Segments:
    """Finds segments and reads in them. Keeps the last few tables and indexes in memory; both never change.

    What is not there any more is NotFound; whoever reads looks whether it was trimmed.
    """

    def __init__(self, documents: DocumentStore, blobs: BlobStore, board: Board, means: Means) -> None:
        self._documents = documents
        self._blobs = blobs
        self._board = board
        self._means = means
        self._indexes: OrderedDict[tuple[str, int], SegmentIndex] = OrderedDict()
        self._tables: OrderedDict[tuple[str, str], _Known] = OrderedDict()
        self._tables_bytes = 0
        self._proved: OrderedDict[tuple[str, int], Sequence[int]] = OrderedDict()

    async def onwards(self, span: Span, sequence: int) -> AsyncIterator[Segment]:
        """Yield the segments of a span from the one with `sequence` on, in order and without gaps."""
        position = max(sequence, span.first)
        while position < span.end:
            segments = await self._around(span, position)
            if not segments:
                raise _gone(span, position)
            for segment in segments:
                if segment.first > position:
                    raise _gone(span, position)
                yield segment
                position = segment.end
                if position >= span.end:
                    return

    async def backwards(self, span: Span, end: int) -> AsyncIterator[Segment]:
        """Yield the segments of a span from the one before `end` back, in order and without gaps."""
        position = min(end, span.end)
        while position > span.first:
            segments = await self._around(span, position - 1, from_its_start=True)
            found = [segment for segment in segments if segment.first < position]
            if not found or found[-1].end < position:
                raise _gone(span, position - 1)
            for segment in reversed(found):
                yield segment
                position = segment.first
                if position <= span.first:
                    return

    async def table(self, span: Span, segment: Segment) -> Table:
        """Return the table of a segment."""
        return (await self._known(span, segment)).table

    async def data(self, span: Span, segment: Segment, indices: Sequence[int]) -> list[Buffer]:
        """Return the bytes of records of a segment, which come in order and have at most a few MiB together.

        Raises
        ------
        DataLoss
            STORED_DATA_CORRUPT: with `resource` and `sequence` of the damaged record.
        """
        if not indices:
            return []
        known = await self._known(span, segment)
        table, whole = known.table, known.whole or self._board.cached(span.uid, segment)
        found: list[Buffer] = []
        start = 0
        while start < len(indices):
            begin, stop = table.offsets[indices[start]], start + 1
            end = table.offsets[indices[start] + 1]
            while whole is None and stop < len(indices):
                offset, reach = table.offsets[indices[stop]], table.offsets[indices[stop] + 1]
                if offset - end > NEAR_BYTES or reach - begin > BLOCK_BYTES:
                    break
                stop, end = stop + 1, reach
            piece = memoryview(
                whole[begin:end] if whole is not None else await self._read(span, segment, indices[start], begin, end)
            )
            for index in indices[start:stop]:
                data = piece[table.offsets[index] - begin : table.offsets[index + 1] - begin]
                if len(data) != table.sizes[index] or self._means.crc32c(data, 0) != table.crcs[index]:
                    raise _damaged(span, segment.first + index)
                found.append(data)
            start = stop
        return found

    async def part(self, span: Span, segment: Segment, index: int, offset: int) -> Buffer:
        """Return the bytes of a large record from `offset` to the end of the block that this lies in.

        The first part that is asked for costs reading the record once; its blocks are proved one by one from then on.
        """
        table = await self.table(span, segment)
        begin, size = table.offsets[index], table.sizes[index]
        crcs = await self._prove(span, segment, table, index)
        number = min(offset, size - 1) // BLOCK_BYTES
        start, end = number * BLOCK_BYTES, min((number + 1) * BLOCK_BYTES, size)
        block = memoryview(await self._read(span, segment, index, begin + start, begin + end))
        if self._means.crc32c(block, 0) != crcs[number]:
            raise _damaged(span, segment.first + index)
        return block[offset - start :]

    # ---------------------------------------------------------------------------------------------------------- inside

    async def _around(self, span: Span, sequence: int, *, from_its_start: bool = False) -> Sequence[Segment]:
        """Return segments next to each other that begin with the one with `sequence`, or with some before it."""
        if span.newest and sequence >= span.newest[0].first:
            segments: Sequence[Segment] = span.newest
        else:
            index = await self._index(span, sequence)
            segments = index.segments if index is not None else ()
        return segments if from_its_start else [segment for segment in segments if segment.end > sequence]

    async def _index(self, span: Span, sequence: int) -> SegmentIndex | None:
        for (uid, _), index in self._indexes.items():
            if uid == span.uid and index.segments[0].first <= sequence < index.segments[-1].end:
                return index
        found = await self._documents.find(
            SEGMENTS,
            scopes=[str(span.buffer)],
            key_prefix=f"{span.uid}/",
            where=Compare("end", ">", Scalar("n", sequence)),
            order=[Order("first", required=True)],
            limit=1,
            with_text=False,
        )
        if not found:
            return None
        index = index_of(found[0].document)
        self._indexes[span.uid, index.segments[0].first] = index
        while len(self._indexes) > MOST_INDEXES:
            self._indexes.popitem(last=False)
        return index

    async def _known(self, span: Span, segment: Segment) -> _Known:
        key = (span.uid, segment.ulid)
        known = self._tables.get(key)
        if known is not None:
            self._tables.move_to_end(key)
            return known
        cached = self._board.cached(span.uid, segment)
        if cached is not None:
            known = _Known(self._opened(span, segment, memoryview(cached)[: segment.table_size]), segment.table_size)
        elif segment.size <= SMALL_BYTES:
            whole = await self._read(span, segment, 0, 0, segment.size)
            table = self._opened(span, segment, memoryview(whole)[: segment.table_size])
            known = _Known(table, segment.size, whole)
        else:
            data = await self._read(span, segment, 0, 0, segment.table_size)
            known = _Known(self._opened(span, segment, data), segment.table_size)
        if key not in self._tables:
            self._tables[key] = known
            self._tables_bytes += known.weight
            while self._tables_bytes > TABLES_BYTES and len(self._tables) > 1:
                _, oldest = self._tables.popitem(last=False)
                self._tables_bytes -= oldest.weight
        return known

    def _opened(self, span: Span, segment: Segment, data: Buffer) -> Table:
        try:
            return read_table(data, segment.table_crc, self._means.crc32c, span.name)
        except DataLoss as error:
            raise _damaged(span, segment.first, str(error)) from error

    async def _prove(self, span: Span, segment: Segment, table: Table, index: int) -> Sequence[int]:
        """Return the CRC-32C of each block of a large record, once all of it was found to be right."""
        sequence = segment.first + index
        crcs = self._proved.get((span.uid, sequence))
        if crcs is not None:
            self._proved.move_to_end((span.uid, sequence))
            return crcs
        begin, end = table.offsets[index], table.offsets[index + 1]
        made: list[int] = []
        running = 0
        for start in range(begin, end, BLOCK_BYTES):
            block = await self._read(span, segment, index, start, min(start + BLOCK_BYTES, end))
            made.append(self._means.crc32c(block, 0))
            running = self._means.crc32c(block, running)
        if running != table.crcs[index]:
            raise _damaged(span, sequence)
        self._proved[span.uid, sequence] = made
        while len(self._proved) > MOST_PROVED:
            self._proved.popitem(last=False)
        return made

    async def _read(self, span: Span, segment: Segment, index: int, begin: int, end: int) -> Buffer:
        cached = self._board.cached(span.uid, segment)
        if cached is not None:
            return memoryview(cached)[begin:end]
        blob = Blob(blob_key(span.uid, segment.ulid), segment.size)
        pieces: list[Buffer] = []
        try:
            async with closing(self._blobs.open(blob, begin, end - begin)) as chunks:
                pieces = [chunk async for chunk in chunks]
        except DataLoss as error:
            raise _damaged(span, segment.first + index, str(error)) from error
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _damaged(span: Span, sequence: int, why: str = "") -> DataLoss:
    told = f" ({why})" if why else ""
    return DataLoss(
        f"{span.name}: the stored bytes of record {sequence} are damaged; restore them from a copy, or read on "
        f"after {sequence}{told}",
        resource=span.name,
        sequence=sequence,
    )


def _gone(span: Span, sequence: int) -> NotFound:
    return NotFound(f"{span.name}: record {sequence} is not there any more", resource=span.name, sequence=sequence)
