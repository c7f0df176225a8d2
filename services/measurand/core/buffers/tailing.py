"""Following a buffer: first what is stored, then what comes, over rotations and freezes until it is finished.

A tail holds one page at most, and reads the next one when it is asked for it; so a slow reader holds up nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum

from measurand.core.blob_rules import closing
from measurand.core.buffers.heads import Head, State
from measurand.core.buffers.live import Board
from measurand.core.buffers.pages import Page, StoredRecord, begin_of, span_of
from measurand.core.buffers.reading import MOST_RECORDS, Records
from measurand.core.buffers.selecting import Selection
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.names import BufferName
from measurand.core.principal import Principal
from measurand.core.times import microseconds
from measurand.wire.errors import HistoryTrimmed

__all__ = ["SlowReader", "Tails"]

OLDEST = timedelta(seconds=1)
"""What comes to a reader that skips is not older."""


class SlowReader(StrEnum):
    """What to do for a reader that is slower than the writers."""

    WAIT = "wait"
    SKIP = "skip"
    FAIL = "fail"


@dataclass(slots=True)
class _Place:
    """Where a tail is."""

    head: Head
    position: int
    skipped_to: int = 0

    def page(self, records: tuple[StoredRecord, ...] = ()) -> Page:
        head = self.head
        return Page(records, head.next_sequence, head.state, head.next_buffer, self.position)

    @property
    def is_at_end(self) -> bool:
        return self.position + 1 >= self.head.next_sequence


class Tails:
    """Follows buffers."""

    def __init__(self, records: Records, board: Board, means: Means, limits: Limits) -> None:
        self._records = records
        self._board = board
        self._means = means
        self._limits = limits

    async def follow(
        self,
        principal: Principal,
        name: BufferName,
        *,
        after: int = 0,
        most: int = 0,
        stop_at_end: bool = False,
        headers_only: bool = False,
        skip_trimmed: bool = False,
        selection: Selection | None = None,
        slow_reader: SlowReader = SlowReader.WAIT,
    ) -> AsyncGenerator[Page, None]:
        """Yield the records of a buffer from a sequence on, in order, each once, and go on as new ones come.

        A page without records comes first if there is none yet, when `limits.heartbeat` has passed without one, and at
        the end of a finished buffer. A record larger than a message comes in parts, one page each.

        Parameters
        ----------
        after : int
            Begin after this sequence; 0: at the oldest there is, -1: with the next record to come.
        most : int
            Stop after so many records. 0: never.
        stop_at_end : bool
            Stop at the end of what is there when it begins.
        skip_trimmed : bool
            Go on with the oldest there is where records are gone.
        slow_reader : SlowReader
            SKIP: of what was stored since the tail began, leave out what is older than a second when the reader comes
            back for more. FAIL: end instead.

        Raises
        ------
        NotFound
            RESOURCE_NOT_FOUND: there is no such buffer, or it was removed meanwhile.
        HistoryTrimmed
            HISTORY_TRIMMED: the next records are gone, or the reader is too slow; with `first_sequence`.
        DataLoss
            STORED_DATA_CORRUPT: with the `sequence` of the damaged record. What came before is right.
        """
        await self._records.require(principal, name)
        wanted = self._records.wanted(
            selection, most=most, most_bytes=self._limits.preferred_chunk_bytes, headers_only=headers_only
        )
        clock = asyncio.get_running_loop().time
        heartbeat = self._limits.heartbeat.total_seconds()
        head = await self._board.newest(name)
        place = _Place(head, begin_of(head, after, skip_trimmed=skip_trimmed) - 1)
        began, left = head.next_sequence, most
        has_waited = True
        if place.is_at_end:
            yield place.page()
        silent_since = clock()
        while True:
            if stop_at_end and place.position + 1 >= began:
                return
            if place.is_at_end:
                if place.head.state is State.FINISHED:
                    yield place.page()
                    return
                place.head = await self._records.newer(place.head, silent_since + heartbeat - clock())
                has_waited = True
                if clock() - silent_since >= heartbeat:
                    yield place.page()
                    silent_since = clock()
                continue
            is_late = not has_waited and slow_reader is not SlowReader.WAIT and place.position + 1 >= began
            if is_late and not await self._catch_up(place, slow_reader):
                continue
            wanted = replace(wanted, most=min(left, MOST_RECORDS) if most else MOST_RECORDS)
            page = await self._records.page(place.head, place.position, wanted, skip_trimmed=skip_trimmed)
            if stop_at_end:
                page = _until(page, began)
            place.position = page.read_sequence
            if page.records:
                yield replace(page, skipped_to=place.skipped_to)
                last = page.records[-1]
                while (end := last.offset + len(last.record.data)) < last.size and not headers_only:
                    part = replace(wanted, most=1, part_offset=end)
                    page = await self._records.page(place.head, last.sequence - 1, part)
                    yield page
                    last = page.records[-1]
                place.skipped_to = 0
                left -= len(page.records)
                has_waited = False
                silent_since = clock()
            elif clock() - silent_since >= heartbeat:
                yield place.page()
                silent_since = clock()
            if page.is_last or (most and left <= 0):
                return
            known = self._board.known(name)
            if known is not None and known.head.uid == place.head.uid:
                place.head = max(place.head, known.head, key=lambda head: head.next_sequence)

    async def _catch_up(self, place: _Place, slow_reader: SlowReader) -> bool:
        """Move a place past the records that are too old by now, and tell whether any are left."""
        oldest = microseconds(self._means.now() - OLDEST)
        fresh = place.head.next_sequence
        async with closing(self._records.segments.backwards(span_of(place.head), fresh)) as row:
            async for segment in row:
                if segment.time < oldest or fresh <= place.position + 1:
                    break
                fresh = segment.first
        if fresh <= place.position + 1:
            return True
        if slow_reader is SlowReader.FAIL:
            raise HistoryTrimmed(
                f"{place.head.name}: this reader is too slow, record {place.position + 1} is older than a second; "
                f"begin again after {fresh - 1}, or leave slow_reader out to get every record",
                resource=place.head.name,
                first_sequence=fresh,
            )
        place.position = place.skipped_to = fresh - 1
        return fresh < place.head.next_sequence


def _until(page: Page, end: int) -> Page:
    """Return a page without the records from `end` on."""
    if page.read_sequence < end:
        return page
    return replace(page, records=[stored for stored in page.records if stored.sequence < end], read_sequence=end - 1)
