"""Filters as MongoDB's queries. Nothing but what stands here ever gets into one; values come in as operands only.

MongoDB's operators hold for a list if they hold for one of its elements, and compare values of one kind only, which is
just what a restriction means. Regular expressions are another matter: MongoDB's engine looks back, so a hostile one
could hold it up for ever or make it give up silently. So for them the query finds what may pass, and the engine that
was handed in tells of each what does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from measurand.core.filters.evaluate import CompilePattern, predicate
from measurand.core.filters.tree import And, Compare, Contains, Exists, Filter, Glob, Has, Not, Or, Regex
from measurand.core.view import Scalar, escape
from measurand.storage.documents.mongo.fields import field_of
from measurand.storage.documents.mongo.patterns import glob_expression, literal_expression, required_expression
from measurand.storage.documents.mongo.records import Record, operand, view_of

__all__ = ["FALSE", "TRUE", "Condition", "Passes", "Query", "compiled", "paths_of"]

Condition = Mapping[str, object]
"""A query or a part of one."""

Passes = Callable[[Record], bool]

TRUE: Condition = {}
FALSE: Condition = {"_id": {"$in": []}}

_OPERATORS: Mapping[str, str] = {"=": "$eq", "<": "$lt", "<=": "$lte", ">": "$gt", ">=": "$gte"}


@dataclass(frozen=True, slots=True)
class Query:
    """A filter, compiled.

    Parameters
    ----------
    condition : mapping
        What MongoDB is asked; it finds all records that the filter holds for.
    passes : callable, optional
        What each of them must pass beyond that; it reads `paths`. None: nothing.
    paths : tuple of str
        Paths of the view.
    """

    condition: Condition
    passes: Passes | None = None
    paths: tuple[str, ...] = ()


def compiled(where: Filter, compile_pattern: CompilePattern) -> Query:
    """Return the query for a filter. Raises what `compile_pattern` raises for an expression that is none."""
    if _is_exact(where):
        return Query(_condition(where, wanted=True))
    paths = tuple(sorted(set(paths_of(where))))
    holds = predicate(where, compile_pattern=compile_pattern)
    return Query(_condition(where, wanted=True), lambda record: holds(view_of(record, paths)), paths)


def paths_of(where: Filter) -> Sequence[str]:
    """Return the paths that a filter looks at."""
    match where:
        case And(items) | Or(items):
            return [path for item in items for path in paths_of(item)]
        case Not(item):
            return paths_of(item)
        case Has(path, Scalar("s", str(key))):
            return [path, f"{path}.{escape(key)}"]
        case _:
            return [where.path]


def _is_exact(where: Filter) -> bool:
    match where:
        case And(items) | Or(items):
            return all(_is_exact(item) for item in items)
        case Not(item):
            return _is_exact(item)
        case _:
            return not isinstance(where, Regex)


def _condition(where: Filter, *, wanted: bool) -> Condition:
    """Return a condition for all that a filter holds for (not `wanted`: does not hold for), and maybe a few more."""
    match where:
        case Not(item):
            return _condition(item, wanted=not wanted)
        case And(items) | Or(items):
            conditions = [_condition(item, wanted=wanted) for item in items]
            return _all(conditions) if isinstance(where, And) == wanted else _any(conditions)
        case Regex() if not wanted:
            return TRUE
        case _:
            condition = _restriction(where)
            return condition if wanted else {"$nor": [condition]}


def _all(conditions: Sequence[Condition]) -> Condition:
    conditions = [condition for condition in conditions if condition != TRUE]
    if len(conditions) < 2:
        return conditions[0] if conditions else TRUE
    return {"$and": conditions}


def _any(conditions: Sequence[Condition]) -> Condition:
    if TRUE in conditions:
        return TRUE
    if len(conditions) < 2:
        return conditions[0] if conditions else FALSE
    return {"$or": conditions}


def _restriction(where: Compare | Exists | Has | Contains | Glob | Regex) -> Condition:
    field = f"v.{field_of(where.path)}"
    match where:
        case Compare(_, "=", Scalar("z")):
            return {field: {"$type": "null"}}  # to equal null would hold for what is missing as well
        case Compare(_, op, value):
            return {field: {_OPERATORS[op]: operand(value)}}
        case Exists():
            return {field: {"$exists": True}}
        case Has(path, value):
            equal = _restriction(Compare(path, "=", value))
            if not isinstance(value.value, str):
                return equal
            return {"$or": [equal, _restriction(Exists(f"{path}.{escape(value.value)}"))]}
        case Contains(path, text):
            folded = text.casefold()
            other = {f"c.{field_of(path)}": {"$regex": literal_expression(folded)}}
            if not folded.isascii():
                return other
            return {"$or": [{field: {"$regex": literal_expression(folded), "$options": "i"}}, other]}
        case Glob(_, parts):
            if len(parts) == 1:
                return {field: {"$eq": parts[0]}}
            return {field: {"$regex": glob_expression(parts), "$options": "s"}}
        case Regex(_, pattern):
            needed = required_expression(pattern)
            return {field: {"$regex": needed} if needed else {"$gte": ""}}
