"""The text of documents: nothing is lost, there is one way to write each value, and what is wrong is named."""

from __future__ import annotations

import enum
import json
import math
from collections import OrderedDict
from datetime import UTC, datetime, timedelta, timezone
from types import MappingProxyType

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.wire.awkward import DOCUMENTS, documents, nested

from measurand.wire.documents import SmallArray, Timestamp, Value, check_size, decode, encode, equal, text_bytes
from measurand.wire.errors import DocumentInvalid, TooLarge


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_hand_picked_document_comes_back_as_it_went_in(name: str) -> None:
    document = DOCUMENTS[name]
    text = encode(document)
    assert equal(decode(text), document)
    assert list(decode(text)) == list(document), "the order of keys is kept"
    assert encode(decode(text)) == text
    assert json.loads(text) is not None, "it is JSON to everybody else"


def test_there_are_sixty_of_them() -> None:
    assert len(DOCUMENTS) == 60


@settings(max_examples=500, deadline=None)
@given(documents())
@example({"a": {"$numberLong": {"$": [{"$$": 1.0}]}}})
def test_a_random_document_comes_back_as_it_went_in(document: dict[str, Value]) -> None:
    text = encode(document)
    assert equal(decode(text), document)
    assert encode(decode(text)) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (12, "12"),
        (2**53 - 1, "9007199254740991"),
        (2**53, '{"$numberLong":"9007199254740992"}'),
        (-(2**63), '{"$numberLong":"-9223372036854775808"}'),
        (2**63, '{"$numberInteger":"9223372036854775808"}'),
        (1.0, "1.0"),
        (-0.0, "-0.0"),
        (1e22, "1e+22"),
        (math.nan, '{"$numberDouble":"NaN"}'),
        (-math.nan, '{"$numberDouble":"NaN"}'),
        (-math.inf, '{"$numberDouble":"-Infinity"}'),
        (datetime(2026, 11, 21, 10, 25, 32, 123456, tzinfo=UTC), '{"$date":"2026-11-21T10:25:32.123456Z"}'),
        (datetime(2026, 11, 21, 10, 25, 32, tzinfo=UTC), '{"$date":"2026-11-21T10:25:32Z"}'),
        (datetime(2026, 11, 21, 10, 25, 32, 120000, tzinfo=UTC), '{"$date":"2026-11-21T10:25:32.120Z"}'),
        (datetime(2026, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))), '{"$date":"2026-01-01T00:00:00Z"}'),
        (Timestamp(0, 1), '{"$date":"1970-01-01T00:00:00.000000001Z"}'),
        (Timestamp(0, 1000), '{"$date":"1970-01-01T00:00:00.000001Z"}'),
        (b"\x00\xff", '{"$binary":{"base64":"AP8=","subType":"00"}}'),
        (complex(1, math.inf), '{"$complex":[1.0,{"$numberDouble":"Infinity"}]}'),
        (
            SmallArray("<i2", (1, 2), b"\1\0\2\0"),
            '{"$array":{"dtype":"<i2","shape":[1,2],"base64":"AQACAA=="}}',
        ),
        ({"$date": 1}, '{"$$date":1}'),
        ("é\u2028😀", '"é\u2028😀"'),
        ("\0", '"\\u0000"'),
    ],
)
def test_each_value_is_written_in_one_way(value: Value, text: str) -> None:
    assert encode({"a": value}) == f'{{"a":{text}}}'


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"$numberInt": "-5"}', -5),
        ('{"$numberLong": "5"}', 5),
        ('{"$numberInteger": "5"}', 5),
        ("9007199254740993", 2**53 + 1),
        ("123456789012345678901234567890", 123456789012345678901234567890),
        ('{"$numberDouble": "1.5"}', 1.5),
        ('{"$numberDouble": "-0.0"}', -0.0),
        ('{"$numberDouble": "3"}', 3.0),
        ("1E5", 1e5),
        ("-0", 0),
        ('{"$date": "2026-11-21T12:25:32+02:00"}', datetime(2026, 11, 21, 10, 25, 32, tzinfo=UTC)),
        ('{"$date": "2026-11-21T10:25:32.1Z"}', datetime(2026, 11, 21, 10, 25, 32, 100000, tzinfo=UTC)),
        ('{"$date": "2026-11-21T10:25:32.123456000Z"}', datetime(2026, 11, 21, 10, 25, 32, 123456, tzinfo=UTC)),
        ('{"$date": {"$numberLong": "-1"}}', datetime(1969, 12, 31, 23, 59, 59, 999000, tzinfo=UTC)),
        ('{"$binary": {"subType": "00", "base64": "AP8="}}', b"\x00\xff"),
        ('{"$complex": [{"$numberDouble": "1"}, 2.0]}', 1 + 2j),
        ('"\\ud83d\\ude00"', "😀"),
        ('{"\\u0024date": "2026-11-21T10:25:32Z"}', datetime(2026, 11, 21, 10, 25, 32, tzinfo=UTC)),
    ],
)
def test_other_accepted_ways_are_read(text: str, value: Value) -> None:
    assert equal(decode(f'{{"a": {text}}}'), {"a": value})


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("[]", ""),
        ("1", ""),
        ("", ""),
        ("{", ""),
        ('{"a": 1,}', ""),
        ("{} {}", ""),
        ('{"a": 1, "a": 2}', "a"),
        ('{"b": {"odd key": [0, {"c": 1, "c": 1}]}}', 'b."odd key".1.c'),
        ('{"$$a": 1, "$$a": 2}', '"$a"'),
        ('{"$date": "2026-11-21T10:25:32Z"}', '"$date"'),
        ('{"a": {"$oid": "5d505646cf6d4fe581014ab2"}}', 'a."$oid"'),
        ('{"a": {"$numberDecimal": "1"}}', 'a."$numberDecimal"'),
        ('{"a": {"$regularExpression": {"pattern": "a", "options": ""}}}', 'a."$regularExpression"'),
        ('{"a": {"$": 1}}', 'a."$"'),
        ('{"a": {"$date": "2026-11-21T10:25:32Z", "b": 1}}', 'a."$date"'),
        ('{"a": {"b": 1, "$numberInt": "1"}}', 'a."$numberInt"'),
        ('{"a": NaN}', "a"),
        ('{"a": [-Infinity]}', "a.0"),
        ('{"a": 1e400}', "a"),
        ('{"a": {"$numberInt": "2147483648"}}', "a"),
        ('{"a": {"$numberLong": "9223372036854775808"}}', "a"),
        ('{"a": {"$numberLong": 1}}', "a"),
        ('{"a": {"$numberLong": "1.0"}}', "a"),
        ('{"a": {"$numberLong": "1_000"}}', "a"),
        ('{"a": {"$numberLong": "٣"}}', "a"),
        ('{"a": {"$numberDouble": "nan"}}', "a"),
        ('{"a": {"$numberDouble": "1e400"}}', "a"),
        ('{"a": {"$numberDouble": " 1"}}', "a"),
        ('{"a": {"$date": "2026-11-21"}}', "a"),
        ('{"a": {"$date": "2026-11-21T10:25:32"}}', "a"),
        ('{"a": {"$date": "2026-02-29T10:25:32Z"}}', "a"),
        ('{"a": {"$date": "2026-11-21T10:25:60Z"}}', "a"),
        ('{"a": {"$date": "0001-01-01T00:00:00+01:00"}}', "a"),
        ('{"a": {"$date": "2026-11-21T10:25:32+24:00"}}', "a"),
        ('{"a": {"$date": "2026-11-21T10:25:32.1234567890Z"}}', "a"),
        ('{"a": {"$date": {"$numberLong": "99999999999999999"}}}', "a"),
        ('{"a": {"$date": 0}}', "a"),
        ('{"a": {"$date": [["$numberLong", "1"]]}}', "a"),
        ('{"a": {"$binary": {"base64": "AP8=", "subType": "01"}}}', "a"),
        ('{"a": {"$binary": {"base64": "AP8", "subType": "00"}}}', "a"),
        ('{"a": {"$binary": {"base64": "AP9=", "subType": "00"}}}', "a"),
        ('{"a": {"$binary": {"base64": "é", "subType": "00"}}}', "a"),
        ('{"a": {"$binary": "AP8="}}', "a"),
        ('{"a": {"$complex": [1, 2]}}', "a"),
        ('{"a": {"$complex": [1.0]}}', "a"),
        ('{"a": {"$array": {"dtype": "O", "shape": [1], "base64": "AA=="}}}', "a"),
        ('{"a": {"$array": {"dtype": "<f4", "shape": [2], "base64": "AAAAAA=="}}}', "a"),
        ('{"a": {"$array": {"dtype": "|u1", "shape": [true], "base64": "AA=="}}}', "a"),
        ('{"a": {"$array": {"dtype": "|u1", "shape": [-1], "base64": ""}}}', "a"),
        ('{"a": "\\ud800"}', "a"),
        ('{"a": "\ud800"}', "a"),
        ('{"a": {"b\\udfff": 1}}', 'a."b\\udfff"'),
        ('{"a": {"b\\u0000": 1}}', 'a."b\\u0000"'),
        ('{"a": "\n"}', ""),
    ],
)
def test_what_is_no_document_is_refused_with_its_path(text: str, path: str) -> None:
    with pytest.raises(DocumentInvalid) as caught:
        decode(text)
    assert caught.value.details["path"] == path
    assert path in caught.value.message


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({"a": [1, {"b": object()}]}, "a.1.b"),
        ({"a": {1}}, "a"),
        ({"a": {1: 2}}, "a"),
        ({None: 2}, ""),
        ({"a": datetime(2026, 1, 1)}, "a"),  # noqa: DTZ001  # that is what is refused
        ({"a": datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1)))}, "a"),
        ({"a": Timestamp(253_402_300_800, 1)}, "a"),
        ({"a": Timestamp(0, 1_000_000_000)}, "a"),
        ({"a": SmallArray("|u1", (2**20 + 1,), bytes(2**20 + 1))}, "a"),
        ({"a": SmallArray("|O8", (1,), bytes(8))}, "a"),
        ({"a": SmallArray("<f8[ns]", (1,), bytes(8))}, "a"),
        ({"a": SmallArray("<f4", (2,), bytes(4))}, "a"),
        ({"a": "x\ud800"}, "a"),
        ({"a": [{"\ud800": 1}]}, 'a.0."\\ud800"'),
        ({"a": {"b\0c": 1}}, 'a."b\\u0000c"'),
        ({"a": [10**4300]}, "a.0"),
    ],
)
def test_what_a_document_cannot_hold_is_not_written(document: dict[str, object], path: str) -> None:
    with pytest.raises(DocumentInvalid) as caught:
        encode(document)
    assert caught.value.details["path"] == path


class Word(enum.StrEnum):
    RUN = "run"


class Number(enum.IntEnum):
    ONE = 1


def test_subclasses_are_written_as_what_they_derive_from() -> None:
    document = OrderedDict({Word.RUN: Word.RUN, "b": Number.ONE, "c": (1, 2), "d": bytearray(b"\0")})
    text = encode(MappingProxyType(document))
    assert text == '{"run":"run","b":1,"c":[1,2],"d":{"$binary":{"base64":"AA==","subType":"00"}}}'


def test_hundred_levels_are_the_most() -> None:
    assert equal(decode(encode(nested(100, 1))), nested(100, 1))
    for innermost in (nested(100, 1), [[1]]):
        document: dict[str, Value] = nested(99, innermost)  # type: ignore[arg-type]  # a dict or a list
        with pytest.raises(DocumentInvalid, match="levels"):
            encode(document)


@pytest.mark.parametrize("levels", [101, 1000, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [('{"a":', "}"), ("[", "]"), ('[{"$$a":', "}]")])
def test_deeper_documents_are_refused_cleanly(levels: int, opening: str, closing: str) -> None:
    with pytest.raises(DocumentInvalid, match="levels"):
        decode('{"a":' + opening * levels + "1" + closing * levels + "}")


def test_a_deep_or_endless_document_is_not_written() -> None:
    with pytest.raises(DocumentInvalid, match="levels"):
        encode(nested(100_000, 1))
    endless: dict[str, object] = {}
    endless["again"] = [endless]
    with pytest.raises(DocumentInvalid, match="levels") as caught:
        encode(endless)
    assert len(caught.value.details["path"]) <= 500, "it has to fit into the metadata of a status"


def test_an_object_has_at_most_65536_keys() -> None:
    most = {str(number): number for number in range(65_536)}
    assert decode(encode({"a": most})) == {"a": most}
    one_more = {**most, "more": 1}
    with pytest.raises(DocumentInvalid, match="65537"):
        encode({"a": one_more})
    with pytest.raises(DocumentInvalid, match="65537"):
        decode(json.dumps({"a": one_more}))


@pytest.mark.parametrize("text", ["9" * 4301, '{"$numberInteger": "%s"}' % ("9" * 4301), "-" + "9" * 100_000])
def test_an_absurd_integer_is_refused_with_its_path(text: str) -> None:
    with pytest.raises(DocumentInvalid, match="digits") as caught:
        decode(f'{{"a": [1, {text}]}}')
    assert caught.value.details["path"] == "a.1"


def test_4300_digits_are_read_in_both_ways() -> None:
    digits = "9" * 4300
    assert decode(f'{{"a": {digits}, "b": {{"$numberInteger": "-{digits}"}}}}') == {"a": int(digits), "b": -int(digits)}


def test_the_size_is_that_of_the_text_in_utf8() -> None:
    text = encode({"é": "😀"})
    assert text_bytes(text) == len(text.encode()) == 13
    check_size(text, 13)
    with pytest.raises(TooLarge) as caught:
        check_size(text, 12)
    assert caught.value.details == {"limit": "12", "actual": "13"}


@settings(max_examples=300, deadline=None)
@given(st.text() | st.text(alphabet='{}[]":,$ab01.e-nul\\'))
def test_any_text_is_a_document_or_is_refused(text: str) -> None:
    try:
        document = decode(text)
    except DocumentInvalid:
        return
    assert equal(decode(encode(document)), document)
