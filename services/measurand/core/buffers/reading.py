"""Reading records by their sequence, from a buffer or from a batch; every byte is checked before it is handed on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta

from measurand.core.buffers.batches import batch_to_read
from measurand.core.buffers.heads import Head, Segment, State
from measurand.core.buffers.live import Board
from measurand.core.buffers.pages import Page, StoredRecord, begin_of, lost, span_of, trimmed
from measurand.core.buffers.picking import AT_ONCE, Basket, Picked, Wanted, before, locate, pick, pick_newest
from measurand.core.buffers.segments import BLOCK_BYTES, Segments, Span
from measurand.core.buffers.selecting import Choice, Selection
from measurand.core.buffers.standing import find_standing, removed
from measurand.core.catalogs import Catalogs
from measurand.core.dataset_documents import DATASETS, require_shown
from measurand.core.filters.evaluate import CompilePattern
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.names import BufferName, DatasetName
from measurand.core.ports import BlobStore, Buffer, DocumentStore
from measurand.core.principal import Principal
from measurand.wire.errors import DataLoss, InvalidArgument, NotFound, OutOfRange

__all__ = ["DEFAULT_RECORDS", "MOST_RECORDS", "Records"]

DEFAULT_RECORDS = 100
MOST_RECORDS = 10_000
"""So many records come in one page at most."""


class Records:
    """Reads what was stored.

    Parameters
    ----------
    compile_pattern : callable
        The engine of regular expressions in filters.
    """

    def __init__(
        self,
        documents: DocumentStore,
        blobs: BlobStore,
        catalogs: Catalogs,
        board: Board,
        means: Means,
        limits: Limits,
        *,
        compile_pattern: CompilePattern,
    ) -> None:
        self._documents = documents
        self._catalogs = catalogs
        self._board = board
        self._means = means
        self._limits = limits
        self._compile_pattern = compile_pattern
        self.segments = Segments(documents, blobs, board, means)

    async def read(
        self,
        principal: Principal,
        name: BufferName | DatasetName,
        *,
        after: int = 0,
        most: int = 0,
        most_bytes: int = 0,
        selection: Selection | None = None,
        newest: bool = False,
        headers_only: bool = False,
        part_offset: int = 0,
        skip_trimmed: bool = False,
        wait: timedelta = timedelta(),
    ) -> Page:
        """Return records from a sequence on.

        Parameters
        ----------
        name : BufferName or DatasetName
            A buffer, or the dataset of a batch.
        after : int
            Begin after this sequence; 0: at the oldest there is, -1: with the next record to come.
        most, most_bytes : int
            At most so many records, and bytes together. 0: 100, and what a message holds. At least one comes if there
            is one; one that is larger comes alone, with a part of its bytes.
        newest : bool
            The newest that are wanted instead, within the same bounds.
        headers_only : bool
            Without bytes.
        part_offset : int
            Only the first record, with its bytes from here on.
        skip_trimmed : bool
            Begin at the oldest there is if those after `after` are gone.
        wait : timedelta
            How long to wait for a record if there is none.

        Raises
        ------
        NotFound
            RESOURCE_NOT_FOUND: there is no such buffer or batch.
        HistoryTrimmed
            HISTORY_TRIMMED: records after `after` are gone; with `first_sequence`.
        OutOfRange
            BEYOND_END: the part lies behind the end of the record.
        DataLoss
            STORED_DATA_CORRUPT: with the `sequence` of the damaged record.
        FilterInvalid, InvalidArgument
            The selection is none, or fields contradict each other.
        """
        if newest and after:
            raise InvalidArgument("newest: not together with after_sequence; leave one of them out", field="newest")
        if newest and part_offset:
            raise InvalidArgument("newest: not together with part_offset; leave one of them out", field="newest")
        await self.require(principal, name)
        wanted = self.wanted(
            selection, most=most, most_bytes=most_bytes, headers_only=headers_only, part_offset=part_offset
        )
        if isinstance(name, DatasetName):
            return await self._of_batch(name, after, wanted, newest=newest)
        head = await self._board.newest(name)
        page = await self.page(head, after, wanted, newest=newest, skip_trimmed=skip_trimmed)
        clock = asyncio.get_running_loop().time
        deadline = clock() + min(wait, self._limits.max_wait).total_seconds()
        while not page.records and not page.is_last and head.state is not State.FINISHED and clock() < deadline:
            if page.read_sequence + 1 >= head.next_sequence:
                head = await self.newer(head, deadline - clock())
            page = await self.page(head, page.read_sequence, wanted, skip_trimmed=skip_trimmed)
        return page

    async def require(self, principal: Principal, name: BufferName | DatasetName) -> None:
        """Raise NotFound unless the caller may read in the catalog of a buffer or batch."""
        await self._catalogs.require(principal, name.parent)

    def wanted(
        self,
        selection: Selection | None = None,
        *,
        most: int = 0,
        most_bytes: int = 0,
        headers_only: bool = False,
        part_offset: int = 0,
    ) -> Wanted:
        """Return what a reader wants, checked and made ready for `page`."""
        for value, label in ((most, "max_records"), (part_offset, "part_offset")):
            if value < 0:
                raise InvalidArgument(f"{label}: {value} is negative; leave it out or say how many", field=label)
        choice = Choice(selection or Selection(), self._means.now(), self._compile_pattern)
        return Wanted(
            1 if part_offset else min(most or DEFAULT_RECORDS, MOST_RECORDS),
            min(most_bytes or self._limits.max_data_bytes, self._limits.max_data_bytes),
            choice,
            headers_only,
            part_offset,
        )

    async def newer(self, head: Head, wait_seconds: float) -> Head:
        """Return a head with something new, or the same after the wait. Raises NotFound when the buffer is gone."""
        newest = await self._board.newest(
            head.name, head.next_sequence, max(wait_seconds, 0.001), known_version=head.version
        )
        if newest.uid != head.uid:
            raise removed(head.name)
        return newest if (newest.next_sequence, newest.version) >= (head.next_sequence, head.version) else head

    async def page(
        self, head: Head, after: int, wanted: Wanted, *, newest: bool = False, skip_trimmed: bool = False
    ) -> Page:
        """Return records of a buffer whose head is at hand; see `read`."""
        while True:
            begin = begin_of(head, after, skip_trimmed=skip_trimmed)
            span = span_of(head)
            try:
                records, read, is_last = await self._collect(span, begin, wanted, newest=newest)
            except NotFound as error:
                current = await self._board.newest(head.name)
                if current.uid != head.uid:
                    raise removed(head.name) from error
                if current.first_sequence <= head.first_sequence:
                    raise lost(span, error) from error
                head = current
                continue
            return Page(records, head.next_sequence, head.state, head.next_buffer, read, is_last)

    async def take(self, head: Head, sequences: Sequence[int]) -> list[StoredRecord]:
        """Return records by sequences that rise, with their bytes as far as those fit into a message together.

        Raises
        ------
        HistoryTrimmed
            HISTORY_TRIMMED: one of them is gone.
        DataLoss
            STORED_DATA_CORRUPT: with the `sequence` of a damaged record.
        """
        span = span_of(head)
        try:
            picked = await locate(self.segments, span, sequences)
            return await self._loaded(span, picked, self.wanted(), most_bytes=self._limits.max_data_bytes)
        except NotFound as error:
            current = await self._board.newest(head.name)
            if current.uid == head.uid and current.first_sequence <= head.first_sequence:
                raise lost(span, error) from error
            raise trimmed(current) from error

    # ---------------------------------------------------------------------------------------------------------- inside

    async def _of_batch(self, name: DatasetName, after: int, wanted: Wanted, *, newest: bool) -> Page:
        require_shown(await self._documents.fetch(DATASETS, str(name)), name, self._means.now())
        span = await self._batch_span(name)
        begin = span.end if after < 0 else max(after + 1, span.first)
        try:
            records, read, is_last = await self._collect(span, begin, wanted, newest=newest)
        except NotFound as error:
            require_shown(await self._documents.fetch(DATASETS, str(name)), name, self._means.now())
            raise lost(span, error) from error
        return Page(records, span.end, None, "", read, is_last or read + 1 >= span.end)

    async def _batch_span(self, name: DatasetName) -> Span:
        batch = await batch_to_read(self._documents, name, self._means.now())
        if batch is None:
            raise NotFound(f"{name} is no batch of a buffer; read its files and arrays", resource=name)
        standing = await find_standing(self._documents, batch.buffer, batch.uid)
        newest = standing.head.segments if standing is not None else ()
        return Span(name, batch.buffer, batch.uid, batch.first, batch.end, newest)

    async def _collect(
        self, span: Span, begin: int, wanted: Wanted, *, newest: bool
    ) -> tuple[list[StoredRecord], int, bool]:
        basket = Basket(wanted)
        if newest:
            await pick_newest(self.segments, span, basket)
            read, is_last = span.end - 1, False
        else:
            read, is_last = await pick(self.segments, span, begin, basket)
        picked: Sequence[Picked] = basket.picked
        while True:
            try:
                return await self._loaded(span, picked, wanted), read, is_last
            except DataLoss as error:
                damaged = int(error.details["sequence"])
                sound = [] if newest else before(picked, damaged)
                if not sound:
                    raise
                picked, read, is_last = sound, damaged - 1, False

    async def _loaded(
        self, span: Span, picked: Iterable[Picked], wanted: Wanted, *, most_bytes: int | None = None
    ) -> list[StoredRecord]:
        """Return picked records with the bytes that are wanted of them; with `most_bytes` those that fit, and whole."""
        found: list[StoredRecord] = []
        items = list(picked)
        for start in range(0, len(items), AT_ONCE):
            group: list[tuple[Picked, list[int]]] = []
            for item in items[start : start + AT_ONCE]:
                sizes, whole = item.table.sizes, []
                for index in () if wanted.headers_only else item.indices:
                    if sizes[index] <= (BLOCK_BYTES if most_bytes is None else min(BLOCK_BYTES, most_bytes)):
                        whole.append(index)
                        most_bytes = None if most_bytes is None else most_bytes - sizes[index]
                group.append((item, whole))
            reading = [self.segments.data(span, item.segment, whole) for item, whole in group]
            for (item, whole), data in zip(group, await asyncio.gather(*reading), strict=True):
                at = dict(zip(whole, data, strict=True))
                for index in item.indices:
                    stored = _stored(item, index, at.get(index, b""))
                    is_part = wanted.part_offset > 0 or stored.size > BLOCK_BYTES
                    if is_part and most_bytes is None and not wanted.headers_only:
                        stored = await self._part(span, item.segment, stored, wanted.part_offset)
                    found.append(stored)
        return found

    async def _part(self, span: Span, segment: Segment, stored: StoredRecord, offset: int) -> StoredRecord:
        """Return a record with its bytes from `offset` on, as far as they fit into a message."""
        if offset > stored.size:
            raise OutOfRange(
                f"{span.name}: record {stored.sequence} has {stored.size} bytes; {offset} lies behind its end",
                size=stored.size,
            )
        if stored.size > BLOCK_BYTES:
            data = await self.segments.part(span, segment, stored.sequence - segment.first, offset)
        else:
            data = memoryview(stored.record.data)[offset:]
        return replace(stored, record=replace(stored.record, data=data), offset=offset)


def _stored(item: Picked, index: int, data: Buffer) -> StoredRecord:
    segment, table = item.segment, item.table
    record = table.record(index, data)
    return StoredRecord(
        segment.first + index, segment.time, segment.window, table.writer(index), record, table.sizes[index]
    )
