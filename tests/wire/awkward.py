"""Sixty documents picked by hand (ME-20), each awkward in its own way, and strategies for more of their kind."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone

from hypothesis import strategies as st

from measurand.wire.documents import SmallArray, Timestamp, Value

__all__ = ["DOCUMENTS", "documents", "keys", "nested"]


def nested(levels: int, innermost: Value) -> dict[str, Value]:
    """Return a value that many levels deep in a document."""
    document = innermost
    for _ in range(levels):
        document = {"a": document}
    assert isinstance(document, dict)
    return document


DOCUMENTS: dict[str, dict[str, Value]] = {
    "empty": {},
    "null": {"a": None},
    "true": {"a": True},
    "false": {"a": False},
    "true, one, one point nought": {"a": True, "b": 1, "c": 1.0, "d": [True, 1, 1.0, "1"]},
    "nothing in many ways": {"a": None, "b": "", "c": [], "d": {}, "e": 0, "f": 0.0, "g": False, "h": b""},
    "minus nought": {"a": -0.0, "b": 0.0, "c": 0},
    "nan": {"a": math.nan},
    "infinities": {"a": [math.inf, -math.inf]},
    "smallest double": {"a": 5e-324},
    "largest double": {"a": 1.7976931348623157e308},
    "whole doubles": {"a": [1e22, 1e16, 123456789012345680.0, 2.0**53, -1e300]},
    "tenth": {"a": 0.1, "b": 0.1 + 0.2},
    "53 bits": {"a": [2**53 - 1, 2**53, 2**53 + 1, -(2**53) + 1, -(2**53), -(2**53) - 1]},
    "31 and 32 bits": {"a": [2**31 - 1, 2**31, -(2**31), -(2**31) - 1, 2**32]},
    "63 and 64 bits": {"a": [2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64, 2**64 - 1]},
    "200 bits": {"a": 2**200, "b": -(2**200)},
    "4,300 digits": {"a": 10**4299, "b": -(10**4299)},
    "nought to ten": {"a": list(range(11))},
    "bytes": {"a": b"", "b": b"\x00", "c": bytes(range(256))},
    "bytes of a few KiB": {"a": b"\xff\xfe" * 3000},
    "now": {"a": datetime(2026, 11, 21, 10, 25, 32, 123456, tzinfo=UTC)},
    "whole second": {"a": datetime(2026, 11, 21, 10, 25, 32, tzinfo=UTC)},
    "milliseconds": {"a": datetime(2026, 11, 21, 10, 25, 32, 120000, tzinfo=UTC)},
    "one microsecond": {"a": datetime(2026, 11, 21, 10, 25, 32, 1, tzinfo=UTC)},
    "another zone": {"a": datetime(2026, 7, 30, 1, 2, 3, 4, tzinfo=timezone(timedelta(hours=9)))},
    "odd zone": {"a": datetime(1900, 1, 1, tzinfo=timezone(timedelta(hours=-3, minutes=-30)))},
    "before 1970": {"a": datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)},
    "first and last instant": {
        "a": datetime(1, 1, 1, tzinfo=UTC),
        "b": datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    },
    "nanoseconds": {"a": Timestamp(1_795_256_732, 123_456_789), "b": Timestamp(-1, 999_999_999), "c": Timestamp(0, 1)},
    "complex": {"a": 1 + 2j, "b": -0.0j, "c": complex(0.0, -0.0), "d": complex(1e300, -5e-324)},
    "complex and not finite": {"a": complex(math.nan, math.inf), "b": complex(-math.inf, math.nan)},
    "small arrays": {
        "a": SmallArray("<f4", (2, 3), bytes(24)),
        "b": SmallArray("|b1", (), b"\x01"),
        "c": SmallArray("<M8[ns]", (1,), bytes(8)),
        "d": SmallArray("<U3", (2,), bytes(24)),
        "e": SmallArray(">i2", (0, 5), b""),
    },
    "array of 1 MiB": {"a": SmallArray("|u1", (1024, 1024), b"\x7f" * 2**20)},
    "empty key": {"": 1, "a": {"": {"": 2}}},
    "dots": {"a.b": 1, "a": {"b": 2}, ".": 3, "..": 4, ".a": 5, "a.": 6},
    "dollars": {"$a": 1, "$": 2, "$$": 3, "$$$a": 4, "a$": 5},
    "keys like wrappers": {
        "$date": 1,
        "a": {"$date": "2026-11-21T10:25:32Z"},
        "b": {"$numberLong": "1"},
        "c": {"$oid": "5d505646cf6d4fe581014ab2"},
        "d": {"$gt": ""},
    },
    "wrappers two deep": {"a": {"$$date": {"$date": 1}}, "b": {"$binary": {"base64": "", "subType": "00"}}},
    "spaces": {" ": 1, "  ": 2, "a b": 3, "\t": 4, "\n": 5, "a ": 6},
    "emoji": {"😀": "👩\u200d🔬", "\U0001d6fc": "β"},
    "quotes and backslashes": {'"': '"', "\\": "\\", "'": "'", '\\"': '\\"', "\\u0041": "\\u0041"},
    "percent and at": {"%": 1, "%2E": 2, "@t": 3, "@": 4},
    "digits": {"0": "a", "1": {"0": "b"}, "00": "c", "-1": "d", "1e5": "e"},
    "words of filters": {"AND": 1, "OR": 2, "NOT": 3, "true": 4, "null": 5, "metadata": 6, "id": 7, "title": 8},
    "controls": {"\x01": "\x1f", "\x7f": "\x80", "a": "\x00", "b": "x\x00y"},
    "line separators": {"\u2028": "\u2029", "\ufeff": "\ufffe\uffff"},
    "composed and decomposed": {"é": 1, "e\u0301": 2, "ﬁ": 3, "fi": 4},
    "right to left": {"שלום": "مرحبا", "\u202e": "abc"},
    "beyond the basic plane": {"\U00010000": "\U0010ffff"},
    "long key": {"k" * 10_000: 1},
    "long text": {"a": "é" * 100_000},
    "key order": {"z": 1, "a": 2, "m": 3, "A": 4, "10": 5, "9": 6},
    "lists in lists": {"a": [[], [[]], [[1, [2, [3]]]], [{}, [{}]]]},
    "mixed list": {"a": [None, True, 1, 1.0, "1", b"1", 1j, [1], {"a": 1}, datetime(2000, 1, 1, tzinfo=UTC)]},
    "list of objects": {"a": [{"b": 1}, {"b": None}, {}, {"c": [{"b": 2}]}]},
    "hundred levels": nested(100, 1),
    "hundred levels and an empty object": nested(100, {}),
    "a thousand keys": {f"key {number}": number for number in range(1000)},
    "station": {
        "station": "atlantis-1",
        "device": {"mask": "cod", "die": "E5"},
        "temperature": 0.012,
        "sweep": [1, 2.0],
    },
}
"""By what is awkward about them."""

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def keys() -> st.SearchStrategy[str]:
    """Keys of objects, many of them with a dollar or a dot."""
    wild = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8)
    return wild | st.sampled_from(["$", "$$", "$date", "a.b", "", "a", "b", "$numberLong"]) | wild.map("${}".format)


def timestamps() -> st.SearchStrategy[Timestamp]:
    """Instants that no datetime holds."""
    fractions = st.integers(0, 999_999_999).filter(lambda nanoseconds: nanoseconds % 1000 != 0)
    return st.builds(Timestamp, st.integers(-62_135_596_800, 253_402_300_799), fractions)


def datetimes() -> st.SearchStrategy[datetime]:
    """Aware datetimes in many zones."""
    zones = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
    early, late = datetime(2, 1, 1), datetime(9998, 1, 1)  # noqa: DTZ001  # the zone is drawn
    return st.datetimes(early, late, timezones=zones | st.just(UTC))


def arrays() -> st.SearchStrategy[SmallArray]:
    """Small arrays of one axis."""
    items = st.sampled_from([("<f4", 4), ("|u1", 1), ("<c16", 16), (">i2", 2), ("<m8[us]", 8)])
    return st.builds(
        lambda item, count: SmallArray(item[0], (count,), bytes(item[1] * count)), items, st.integers(0, 4)
    )


def documents() -> st.SearchStrategy[dict[str, Value]]:
    """Whole documents."""
    leaves: st.SearchStrategy[Value] = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.integers(-(2**200), 2**200),
        st.floats(),
        texts,
        st.binary(max_size=20),
        st.complex_numbers(),
        datetimes(),
        timestamps(),
        arrays(),
    )
    values: st.SearchStrategy[Value] = st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys(), inner, max_size=4),
        max_leaves=12,
    )
    return st.dictionaries(keys(), values, max_size=6)
