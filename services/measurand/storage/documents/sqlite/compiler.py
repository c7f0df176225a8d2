"""Filters as SQL, with bound parameters only.

A filter has two forms. Its test holds for one document at hand, by the index `vals_doc`. Its set is what the index of
values yields of documents that may pass; it may hold a few too many, for the test is always applied as well.
"""

# ruff: noqa: S608  # the texts put together here are ours; every value is bound

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from measurand.core.filters.evaluate import CompilePattern, glob_matches
from measurand.core.filters.tree import And, Compare, Contains, Exists, Filter, Glob, Has, Not, Or, Regex
from measurand.core.ordering import successor
from measurand.core.view import escape
from measurand.storage.documents.sqlite.rows import IN_LIST, KINDS, Value, column

__all__ = ["Range", "Sql", "check_patterns", "every", "matcher", "ranges", "test"]

_FUNCTION = "measurand_matches"


@dataclass(frozen=True, slots=True)
class Sql:
    """A piece of SQL and the values of its question marks."""

    text: str
    values: tuple[Value, ...] = ()


@dataclass(frozen=True, slots=True)
class Range:
    """Rows of one path.

    Parameters
    ----------
    path : str
        A path.
    within : Sql
        What kind and value must be, by the index.
    check : Sql, optional
        What each row must pass beyond that.
    """

    path: str
    within: Sql
    check: Sql | None = None

    def condition(self, number: int) -> Sql:
        """Return the whole condition on a row, given the number of the path."""
        text = f"path = ?{self.within.text}" + (f" AND {self.check.text}" if self.check else "")
        return Sql(text, (number, *self.within.values, *(self.check.values if self.check else ())))


def ranges(where: Filter) -> Sequence[Range] | None:
    """Return ranges of which each document that a restriction holds for has a row. None: `where` is no restriction."""
    match where:
        case Compare(path, op, value):
            kind, operand = column(value)
            return [Range(path, Sql(f" AND {_kind(kind)} AND value {op} ?", (operand,)))]
        case Exists(path):
            return [Range(path, Sql(""))]
        case Has(path, value):
            equal = ranges(Compare(path, "=", value))
            key = [Range(f"{path}.{escape(value.value)}", Sql(""))] if isinstance(value.value, str) else []
            return [*(equal or ()), *key]
        case Contains(path, text):
            return [Range(path, Sql(_STRING), _check("contains", text.casefold()))]
        case Regex(path, pattern):
            return [Range(path, Sql(_STRING), _check("regex", pattern))]
        case Glob(path, parts):
            return [_glob(path, parts)]
        case _:
            return None


def test(where: Filter, number: Callable[[str], int]) -> Sql:
    """Return a condition on a document `d` that is true if the filter holds for it, and false if not.

    Parameters
    ----------
    number : callable
        Tells the number of a path; for one that no document has, any that no row has.
    """
    match where:
        case And(items):
            return every([test(item, number) for item in items])
        case Or(items):
            return _joined([test(item, number) for item in items], "OR", "0")
        case Not(item):
            inner = test(item, number)
            return Sql(f"NOT {inner.text}", inner.values)
        case _:
            conditions = [part.condition(number(part.path)) for part in ranges(where) or ()]
            probes = [
                Sql(f"EXISTS (SELECT 1 FROM vals INDEXED BY vals_doc WHERE doc = d.id AND {each.text})", each.values)
                for each in conditions
            ]
            return _joined(probes, "OR", "0")


def every(conditions: Sequence[Sql]) -> Sql:
    """Return the condition that all of them hold."""
    return _joined(conditions, "AND", "1")


def check_patterns(where: Filter, compile_pattern: CompilePattern) -> None:
    """Compile each regular expression of the filter, so that one the engine refuses is not SQLite's error."""
    match where:
        case And(items) | Or(items):
            for item in items:
                check_patterns(item, compile_pattern)
        case Not(item):
            check_patterns(item, compile_pattern)
        case Regex(_, pattern):
            compile_pattern(pattern)
        case _:
            pass


def matcher(connection: sqlite3.Connection, compile_pattern: CompilePattern) -> None:
    """Teach a connection what SQL has no words for: globs over strings with NUL, casefolding, the given engine."""

    @lru_cache(maxsize=64)
    def compiled(how: str, operand: str) -> Callable[[str], bool]:
        if how == "contains":
            return lambda value: operand in value.casefold()
        if how == "regex":
            return compile_pattern(operand)
        parts = tuple(json.loads(operand))
        return lambda value: glob_matches(parts, value)

    def matches(how: str, operand: str, value: str) -> bool:
        return compiled(how, operand)(value)

    connection.create_function(_FUNCTION, 3, matches, deterministic=True)


def _kind(kind: int) -> str:
    return f"kind IN ({kind:d}, {kind + IN_LIST:d})"


_STRING = f" AND {_kind(KINDS['s'])}"


def _check(how: str, operand: str) -> Sql:
    return Sql(f"{_FUNCTION}(?, ?, value)", (how, operand))


def _glob(path: str, parts: Sequence[str]) -> Range:
    if len(parts) == 1:
        return Range(path, Sql(f"{_STRING} AND value = ?", (parts[0],)))
    within = Sql(_STRING)
    end = successor(parts[0])
    if parts[0]:
        within = Sql(f"{_STRING} AND value >= ?", (parts[0],))
        if end is not None:
            within = Sql(f"{within.text} AND value < ?", (*within.values, end))
    only_prefix = len(parts) == 2 and not parts[1]
    return Range(path, within, None if only_prefix else _check("glob", json.dumps(parts)))


def _joined(conditions: Sequence[Sql], word: str, empty: str) -> Sql:
    """Join in halves: a chain of a thousand would be deeper than SQLite lets an expression be."""
    if not conditions:
        return Sql(empty)
    if len(conditions) == 1:
        return conditions[0]
    middle = len(conditions) // 2
    left, right = _joined(conditions[:middle], word, empty), _joined(conditions[middle:], word, empty)
    return Sql(f"({left.text} {word} {right.text})", left.values + right.values)
