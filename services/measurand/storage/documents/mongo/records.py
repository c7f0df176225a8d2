"""Documents and values as they stand in MongoDB.

A record has the key as `_id`, the scope `s`, the revision `r`, the body `b` as JSON, the text `t`, and what it is found
by: `v` holds for each path its one value, or a list of all its values; `l` names the fields that hold such a list; `o`
holds what a document sorts by where `v` has a list and yet one value stands in none; `c` holds strings that are not
ASCII once more, casefolded. `v`, `o`, `c` and `l` are in the wildcard index.

A time is a date that counts microseconds where MongoDB counts milliseconds: so it keeps all digits, and sorts behind
booleans. What is no scalar is an empty object.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import bson
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS
from bson.raw_bson import RawBSONDocument

from measurand.core.ports import Document, Json, Order, Position
from measurand.core.view import Entry, Scalar, View
from measurand.storage.documents.mongo.fields import field_of
from measurand.wire.errors import TooLarge

__all__ = [
    "CODEC",
    "MAX_BYTES",
    "Record",
    "document_of",
    "operand",
    "pack",
    "position_of",
    "projection",
    "sort_scalar",
    "view_of",
]

Record = Mapping[str, Any]

MAX_BYTES = 16 * 1024 * 1024
"""Largest document that MongoDB takes."""

CODEC: CodecOptions[dict[str, Any]] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS)
"""Whatever a URL says."""

_NO_SCALAR: Final[Mapping[str, object]] = {}
_BOUND = 2**63


def pack(document: Document, revision: int) -> RawBSONDocument:
    """Return the record of a document, encoded once and for all.

    Raises
    ------
    TooLarge
        TOO_LARGE: MongoDB would refuse it.
    """
    record = {"_id": document.key, "s": document.scope, "r": revision, "b": _dump(document.body), "t": document.text}
    encoded = bson.encode(record | _found_by(document.view), codec_options=CODEC)
    if len(encoded) > MAX_BYTES:
        raise TooLarge(
            f"{document.key}: with what it is found by it comes to {len(encoded):,} bytes; at most {MAX_BYTES:,} are "
            "kept in one document; put the bulk of it into a file",
            limit=MAX_BYTES,
            actual=len(encoded),
        )
    return RawBSONDocument(encoded)


def document_of(record: Record) -> Document:
    """Return the document of a record; its text is empty if it was not read."""
    return Document(record["_id"], record["s"], json.loads(record["b"]), record.get("t", ""), (), int(record["r"]))


def projection(*paths: str, with_body: bool = True, with_text: bool = True) -> dict[str, int]:
    """Return what to read of records: what `document_of` takes, and what is needed to sort or to test by paths."""
    kept = {"s": 1, "r": 1, "b": 1} if with_body else {"_id": 1}
    if with_body and with_text:
        kept["t"] = 1
    for field in map(field_of, paths):
        kept[f"v.{field}"] = kept[f"o.{field}"] = 1
    return kept


def operand(scalar: Scalar) -> object:
    """Return a value as MongoDB keeps it, and as it is asked for."""
    value = scalar.value
    if scalar.kind == "t":
        assert isinstance(value, int)
        return DatetimeMS(value)
    if isinstance(value, int) and not -_BOUND <= value < _BOUND:
        try:
            return float(value)
        except OverflowError:
            return float("inf") if value > 0 else float("-inf")
    return value


def sort_scalar(record: Record, path: str) -> Scalar | None:
    """Return what a record sorts by at a path; None: nothing."""
    field = field_of(path)
    others: Record = record.get("o", _NO_SCALAR)
    return _scalar(others[field] if field in others else record.get("v", _NO_SCALAR).get(field))


def position_of(record: Record, order: Sequence[Order]) -> Position:
    """Return where a record stands."""
    return Position(tuple(sort_scalar(record, each.path) for each in order), record["_id"])


def view_of(record: Record, paths: Iterable[str]) -> View:
    """Return as much of the view as tells what is found at these paths."""
    values: Record = record.get("v", _NO_SCALAR)
    view: list[Entry] = []
    for path in paths:
        field = field_of(path)
        if field in values:
            value = values[field]
            each = value if isinstance(value, list) else [value]
            view += [Entry(path, Scalar("z", None) if one is None else _scalar(one)) for one in each]
    return view


def _found_by(view: View) -> dict[str, object]:
    at: dict[str, list[Entry]] = {}
    for entry in view:
        at.setdefault(field_of(entry.path), []).append(entry)
    values: dict[str, object] = {}
    lists: list[str] = []
    sorting: dict[str, object] = {}
    folded: dict[str, list[str]] = {}
    for field, entries in at.items():
        scalars = [entry.scalar for entry in entries if entry.scalar is not None]
        if len(entries) == 1 and not entries[0].in_list:
            values[field] = operand(scalars[0]) if scalars else _NO_SCALAR
        elif not scalars:
            values[field] = _NO_SCALAR
        else:
            values[field] = [operand(scalar) for scalar in scalars]
            lists.append(field)
            for entry in entries:
                if not entry.in_list and entry.scalar is not None and entry.scalar.kind != "z":
                    sorting[field] = operand(entry.scalar)
        strings = [scalar.value for scalar in scalars if isinstance(scalar.value, str) and not scalar.value.isascii()]
        if strings:
            folded[field] = [string.casefold() for string in strings]
    parts = {"v": values, "l": lists, "o": sorting, "c": folded}
    return {name: part for name, part in parts.items() if part}


def _scalar(value: object) -> Scalar | None:
    match value:
        case bool():
            return Scalar("b", value)
        case int():
            return Scalar("n", int(value))  # a plain one: BSON's own kind of integer stays in here
        case float():
            return Scalar("n", value)
        case str():
            return Scalar("s", value)
        case DatetimeMS():
            return Scalar("t", int(value))
    return None


_dump: Callable[[Mapping[str, Json]], str] = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
