"""Selections cut into pieces: together they are the selection, and none is too large."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from measurand.chunks.grid import Grid
from measurand.chunks.selections import Selection, parse, parts
from measurand.core.arrays.selecting import axes_of
from measurand.core.arrays.slabs import chunks_met, count_met, slabs

END = st.none() | st.integers(-10, 10)
STEP = st.none() | st.integers(-8, 8).filter(bool)


@st.composite
def selections(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], Selection]:
    """Return the shape of an array, that of its chunks, and what is selected of it."""
    shape = tuple(draw(st.lists(st.integers(0, 8), max_size=4)))
    chunks = tuple(draw(st.integers(1, 6)) for _ in shape)
    key: list[Any] = [
        draw(st.builds(slice, END, END, STEP) | (st.integers(-length, length - 1) if length else st.nothing()))
        for length in shape
    ]
    return shape, chunks, parse(tuple(key), shape)


def taken(elements: Any, selection: Selection) -> Any:
    return elements[tuple(axis.slice for axis in axes_of(selection))].ravel()


@settings(max_examples=300)
@given(selections(), st.integers(1, 30), st.integers(1, 3), st.integers(0, 5000))
def test_the_pieces_follow_each_other_and_make_up_the_selection(
    case: tuple[tuple[int, ...], tuple[int, ...], Selection], most: int, times: int, begin: int
) -> None:
    shape, chunks, selection = case
    elements = np.arange(prod(shape)).reshape(shape)
    whole = taken(elements, selection)
    begin = begin % (whole.size + 1)
    found = list(slabs(selection, chunks, most=most, longest=most * times, begin=begin))
    assert bool(found) == (begin < whole.size)
    at = found[0].begin if found else whole.size
    assert at <= begin
    for slab in found:
        piece = taken(elements, slab.selection)
        assert slab.begin == at
        assert piece.size <= most * times
        assert (piece == whole[at : at + piece.size]).all()
        at += piece.size
    assert at == whole.size
    if found:
        assert begin < found[0].begin + taken(elements, found[0].selection).size


@settings(max_examples=300)
@given(selections())
def test_the_chunks_that_a_selection_meets_come_one_by_one(
    case: tuple[tuple[int, ...], tuple[int, ...], Selection],
) -> None:
    shape, chunks, selection = case
    expected = [part.index for part in parts(selection, Grid(shape, chunks))]
    assert list(chunks_met(selection, chunks)) == expected
    assert prod(map(count_met, axes_of(selection), chunks)) == len(expected)


def test_no_piece_lies_in_endlessly_many_chunks_and_none_is_counted_out() -> None:
    selection = parse((slice(None),), (2**62,))
    first = next(slabs(selection, (1,), most=2**23, longest=2**26))
    assert sum(1 for _ in parts(first.selection, Grid((2**62,), (1,)))) == 4096
    late = next(slabs(selection, (1,), most=2**23, longest=2**26, begin=2**61))
    assert late.begin == 2**61
    assert next(chunks_met(parse((slice(None, None, -1),), (2**62,)), (1,))) == (2**62 - 1,)


def test_pieces_end_where_chunks_end() -> None:
    selection = parse((slice(3, None), slice(None)), (100, 10))
    found = list(slabs(selection, (8, 10), most=200, longest=800))
    assert [slab.selection.box_shape[0] for slab in found] == [13, 16, 16, 16, 16, 20]
