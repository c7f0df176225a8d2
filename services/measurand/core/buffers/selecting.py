"""Which records a reader wants: a filter, a span of time, an end; and what of that whole segments can tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from measurand.core.buffers.heads import Segment
from measurand.core.buffers.records import Table
from measurand.core.filters.evaluate import CompilePattern, predicate
from measurand.core.filters.fields import Field
from measurand.core.filters.parser import parse_filter
from measurand.core.filters.tree import And, Filter, Not, Or
from measurand.core.searchable import entries, view_of_metadata
from measurand.core.times import from_microseconds, microseconds
from measurand.core.view import Entry
from measurand.wire.documents import decode
from measurand.wire.errors import InvalidArgument

__all__ = ["RECORD_FIELDS", "Choice", "Selection"]

RECORD_FIELDS: Mapping[str, Field] = {
    "sequence": Field("number", is_required=True),
    "id": Field("text"),
    "writer": Field("text"),
    "size": Field("number", is_required=True),
    "append_time": Field("time", is_required=True),
    "event_time": Field("time"),
    "window": Field("number", is_required=True),
    "metadata": Field("document"),
}
"""What a filter may ask of records."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which records are wanted. What is left out restricts nothing.

    Parameters
    ----------
    filter : str
        In the language of filters, over `RECORD_FIELDS`.
    start, end : datetime, optional
        Stored at `start` or later, and before `end`; measured, with `by_event_time`, and then records without an
        event_time are not wanted.
    last_sequence : int
        Only up to this one. 0: all.
    """

    filter: str = ""
    start: datetime | None = None
    end: datetime | None = None
    by_event_time: bool = False
    last_sequence: int = 0


class Choice:
    """A selection, made ready.

    Parameters
    ----------
    now : datetime
        What `ago("…")` in the filter is relative to.

    Raises
    ------
    FilterInvalid
        FILTER_INVALID: with `position` and what was `expected` there.
    InvalidArgument
        FIELD_INVALID: a negative last_sequence.
    """

    def __init__(self, selection: Selection, now: datetime, compile_pattern: CompilePattern) -> None:
        if selection.last_sequence < 0:
            raise InvalidArgument(
                f"selection.last_sequence: {selection.last_sequence} is negative; leave it out to read on",
                field="selection.last_sequence",
            )
        where = parse_filter(selection.filter, system=RECORD_FIELDS, now=now, compile_pattern=compile_pattern)
        self._test = None if where is None else predicate(where, compile_pattern=compile_pattern)
        self._asks_for_metadata = where is not None and _asks_for_metadata(where)
        self._start = None if selection.start is None else microseconds(selection.start)
        self._end = None if selection.end is None else microseconds(selection.end)
        has_span = self._start is not None or self._end is not None
        self._by_event_time = has_span and selection.by_event_time
        self._by_append_time = has_span and not selection.by_event_time
        self.last_sequence = selection.last_sequence

    @property
    def is_simple(self) -> bool:
        """Whole segments are wanted or not; no record needs to be looked at."""
        return self._test is None and not self._by_event_time

    def is_past(self, segment: Segment) -> bool:
        """Tell that neither this segment nor any later one has a wanted record."""
        if self.last_sequence and segment.first > self.last_sequence:
            return True
        return self._by_append_time and self._end is not None and segment.time >= self._end

    def is_before(self, segment: Segment) -> bool:
        """Tell that neither this segment nor any earlier one has a wanted record."""
        return self._by_append_time and self._start is not None and segment.time < self._start

    def rules_out(self, segment: Segment) -> bool:
        """Tell that this segment has no wanted record."""
        if self.is_past(segment) or self.is_before(segment):
            return True
        if not self._by_event_time:
            return False
        if segment.first_event is None or segment.last_event is None:
            return True
        return not self._is_within(segment.first_event, segment.last_event)

    def wants(self, segment: Segment, table: Table, index: int) -> bool:
        """Tell whether a record of a segment that is not ruled out is wanted."""
        sequence = segment.first + index
        if self.last_sequence and sequence > self.last_sequence:
            return False
        if self.is_simple:
            return True
        record = table.record(index, b"")
        time = record.event_time
        if self._by_event_time and (time is None or not self._is_within(time, time)):
            return False
        if self._test is None:
            return True
        view: list[Entry] = entries(
            sequence=sequence,
            id=record.id or None,
            writer=table.writer(index) or None,
            size=table.sizes[index],
            append_time=from_microseconds(segment.time),
            event_time=None if time is None else from_microseconds(time),
            window=segment.window,
        )
        if self._asks_for_metadata:
            view += view_of_metadata(decode(record.metadata) if record.metadata else {})
        return self._test(view)

    def _is_within(self, first: int, last: int) -> bool:
        """Tell whether the span from `first` to `last` touches the wanted one."""
        return (self._start is None or last >= self._start) and (self._end is None or first < self._end)


def _asks_for_metadata(where: Filter) -> bool:
    match where:
        case And(items) | Or(items):
            return any(map(_asks_for_metadata, items))
        case Not(item):
            return _asks_for_metadata(item)
        case _:
            return where.path.partition(".")[0] == "metadata"
