"""Values, entries and documents, as they stand in rows.

Kinds are numbers in the order in which kinds sort; `IN_LIST` is added for what lies in a list, so that one range of the
index holds what documents sort by, and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from measurand.core.ports import Document, Json
from measurand.core.view import Kind, Scalar, View

__all__ = ["IN_LIST", "KINDS", "SORTED", "Rows", "Value", "column", "dump", "entries", "load", "scalar"]

Value = int | float | str
"""A value as SQLite keeps it."""

Rows = dict[tuple[int, int, Value], tuple[int, int, Value]]
"""Rows (path, kind, value) of one document, by (path, kind without IN_LIST, value)."""

KINDS: Final[Mapping[Kind, int]] = {"n": 1, "s": 2, "b": 3, "t": 4, "z": 5, "x": 6}

SORTED = 5
"""Kinds below it are what a document can sort by."""

IN_LIST = 8

_WORDS: tuple[Kind, ...] = ("n", "s", "b", "t")
_BOUND = 2**63


def column(scalar: Scalar) -> tuple[int, Value]:
    """Return kind and value as they are kept, and as they are asked for."""
    value = scalar.value
    if value is None:
        return KINDS["z"], 0
    if isinstance(value, bool):
        return KINDS[scalar.kind], int(value)
    if isinstance(value, int) and not -_BOUND <= value < _BOUND:
        value = float(value)  # SQLite has integers of 64 bits
    return KINDS[scalar.kind], value


def scalar(kind: int, value: Value) -> Scalar:
    """Return what `column` was given, of a kind below SORTED."""
    word = _WORDS[kind - 1]
    return Scalar(word, bool(value) if word == "b" else value)


def entries(view: View, number: Callable[[str], int]) -> Rows:
    """Return the rows of a view, each once. `number` tells the number of a path.

    A document sorts by at most one value at a path: if a view has a second one, it can be found by and not sorted by.
    """
    rows: Rows = {}
    sorting: set[int] = set()
    for entry in view:
        path = number(entry.path)
        kind, value = (KINDS["x"], 0) if entry.scalar is None else column(entry.scalar)
        listed = entry.in_list
        key = (path, kind, value)
        if kind < SORTED and not listed:
            if path in sorting:
                listed = True
            else:
                sorting.add(path)
                rows[key] = key
                continue
        if key not in rows:
            rows[key] = (path, kind + IN_LIST, value) if listed else key
    return rows


def dump(body: Mapping[str, Json]) -> str:
    """Return the body as JSON."""
    return _ENCODER.encode(body)


def load(row: tuple[Any, ...], key: str, scope: str) -> Document:
    """Return the document of a row (revision, body, text)."""
    return Document(key=key, scope=scope, body=json.loads(row[1]), text=row[2], revision=row[0])


_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
