"""Pages of documents, in an order.

There are two ways to a page. To gather: collect the documents of a small set, sort them, take the first ones. To walk:
go along an index in the wanted order and test each document, until the page is full. Gathering is quick when little
matches, walking when much does. How much matches is not known beforehand, so each way is tried as far as it is cheap
(`_STEPS`), and then a little farther. What stays slow: a filter that holds for very many documents, all of which stand
far behind in the order.
"""

# ruff: noqa: S608  # the texts put together here are ours; every value is bound

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from measurand.core.filters.tree import Compare, Filter
from measurand.core.ports import Order, Position
from measurand.storage.documents.sqlite.compiler import Sql, every
from measurand.storage.documents.sqlite.places import After, Row, behind, columns, joins, merged, ways
from measurand.storage.documents.sqlite.rows import IN_LIST, SORTED, Value, column
from measurand.storage.documents.sqlite.selection import Choice, Selection
from measurand.storage.documents.sqlite.spans import Span
from measurand.storage.documents.sqlite.tallies import lacks_none

__all__ = ["Finder"]

_STEPS: Sequence[tuple[int, int | None]] = ((500, 2_000), (2_000, 10_000), (20_000, 20_000), (500_000, None))
"""Gather if a set has at most so many rows, else walk along so many."""

_STRIDE = 1_000
"""Walk along so many rows at a time. As many with the same value are a crowd."""


class _TooFar(Exception):  # no error: a walk that is given up
    pass


@dataclass(slots=True)
class _Reach:
    """How far a walk may still go; None: to the end."""

    left: int | None

    def spend(self, rows: int) -> None:
        if self.left is not None:
            self.left -= rows
            if self.left < 0:
                raise _TooFar


@dataclass(frozen=True, slots=True)
class _Narrowed:
    """The filter itself says where in the first path of the order to walk."""

    kind: int
    spans: Sequence[Span]
    items: Sequence[Filter]


class Finder:
    """Finds the first `limit` documents of a selection in an order."""

    def __init__(self, selection: Selection, order: Sequence[Order], limit: int) -> None:
        self._selection = selection
        self._order = order
        self._limit = limit
        self._paths = [selection.number(each.path) for each in order]
        self._narrowed = self._narrow()

    def find(self, position: Position | None) -> Sequence[Row]:
        """Return what stands behind the position, at most `limit`."""
        after = After.of(position) if position is not None else None
        home, without = self._selection.home, self._narrowed.items if self._narrowed else ()
        area = len(home.scopes or ()) > 1 or bool(self._order and self._selection.strays)
        may_gather = area or len(without) < len(self._selection.items)
        for most, reach in _STEPS if may_gather else ():
            chosen = self._selection.smallest(most, without=without, area=area)
            if chosen is not None:
                return self._gather(chosen, after)
            try:
                return list(islice(self._walk(0, after, self._selection.tests, _Reach(reach)), self._limit))
            except _TooFar:
                continue
        return list(islice(self._walk(0, after, self._selection.tests, _Reach(None)), self._limit))

    def _narrow(self) -> _Narrowed | None:
        """Return the part of the first path that all documents of the selection sort in, if the filter tells it.

        A comparison also holds for an element of a list, by which nothing sorts. So it tells only if no document has
        such an element there.
        """
        if not self._order:
            return None
        path = self._order[0].path
        items = [item for item in self._selection.items if isinstance(item, Compare) and item.path == path]
        wanted = [(item.op, column(item.value)) for item in items]
        kinds = {kind for _, (kind, _) in wanted}
        if len(kinds) != 1 or (kind := kinds.pop()) >= SORTED:
            return None
        for part in self._selection.home.parts:
            sql = "SELECT 1 FROM vals WHERE part = ? AND path = ? AND kind = ? LIMIT 1"
            if self._selection.one(sql, (part, self._paths[0], kind + IN_LIST)) is not None:
                return None
        return _Narrowed(kind, [Span.compared(op, value) for op, (_, value) in wanted], items)

    def _gather(self, choice: Choice, after: After | None) -> Sequence[Row]:
        source, condition = self._selection.source(choice)
        if after is not None:
            condition = every([condition, behind(self._order, after, 0)])
        sql = (
            f"SELECT d.id, d.key{columns(self._order, 0)} FROM {source}{joins(self._order, 0)}"
            f" WHERE {condition.text} ORDER BY {ways(self._order, 0)}d.key LIMIT ?"
        )
        return self._rows(sql, (*self._paths, *condition.values, self._limit))

    def _walk(self, depth: int, after: After | None, tests: Sequence[Sql], reach: _Reach) -> Iterator[Row]:
        """Yield documents in the order from its part `depth` on, with as many sort values fewer."""
        if depth == len(self._order):
            key = None if after is None else after.key
            streams = [self._keys(index, home, key, tests, reach) for index, home in self._selection.walks()]
            yield from merged(streams, ())
            return
        in_present = after is not None and after.places[depth] is not None
        in_missing = after is not None and not in_present
        if self._order[depth].descending:
            if not in_missing:
                yield from self._present(depth, after, tests, reach)
            yield from self._missing(depth, after if in_missing else None, tests, reach)
        else:
            if not in_present:
                yield from self._missing(depth, after, tests, reach)
            yield from self._present(depth, after if in_present else None, tests, reach)

    def _missing(self, depth: int, after: After | None, tests: Sequence[Sql], reach: _Reach) -> Iterator[Row]:
        selection, path = self._selection, self._paths[depth]
        if self._order[depth].required or (depth == 0 and self._narrowed):
            return
        if lacks_none(selection.connection, selection.home.parts, path):
            return
        probe = "SELECT 1 FROM vals INDEXED BY vals_doc WHERE doc = d.id AND path = ?"
        absent = Sql(f"NOT EXISTS ({probe} AND kind < {SORTED:d})", (path,))
        for row in self._walk(depth + 1, after, [*tests, absent], reach):
            yield row.under(None)

    def _present(self, depth: int, after: After | None, tests: Sequence[Sql], reach: _Reach) -> Iterator[Row]:
        streams = [self._part(part, depth, after, tests, reach) for part in self._selection.home.parts]
        yield from merged(streams, self._order[depth:])

    def _part(self, part: int, depth: int, after: After | None, tests: Sequence[Sql], reach: _Reach) -> Iterator[Row]:
        is_narrow = depth == 0 and self._narrowed is not None
        kinds = [self._narrowed.kind] if is_narrow and self._narrowed else list(range(1, SORTED))
        descending = self._order[depth].descending
        if descending:
            kinds.reverse()
        place = None if after is None else after.places[depth]
        if place is not None:
            kinds = [kind for kind in kinds if (kind <= place[0] if descending else kind >= place[0])]
        for kind in kinds:
            span = Span(part, self._paths[depth], kind, descending)
            for bounds in self._narrowed.spans if is_narrow and self._narrowed else ():
                span = span.within(bounds)
            if place is not None and place[0] == kind:
                yield from self._crowd(span.at(place[1]), depth, after, tests, reach)
                span = span.behind(place[1])
            yield from self._along(span, depth, tests, reach)

    def _along(self, span: Span, depth: int, tests: Sequence[Sql], reach: _Reach) -> Iterator[Row]:
        """Walk along a span, by strides; what has the same value is sorted by the rest of the order and the key."""
        while True:
            start = "SELECT v.value FROM vals AS v WHERE"
            condition = span.condition()
            first = self._selection.one(f"{start} {condition.text} ORDER BY {span.way} LIMIT 1", condition.values)
            if first is None:
                return
            end = self._selection.one(
                f"{start} {condition.text} ORDER BY {span.way} LIMIT 1 OFFSET {_STRIDE:d}", condition.values
            )
            if end is not None and end == first:
                yield from self._crowd(span.at(first), depth, None, tests, reach)
                span = span.behind(first)
                continue
            yield from self._sorted(span if end is None else span.before(end), depth, None, tests, reach)
            if end is None:
                return
            span = span.starting(end)

    def _crowd(self, span: Span, depth: int, after: After | None, tests: Sequence[Sql], reach: _Reach) -> Iterator[Row]:
        """Yield what has one value. Of many, the first are sooner found along the rest of the order than sorted."""
        condition = span.condition()
        sql = f"SELECT 1 FROM vals AS v WHERE {condition.text} LIMIT 1 OFFSET {_STRIDE:d}"
        if self._selection.one(sql, condition.values) is not None:
            probe = Sql(f"EXISTS (SELECT 1 FROM vals AS v WHERE {condition.text} AND v.doc = d.id)", condition.values)
            try:
                walk = self._walk(depth + 1, after, [*tests, probe], _Reach(10 * _STRIDE))
                rows = list(islice(walk, self._limit))
            except _TooFar:
                reach.spend(10 * _STRIDE)
            else:
                place = span.place()
                yield from (row.under(place) for row in rows)
                return
        yield from self._sorted(span, depth, after, tests, reach)

    def _sorted(
        self, span: Span, depth: int, after: After | None, tests: Sequence[Sql], reach: _Reach
    ) -> Iterator[Row]:
        conditions = [span.condition(), *self._selection.strays, *tests]
        if len(conditions) > 1:
            reach.spend(_STRIDE)
        if after is not None:
            conditions.append(behind(self._order, after, depth + 1))
        condition = every(conditions)
        rest = depth + 1
        sql = (
            f"SELECT d.id, d.key, v.kind, v.value{columns(self._order, rest)}"
            f" FROM vals AS v CROSS JOIN docs AS d ON d.id = v.doc{joins(self._order, rest)}"
            f" WHERE {condition.text} ORDER BY {span.way}, {ways(self._order, rest)}d.key LIMIT ?"
        )
        values = (*self._paths[rest:], *condition.values, self._limit)
        yield from self._rows(sql, values)

    def _keys(self, index: str, home: Sql, after: str | None, tests: Sequence[Sql], reach: _Reach) -> Iterator[Row]:
        while True:
            start = f"FROM docs AS d INDEXED BY {index} WHERE"
            end = None
            if tests:
                walk = every([home, self._selection.keys(after)])
                sql = f"SELECT d.key {start} {walk.text} ORDER BY d.key LIMIT 1 OFFSET {_STRIDE:d}"
                end = self._selection.one(sql, walk.values)
                reach.spend(_STRIDE)
            until = None if end is None else str(end)
            condition = every([home, self._selection.keys(after, until), *tests])
            sql = f"SELECT d.id, d.key {start} {condition.text} ORDER BY d.key LIMIT ?"
            values = (*condition.values, self._limit)
            yield from self._rows(sql, values)
            if until is None:
                return
            after = until

    def _rows(self, sql: str, values: Sequence[Value]) -> Sequence[Row]:
        # All at once: a statement that is left in the middle would keep its connection from seeing later writes.
        return [Row.of(row) for row in self._selection.connection.execute(sql, values).fetchall()]
