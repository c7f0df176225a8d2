"""Changes of documents: exact comparison, merge patches, changed paths, projection."""

from __future__ import annotations

import copy
import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from tests.wire.awkward import documents

from measurand.wire.documents import Value, changed_paths, equal, merge_patch, select
from measurand.wire.errors import InvalidArgument
from measurand.wire.patches import parse_path
from measurand.wire.values import path_text

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (math.nan, -math.nan),
        (complex(math.nan, 0.0), complex(math.nan, 0.0)),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ([math.nan, {"a": [math.nan]}], [math.nan, {"a": [math.nan]}]),
        (NOON, NOON.astimezone(timezone(timedelta(hours=9)))),
    ],
)
def test_the_same_thing_is_equal(first: Value, second: Value) -> None:
    assert equal(first, second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (0.0, -0.0),
        (0j, complex(0.0, -0.0)),
        (1, 1.0),
        (1, True),
        (0, False),
        (None, False),
        ("", b""),
        ([1], [1.0]),
        ([1], [1, 1]),
        ({"a": None}, {}),
        ({"a": {"b": 0.0}}, {"a": {"b": -0.0}}),
        (math.nan, 0.0),
        (NOON, NOON + timedelta(microseconds=1)),
    ],
)
def test_what_differs_is_not_equal(first: Value, second: Value) -> None:
    assert not equal(first, second)


@pytest.mark.parametrize(  # the table of RFC 7396, appendix A, as far as both are objects
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        ({"a": 1}, {"a": {"b": None, "c": [None]}}, {"a": {"c": [None]}}),
    ],
)
def test_a_merge_patch_is_applied(target: dict[str, Value], patch: dict[str, Value], result: dict[str, Value]) -> None:
    before = copy.deepcopy((target, patch))
    assert merge_patch(target, patch) == result
    assert (target, patch) == before, "neither is changed"


@settings(max_examples=100, deadline=None)
@given(documents(), documents())
def test_a_merge_patch_is_safe_to_repeat(target: dict[str, Value], patch: dict[str, Value]) -> None:
    once = merge_patch(target, patch)
    assert equal(merge_patch(once, patch), once)


@pytest.mark.parametrize(
    ("old", "new", "paths"),
    [
        ({}, {}, []),
        ({"a": 1}, {"a": 1.0}, ["metadata.a"]),
        ({"a": {"odd key": 1}}, {"a": {"odd key": 2}}, ['metadata.a."odd key"']),
        ({"a": 1}, {}, ["metadata.a"]),
        ({}, {"a": None}, ["metadata.a"]),
        ({"a": None}, {}, ["metadata.a"]),
        ({"a": {"b": 1}}, {"a": {}}, ["metadata.a.b"]),
        ({"a": {"b": 1}}, {"a": 1}, ["metadata.a"]),
        ({"a": [1, 2]}, {"a": [1, 3]}, ["metadata.a"]),
        ({"a": 1, "b": 1}, {"c": 1, "b": 1}, ["metadata.c", "metadata.a"]),
        ({"a": math.nan}, {"a": math.nan}, []),
    ],
)
def test_changed_paths_name_what_differs(old: dict[str, Value], new: dict[str, Value], paths: list[str]) -> None:
    assert changed_paths(old, new) == paths


def test_changed_paths_end_at_the_limit() -> None:
    assert len(changed_paths({}, {str(number): number for number in range(500)})) == 100
    assert changed_paths({"a": {"b": 1, "c": 1}}, {"a": {"b": 2, "c": 2}}, limit=1, prefix=()) == ["a.b"]


@settings(max_examples=100, deadline=None)
@given(documents(), documents())
def test_documents_without_changed_paths_are_equal(old: dict[str, Value], new: dict[str, Value]) -> None:
    assert (changed_paths(old, new) == []) == equal(old, new)


@settings(max_examples=200, deadline=None)
@given(documents())
def test_a_path_is_read_as_it_is_written(document: dict[str, Value]) -> None:
    for key in document:
        assert parse_path(path_text(["a", key])) == ("a", key)
        assert parse_path(path_text(["metadata", key])) == (key,)


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        ("a", ("a",)),
        ('"gain (dB)".mean', ("gain (dB)", "mean")),
        ("'a.b'.0.1", ("a.b", "0", "1")),
        (r'"\" \\ \n \t \u00e9 \*"', ('" \\ \n \t é *',)),
        ("metadata", ("metadata",)),
        ("metadata.a", ("a",)),
        ("metadata.metadata", ("metadata",)),
        ('"metadata".a', ("metadata", "a")),
        ('""', ("",)),
        ("größe", ("größe",)),
    ],
)
def test_paths_are_written_as_in_a_filter(text: str, segments: tuple[str, ...]) -> None:
    assert parse_path(text) == segments


@pytest.mark.parametrize(
    ("text", "position"), [("", 0), ("a.", 2), (".a", 0), ("a b", 1), ('"a', 0), ("a..b", 2), ("a-b", 1)]
)
def test_a_malformed_path_is_refused_with_its_position(text: str, position: int) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_path(text)
    assert caught.value.details == {"field": "metadata_paths", "position": str(position)}


DOCUMENT: dict[str, Value] = {
    "device": {"wafer": "W1", "die": {"x": 1, "y": 2}},
    "runs": [{"gain": 1.0, "note": "a"}, {"gain": 2.0}, {"note": "b"}, 5],
    "a.b": 1,
    "none": None,
}


@pytest.mark.parametrize(
    ("paths", "chosen"),
    [
        ([], DOCUMENT),
        (["device.wafer"], {"device": {"wafer": "W1"}}),
        (["metadata.device.wafer"], {"device": {"wafer": "W1"}}),
        (["device.die.x", "device.wafer"], {"device": {"wafer": "W1", "die": {"x": 1}}}),
        (["device", "device.wafer"], {"device": DOCUMENT["device"]}),
        (["runs.gain"], {"runs": [{"gain": 1.0}, {"gain": 2.0}, {}]}),
        (['"a.b"'], {"a.b": 1}),
        (["none"], {"none": None}),
        (["missing", "device.missing", "none.x"], {}),
        (["-device.die", "-runs", '-"a.b"'], {"device": {"wafer": "W1"}, "none": None}),
        (["-device.die.x", "-runs.note", "-none.x"], {
            "device": {"wafer": "W1", "die": {"y": 2}},
            "runs": [{"gain": 1.0}, {"gain": 2.0}, {}, 5],
            "a.b": 1,
            "none": None,
        }),
    ],
)  # fmt: skip
def test_paths_choose_a_part(paths: list[str], chosen: dict[str, Value]) -> None:
    before = copy.deepcopy(DOCUMENT)
    assert select(DOCUMENT, paths) == chosen
    assert before == DOCUMENT


@pytest.mark.parametrize("paths", [["a", "-b"], ["-a", "b"], ["a"] * 101, ["a["], ["-"], ["--a"]])
def test_mixed_too_many_or_malformed_paths_are_refused(paths: list[str]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        select(DOCUMENT, paths)
    assert caught.value.details["field"] == "metadata_paths"
