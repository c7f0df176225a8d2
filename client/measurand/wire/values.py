"""What a document may hold beside JSON's own values, and how a place in a document is written."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

__all__ = ["MAX_ARRAY_BYTES", "SmallArray", "Timestamp", "Value", "array_fault", "path_text", "quote"]

MAX_ARRAY_BYTES = 1 << 20
"""How large a small array may be."""
SAFE = (1 << 53) - 1
"""The largest integer that every JSON parser reads exactly."""
LONG = 1 << 63
"""Where 64-bit integers end."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_SECOND, LAST_SECOND = -62_135_596_800, 253_402_300_799
"""The years 1 to 9999, in seconds since 1970."""


@dataclass(frozen=True, slots=True, order=True)
class Timestamp:
    """An instant in UTC that a datetime cannot hold: its nanoseconds are no whole microseconds.

    Parameters
    ----------
    seconds : int
        Since 1970-01-01T00:00:00Z, within the years 1 to 9999; negative before.
    nanoseconds : int
        0 to 999,999,999, counted forward from `seconds`.
    """

    seconds: int
    nanoseconds: int


@dataclass(frozen=True, slots=True)
class SmallArray:
    """An array of at most 1 MiB that stands in a document. The client turns it into numpy's and back.

    Parameters
    ----------
    dtype : str
        As numpy writes it with its byte order, such as `<f4`, `|b1`, `<U7` or `<M8[ns]`.
    shape : tuple of int
        Its size along each axis, at most 64 of them; `()` for a single item.
    data : bytes
        Its items in C order.
    """

    dtype: str
    shape: tuple[int, ...]
    data: bytes


Value = (
    None
    | bool
    | int
    | float
    | str
    | datetime
    | Timestamp
    | bytes
    | complex
    | SmallArray
    | list["Value"]
    | dict[str, "Value"]
)
"""A value of a document. Integers have any size; datetimes are aware; integers and doubles are apart."""

DTYPE = re.compile(r"([<>|])([biufcmMSU])([1-9][0-9]{0,6})(\[[0-9]*[A-Za-zμ]{1,7}\])?")
PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9]+")
RESERVED = frozenset({"AND", "OR", "NOT"})
ESCAPES = str.maketrans({'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"})
CONTROLS = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def item_bytes(dtype: str) -> int | None:
    """Return the size of one item of a dtype in bytes, or None if no small array can have it."""
    found = DTYPE.fullmatch(dtype)
    if found is None or (found[4] is not None and found[2] not in "mM"):
        return None
    return int(found[3]) * (4 if found[2] == "U" else 1)


def array_fault(array: SmallArray) -> str | None:
    """Return what is wrong with an array, or None."""
    size = item_bytes(array.dtype)
    if size is None:
        return f"{array.dtype[:40]!r} is no dtype of a small array; give one such as '<f4'"
    if len(array.shape) > 64 or any(length < 0 for length in array.shape):
        return "the shape of an array has at most 64 axes, none of them negative"
    if len(array.data) > MAX_ARRAY_BYTES:
        return f"an array of {len(array.data)} bytes is too large for a document: store it as a file"
    if len(array.data) != size * math.prod(array.shape):
        return f"an array of shape {array.shape} and dtype {array.dtype} has not {len(array.data)} bytes"
    return None


def quote(segment: str) -> str:
    """Return one segment of a path as it is written in a filter: quoted unless it is a plain word or number."""
    if PLAIN.fullmatch(segment) and segment not in RESERVED:
        return segment
    return '"' + CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", segment.translate(ESCAPES)) + '"'


def path_text(segments: Sequence[str], limit: int = 500) -> str:
    """Return a path as it is written in a filter, such as `a."odd key".0`, cut in its middle beyond the limit."""
    text = ".".join(quote(segment) for segment in segments)
    return text if len(text) <= limit else f"{text[: limit // 2]}…{text[-(limit // 2) + 1 :]}"
