"""Reading: the values of a document out of JSON's own, every accepted way of writing them (protocol.md, section 4)."""

from __future__ import annotations

import binascii
import json
import math
import re
from base64 import b64decode, b64encode
from datetime import UTC, datetime, timedelta
from typing import NoReturn, cast

from measurand.wire.faults import MAX_DEPTH, Fault, check_width, too_deep, too_long
from measurand.wire.values import EPOCH, FIRST_SECOND, LAST_SECOND, LONG, SmallArray, Timestamp, Value, array_fault

__all__ = ["Pairs", "parse", "read_root"]

Pairs = None | bool | int | float | str | list["Pairs"] | tuple[tuple[str, "Pairs"], ...]
"""A document as it is read: objects are tuples of pairs, so that duplicate keys can be seen."""

INTEGER = re.compile(r"-?[0-9]{1,4300}")
DOUBLE = re.compile(r"-?[0-9]{1,400}(\.[0-9]{1,1100})?([eE][+-]?[0-9]{1,4})?")
DATE = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?(?:Z|([+-])([0-9]{2}):([0-5][0-9]))"
)
LOWEST, HIGHEST = -math.inf, math.inf
SPECIAL_DOUBLES = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
WRAPPERS = {"$numberInt", "$numberLong", "$numberInteger", "$numberDouble", "$date", "$binary", "$complex", "$array"}


class Unreadable:
    """A literal that stands where it must not, until its place is known."""

    def __init__(self, literal: str) -> None:
        self.literal = literal


READER = json.JSONDecoder(object_pairs_hook=tuple, parse_constant=Unreadable)


def parse(text: str) -> Pairs:
    """Return a JSON text as pairs; literals that stand where they must not are still in it."""
    try:
        try:
            return cast("Pairs", READER.decode(text))
        except json.JSONDecodeError as error:
            raise Fault(f"the document is no JSON: {error.msg} at character {error.pos}") from None
        except ValueError:  # an integer beyond what Python converts: read again so that its place comes out
            lenient = json.JSONDecoder(object_pairs_hook=tuple, parse_constant=Unreadable, parse_int=read_literal)
            return cast("Pairs", lenient.decode(text))
    except RecursionError:
        raise too_deep() from None


def read_literal(literal: str) -> int | Unreadable:
    try:
        return int(literal)
    except ValueError:
        return Unreadable(literal)


def read_root(pairs: Pairs) -> dict[str, Value]:
    """Return the document, or raise a fault. Lone surrogates and NULs are left to `check_strings`."""
    if not isinstance(pairs, tuple):
        raise Fault("the document is no JSON object")
    return read_object(pairs, 0)


def read_object(pairs: tuple[tuple[str, Pairs], ...], depth: int) -> dict[str, Value]:
    check_width(len(pairs))
    if depth >= MAX_DEPTH and pairs:
        raise too_deep()
    document: dict[str, Value] = {}
    for key, item in pairs:
        if key[:1] == "$":
            if key[1:2] != "$":
                raise unknown_wrapper(key)
            key = key[1:]
        kind = type(item)
        if kind is str or kind is int or item is None or kind is bool:  # what most values are goes the short way
            document[key] = item  # type: ignore[assignment]  # a scalar
            continue
        if kind is float and LOWEST < item < HIGHEST:  # type: ignore[operator]  # it is a number
            document[key] = item  # type: ignore[assignment]  # a scalar
            continue
        try:
            document[key] = read_value(item, depth + 1)
        except Fault as fault:
            fault.path.append(key)
            raise
    if len(document) != len(pairs):
        refuse_duplicate(pairs)
    return document


def read_list(items: list[Pairs], depth: int) -> list[Value]:
    if depth >= MAX_DEPTH and items:
        raise too_deep()
    document: list[Value] = []
    for index, item in enumerate(items):
        kind = type(item)
        if kind is int or kind is str:
            document.append(item)  # type: ignore[arg-type]  # a scalar
            continue
        if kind is float and LOWEST < item < HIGHEST:  # type: ignore[operator]  # it is a number
            document.append(item)  # type: ignore[arg-type]  # a scalar
            continue
        try:
            document.append(read_value(item, depth + 1))
        except Fault as fault:
            fault.path.append(str(index))
            raise
    return document


def read_value(item: Pairs | Unreadable, depth: int) -> Value:
    if isinstance(item, float):
        if math.isinf(item):
            raise Fault('the number is too large for a double; write {"$numberDouble": "Infinity"} if that is meant')
        return item
    if isinstance(item, tuple):
        if len(item) == 1 and item[0][0][:1] == "$" != item[0][0][1:2]:
            return read_wrapper(*item[0])
        return read_object(item, depth)
    if isinstance(item, list):
        return read_list(item, depth)
    if isinstance(item, Unreadable):
        if item.literal.lstrip("-").isdigit():
            raise too_long()
        raise Fault(f'{item.literal} is no JSON; write {{"$numberDouble": "{item.literal}"}}')
    return item


def read_wrapper(name: str, item: Pairs) -> Value:
    if isinstance(item, str):
        if name in ("$numberInt", "$numberLong", "$numberInteger"):
            return read_integer(name, item)
        if name == "$numberDouble":
            return read_double(item)
        if name == "$date":
            return read_date(item)
    elif isinstance(item, list):
        if name == "$complex" and len(item) == 2:
            return complex(read_part(item[0]), read_part(item[1]))
    elif isinstance(item, tuple):
        match name, dict(item):
            case "$date", {"$numberLong": str(digits)} if len(item) == 1:
                seconds, milliseconds = divmod(read_integer("$numberLong", digits), 1000)
                return read_instant(seconds, milliseconds * 1_000_000)
            case "$binary", {"base64": str(text), "subType": "00"} if len(item) == 2:
                return read_base64(text)
            case "$array", {"dtype": str(dtype), "shape": list(shape), "base64": str(text)} if len(item) == 3:
                return read_array(dtype, shape, text)
    if name in WRAPPERS:
        raise Fault(f"{name} does not hold what it should")
    raise unknown_wrapper(name)


def read_integer(name: str, digits: str) -> int:
    if not INTEGER.fullmatch(digits):
        raise too_long() if digits.lstrip("-").isdecimal() else Fault(f"{name} holds no integer")
    try:
        value = int(digits)
    except ValueError:  # the interpreter was told to convert fewer
        raise too_long() from None
    limit = {"$numberInt": 1 << 31, "$numberLong": LONG}.get(name)
    if limit is not None and not -limit <= value < limit:
        raise Fault(f"the integer does not fit into {name}")
    return value


def read_double(text: str) -> float:
    if text in SPECIAL_DOUBLES:
        return SPECIAL_DOUBLES[text]
    if DOUBLE.fullmatch(text) and math.isfinite(value := float(text)):
        return value
    raise Fault("$numberDouble holds no double: give a decimal number, NaN, Infinity or -Infinity as text")


def read_part(item: Pairs) -> float:
    if isinstance(item, float) and math.isfinite(item):
        return item
    if isinstance(item, tuple) and len(item) == 1 and item[0][0] == "$numberDouble" and isinstance(item[0][1], str):
        return read_double(item[0][1])
    raise Fault("$complex holds two doubles, each with a point or an exponent")


def read_date(text: str) -> datetime | Timestamp:
    found = DATE.fullmatch(text)
    if found is None:
        raise Fault(f"{text[:40]!r} is no RFC 3339 time such as 2026-11-21T10:25:32.123456Z")
    try:
        local = datetime(*(int(part) for part in found.groups()[:6]), tzinfo=UTC)  # type: ignore[arg-type, misc]  # six
    except ValueError as error:
        raise Fault(f"{text!r} is no time: {error}") from None
    seconds = (local - EPOCH) // timedelta(seconds=1)
    if found[8]:
        if int(found[9]) > 23:
            raise Fault(f"{text!r} has an offset of more than a day")
        offset = int(found[9]) * 3600 + int(found[10]) * 60
        seconds -= offset if found[8] == "+" else -offset
    return read_instant(seconds, int((found[7] or "").ljust(9, "0")))


def read_instant(seconds: int, nanoseconds: int) -> datetime | Timestamp:
    if not FIRST_SECOND <= seconds <= LAST_SECOND:
        raise Fault("the time lies outside the years 1 to 9999")
    if nanoseconds % 1000:
        return Timestamp(seconds, nanoseconds)
    return EPOCH + timedelta(seconds=seconds, microseconds=nanoseconds // 1000)


def read_base64(text: str) -> bytes:
    try:
        data = b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Fault("the base64 is damaged") from None
    if b64encode(data).decode() != text:
        raise Fault("the base64 is not written in its one canonical way")
    return data


def read_array(dtype: str, shape: list[Pairs], text: str) -> SmallArray:
    axes = tuple(axis for axis in shape if isinstance(axis, int) and not isinstance(axis, bool))
    array = SmallArray(dtype, axes, read_base64(text))
    wrong = array_fault(array) if len(axes) == len(shape) else "the shape of an array is a list of integers"
    if wrong:
        raise Fault(wrong)
    return array


def unknown_wrapper(name: str) -> Fault:
    return Fault(
        f"the wrapper {name[:40]} is unknown or out of place; a key that begins with $ is written with $$", name
    )


def refuse_duplicate(pairs: tuple[tuple[str, Pairs], ...]) -> NoReturn:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise Fault("the key stands twice in its object", key[1:] if key.startswith("$$") else key)
        seen.add(key)
    raise AssertionError("no key stands twice")
