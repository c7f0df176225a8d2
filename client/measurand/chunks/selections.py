"""What `a[key]` asks for, and which elements of which chunks that is.

The rules are those of numpy's basic indexing, with the same exceptions, and of one list of positions or one mask along
one axis. Standard library only: both ends use this module, whether they hold arrays or not.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise, product
from typing import SupportsIndex, cast

from measurand.chunks.grid import Grid

__all__ = ["Axis", "Part", "Positions", "Selection", "parse", "parts"]

MAX_RESULT_AXES = 64  # numpy's


@dataclass(frozen=True, slots=True)
class Axis:
    """Positions at equal distances along one axis: `start + i * step` for i in 0 … `count - 1`."""

    start: int
    step: int
    count: int

    @property
    def positions(self) -> range:
        """The positions, in the order of the result."""
        return range(self.start, self.start + self.step * self.count, self.step)

    @property
    def slice(self) -> slice:
        """The same positions as a slice."""
        stop = self.start + self.step * self.count
        return slice(self.start, None if stop < 0 else stop, self.step) if self.count else slice(0, 0)


@dataclass(frozen=True, slots=True)
class Positions:
    """Positions along one axis, in any order, maybe repeated."""

    positions: tuple[int, ...]

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.positions)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which elements of an array, axis by axis.

    The *box* is the result before integers drop axes and `newaxis` adds some: `box.reshape(selection.shape)` is the
    result, and a value goes the other way by `numpy.broadcast_to(value, selection.shape).reshape(selection.box_shape)`.

    Parameters
    ----------
    axes : tuple of Axis or Positions
        One for each axis of the array.
    dropped : tuple of bool
        Which axes of the array were selected by an integer and are not in the result.
    new_axes : tuple of int
        Which axes of the result are new, each of length 1, in ascending order.
    scalar : bool
        numpy would return a scalar rather than an array without axes.
    """

    axes: tuple[Axis | Positions, ...]
    dropped: tuple[bool, ...]
    new_axes: tuple[int, ...] = ()
    scalar: bool = False

    @property
    def box_shape(self) -> tuple[int, ...]:
        """Number of positions along each axis of the array."""
        return tuple(axis.count for axis in self.axes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the result, as numpy gives it."""
        lengths = [axis.count for axis, dropped in zip(self.axes, self.dropped, strict=True) if not dropped]
        for place in self.new_axes:
            lengths.insert(place, 1)
        return tuple(lengths)


@dataclass(frozen=True, slots=True)
class Part:
    """What one chunk has to do with a selection: `box[out_key] = chunk[chunk_key]`, or the other way round.

    Parameters
    ----------
    index : tuple of int
        Of the chunk.
    chunk_key, out_key : tuple
        Elements of the chunk, and where in the box they belong. Slices, and at most one list of integers each.
    whole : bool
        The selection covers all of the chunk that lies within the array, so that nothing of the chunk before remains.
    """

    index: tuple[int, ...]
    chunk_key: tuple[slice | list[int], ...]
    out_key: tuple[slice | list[int], ...]
    whole: bool


def parse(key: object, shape: tuple[int, ...]) -> Selection:
    """Return what `array[key]` selects of an array of the shape.

    Parameters
    ----------
    key : int, slice, Ellipsis, None, list of int, mask, or a tuple of these
        As in numpy's basic indexing. Beyond it: one list, tuple or 1-D array of integers or booleans, for one axis.
    shape : tuple of int
        Of the array.

    Raises
    ------
    IndexError, TypeError, ValueError
        Where numpy raises the same for an array of the shape.
    NotImplementedError
        numpy would understand the key and this module does not: several lists, masks over several axes, a boolean for
        the whole array, or a list whose axis numpy would move to the front. The message says what to do.
    """
    items = [_item(item) for item in (key if isinstance(key, tuple) else (key,))]
    if items.count(Ellipsis) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    used = sum(item is not None and item is not Ellipsis for item in items)
    if used > len(shape):
        raise IndexError(f"too many indices for array: array is {len(shape)}-dimensional, but {used} were indexed")
    in_full = list(items) if Ellipsis in items else [*items, Ellipsis]
    place = in_full.index(Ellipsis)
    in_full[place : place + 1] = [slice(None)] * (len(shape) - used)
    if sum(not isinstance(item, int) for item in in_full) > MAX_RESULT_AXES:
        raise IndexError(f"an index may not make more than {MAX_RESULT_AXES} axes; take out some newaxis")
    _check_lists(items, in_full)
    selected = [item for item in in_full if item is not None]
    # The first error is to be numpy's first: it looks at masks first and at other lists last.
    turns = sorted(range(len(shape)), key=lambda axis: _turn(selected[axis]))
    axes = {axis: _axis(selected[axis], axis, shape[axis]) for axis in turns}
    dropped = tuple(isinstance(item, int) for item in selected)
    kept = [item for item in in_full if not isinstance(item, int)]
    new_axes = tuple(place for place, item in enumerate(kept) if item is None)
    scalar = all(dropped) and not new_axes and Ellipsis not in items
    return Selection(tuple(axes[axis] for axis in range(len(shape))), dropped, new_axes, scalar)


def parts(selection: Selection, grid: Grid) -> Iterator[Part]:
    """Yield what each chunk has to do with the selection, for every chunk that meets it, each once.

    Parameters
    ----------
    selection : Selection
        Of an array of the grid's shape.
    grid : Grid
        How the array is cut.
    """
    pieces = [
        list(_pieces(axis, chunk, length))
        for axis, chunk, length in zip(selection.axes, grid.chunk_shape, grid.shape, strict=True)
    ]
    for combination in product(*pieces):
        yield Part(
            tuple(piece.chunk for piece in combination),
            tuple(piece.inside for piece in combination),
            tuple(piece.outside for piece in combination),
            all(piece.whole for piece in combination),
        )


Item = int | slice | list[int] | list[bool] | None


@dataclass(frozen=True, slots=True)
class _Piece:
    """What one chunk holds of one axis."""

    chunk: int
    inside: slice | list[int]
    outside: slice | list[int]
    whole: bool


def _item(item: object) -> object:
    """Return one item of a key: an int, a slice, Ellipsis, None, or a list of only ints or only bools."""
    if item is None or item is Ellipsis or isinstance(item, slice):
        return item
    dimensions = getattr(item, "ndim", None)
    kind = getattr(getattr(item, "dtype", None), "kind", None)
    if isinstance(item, bool) or (kind == "b" and dimensions == 0):
        raise NotImplementedError("a single boolean selects no part of an array here: use newaxis or `[:0]` instead")
    if isinstance(item, SupportsIndex) and not dimensions:
        try:
            return operator.index(item)
        except TypeError:  # an array without axes that holds no integer
            raise _not_an_index() from None
    if dimensions is not None and hasattr(item, "tolist"):
        if kind not in ("i", "u", "b"):
            raise _not_an_index()
        if dimensions != 1:
            raise NotImplementedError("an index with several axes is not supported: read a part first and index that")
        return item.tolist()
    if isinstance(item, Sequence) and not isinstance(item, str | bytes | bytearray | memoryview):
        return _list(item)
    raise _not_an_index()


def _list(items: Sequence[object]) -> list[int] | list[bool]:
    if any(isinstance(item, Sequence) and not isinstance(item, str | bytes) for item in items):
        raise NotImplementedError("an index with several axes is not supported: read a part first and index that")
    if items and all(isinstance(item, bool) or _kind(item) == "b" for item in items):
        return [bool(item) for item in items]
    try:
        return [int(item) if _kind(item) == "b" else operator.index(cast("SupportsIndex", item)) for item in items]  # type: ignore[call-overload]
    except TypeError:
        raise _not_an_index() from None


def _kind(item: object) -> str | None:
    return getattr(getattr(item, "dtype", None), "kind", None)


def _not_an_index() -> IndexError:
    return IndexError(
        "only integers, slices (`:`), ellipsis (`...`), numpy.newaxis (`None`) and one list of integers or booleans "
        "are valid indices"
    )


def _check_lists(items: list[object], in_full: list[object]) -> None:
    """Refuse what numpy understands in another way than axis by axis."""
    lists = [place for place, item in enumerate(in_full) if isinstance(item, list)]
    if len(lists) > 1:
        raise NotImplementedError("one list or mask at a time: index with one, then index what was read with the next")
    # An integer beside a list is a list to numpy. Where slices stand between them the axis goes to the front.
    numbers = [place for place, item in enumerate(items) if isinstance(item, int | list)]
    apart = bool(lists) and numbers[-1] - numbers[0] >= len(numbers)
    if apart and any(not isinstance(item, int) for item in in_full[: lists[0]]):
        raise NotImplementedError(
            "an integer apart from a list would move the list's axis to the front: use `n:n+1` in place of the "
            "integer, or index in two steps"
        )


def _turn(item: object) -> int:
    if not isinstance(item, list):
        return 1
    return 0 if item and isinstance(item[0], bool) else 2


def _axis(item: object, axis: int, length: int) -> Axis | Positions:
    if isinstance(item, slice):
        positions = range(*item.indices(length))
        return Axis(positions.start, positions.step if len(positions) > 1 else 1, len(positions))
    if isinstance(item, int):
        return Axis(_position(item, axis, length), 1, 1)
    items = cast("list[int]", item)
    if items and isinstance(items[0], bool):
        if len(items) != length:
            raise IndexError(
                f"boolean index did not match indexed array along axis {axis}; size of axis is {length} but size of "
                f"corresponding boolean axis is {len(items)}"
            )
        return Positions(tuple(position for position, taken in enumerate(items) if taken))
    return Positions(tuple(_position(position, axis, length) for position in items))


def _position(item: int, axis: int, length: int) -> int:
    if not -length <= item < length:
        raise IndexError(f"index {item} is out of bounds for axis {axis} with size {length}")
    return item + length if item < 0 else item


def _pieces(axis: Axis | Positions, chunk: int, length: int) -> Iterator[_Piece]:
    return _pieces_of_steps(axis, chunk, length) if isinstance(axis, Axis) else _pieces_of_list(axis, chunk, length)


def _pieces_of_steps(axis: Axis, chunk: int, length: int) -> Iterator[_Piece]:
    taken = 0
    while taken < axis.count:
        position = axis.start + taken * axis.step
        index, first = divmod(position, chunk)
        room = (chunk - 1 - first) // axis.step if axis.step > 0 else first // -axis.step
        count = min(room + 1, axis.count - taken)
        whole = count == min(chunk, length - index * chunk)
        yield _Piece(index, Axis(first, axis.step, count).slice, slice(taken, taken + count), whole)
        taken += count


def _pieces_of_list(axis: Positions, chunk: int, length: int) -> Iterator[_Piece]:
    by_chunk = sorted(enumerate(axis.positions), key=lambda pair: pair[1] // chunk)  # stable: of repeats the last wins
    for index, pairs in groupby(by_chunk, key=lambda pair: pair[1] // chunk):
        outside, positions = zip(*pairs, strict=True)
        inside = [position - index * chunk for position in positions]
        whole = len(set(inside)) == min(chunk, length - index * chunk)
        yield _Piece(index, _steps(inside), _steps(list(outside)), whole)


def _steps(positions: list[int]) -> slice | list[int]:
    """Return the positions as a slice if they are at equal distances: numpy is quicker with those."""
    step = positions[1] - positions[0] if len(positions) > 1 else 1
    if step and all(after - before == step for before, after in pairwise(positions)):
        return Axis(positions[0], step, len(positions)).slice
    return positions
