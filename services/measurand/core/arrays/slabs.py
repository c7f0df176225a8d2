"""Cutting a selection into pieces that fit into memory, whose elements in C order follow each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod

from measurand.chunks.selections import Axis, Selection
from measurand.core.arrays.selecting import axes_of

__all__ = ["Slab", "chunks_met", "count_met", "slabs"]

MOST_CHUNKS = 4096
"""That a piece may lie in: small ones would take more memory than their elements."""


@dataclass(frozen=True, slots=True)
class Slab:
    """A piece of a selection.

    Parameters
    ----------
    begin : int
        Where it lies in the result: the number of elements before it.
    selection : Selection
        Which elements they are.
    """

    begin: int
    selection: Selection


def slabs(
    selection: Selection, chunk_shape: Sequence[int], *, most: int, longest: int, begin: int = 0
) -> Iterator[Slab]:
    """Yield the pieces of a selection one after the other.

    Parameters
    ----------
    chunk_shape : sequence of int
        Pieces end where chunks end, where they can: then no chunk is decoded twice.
    most : int
        Elements of a piece, unless one row of chunks has more.
    longest : int
        Elements of a piece, whatever the chunks are like.
    begin : int
        Begin with the piece that has this element of the result, and with no more before it than has to be.
    """
    axes = axes_of(selection)
    total = prod(axis.count for axis in axes)
    if begin >= total:
        return
    split, size, chunks = len(axes), 1, 1  # axes from `split` on are taken whole: `size` elements in `chunks` chunks
    while split:
        axis, met = axes[split - 1], count_met(axes[split - 1], chunk_shape[split - 1])
        if size * axis.count > most or chunks * met > MOST_CHUNKS:
            break
        split, size, chunks = split - 1, size * axis.count, chunks * met
    if not split:
        yield Slab(0, selection)
        return
    cut = split - 1
    in_chunk = -(-chunk_shape[cut] // abs(axes[cut].step))
    fits = max(most // size, min(in_chunk, longest // size))
    fits = max(1, min(fits, max(1, MOST_CHUNKS // chunks) * in_chunk))
    row = begin // size
    while row < total // size:
        place, at = divmod(row, axes[cut].count)
        count = _run(axes[cut], chunk_shape[cut], at, fits)
        part = (*_fixed(axes[:cut], place), _part(axes[cut], at, count), *axes[split:])
        yield Slab(row * size, replace(selection, axes=part))
        row += count


def count_met(axis: Axis, chunk: int) -> int:
    """Return how many chunks the positions lie in, along one axis."""
    if not axis.count or abs(axis.step) > chunk:
        return axis.count
    last = axis.start + (axis.count - 1) * axis.step
    return abs(last // chunk - axis.start // chunk) + 1


def chunks_met(selection: Selection, chunk_shape: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Yield the index of each chunk that a selection meets, one at a time however many they are."""

    def walk(axis: int) -> Iterator[tuple[int, ...]]:
        if axis == len(axes):
            yield ()
            return
        for at in _met(axes[axis], chunk_shape[axis]):
            for rest in walk(axis + 1):
                yield (at, *rest)

    axes = axes_of(selection)
    return walk(0) if all(axis.count for axis in axes) else iter(())


def _met(axis: Axis, chunk: int) -> Iterable[int]:
    if abs(axis.step) > chunk:
        return (position // chunk for position in axis.positions)
    step = 1 if axis.step > 0 else -1
    first = axis.start // chunk
    return range(first, first + step * count_met(axis, chunk), step)


def _run(axis: Axis, chunk: int, at: int, fits: int) -> int:
    """Return how many positions from `at` make a piece: up to where a chunk ends, if one ends in reach."""
    end = at + fits
    if end >= axis.count:
        return axis.count - at
    following = (axis.start + end * axis.step) // chunk * chunk
    if axis.step > 0:  # the first position in the chunk that the first position left out lies in
        edge = -((axis.start - following) // axis.step)
    else:
        edge = -((following + chunk - 1 - axis.start) // -axis.step)
    return (edge if at < edge <= end else end) - at


def _fixed(axes: Sequence[Axis], place: int) -> list[Axis]:
    """Return one position of each of these axes: the `place`-th in C order."""
    fixed: list[Axis] = []
    for axis in reversed(axes):
        place, at = divmod(place, axis.count)
        fixed.append(_part(axis, at, 1))
    return fixed[::-1]


def _part(axis: Axis, at: int, count: int) -> Axis:
    return Axis(axis.start + at * axis.step, axis.step, count)
