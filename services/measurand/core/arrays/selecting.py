"""What callers select of an array: as numpy understands it for reading, and strictly within the shape for writing."""

from __future__ import annotations

from measurand.chunks.selections import Axis, Selection, parse
from measurand.core.arrays.documents import Array
from measurand.wire.errors import SelectionInvalid

__all__ = ["Key", "axes_of", "select", "select_within"]

Key = tuple[int | slice, ...]
"""One for each axis, from the first; axes left out are taken whole."""


def select(array: Array, key: Key) -> Selection:
    """Return what is to be read: slices that reach beyond the array end where it ends.

    Raises
    ------
    SelectionInvalid
        SELECTION_INVALID: more axes than the array has, or a position beyond one of them; with the axis.
    """
    if len(key) > len(array.shape):
        raise SelectionInvalid(
            f"{array.name} has {len(array.shape)} axes; {len(key)} are selected", axis=len(array.shape)
        )
    for axis, (part, length) in enumerate(zip(key, array.shape, strict=False)):
        if isinstance(part, int) and not -length <= part < length:
            raise SelectionInvalid(f"{array.name}: axis {axis} has {length} positions; {part} is none", axis=axis)
    return parse(key, array.shape)


def select_within(array: Array, key: Key) -> Selection:
    """Return what is to be written: every position must be there. Errors: as `select`."""
    selection = select(array, key)
    for axis, (part, length) in enumerate(zip(key, array.shape, strict=False)):
        if isinstance(part, slice) and (outside := _outside(part, length)) is not None:
            raise SelectionInvalid(
                f"{array.name}: axis {axis} has {length} positions; {outside} is none. Resize or append first",
                axis=axis,
            )
    return selection


def axes_of(selection: Selection) -> tuple[Axis, ...]:
    """Return the axes of a selection that a `Key` has made: there are no lists of positions among them."""
    return tuple(axis for axis in selection.axes if isinstance(axis, Axis))


def _outside(part: slice, length: int) -> int | None:
    """Return a position that a slice names and that is not there."""
    step: int = part.step or 1
    start = (0 if step > 0 else length - 1) if part.start is None else part.start
    stop = (length if step > 0 else -length - 1) if part.stop is None else part.stop
    positions = range(start + length * (start < 0), stop + length * (stop < 0), step)
    if not positions:
        return None
    return next((at for at in (positions[0], positions[-1]) if not 0 <= at < length), None)
