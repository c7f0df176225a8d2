"""Counts, sums and the distinct strings at a path."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from bson.decimal128 import Decimal128

from measurand.core.filters.evaluate import CompilePattern
from measurand.core.filters.tree import Filter, Not
from measurand.core.ports import Total
from measurand.storage.documents.mongo.fields import field_of
from measurand.storage.documents.mongo.records import sort_scalar
from measurand.storage.documents.mongo.selection import Records, Selection, beginning, select

__all__ = ["count", "total", "values"]

_SLICE = 200_000
_ZERO = Decimal128("0")


async def count(
    records: Records,
    compile_pattern: CompilePattern,
    *,
    scopes: Collection[str] | None,
    where: Filter | None,
    key_prefix: str,
    most: int | None,
) -> int:
    """Return how many records there are for a filter, counting no further than `most`."""

    def selected(by: Filter | None) -> Selection:
        return select(records, compile_pattern, scopes=scopes, where=by, key_prefix=key_prefix)

    if isinstance(where, Not) and most is None:
        # All are counted by an index alone, and those that are hidden are few: that spares looking at each.
        return max(await _count(selected(None), None) - await _count(selected(where.item), None), 0)
    return await _count(selected(where), most)


async def total(selection: Selection, path: str, *, summed: Collection[str]) -> Total:
    """Return how many records a selection has, and the sum of their integers at the path.

    Parameters
    ----------
    summed : collection of str
        Paths that have their values in the index of scopes.
    """
    if selection.passes is not None:
        number = whole = 0
        async with aclosing(selection.each(path)) as records:
            async for record in records:
                number += 1
                scalar = sort_scalar(record, path)
                if scalar is not None and scalar.kind == "n" and isinstance(scalar.value, int):
                    whole += scalar.value
        return Total(number, whole)
    found, part = Total(0, 0), selection
    group = {"$group": _sum(path, is_summed=path in summed)}
    while True:  # in slices: however many there are, no query takes too long
        groups = await _aggregated(part, {"$sort": {"_id": 1}}, {"$limit": _SLICE}, group)
        if not groups:
            return found
        summary = groups[0]
        found = Total(found.count + summary["count"], found.total + int(summary["total"].to_decimal()))
        if summary["count"] < _SLICE:
            return found
        part = replace(selection, conditions=[*selection.conditions, {"_id": {"$gt": summary["last"]}}])


async def values(selection: Selection, path: str, *, prefix: str, after: str, limit: int) -> Sequence[tuple[str, int]]:
    """Return the distinct strings at the path that begin with the prefix, with how many records have each."""
    field = f"v.{field_of(path)}"
    within = beginning(prefix) | {"$gt": after}
    selection = replace(selection, conditions=[*selection.conditions, {field: within}])
    groups = await _aggregated(
        selection,
        {"$project": {"_id": 0, "value": {"$cond": [{"$isArray": f"${field}"}, f"${field}", [f"${field}"]]}}},
        {"$project": {"value": {"$setUnion": "$value"}}},  # each once
        {"$unwind": "$value"},
        {"$match": {"value": within}},
        {"$group": {"_id": "$value", "count": {"$sum": 1}}},
        {"$sort": {"_id": 1}},
        {"$limit": limit},
    )
    return [(group["_id"], group["count"]) for group in groups]


def _sum(path: str, *, is_summed: bool) -> Mapping[str, Any]:
    field = field_of(path)
    value: object = f"$v.{field}" if is_summed else {"$ifNull": [f"$o.{field}", f"$v.{field}"]}
    is_integer = {"$in": [{"$type": value}, ["int", "long"]]}
    # As decimals of 34 digits: the sum of integers of 64 bits can have more, and MongoDB would make a double of it.
    whole = {"$sum": {"$cond": [is_integer, {"$toDecimal": value}, _ZERO]}}
    return {"_id": None, "count": {"$sum": 1}, "total": whole, "last": {"$last": "$_id"}}


async def _count(selection: Selection, most: int | None) -> int:
    if selection.passes is None:
        stop = [] if most is None else [{"$limit": most}]
        counted = await _aggregated(selection, *stop, {"$count": "count"})
        return int(counted[0]["count"]) if counted else 0
    number = 0
    async with aclosing(selection.each()) as records:
        async for _ in records:
            number += 1
            if number == most:
                break
    return number


async def _aggregated(selection: Selection, *stages: Mapping[str, Any]) -> list[dict[str, Any]]:
    cursor = await selection.records.aggregate([{"$match": selection.query()}, *stages])
    return await cursor.to_list()
