"""Counts, sums and the distinct strings at a path."""

# ruff: noqa: S608  # the texts put together here are ours; every value is bound

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from itertools import groupby, islice

from measurand.core.ordering import successor
from measurand.core.ports import Total
from measurand.storage.documents.sqlite.compiler import Sql, every
from measurand.storage.documents.sqlite.finder import Finder
from measurand.storage.documents.sqlite.rows import IN_LIST, KINDS
from measurand.storage.documents.sqlite.selection import Selection, marks
from measurand.storage.documents.sqlite.tallies import documents_of

__all__ = ["count", "total", "values"]

_FEW = 1_000
_ALL = 2**62


def count(selection: Selection, most: int | None) -> int:
    """Return how many documents the selection has, counting no further than `most`."""
    if most is not None and most <= _FEW and selection.tests:
        return len(Finder(selection, (), most).find(None))
    if not selection.tests and not selection.strays:
        number = documents_of(selection.connection, selection.home.parts)
        return number if most is None else min(number, most)
    choice = selection.smallest(_ALL)
    if choice is not None and choice.documents is not None and not choice.tests and not selection.strays:
        documents = choice.documents
        sql = f"SELECT count(*) FROM (SELECT DISTINCT doc FROM ({documents.text}) LIMIT ?)"
        return int(selection.one(sql, (*documents.values, _ALL if most is None else most)) or 0)
    source, condition = selection.source(choice)
    if most is None:
        return int(selection.one(f"SELECT count(*) FROM {source} WHERE {condition.text}", condition.values) or 0)
    sql = f"SELECT count(*) FROM (SELECT 1 FROM {source} WHERE {condition.text} LIMIT ?)"
    return int(selection.one(sql, (*condition.values, most)) or 0)


def total(selection: Selection, path: str) -> Total:
    """Return how many documents the selection has, and the sum of their integers at the path."""
    number, home = selection.number(path), selection.home
    if not selection.tests and not selection.strays:
        sql = f"SELECT {_SUM} FROM vals AS v WHERE part IN ({marks(home.parts)}) AND path = ? AND {_INTEGER}"
        high, low = selection.connection.execute(sql, (*home.parts, number)).fetchone()
        return Total(count(selection, None), _whole(high, low))
    source, condition = selection.source(selection.smallest(_ALL))
    sql = (
        f"SELECT count(*), {_SUM} FROM {source}"
        f" LEFT JOIN vals AS v INDEXED BY vals_doc ON v.doc = d.id AND v.path = ? AND {_INTEGER}"
        f" WHERE {condition.text}"
    )
    number_of, high, low = selection.connection.execute(sql, (number, *condition.values)).fetchone()
    return Total(number_of, _whole(high, low))


def values(selection: Selection, path: str, *, prefix: str, after: str, limit: int) -> Sequence[tuple[str, int]]:
    """Return the distinct strings at the path, with how many documents have each."""
    number = selection.number(path)
    bounds = [Sql("v.value > ?", (after,)) if after >= prefix else Sql("v.value >= ?", (prefix,))]
    end = successor(prefix) if prefix else None
    if end is not None:
        bounds.append(Sql("v.value < ?", (end,)))
    kinds = (KINDS["s"], KINDS["s"] + IN_LIST)
    streams = [
        _strings(selection, [Sql("v.part = ? AND v.path = ? AND v.kind = ?", (part, number, kind)), *bounds], limit)
        for part in selection.home.parts
        for kind in kinds
    ]
    groups = groupby(heapq.merge(*streams), key=lambda pair: pair[0])
    return [(string, sum(number for _, number in pairs)) for string, pairs in islice(groups, limit)]


# Two halves: the sum of integers of 64 bits can have more, and SQLite refuses such a sum.
_SUM = "sum(v.value >> 32), sum(v.value & 4294967295)"
_INTEGER = f"v.kind = {KINDS['n']:d} AND typeof(v.value) = 'integer'"


def _whole(high: int | None, low: int | None) -> int:
    return ((high or 0) << 32) + (low or 0)


def _strings(selection: Selection, conditions: Sequence[Sql], limit: int) -> Iterator[tuple[str, int]]:
    strays = selection.strays
    source = "vals AS v CROSS JOIN docs AS d ON d.id = v.doc" if strays else "vals AS v"
    condition = every([*conditions, *strays])
    sql = f"SELECT v.value, count(*) FROM {source} WHERE {condition.text} GROUP BY v.value ORDER BY v.value LIMIT ?"
    yield from selection.connection.execute(sql, (*condition.values, limit)).fetchall()
