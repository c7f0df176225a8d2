"""The view: what stores search of a document, the same for all of them.

A view is a flat list of entries (path, value). It is bounded, so that a document within its limits never makes an index
beyond those of a store; what lies behind the bounds is kept in the document and not found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["Entry", "Kind", "Scalar", "View", "escape", "join"]

Kind = Literal["n", "s", "b", "t", "z", "x"]
"""number, string, boolean, time, null (zero), or something else, which can only be asked for by existence."""

KIND_ORDER = "nsbt"
"""How kinds sort; what is missing or of another kind sorts lower than all."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """A value that can be compared.

    Parameters
    ----------
    kind : {"n", "s", "b", "t", "z"}
        Only values of one kind compare with each other.
    value : int, float, str, bool or None
        A number (integers within 64 bits exactly, larger ones as floats; infinities, never NaN), a string of at most
        1 KiB of UTF-8, a boolean, a time in microseconds since 1970 in UTC, or None for null.
    """

    kind: Kind
    value: int | float | str | bool | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that a document has.

    Parameters
    ----------
    path : str
        Escaped segments joined by dots.
    scalar : Scalar, optional
        What lies there. None: an object, a list, or a value that does not compare (kind x).
    in_list : bool
        It is an element of a list, or lies in one: the document does not sort by it.
    """

    path: str
    scalar: Scalar | None
    in_list: bool = False


View = Sequence[Entry]


def escape(segment: str) -> str:
    """Return one segment as it stands in a path: `%` and `.` are percent-encoded, and the empty segment is `%`."""
    return segment.replace("%", "%25").replace(".", "%2E") or "%"


def join(*segments: str) -> str:
    """Return the path of segments, each of which may hold any character."""
    return ".".join(escape(segment) for segment in segments)
