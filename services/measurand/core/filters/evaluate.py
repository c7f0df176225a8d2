"""Does a filter hold for a view? The answer here is right by definition; every store must give the same."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from measurand.core.filters.tree import And, Compare, Contains, Exists, Filter, Glob, Has, Not, Or, Regex
from measurand.core.view import Entry, Scalar, View, escape

__all__ = ["CompilePattern", "glob_matches", "holds", "predicate"]

CompilePattern = Callable[[str], Callable[[str], bool]]
"""Makes of a regular expression (RE2 syntax) a function that tells whether it is found anywhere in a string."""


def holds(where: Filter, view: View, *, compile_pattern: CompilePattern) -> bool:
    """Tell whether the filter holds for the view."""
    return predicate(where, compile_pattern=compile_pattern)(view)


def predicate(where: Filter, *, compile_pattern: CompilePattern) -> Callable[[View], bool]:
    """Return a function that tells whether the filter holds for a view, for use with many views.

    Parameters
    ----------
    where : Filter
        The tree.
    compile_pattern : callable
        The engine of regular expressions; core has none of its own that is safe against hostile patterns.
    """
    test = _test(where, compile_pattern)

    def told(view: View) -> bool:
        at: dict[str, list[Entry]] = {}
        for entry in view:
            at.setdefault(entry.path, []).append(entry)
        return test(at)

    return told


def glob_matches(parts: Sequence[str], text: str) -> bool:
    """Tell whether the parts, with anything between them, make up the whole text. Never looks back, so it is linear."""
    if len(parts) == 1:
        return text == parts[0]
    first, *middle, last = parts
    if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
        return False
    position, end = len(first), len(text) - len(last)
    for part in middle:
        found = text.find(part, position, end)
        if found < 0:
            return False
        position = found + len(part)
    return True


_Test = Callable[[Mapping[str, Sequence[Entry]]], bool]

_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def _test(where: Filter, compile_pattern: CompilePattern) -> _Test:
    match where:
        case And(items):
            every = [_test(item, compile_pattern) for item in items]
            return lambda at: all(test(at) for test in every)
        case Or(items):
            some = [_test(item, compile_pattern) for item in items]
            return lambda at: any(test(at) for test in some)
        case Not(item):
            inner = _test(item, compile_pattern)
            return lambda at: not inner(at)
        case Compare(path, op, value):
            compare = _COMPARE[op]
            return lambda at: any(
                scalar.kind == value.kind and compare(scalar.value, value.value) for scalar in _scalars(at, path)
            )
        case Exists(path):
            return lambda at: path in at
        case Has(path, value):
            equal = _test(Compare(path, "=", value), compile_pattern)
            if not isinstance(value.value, str):
                return equal
            key = f"{path}.{escape(value.value)}"
            return lambda at: key in at or equal(at)
        case Contains(path, text):
            folded = text.casefold()
            return lambda at: any(folded in string.casefold() for string in _strings(at, path))
        case Glob(path, parts):
            return lambda at: any(glob_matches(parts, string) for string in _strings(at, path))
        case Regex(path, pattern):
            found = compile_pattern(pattern)
            return lambda at: any(found(string) for string in _strings(at, path))


def _scalars(at: Mapping[str, Sequence[Entry]], path: str) -> Iterable[Scalar]:
    return (entry.scalar for entry in at.get(path, ()) if entry.scalar is not None)


def _strings(at: Mapping[str, Sequence[Entry]], path: str) -> Iterable[str]:
    return (scalar.value for scalar in _scalars(at, path) if isinstance(scalar.value, str))
