"""The syntax tree of a filter, over paths of the view. Made by the parser and by core, compiled by the stores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from measurand.core.view import Scalar

__all__ = ["And", "Compare", "Contains", "Exists", "Filter", "Glob", "Has", "Not", "Or", "Regex"]


@dataclass(frozen=True, slots=True)
class And:
    """All of them hold. With no items it is true."""

    items: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """At least one of them holds. With no items it is false."""

    items: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """It does not hold."""

    item: Filter


@dataclass(frozen=True, slots=True)
class Compare:
    """A value at the path, or an element of a list there, is of the operand's kind and compares so with it.

    Booleans and null only by "=". `p != v` is `And((Exists(p), Not(Compare(p, "=", v))))`; the parser says so.
    """

    path: str
    op: Literal["=", "<", "<=", ">", ">="]
    value: Scalar


@dataclass(frozen=True, slots=True)
class Exists:
    """There is such a path, whatever lies there."""

    path: str


@dataclass(frozen=True, slots=True)
class Has:
    """A value at the path or an element of a list there equals `value`, or the object there has the key `value`.

    The latter only for strings: there is a path `join(path, value)`.
    """

    path: str
    value: Scalar


@dataclass(frozen=True, slots=True)
class Contains:
    """A string at the path contains `text`, whatever the case of either (`str.casefold`)."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Glob:
    """A string at the path is matched as a whole by the parts with anything between them.

    `a*b*` is ("a", "b", ""): the first part begins the string, the last one ends it.
    """

    path: str
    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Regex:
    """A regular expression (RE2 syntax) is found anywhere in a string at the path."""

    path: str
    pattern: str


Filter = And | Or | Not | Compare | Exists | Has | Contains | Glob | Regex
