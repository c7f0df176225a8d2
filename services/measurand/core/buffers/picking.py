"""Choosing the records of one page: which fit into it, from a sequence on or from the end back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field

from measurand.core.blob_rules import closing
from measurand.core.buffers.heads import Segment
from measurand.core.buffers.records import Table
from measurand.core.buffers.segments import Segments, Span
from measurand.core.buffers.selecting import Choice
from measurand.wire.errors import DataLoss, NotFound

__all__ = ["AT_ONCE", "Basket", "Picked", "Wanted", "before", "locate", "pick", "pick_newest"]

AT_ONCE = 16
"""So many segments are read in at the same time."""
MOST_TESTED = 50_000
"""A page ends after so many records were looked at, so that a rare find does not take for ever."""
RECORD_WEIGHT = 64
"""What a record takes in a message beside what its writer said, about."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a reader wants of a span: see `Records.read`."""

    most: int
    most_bytes: int
    choice: Choice
    headers_only: bool = False
    part_offset: int = 0


@dataclass(slots=True)
class Picked:
    """Records of one segment."""

    segment: Segment
    table: Table
    indices: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Basket:
    """What goes into one page."""

    wanted: Wanted
    picked: list[Picked] = field(default_factory=list)
    count: int = 0
    weight: int = 0

    def take(self, segment: Segment, table: Table, index: int) -> bool:
        """Take a record, unless there is no room for it. There always is for the first."""
        weight = RECORD_WEIGHT + len(table.heads[index])
        if not self.wanted.headers_only:
            weight += table.sizes[index]
        if self.count and (self.count >= self.wanted.most or self.weight + weight > self.wanted.most_bytes):
            return False
        if not self.picked or self.picked[-1].segment is not segment:
            self.picked.append(Picked(segment, table))
        self.picked[-1].indices.append(index)
        self.count += 1
        self.weight += weight
        return True


async def pick(segments: Segments, span: Span, begin: int, basket: Basket) -> tuple[int, bool]:
    """Fill a basket from `begin` on. Return up to where was looked, and whether nothing later is wanted."""
    choice, tested, read = basket.wanted.choice, 0, begin - 1
    async with closing(_opened(segments, span, begin, basket.wanted)) as row:
        async for segment, table in row:
            if choice.is_past(segment):
                return span.end - 1, True
            if isinstance(table, BaseException):
                if basket.count:  # what was picked is sound; whoever reads on is told
                    return read, False
                raise table
            if table is not None:
                for index in range(max(begin - segment.first, 0), segment.count):
                    if choice.wants(segment, table, index) and not basket.take(segment, table, index):
                        return segment.first + index - 1, False
                tested += 0 if choice.is_simple else segment.count
            read = segment.end - 1
            if basket.count >= basket.wanted.most or tested > MOST_TESTED:
                break
    return read, bool(choice.last_sequence) and read >= choice.last_sequence


async def pick_newest(segments: Segments, span: Span, basket: Basket) -> None:
    """Fill a basket from the end back."""
    choice, tested = basket.wanted.choice, 0
    async with closing(segments.backwards(span, span.end)) as row:
        async for segment in row:
            if choice.is_before(segment):
                break
            if choice.rules_out(segment):
                continue
            table = await segments.table(span, segment)
            has_room = True
            for index in reversed(range(max(span.first - segment.first, 0), segment.count)):
                if choice.wants(segment, table, index) and not basket.take(segment, table, index):
                    has_room = False
                    break
            tested += 0 if choice.is_simple else segment.count
            if not has_room or basket.count >= basket.wanted.most or tested > MOST_TESTED:
                break
    basket.picked.reverse()
    for picked in basket.picked:
        picked.indices.reverse()


async def locate(
    segments: Segments, span: Span, sequences: Sequence[int], *, as_far_as_sound: bool = False
) -> list[Picked]:
    """Return the segments in which records lie, by sequences that rise, with their tables.

    Parameters
    ----------
    as_far_as_sound : bool
        Return those before the first that is damaged or gone, instead of raising DataLoss or NotFound.
    """
    picked: list[Picked] = []
    try:
        for sequence in sequences:
            if not picked or sequence >= picked[-1].segment.end:
                async with closing(segments.onwards(span, sequence)) as row:
                    segment = await anext(row)
                picked.append(Picked(segment, await segments.table(span, segment)))
            picked[-1].indices.append(sequence - picked[-1].segment.first)
    except (DataLoss, NotFound):
        if not as_far_as_sound:
            raise
    return picked


async def _opened(
    segments: Segments, span: Span, begin: int, wanted: Wanted
) -> AsyncIterator[tuple[Segment, Table | BaseException | None]]:
    """Yield segments from `begin` on with their tables, or why they cannot be read; None: nothing of it is wanted.

    The tables of those that one page needs are read at the same time.
    """
    async with closing(segments.onwards(span, begin)) as row:
        has_more = True
        while has_more:
            has_more = False
            group: list[Segment] = []
            records = size = 0
            async for segment in row:
                group.append(segment)
                if not wanted.choice.rules_out(segment):
                    records, size = records + segment.count, size + segment.counted
                if len(group) == AT_ONCE or records >= wanted.most or size >= wanted.most_bytes:
                    has_more = True
                    break
            wanted_ones = [segment for segment in group if not wanted.choice.rules_out(segment)]
            reading = [segments.table(span, segment) for segment in wanted_ones]
            tables = dict(
                zip(
                    [segment.first for segment in wanted_ones],
                    await asyncio.gather(*reading, return_exceptions=True),
                    strict=True,
                )
            )
            for segment in group:
                yield segment, tables.get(segment.first)


def before(picked: Iterable[Picked], sequence: int) -> list[Picked]:
    """Return what was picked before a sequence."""
    found = []
    for item in picked:
        indices = [index for index in item.indices if item.segment.first + index < sequence]
        if indices:
            found.append(Picked(item.segment, item.table, indices))
    return found
