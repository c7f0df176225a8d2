"""numpy is the oracle: of what is selected, of the exception, and of the result that is put together from chunks."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from measurand.chunks.grid import Grid
from measurand.chunks.selections import Axis, Positions, Selection, parse, parts

Array = npt.NDArray[np.int64]
Key = Any


def shapes() -> st.SearchStrategy[tuple[int, ...]]:
    return st.lists(st.integers(0, 6), max_size=4).map(tuple)


@st.composite
def cases(draw: st.DrawFn, *, lists: bool = False) -> tuple[tuple[int, ...], tuple[int, ...], Key]:
    """Draw a shape, a chunk shape, and a key that often but not always fits."""
    shape = draw(shapes())
    chunks = tuple(draw(st.integers(1, 7)) for _ in shape)
    bound = st.none() | st.integers(-9, 9)
    items = [
        st.integers(-7, 7),
        st.integers(-7, 7).map(np.int16),
        st.builds(slice, bound, bound, bound),
        st.just(Ellipsis),
        st.none(),
    ]
    key = draw(st.lists(st.one_of(items), max_size=len(shape) + 2))
    if lists:
        length = shape[0] if shape else 1
        position = st.integers(-length, length - 1) if length else st.nothing()
        positions = st.lists(position | st.integers(-7, 7), max_size=8)
        extra: list[st.SearchStrategy[object]] = [
            positions,
            positions.map(lambda found: np.array(found, "i4")),
            st.lists(st.booleans(), max_size=6),
            st.sampled_from(shape or (1,))
            .flatmap(lambda n: st.lists(st.booleans(), min_size=n, max_size=n))
            .map(np.array),
        ]
        key.insert(draw(st.integers(0, len(key))), draw(st.one_of(extra)))
    return shape, chunks, (key[0] if len(key) == 1 and draw(st.booleans()) else tuple(key))


def numbered(shape: tuple[int, ...]) -> Array:
    return np.arange(np.prod(shape, dtype=int)).reshape(shape)


def read(array: Array, chunks: tuple[int, ...], selection: Selection) -> Array:
    """Return the selection as a reader of chunks puts it together."""
    grid = Grid(array.shape, chunks)
    box = np.full(selection.box_shape, -1)
    seen = set()
    for part in parts(selection, grid):
        assert grid.contains(part.index)
        assert part.index not in seen
        seen.add(part.index)
        box[part.out_key] = chunk_of(array, grid, part.index)[part.chunk_key]
    return box.reshape(selection.shape)


def chunk_of(array: Array, grid: Grid, index: tuple[int, ...]) -> Array:
    chunk = np.full(grid.chunk_shape, -2)
    inside = array[grid.span(index)]
    chunk[tuple(slice(length) for length in inside.shape)] = inside
    return chunk


def agrees(shape: tuple[int, ...], chunks: tuple[int, ...], key: Key) -> None:
    array = numbered(shape)
    try:
        expected = array[key]
    except (IndexError, ValueError, TypeError) as error:
        with pytest.raises(type(error)):
            parse(key, shape)
        return
    selection = parse(key, shape)
    assert selection.scalar == isinstance(expected, np.generic)
    found = read(array, chunks, selection)
    assert found.shape == selection.shape == np.shape(expected)
    assert np.array_equal(found, expected)


@given(cases())
def test_basic_indexing_is_numpys(case: tuple[tuple[int, ...], tuple[int, ...], Key]) -> None:
    agrees(*case)


@given(cases(lists=True))
def test_one_list_or_mask_is_numpys_or_refused(case: tuple[tuple[int, ...], tuple[int, ...], Key]) -> None:
    with suppress(NotImplementedError):
        agrees(*case)


@given(cases(), st.data())
def test_assigning_through_chunks_is_numpys(
    case: tuple[tuple[int, ...], tuple[int, ...], Key], data: st.DataObject
) -> None:
    shape, chunks, key = case
    try:
        selection = parse(key, shape)
    except (IndexError, ValueError, TypeError):
        return
    from_axis = data.draw(st.integers(0, len(selection.shape)))
    value = -5 - numbered(selection.shape[from_axis:])
    expected = numbered(shape)
    expected[key] = value
    array, grid = numbered(shape), Grid(shape, chunks)
    box = np.broadcast_to(value, selection.shape).reshape(selection.box_shape)
    for part in parts(selection, grid):
        chunk = chunk_of(array, grid, part.index)
        inside = tuple(slice(span.stop - span.start) for span in grid.span(part.index))
        if part.whole:  # nothing of before is needed
            chunk[inside] = -3
        chunk[part.chunk_key] = box[part.out_key]
        array[grid.span(part.index)] = chunk[inside]
    assert np.array_equal(array, expected)


@pytest.mark.parametrize(
    "key",
    [1.0, "a", b"a", 1j, object(), np.float64(1), np.array(1.5), np.array([1.0]), [1.0], ["a"], [None],
     slice(1.0, None), {1: 2}, (slice(None, None, 0),), 10**30, -(10**30), [10**30],
     np.array([]), np.array([], dtype=object), (..., ...), {1}],
)  # fmt: skip
def test_what_numpy_refuses_is_refused_with_the_same_class(key: object) -> None:
    agrees((4, 3), (2, 2), key)


@pytest.mark.parametrize(
    "key",
    [slice(0, 10**30), slice(None, None, 10**30), slice(10**30, None, -(10**30)), slice(-(10**30), 3), np.uint64(2),
     np.array(1), [], (), [[]][0], range(3), (range(3), 1), (slice(None), (0, 2)), [np.int8(1), 2], [True, 2],
     [np.True_, False, True, np.False_]],
)  # fmt: skip
def test_what_numpy_takes_is_taken(key: object) -> None:
    agrees((4, 3), (2, 2), key)


@pytest.mark.parametrize(
    ("shape", "key"), [((), ()), ((), ...), ((), (...,)), ((3,), 1), ((3,), (1, ...)), ((3,), (None, 1))]
)
def test_a_scalar_comes_where_numpy_gives_one(shape: tuple[int, ...], key: object) -> None:
    agrees(shape, shape, key)


@pytest.mark.parametrize(
    "key", [True, np.False_, np.array(True), [[0, 1]], np.ones((4, 3), bool), ([0], [1]), (0, slice(None), [1])]
)
def test_what_means_something_else_to_numpy_is_refused_and_says_what_to_do(key: object) -> None:
    with pytest.raises(NotImplementedError, match=r"use|index"):
        parse(key, (4, 3, 2))


def test_at_most_64_axes_come_out() -> None:
    assert len(parse((None,) * 63, (3,)).shape) == 64
    with pytest.raises(IndexError):
        parse((None,) * 64, (3,))


def test_only_the_chunks_that_are_met_are_named() -> None:
    grid = Grid((10**9, 10**9), (1000, 1000))
    found = list(parts(parse((slice(5, None, 10**8), -1), grid.shape), grid))
    assert [part.index for part in found] == [(at * 10**5, 10**6 - 1) for at in range(10)]
    assert not any(part.whole for part in found)


def test_axes_are_plain_numbers() -> None:
    selection = parse((slice(None, None, -2), [3, -1], 2), (5, 4, 3))
    assert selection.axes == (Axis(4, -2, 3), Positions((3, 3)), Axis(2, 1, 1))
    assert selection.dropped == (False, False, True)
    assert np.array_equal(numbered((5,))[Axis(4, -2, 3).slice], list(Axis(4, -2, 3).positions))
