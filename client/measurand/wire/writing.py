"""Writing: a document as JSON's own values, with what JSON cannot hold in its wrappers (protocol.md, section 4)."""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import cast

from measurand.wire.faults import MAX_DEPTH, Fault, check_width, too_deep, too_long
from measurand.wire.values import EPOCH, FIRST_SECOND, LAST_SECOND, LONG, SAFE, SmallArray, Timestamp, array_fault

__all__ = ["Tree", "write_object"]

Tree = None | bool | int | float | str | list["Tree"] | dict[str, "Tree"]
"""A document as JSON's own values."""


def write_object(mapping: Mapping[str, object], depth: int) -> dict[str, Tree]:
    """Return an object at that depth as JSON's own values. Surrogates and NULs are left to `check_strings`."""
    check_width(len(mapping))
    if depth >= MAX_DEPTH and mapping:
        raise too_deep()
    tree: dict[str, Tree] = {}
    for key, item in cast("Mapping[str, Tree]", mapping).items():
        if type(key) is not str:
            if not isinstance(key, str):
                raise Fault(f"the key {repr(key)[:40]} is no text")
            key = str.__str__(key)  # a subclass, such as of an enum
        name = "$" + key if key[:1] == "$" else key
        kind = type(item)
        if kind is str or item is None or kind is bool:  # what most values are goes the short way
            tree[name] = item
            continue
        if (kind is float or kind is int) and -SAFE <= item <= SAFE:  # type: ignore[operator]  # it is a number
            tree[name] = item
            continue
        try:
            tree[name] = write_value(item, depth + 1)
        except Fault as fault:
            fault.path.append(key)
            raise
    return tree


def write_list(items: list[object] | tuple[object, ...], depth: int) -> list[Tree]:
    if depth >= MAX_DEPTH and items:
        raise too_deep()
    tree: list[Tree] = []
    for index, item in enumerate(cast("list[Tree]", items)):
        kind = type(item)
        if (kind is float or kind is int) and -SAFE <= item <= SAFE:  # type: ignore[operator]  # it is a number
            tree.append(item)
            continue
        try:
            tree.append(write_value(item, depth + 1))
        except Fault as fault:
            fault.path.append(str(index))
            raise
    return tree


def write_value(value: object, depth: int) -> Tree:
    match value:
        case bool() | None:
            return value
        case float():
            return write_double(value)
        case int():
            return write_integer(value)
        case str():
            return str.__str__(value)
        case Mapping():
            return write_object(value, depth)
        case list() | tuple():
            return write_list(value, depth)
        case datetime():
            return {"$date": write_datetime(value)}
        case Timestamp(seconds, nanoseconds):
            return {"$date": write_instant(seconds, nanoseconds)}
        case bytes() | bytearray() | memoryview():
            return {"$binary": {"base64": b64encode(value).decode(), "subType": "00"}}
        case complex():
            return {"$complex": [write_double(value.real), write_double(value.imag)]}
        case SmallArray(dtype, shape, data):
            wrong = array_fault(value)
            if wrong:
                raise Fault(wrong)
            return {"$array": {"dtype": dtype, "shape": list(shape), "base64": b64encode(data).decode()}}
    raise Fault(f"a document cannot hold a value of the type {type(value).__qualname__}")


def write_integer(value: int) -> Tree:
    if -SAFE <= value <= SAFE:
        return int(value)
    try:
        digits = int.__repr__(value)
    except ValueError:
        raise too_long() from None
    return {"$numberLong": digits} if -LONG <= value < LONG else {"$numberInteger": digits}


def write_double(value: float) -> Tree:
    if math.isfinite(value):
        return float(value)
    return {"$numberDouble": "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"}


def write_datetime(value: datetime) -> str:
    if value.tzinfo is None or value.utcoffset() is None:
        raise Fault(f"the datetime {value.isoformat()} has no time zone: give it one, as in value.astimezone()")
    try:
        instant = value.astimezone(UTC)
    except OverflowError:
        raise Fault(f"the datetime {value.isoformat()} lies outside the years 1 to 9999 in UTC") from None
    digits = f".{instant.microsecond:06}" if instant.microsecond else ""
    return instant.isoformat()[:19] + (digits[:4] if digits.endswith("000") else digits) + "Z"


def write_instant(seconds: int, nanoseconds: int) -> str:
    if not (FIRST_SECOND <= seconds <= LAST_SECOND and 0 <= nanoseconds < 1_000_000_000):
        raise Fault(f"the instant {seconds} s + {nanoseconds} ns lies outside the years 1 to 9999")
    instant = EPOCH + timedelta(seconds=seconds, microseconds=nanoseconds // 1000)
    if nanoseconds % 1000 == 0:
        return write_datetime(instant)
    return f"{instant.isoformat()[:19]}.{nanoseconds:09}Z"
