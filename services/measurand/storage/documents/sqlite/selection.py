"""What a search asks for, on one connection in one read transaction, and how little of the index may hold it all."""

# ruff: noqa: S608  # the texts put together here are ours; every value is bound

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from measurand.core.filters.tree import And, Filter, Or
from measurand.core.ordering import successor
from measurand.storage.documents.sqlite.compiler import Range, Sql, every, ranges, test
from measurand.storage.documents.sqlite.numbers import Home, Lookup
from measurand.storage.documents.sqlite.rows import Value

__all__ = ["Choice", "Selection", "marks"]

_MOST_RANGES = 64
_MOST_WALKS = 16


@dataclass(frozen=True, slots=True)
class Choice:
    """A set that holds all documents of a selection.

    Parameters
    ----------
    documents : Sql, optional
        Yields their numbers, some maybe more than once. None: all documents of the home.
    tests : sequence of Sql
        What each of them must still pass.
    """

    documents: Sql | None
    tests: Sequence[Sql]


@dataclass(frozen=True, slots=True)
class _Sized:
    size: int
    ranges: Sequence[Range]
    is_exact: bool


class Selection:
    """Documents of a home that a filter holds for and whose key begins with a prefix.

    In its SQL, `d` is a row of `docs` and `v` one of `vals`.
    """

    def __init__(
        self, connection: sqlite3.Connection, lookup: Lookup, home: Home, where: Filter | None, prefix: str
    ) -> None:
        self.connection = connection
        self.home = home
        self.items: Sequence[Filter] = tuple(_flat(where)) if where is not None else ()
        self._lookup = lookup
        self._low = prefix
        self._high = successor(prefix) if prefix else None
        self.tests = [test(item, self.number) for item in self.items]

    def number(self, path: str) -> int:
        """Return the number of a path; for one that no document has, a number that no row has."""
        return self._lookup.path(self.connection, self.home.collection, path) or -1

    def one(self, sql: str, values: Sequence[Value]) -> Value | None:
        """Return the first value of the first row, or None if there is no row."""
        row = self.connection.execute(sql, values).fetchone()
        return None if row is None else row[0]

    def keys(self, after: str | None = None, until: str | None = None) -> Sql:
        """Return the condition on `d.key`: with the prefix, behind `after`, not behind `until` (which has it)."""
        conditions = []
        if after is not None and after >= self._low:
            conditions.append(Sql("d.key > ?", (after,)))
        elif self._low:
            conditions.append(Sql("d.key >= ?", (self._low,)))
        if until is not None:
            conditions.append(Sql("d.key <= ?", (until,)))
        elif self._high is not None:
            conditions.append(Sql("d.key < ?", (self._high,)))
        return every(conditions)

    @property
    def strays(self) -> Sequence[Sql]:
        """Return conditions on `d` when it was found by its values: in a shared part, others may lie beside it."""
        conditions = []
        if self.home.shared and self.home.scopes is not None:
            conditions.append(Sql(f"+d.scope IN ({marks(self.home.scopes)})", self.home.scopes))
        if self._low:
            conditions.append(self.keys())
        return conditions

    def walks(self) -> Sequence[tuple[str, Sql]]:
        """Return the indices of `docs`, each with a condition, that together give the home in the order of keys."""
        scopes = self.home.scopes
        if scopes is None:
            return [("docs_key", Sql("d.collection = ?", (self.home.collection,)))]
        if len(scopes) <= _MOST_WALKS:
            return [("docs_scope", Sql("d.scope = ?", (scope,))) for scope in scopes]
        condition = Sql(f"d.collection = ? AND d.scope IN ({marks(scopes)})", (self.home.collection, *scopes))
        return [("docs_key", condition)]

    def area(self) -> tuple[str, Sql]:
        """Return one index of `docs` and the condition that give the home, in no order."""
        scopes = self.home.scopes
        if scopes is None:
            return "docs_key", every([Sql("d.collection = ?", (self.home.collection,)), self.keys()])
        return "docs_scope", every([Sql(f"d.scope IN ({marks(scopes)})", scopes), self.keys()])

    def smallest(self, most: int, *, without: Collection[Filter] = (), area: bool = False) -> Choice | None:
        """Return the smallest set that is known, if it has at most `most` rows.

        Parameters
        ----------
        without : collection of Filter
            Restrictions not to be looked at.
        area : bool
            Look at the number of documents in the home too.
        """
        size, choice = most + 1, None
        for index, item in enumerate(self.items):
            sized = None if item in without else self._sized(item, most)
            if sized is not None and sized.size < size:
                others = [*self.tests[:index], *self.tests[index + 1 :]]
                tests = others if sized.is_exact else self.tests
                size, choice = sized.size, Choice(self._set(sized.ranges), tests)
        if area:
            by, condition = self.area()
            sql = f"SELECT count(*) FROM (SELECT 1 FROM docs AS d INDEXED BY {by} WHERE {condition.text} LIMIT ?)"
            if int(self.one(sql, (*condition.values, size)) or 0) < size:
                choice = Choice(None, self.tests)
        return choice

    def source(self, choice: Choice | None) -> tuple[str, Sql]:
        """Return the least of `docs` that holds the selection, and the condition on it."""
        if choice is None or choice.documents is None:
            index, area = self.area()
            return f"docs AS d INDEXED BY {index}", every([area, *self.tests])
        within = Sql(f"d.id IN ({choice.documents.text})", choice.documents.values)
        return "docs AS d", every([within, *self.strays, *choice.tests])

    def _set(self, wanted: Sequence[Range]) -> Sql:
        if not wanted or not self.home.parts:
            return Sql("SELECT 0 AS doc WHERE 0")
        selects, values = [], list[Value]()
        for each in wanted:
            condition = each.condition(self.number(each.path))
            selects.append(f"SELECT doc FROM vals WHERE part IN ({marks(self.home.parts)}) AND {condition.text}")
            values += (*self.home.parts, *condition.values)
        return Sql(" UNION ALL ".join(selects), tuple(values))

    def _sized(self, where: Filter, most: int) -> _Sized | None:
        """Return ranges that hold all that `where` holds for, and how many rows they have, counted to `most` + 1."""
        match where:
            case And(items):
                sized = [each for each in (self._sized(item, most) for item in items) if each is not None]
                best = min(sized, key=lambda each: each.size, default=None)
                return best and _Sized(best.size, best.ranges, is_exact=best.is_exact and len(items) == 1)
            case Or(items):
                parts = [self._sized(item, most) for item in items[: _MOST_RANGES + 1]]
                known = [part for part in parts if part is not None]
                together = [each for part in known for each in part.ranges]
                if len(known) < len(items) or len(together) > _MOST_RANGES:
                    return None
                return _Sized(sum(part.size for part in known), together, all(part.is_exact for part in known))
            case _:
                wanted = ranges(where)
                if wanted is None:
                    return None
                return _Sized(sum(self._size(each, most) for each in wanted), wanted, is_exact=True)

    def _size(self, wanted: Range, most: int) -> int:
        if not self.home.parts:
            return 0
        sql = (
            f"SELECT count(*) FROM (SELECT 1 FROM vals WHERE part IN ({marks(self.home.parts)})"
            f" AND path = ?{wanted.within.text} LIMIT ?)"
        )
        values = (*self.home.parts, self.number(wanted.path), *wanted.within.values, most + 1)
        return int(self.one(sql, values) or 0)


def marks(values: Sequence[object]) -> str:
    """Return as many question marks."""
    return ", ".join("?" * len(values))


def _flat(where: Filter) -> Iterator[Filter]:
    if isinstance(where, And):
        for item in where.items:
            yield from _flat(item)
    else:
        yield where
