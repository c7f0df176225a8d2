"""What a search asks for, and the records that it yields."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from pymongo.asynchronous.collection import AsyncCollection

from measurand.core.filters.evaluate import CompilePattern
from measurand.core.filters.tree import And, Compare, Filter
from measurand.core.ordering import successor
from measurand.storage.documents.mongo.filters import TRUE, Condition, Passes, compiled
from measurand.storage.documents.mongo.records import Record, projection

__all__ = ["Records", "Selection", "beginning", "select"]

Records = AsyncCollection[dict[str, Any]]
"""A collection of MongoDB's."""

_AT_ONCE = 500
"""So many records come at a time where each has to pass a test of ours."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The records that a filter holds for.

    Parameters
    ----------
    conditions : sequence of mapping
        What MongoDB is asked, all of it.
    passes : callable, optional
        What each record must pass beyond that; it reads `paths`.
    compared : frozenset of str
        Paths at which each of the records has a value that the filter compares with something.
    """

    records: Records
    conditions: Sequence[Condition]
    passes: Passes | None
    paths: Sequence[str]
    compared: frozenset[str]

    def query(self, *more: Condition) -> Condition:
        """Return all conditions, and more of them, as one."""
        conditions = [*self.conditions, *more]
        return conditions[0] if len(conditions) == 1 else {"$and": conditions}

    async def first(
        self,
        limit: int,
        *more: Condition,
        sort: Sequence[tuple[str, int]],
        paths: Sequence[str] = (),
        with_text: bool = True,
    ) -> list[Record]:
        """Return the first records in an order, with their body and what they sort by at some paths."""
        kept = projection(*paths, *self.paths, with_text=with_text)
        found = self.records.find(self.query(*more), kept).sort(list(sort))
        if self.passes is None:
            return [*await found.limit(limit).batch_size(limit).to_list()]
        passing: list[Record] = []
        async with found.batch_size(_AT_ONCE) as records:
            async for record in records:
                if self.passes(record):
                    passing.append(record)
                    if len(passing) == limit:
                        break
        return passing

    async def each(self, *paths: str) -> AsyncGenerator[Record, None]:
        """Yield all records, with nothing but what they have at these paths and at those of the test."""
        kept = projection(*paths, *self.paths, with_body=False)
        async with self.records.find(self.query(), kept, batch_size=_AT_ONCE) as records:
            async for record in records:
                if self.passes is None or self.passes(record):
                    yield record


def select(
    records: Records,
    compile_pattern: CompilePattern,
    *,
    scopes: Collection[str] | None,
    where: Filter | None = None,
    key_prefix: str = "",
) -> Selection:
    """Return the selection that a verb of the port asks for."""
    conditions: list[Condition] = [_within(scopes, where)]
    if key_prefix:
        conditions.append({"_id": beginning(key_prefix)})
    if where is None:
        return Selection(records, conditions, None, (), frozenset())
    query = compiled(where, compile_pattern)
    if query.condition != TRUE:
        conditions.append(query.condition)
    return Selection(records, conditions, query.passes, query.paths, frozenset(_compared(where)))


def beginning(prefix: str) -> dict[str, object]:
    """Return the condition that a string begins so."""
    end = successor(prefix) if prefix else None
    return {"$gte": prefix} if end is None else {"$gte": prefix, "$lt": end}


def _within(scopes: Collection[str] | None, where: Filter | None) -> Condition:
    """Return the condition on the scope. What was removed has none."""
    if scopes is None:  # an index tells of all that have a scope, but is no way to those that a filter looks for
        return {"s": {"$gte": ""}} if where is None else {"gone": None}
    wanted = sorted(set(scopes))
    return {"s": wanted[0]} if len(wanted) == 1 else {"s": {"$in": wanted}}


def _compared(where: Filter) -> Sequence[str]:
    match where:
        case And(items):
            return [path for item in items for path in _compared(item)]
        case Compare(path, _, value) if value.kind != "z":
            return [path]
        case _:
            return []
