"""What a document can be found by: its view made of its metadata and its system fields, within the view's bounds.

The bounds (protocol.md, section 5) hold for every store alike: what lies beyond them is kept and not found.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Protocol, runtime_checkable

from measurand.core.times import microseconds
from measurand.core.view import Entry, Scalar, escape

__all__ = [
    "MAX_ELEMENTS",
    "MAX_PATH_BYTES",
    "MAX_STRING_BYTES",
    "MAX_VALUES",
    "Instant",
    "entries",
    "number",
    "text",
    "texts",
    "time",
    "view_of_metadata",
]

MAX_VALUES = 20_000
"""So many values of a document are in its view: the first ones, objects and lists counted too."""
MAX_ELEMENTS = 1_000
"""So many elements of a list are."""
MAX_STRING_BYTES = 1024
"""A longer string is there, but its value is not."""
MAX_PATH_BYTES = 1024
"""What has a longer path is not in the view. Else one long key with many below it would make gigabytes of paths."""


@runtime_checkable
class Instant(Protocol):
    """A time that `datetime` cannot hold, such as `measurand.wire.documents.Timestamp`."""

    @property
    def seconds(self) -> int:
        """Whole seconds since 1970 in UTC, rounded down."""
        ...

    @property
    def nanoseconds(self) -> int:
        """What is to be added to the seconds, from 0 up."""
        ...


def view_of_metadata(tree: Mapping[str, object], prefix: str = "metadata") -> list[Entry]:
    """Return the entries of a metadata document.

    Parameters
    ----------
    tree : mapping
        The decoded document: None, bool, int, float, str, aware datetime, Instant, list and dict; whatever else there
        is (bytes, complex numbers, arrays) can be asked for by existence only.
    prefix : str
        The path that its keys lie under; the document itself is the first entry.

    Returns
    -------
    list of Entry
        An entry for each value, in the document's order; one each for the elements of a list, beside that of the list
        itself. Lists within lists are there, their elements are not.
    """
    return _Walk().of(tree, prefix)


def number(value: float) -> Scalar | None:
    """Return a number: integers within 64 bits exactly, larger ones as doubles. None for NaN."""
    if isinstance(value, int) and not -_INT64 <= value < _INT64:
        try:
            value = float(value)
        except OverflowError:
            value = float("inf") if value > 0 else float("-inf")
    return None if value != value else Scalar("n", value)  # only NaN differs from itself


def text(value: str) -> Scalar | None:
    """Return a string. None if it is longer than the view takes."""
    small = 4 * len(value) <= MAX_STRING_BYTES or _size(value) <= MAX_STRING_BYTES
    return Scalar("s", value) if small else None


def time(value: datetime | Instant) -> Scalar | None:
    """Return a time, rounded down to the microsecond. None beyond 64 bits of them."""
    since = _microseconds(value)
    return Scalar("t", since) if -_INT64 <= since < _INT64 else None


def texts(path: str, values: Iterable[str]) -> list[Entry]:
    """Return the entries of a set of strings, such as tags. An empty one is not there at all."""
    return [Entry(path, text(value), in_list=True) for value in values]


def entries(**fields: str | float | datetime | None) -> list[Entry]:
    """Return the entries of system fields with one value each. None: it is not set, and not there."""
    return [Entry(path, _scalar(value)) for path, value in fields.items() if value is not None]


_INT64 = 2**63


def _microseconds(value: datetime | Instant) -> int:
    if isinstance(value, datetime):
        return microseconds(value)
    return value.seconds * 1_000_000 + value.nanoseconds // 1000


def _size(string: str) -> int:
    return len(string.encode(errors="surrogatepass"))


def _scalar(value: object) -> Scalar | None:
    match value:
        case None:
            return Scalar("z", None)
        case bool():
            return Scalar("b", value)
        case str():
            return text(value)
        case int() | float():
            return number(value)
        case datetime() | Instant():
            return time(value)
        case _:
            return None


class _Walk:
    """One walk through one document."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []

    def of(self, tree: Mapping[str, object], prefix: str) -> list[Entry]:
        self._entries.append(Entry(prefix, None))
        self._object(tree, prefix, in_list=False)
        return self._entries

    def _object(self, tree: Mapping[str, object], path: str, *, in_list: bool) -> None:
        for key, value in tree.items():
            if self._is_full():
                return
            below = f"{path}.{escape(key)}"
            if 4 * len(below) <= MAX_PATH_BYTES or _size(below) <= MAX_PATH_BYTES:
                self._value(value, below, in_list=in_list)

    def _value(self, value: object, path: str, *, in_list: bool) -> None:
        match value:
            case Mapping():
                self._entries.append(Entry(path, None, in_list))
                self._object(value, path, in_list=in_list)
            case list() | tuple():
                self._entries.append(Entry(path, None, in_list))
                for element in value[:MAX_ELEMENTS]:
                    if self._is_full():
                        return
                    if isinstance(element, list | tuple):
                        self._entries.append(Entry(path, None, in_list=True))
                    else:
                        self._value(element, path, in_list=True)
            case _:
                self._entries.append(Entry(path, _scalar(value), in_list))

    def _is_full(self) -> bool:
        return len(self._entries) > MAX_VALUES  # the document itself is one more
