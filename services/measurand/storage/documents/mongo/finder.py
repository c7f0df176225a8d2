"""Pages of documents, in an order.

An order is walked from stretch to stretch, each of which is one query that has an index for its order: those without a
scalar, those that stand where the page before ended, those with a higher value, and so on. The wildcard index gives
records in the order of the values at one path, but not by key among equal ones. So what has the last value of a
stretch, which may be many, is asked for by itself, along the rest of the order. A few paths of some collections have
an index that goes on with the key.

What stays slow: to find out that no document of many lacks a value at a path, which comes first in a rising order.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from typing import Any

from measurand.core.ordering import sort_key
from measurand.core.ports import Found, Order, Position
from measurand.core.view import KIND_ORDER, Scalar
from measurand.storage.documents.mongo.fields import field_of
from measurand.storage.documents.mongo.filters import Condition
from measurand.storage.documents.mongo.records import Record, document_of, operand, position_of
from measurand.storage.documents.mongo.selection import Selection

__all__ = ["Finder"]

_TYPES = {"n": "number", "s": "string", "b": "bool", "t": "date"}
_KEY = ("_id", 1)

_Stretch = Callable[[int], Awaitable[list[Record]]]
"""Returns the first so many records of a part of the order."""


class Finder:
    """Finds the first documents of a selection in an order.

    Parameters
    ----------
    indexed : collection of str
        Paths that have an index of scope, value and key.
    """

    def __init__(
        self, selection: Selection, order: Sequence[Order], *, indexed: Collection[str], with_text: bool
    ) -> None:
        self._selection = selection
        self._order = order
        self._paths = [each.path for each in order]
        self._indexed = indexed
        self._with_text = with_text

    async def find(self, after: Position | None, limit: int) -> Sequence[Found]:
        """Return what stands behind the position, at most `limit`."""
        records = await self._walk(0, (), after, limit)
        return [Found(document_of(record), position_of(record, self._order)) for record in records]

    async def _walk(
        self, depth: int, conditions: Sequence[Condition], after: Position | None, limit: int
    ) -> list[Record]:
        """Return what meets the conditions, in the order from its part `depth` on."""
        if depth == len(self._order):
            behind = [] if after is None else [{"_id": {"$gt": after.key}}]
            return await self._read(limit, [*conditions, *behind], [_KEY])
        records: list[Record] = []
        for stretch in self._stretches(depth, conditions, after):
            records += await stretch(limit - len(records))
            if len(records) >= limit:
                break
        return records

    def _stretches(self, depth: int, conditions: Sequence[Condition], after: Position | None) -> Iterator[_Stretch]:
        order, field = self._order[depth], field_of(self._order[depth].path)
        value = None if after is None else after.values[depth]
        has_begun = after is not None

        def missing(limit: int) -> Awaitable[list[Record]]:
            condition = self._missing(order, field)
            return self._walk(depth + 1, [*conditions, condition], None if value is not None else after, limit)

        def tied(limit: int) -> Awaitable[list[Record]]:
            assert value is not None
            return self._walk(depth + 1, [*conditions, _stands_at(order, field, value)], after, limit)

        def present(within: Condition) -> _Stretch:
            return lambda limit: self._present(depth, conditions, within, limit)

        if not (order.required or order.descending or value is not None):
            yield missing
        if value is not None:
            yield tied
            yield present({"$lt" if order.descending else "$gt": operand(value)})
            place = KIND_ORDER.index(value.kind)
            kinds = KIND_ORDER[:place] if order.descending else KIND_ORDER[place + 1 :]
            if kinds:
                yield present(_of_kinds(kinds))
        elif not (has_begun and order.descending):
            yield present(_of_kinds(KIND_ORDER))
        if order.descending and not order.required:
            yield missing

    async def _present(
        self, depth: int, conditions: Sequence[Condition], within: Condition, limit: int
    ) -> list[Record]:
        """Return the first records whose value at this part of the order is within a range."""
        order, rest = self._order[depth], self._order[depth + 1 :]
        field, way = field_of(order.path), -1 if order.descending else 1
        is_whole = not rest and order.path in self._indexed
        more = [] if is_whole else [1]  # one more tells whether the last value has more records
        sort = [(f"v.{field}", way), *([_KEY] if is_whole else [])]
        plain = {"$and": [{f"v.{field}": within}, _is_no_list(field)]}
        records = await self._read(limit + len(more), [*conditions, plain], sort)
        if not order.required:
            sort = [(f"o.{field}", way), *sort[1:]]
            records += await self._read(limit + len(more), [*conditions, {f"o.{field}": within}], sort)
        ways = self._order[depth:]
        keyed = sorted((sort_key(self._position(record, depth), ways), index) for index, record in enumerate(records))
        ordered = [records[index] for _, index in keyed]
        if is_whole or len(ordered) <= limit:
            return ordered[:limit]
        last = self._position(ordered[limit], depth).values[0]
        assert last is not None
        surely = [record for record in ordered[:limit] if self._position(record, depth).values[0] != last]
        if len(surely) == limit:
            return surely
        crowd = [*conditions, _stands_at(order, field, last)]
        return surely + await self._walk(depth + 1, crowd, None, limit - len(surely))

    def _missing(self, order: Order, field: str) -> Condition:
        """Return the condition to have no scalar at a path that one can sort by."""
        path = f"v.{field}"
        places: list[Condition] = [{"l": field}]
        if order.path not in self._selection.compared:  # what is compared is there
            places += [{path: None}, {path: {"$type": "object"}}]
        return {"$and": [{f"o.{field}": {"$exists": False}}, {"$or": places}]}

    async def _read(self, limit: int, conditions: Sequence[Condition], sort: Sequence[tuple[str, int]]) -> list[Record]:
        return await self._selection.first(limit, *conditions, sort=sort, paths=self._paths, with_text=self._with_text)

    def _position(self, record: Record, depth: int) -> Position:
        return position_of(record, self._order[depth:])


def _of_kinds(kinds: str) -> dict[str, Any]:
    return {"$type": [_TYPES[kind] for kind in kinds]}


def _is_no_list(field: str) -> Condition:
    return {f"v.{field}": {"$not": {"$type": "array"}}}


def _stands_at(order: Order, field: str, value: Scalar) -> Condition:
    """Return the condition to sort by a value. Where the value is one of a list, `o` tells."""
    equal = {"$eq": operand(value)}
    own = _is_no_list(field)
    place = own if order.required else {"$or": [own, {f"o.{field}": equal}]}
    return {"$and": [{f"v.{field}": equal}, place]}
