"""Changes of documents: compare, merge, choose. None of them changes what it is given."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import cast

from measurand.wire.errors import InvalidArgument
from measurand.wire.values import Value, path_text

__all__ = ["changed_paths", "equal", "merge_patch", "parse_path", "select"]

SEGMENT = re.compile(r'[^\W\d]\w*|[0-9]+|"((?:[^"\\]|\\.)*)"|\'((?:[^\'\\]|\\.)*)\'', re.DOTALL)
ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
MAX_PATHS = 100


def equal(first: object, second: object) -> bool:
    """Tell whether two values are the same thing: NaN is NaN, but -0.0 is not 0.0 and 1 is neither 1.0 nor true.

    The order of keys does not matter, times are the same when they are the same instant.
    """
    kind = type(first)
    if kind is not type(second):
        return isinstance(first, datetime) and isinstance(second, datetime) and first == second
    if kind is dict:
        one, other = cast("dict[str, object]", first), cast("dict[str, object]", second)
        return one.keys() == other.keys() and all(equal(item, other[key]) for key, item in one.items())
    if kind is list:
        items, others = cast("list[object]", first), cast("list[object]", second)
        return len(items) == len(others) and all(map(equal, items, others))
    if kind is float:
        return same_double(cast("float", first), cast("float", second))
    if kind is complex:
        a, b = cast("complex", first), cast("complex", second)
        return same_double(a.real, b.real) and same_double(a.imag, b.imag)
    return first == second


def same_double(first: float, second: float) -> bool:
    if first == second:
        return first != 0.0 or math.copysign(1.0, first) == math.copysign(1.0, second)
    return math.isnan(first) and math.isnan(second)


def merge_patch(target: Mapping[str, Value], patch: Mapping[str, Value]) -> dict[str, Value]:
    """Return the document that a JSON merge patch makes of another (RFC 7396).

    A null removes its key, an object is merged into the object that is there, everything else takes the place of what
    is there. Keys keep their order, new ones come last.
    """
    merged = dict(target)
    for key, change in patch.items():
        if change is None:
            merged.pop(key, None)
        elif isinstance(change, dict):
            there = merged.get(key)
            merged[key] = merge_patch(there if isinstance(there, dict) else {}, change)
        else:
            merged[key] = change
    return merged


def changed_paths(
    old: Mapping[str, Value], new: Mapping[str, Value], limit: int = 100, prefix: Sequence[str] = ("metadata",)
) -> list[str]:
    """Return where two documents differ, as paths in the syntax of filters, such as `metadata.a."odd key"`.

    Objects are compared key by key, lists as a whole. With more than `limit` places the rest is left out.
    """
    found: list[str] = []
    collect_changes(old, new, list(prefix), limit, found)
    return found


def collect_changes(
    old: Mapping[str, Value], new: Mapping[str, Value], path: list[str], limit: int, found: list[str]
) -> None:
    for key in (*new, *(key for key in old if key not in new)):
        if len(found) >= limit:
            return
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            collect_changes(before, after, [*path, key], limit, found)
        elif key not in old or key not in new or not equal(before, after):
            found.append(path_text([*path, key]))


def parse_path(text: str) -> tuple[str, ...]:
    """Return the segments of a path such as `"gain (dB)".mean`; a leading `metadata.` may stand there, as in a filter.

    Raises
    ------
    InvalidArgument
        FIELD_INVALID: it is no path; the message says at which character.
    """
    segments: list[str] = []
    plain_start = text.startswith("metadata.")
    position = 0
    while True:
        found = SEGMENT.match(text, position)
        if found is None:
            message = f"{text[:100]!r} is no path at character {position}: write a word, a number or a quoted string"
            raise InvalidArgument(message, field="metadata_paths", position=position)
        quoted = found[1] if found[1] is not None else found[2]
        segments.append(found[0] if quoted is None else ESCAPE.sub(unescape, quoted))
        position = found.end()
        if position == len(text):
            return tuple(segments[1:] if plain_start else segments)
        if text[position] != ".":
            message = f"{text[:100]!r} is no path at character {position}: segments are joined by a point"
            raise InvalidArgument(message, field="metadata_paths", position=position)
        position += 1


def unescape(found: re.Match[str]) -> str:
    if found[1]:
        return chr(int(found[1], 16))
    return {"n": "\n", "t": "\t"}.get(found[2], found[2])


def select(document: Mapping[str, Value], paths: Sequence[str]) -> dict[str, Value]:
    """Return the part of a document that paths choose, as `metadata_paths` of GetDatasetRequest says.

    Parameters
    ----------
    document : mapping
        What to choose from. Paths go through lists: `runs.gain` is the gain of each run.
    paths : sequence of str
        In the syntax of filters. All with a leading `-`: everything but these. None at all: everything.

    Raises
    ------
    InvalidArgument
        FIELD_INVALID: a path is malformed, both kinds are mixed, or there are more than 100.
    """
    if not paths:
        return dict(document)
    if len(paths) > MAX_PATHS:
        raise InvalidArgument(f"{len(paths)} metadata_paths are too many (at most 100)", field="metadata_paths")
    left_out = [path.startswith("-") for path in paths]
    if any(left_out) and not all(left_out):
        message = f"metadata_paths {list(paths)[:10]} mix paths to keep and paths to leave out: give one kind"
        raise InvalidArgument(message, field="metadata_paths")
    if left_out[0]:
        return without(document, [parse_path(path[1:]) for path in paths])
    return only(document, [parse_path(path) for path in paths])


def only(document: Mapping[str, Value], paths: Sequence[tuple[str, ...]]) -> dict[str, Value]:
    wanted = by_first(paths)
    chosen: dict[str, Value] = {}
    for key, item in document.items():
        rest = wanted.get(key)
        if rest is None:
            continue
        if () in rest:
            chosen[key] = item
        elif isinstance(item, dict):
            if part := only(item, rest):
                chosen[key] = part
        elif isinstance(item, list) and (parts := [only(each, rest) for each in item if isinstance(each, dict)]):
            chosen[key] = cast("Value", parts)
    return chosen


def without(document: Mapping[str, Value], paths: Sequence[tuple[str, ...]]) -> dict[str, Value]:
    unwanted = by_first(paths)
    kept: dict[str, Value] = {}
    for key, item in document.items():
        rest = unwanted.get(key)
        if rest is None:
            kept[key] = item
        elif () in rest:
            continue
        elif isinstance(item, dict):
            kept[key] = without(item, rest)
        elif isinstance(item, list):
            kept[key] = [without(each, rest) if isinstance(each, dict) else each for each in item]
        else:
            kept[key] = item
    return kept


def by_first(paths: Sequence[tuple[str, ...]]) -> dict[str, list[tuple[str, ...]]]:
    grouped: dict[str, list[tuple[str, ...]]] = {}
    for path in paths:
        grouped.setdefault(path[0], []).append(path[1:])
    return grouped
