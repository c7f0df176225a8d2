from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import orders, scalars, views

from measurand.core.filters.fields import Field
from measurand.core.ordering import parse_order_by, position_of, sort_key
from measurand.core.ports import Order, Position
from measurand.core.searchable import view_of_metadata
from measurand.core.view import Scalar, View
from measurand.wire.errors import FilterInvalid

SYSTEM = {
    "title": Field("prose"),
    "tags": Field("texts"),
    "created": Field("time", is_required=True),
    "metadata": Field("document"),
}


def view(**metadata: object) -> View:
    return view_of_metadata(metadata)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("  ", ()),
        ("created", (Order("created", required=True),)),
        ("created desc", (Order("created", descending=True, required=True),)),
        ("created DESC", (Order("created", descending=True, required=True),)),
        ("created asc", (Order("created", required=True),)),
        ("-created", (Order("created", descending=True, required=True),)),
        (
            "created desc, metadata.temperature",
            (Order("created", descending=True, required=True), Order("metadata.temperature")),
        ),
        ("a.b,-'gain, (dB)'.0 ,title", (Order("metadata.a.b"), Order("metadata.gain, (dB).0", True), Order("title"))),
        ("metadata.title desc", (Order("metadata.title", descending=True),)),
        ("desc desc", (Order("metadata.desc", descending=True),)),
        ("a,b,c,d", tuple(Order(f"metadata.{key}") for key in "abcd")),
    ],
)
def test_an_order_is_paths_with_directions(text: str, expected: tuple[Order, ...]) -> None:
    assert parse_order_by(text, system=SYSTEM) == expected


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("a,b,c,d,e", 8),
        ("a, b desc, -a", 11),
        ("created desc,", 13),
        (",created", 0),
        ("created down", 8),
        ("created, gain-db", 13),
        ("-created desc", 9),
        ("-created asc", 9),
        ("--created", 1),
        ("created desc asc", 13),
        ("title.x", 0),
        ("tags", 0),
        ("a\ud800", 1),
    ],
)
def test_a_malformed_order_is_refused_where_it_stands(text: str, position: int) -> None:
    with pytest.raises(FilterInvalid, match="order_by: expected") as caught:
        parse_order_by(text, system=SYSTEM)
    assert caught.value.details["position"] == str(position)


def test_kinds_sort_from_missing_over_numbers_strings_and_booleans_to_times() -> None:
    order = (Order("metadata.a"),)
    rising: list[Scalar | None] = [
        None,
        Scalar("n", float("-inf")),
        Scalar("n", -1),
        Scalar("n", 2.0**53),
        Scalar("n", 2**53 + 1),
        Scalar("n", float("inf")),
        Scalar("s", ""),
        Scalar("s", "A"),
        Scalar("s", "a"),
        Scalar("s", "\uffff"),
        Scalar("s", "\U00010000"),
        Scalar("b", False),
        Scalar("b", True),
        Scalar("t", -1),
        Scalar("t", 0),
    ]
    for lower, higher in itertools.pairwise(rising):
        for one, other in (("a", "b"), ("b", "a")):
            below, above = Position((lower,), one), Position((higher,), other)
            assert sort_key(below, order) < sort_key(above, order)
            falling = (Order("metadata.a", descending=True),)
            assert sort_key(above, falling) < sort_key(below, falling)


@pytest.mark.parametrize("order", [(), (Order("metadata.a"),), (Order("metadata.a", descending=True),)])
def test_ties_go_by_key_upwards_in_every_direction(order: tuple[Order, ...]) -> None:
    values = (Scalar("n", 1.0),) * len(order)
    same = (Scalar("n", 1),) * len(order)
    assert sort_key(Position(values, "a"), order) < sort_key(Position(same, "b"), order)


@pytest.mark.parametrize("missing", [None, [5], {"k": 1}, float("nan"), b"x", "x" * 1025], ids=repr)
def test_what_is_null_or_no_scalar_stands_where_what_is_missing_does(missing: object) -> None:
    order = (Order("metadata.a"),)
    assert position_of(view(a=missing), order, "k") == position_of(view(), order, "k") == Position((None,), "k")


def test_elements_of_lists_do_not_count() -> None:
    order = (Order("metadata.a.b"), Order("metadata.c"))
    assert position_of(view(a=[{"b": 1}], c=2), order, "k") == Position((None, Scalar("n", 2)), "k")


@given(st.data())
def test_positions_are_ordered_totally(data: st.DataObject) -> None:
    order = data.draw(orders())
    drawn = st.builds(position_of, views(), st.just(order), st.sampled_from("abc"))
    keyed = [sort_key(data.draw(drawn), order) for _ in range(3)]
    low, middle, high = sorted(keyed)
    assert not high < low
    assert not middle < low
    assert not high < middle
    assert (low < high) or low == high


@given(st.lists(st.none() | scalars().filter(lambda scalar: scalar.kind != "z"), min_size=2, max_size=6))
def test_descending_is_ascending_turned_round_but_for_ties(values: list[Scalar | None]) -> None:
    up, down = (Order("p"),), (Order("p", descending=True),)
    ranks = [Position((value,), "k") for value in values]
    rising = [sort_key(position, up) for position in sorted(ranks, key=lambda position: sort_key(position, up))]
    falling = [sort_key(position, up) for position in sorted(ranks, key=lambda position: sort_key(position, down))]
    assert rising == falling[::-1]
