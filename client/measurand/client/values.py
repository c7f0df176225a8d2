"""Metadata between Python and its text: numpy's values, local times, small arrays."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from measurand.wire import documents
from measurand.wire.documents import SmallArray, Timestamp
from measurand.wire.errors import DocumentInvalid

__all__ = ["from_text", "to_text"]

NANOSECOND = 1_000_000_000


def to_text(document: Mapping[str, Any]) -> str:
    """Return the text of a document for the wire.

    Parameters
    ----------
    document : mapping
        Its values may be numpy's: scalars become Python values, arrays of at most 1 MiB keep dtype and shape. Naive
        datetimes are taken as local time, and all are kept as instants.

    Raises
    ------
    DocumentInvalid
        DOCUMENT_INVALID: a value that a document cannot hold; the text and `path` say where.
    """
    if not isinstance(document, Mapping):
        raise DocumentInvalid(f"metadata is {type(document).__name__}; give a dict", path="")
    return documents.encode(_plain(document, 0))


def from_text(text: str) -> dict[str, Any]:
    """Return the document of a text. Small arrays are numpy's where numpy is installed."""
    document: dict[str, Any] = documents.decode(text) if text else {}
    return _restored(document) if '"$array"' in text else document


def _plain(value: Any, depth: int) -> Any:
    if isinstance(value, (str, bytes, int, float)):
        return value
    if depth > documents.MAX_DEPTH:  # `encode` refuses it, with the path
        return value
    if isinstance(value, Mapping):
        return {key: _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, datetime):
        return value.astimezone() if value.tzinfo is None else value
    numpy = sys.modules.get("numpy")  # nobody has a value of a module that was never imported
    if numpy is not None and isinstance(value, numpy.generic):
        return _from_scalar(numpy, value)
    if numpy is not None and isinstance(value, numpy.ndarray):
        return _from_array(numpy, value)
    return value


def _from_scalar(numpy: Any, value: Any) -> Any:
    if isinstance(value, numpy.datetime64) and not numpy.isnat(value):
        seconds, nanoseconds = divmod(_nanoseconds(numpy, value), NANOSECOND)
        return Timestamp(seconds, nanoseconds)
    if isinstance(value, (numpy.datetime64, numpy.timedelta64)):  # no Python value holds them: they keep their dtype
        return _from_array(numpy, numpy.asarray(value))
    return value.item() if not isinstance(value, (numpy.longdouble, numpy.clongdouble)) else value


def _nanoseconds(numpy: Any, value: Any) -> int:
    """Return nanoseconds since 1970 in exact arithmetic: in int64 far years would wrap around."""
    unit, count = numpy.datetime_data(value.dtype)
    scale = {"s": NANOSECOND, "ms": 1_000_000, "us": 1_000, "ns": 1}.get(unit)
    if scale is None:  # days and longer are whole seconds; shorter ones than nanoseconds are cut to them
        target = "s" if unit in ("Y", "M", "W", "D", "h", "m") else "ns"
        return int(value.astype(f"datetime64[{target}]").astype("i8")) * (NANOSECOND if target == "s" else 1)
    return int(value.astype("i8")) * int(count) * scale


def _from_array(numpy: Any, value: Any) -> SmallArray:
    if value.dtype.kind not in "biufcmMSU" or value.dtype.itemsize == 0:
        raise DocumentInvalid(
            f"an array of dtype {value.dtype} has no form in a document; give numbers, times or fixed text", path=""
        )
    native = numpy.ascontiguousarray(value, dtype=value.dtype.newbyteorder("<")).reshape(value.shape)
    return SmallArray(native.dtype.str, native.shape, native.tobytes())


def _restored(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _restored(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_restored(item) for item in value]
    if isinstance(value, SmallArray):
        try:
            import numpy
        except ImportError:
            return value
        return numpy.frombuffer(value.data, value.dtype).reshape(value.shape).copy()
    return value
