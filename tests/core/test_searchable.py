from __future__ import annotations

import time as clock
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from tests.strategies import metadata

from measurand.core.searchable import (
    MAX_ELEMENTS,
    MAX_VALUES,
    entries,
    number,
    text,
    texts,
    time,
    view_of_metadata,
)
from measurand.core.view import Entry, Scalar


@dataclass(frozen=True)
class Moment:
    seconds: int
    nanoseconds: int


ROOT = Entry("metadata", None)


def only(value: object) -> Entry:
    root, entry = view_of_metadata({"a": value})
    assert root == ROOT
    assert entry.path == "metadata.a"
    return entry


@pytest.mark.parametrize(
    ("value", "scalar"),
    [
        (None, Scalar("z", None)),
        (True, Scalar("b", True)),
        (0, Scalar("n", 0)),
        (2**63 - 1, Scalar("n", 2**63 - 1)),
        (-(2**63), Scalar("n", -(2**63))),
        (2**63, Scalar("n", 2.0**63)),
        (10**400, Scalar("n", float("inf"))),
        (-(10**400), Scalar("n", float("-inf"))),
        (0.5, Scalar("n", 0.5)),
        (float("inf"), Scalar("n", float("inf"))),
        (float("nan"), None),
        ("", Scalar("s", "")),
        ("é" * 512, Scalar("s", "é" * 512)),
        ("é" * 512 + "x", None),
        ("x" * 1025, None),
        (datetime(1970, 1, 1, 2, 0, 0, 1, tzinfo=timezone(timedelta(hours=2))), Scalar("t", 1)),
        (datetime(1, 1, 1, tzinfo=UTC), Scalar("t", -62135596800000000)),
        (Moment(1, 1999), Scalar("t", 1_000_001)),
        (Moment(-1, 999_999_999), Scalar("t", -1)),
        (Moment(2**62, 0), None),
        (b"x", None),
        (1j, None),
        pytest.param(object(), None, id="object"),
        ([], None),
        ({}, None),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_a_value_is_found_by_its_kind_or_by_existence_only(value: object, scalar: Scalar | None) -> None:
    entry = only(value)
    assert entry.scalar == scalar
    assert scalar is None or type(entry.scalar and entry.scalar.value) is type(scalar.value)
    assert not entry.in_list


def test_objects_are_there_themselves_and_by_their_escaped_keys() -> None:
    tree = {"a": {"b.c": 1, "%": {"": None}}, "$d": "x"}
    assert view_of_metadata(tree) == [
        ROOT,
        Entry("metadata.a", None),
        Entry("metadata.a.b%2Ec", Scalar("n", 1)),
        Entry("metadata.a.%25", None),
        Entry("metadata.a.%25.%", Scalar("z", None)),
        Entry("metadata.$d", Scalar("s", "x")),
    ]


def test_lists_give_their_elements_and_themselves_but_not_lists_within() -> None:
    tree = {"a": [1, [2, {"k": 3}], {"k": {"l": "x"}, "m": [4, [5]]}, []]}
    assert view_of_metadata(tree) == [
        ROOT,
        Entry("metadata.a", None),
        Entry("metadata.a", Scalar("n", 1), in_list=True),
        Entry("metadata.a", None, in_list=True),
        Entry("metadata.a", None, in_list=True),
        Entry("metadata.a.k", None, in_list=True),
        Entry("metadata.a.k.l", Scalar("s", "x"), in_list=True),
        Entry("metadata.a.m", None, in_list=True),
        Entry("metadata.a.m", Scalar("n", 4), in_list=True),
        Entry("metadata.a.m", None, in_list=True),
        Entry("metadata.a", None, in_list=True),
    ]


def test_of_a_document_the_first_20_000_values_are_found() -> None:
    view = view_of_metadata({f"k{i}": i for i in range(MAX_VALUES + 5)})
    assert len(view) == MAX_VALUES + 1
    assert view[-1] == Entry("metadata.k19999", Scalar("n", 19_999))
    nested: dict[str, object] = {f"o{i}": {"x": [i, i]} for i in range(MAX_VALUES)}
    assert len(view_of_metadata(nested)) == MAX_VALUES + 1


def test_of_a_list_the_first_1_000_elements_are_found() -> None:
    view = view_of_metadata({"a": list(range(MAX_ELEMENTS + 5)), "b": 1})
    assert len(view) == 1 + 1 + MAX_ELEMENTS + 1
    assert view[-2] == Entry("metadata.a", Scalar("n", MAX_ELEMENTS - 1), in_list=True)
    assert view[-1] == Entry("metadata.b", Scalar("n", 1))


def test_what_has_a_path_beyond_1_kib_is_not_found_and_costs_nothing() -> None:
    fits = "x" * (1024 - len("metadata."))
    assert view_of_metadata({fits: 1})[1:] == [Entry(f"metadata.{fits}", Scalar("n", 1))]
    assert view_of_metadata({fits + "x": {"below": 1}, "b": 2})[1:] == [Entry("metadata.b", Scalar("n", 2))]
    assert view_of_metadata({"é" * 508: 1})[1:] == []
    start = clock.process_time()
    view_of_metadata({"x" * 2_000_000: {f"k{i}": 1 for i in range(20_000)}})
    assert clock.process_time() - start < 5.0


def test_a_prefix_says_where_the_keys_lie() -> None:
    assert view_of_metadata({"a": 1}, "attributes") == [
        Entry("attributes", None),
        Entry("attributes.a", Scalar("n", 1)),
    ]


@given(metadata())
def test_every_view_holds_only_what_stores_can_hold(tree: dict[str, object]) -> None:
    kinds = {int: "nt", float: "n", str: "s", bool: "b", type(None): "z"}
    for entry in view_of_metadata(tree):
        assert entry.path.encode()
        if entry.scalar is None:
            continue
        value = entry.scalar.value
        assert entry.scalar.kind in kinds[type(value)]
        assert value == value, "NaN"
        assert not isinstance(value, int) or -(2**63) <= value < 2**63
        assert not isinstance(value, str) or len(value.encode()) <= 1024


def test_system_fields_are_entries_of_their_own_kind() -> None:
    assert entries(title="T1", revision=3, created=datetime(1970, 1, 1, tzinfo=UTC), ended=None) == [
        Entry("title", Scalar("s", "T1")),
        Entry("revision", Scalar("n", 3)),
        Entry("created", Scalar("t", 0)),
    ]
    assert entries(title="é" * 1000) == [Entry("title", None)]
    assert texts("tags", ["a", "b"]) == [
        Entry("tags", Scalar("s", "a"), in_list=True),
        Entry("tags", Scalar("s", "b"), in_list=True),
    ]
    assert texts("tags", []) == []
    assert (number(1), text("x"), time(Moment(0, 0))) == (Scalar("n", 1), Scalar("s", "x"), Scalar("t", 0))
