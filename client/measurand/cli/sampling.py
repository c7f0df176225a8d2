"""A few elements of an array that stand for all of it: however large it is, some chunks are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from measurand.wire.errors import InvalidArgument

__all__ = ["corners", "sampled"]

EDGE = 3
"""So many elements are shown from either end of an axis."""


def sampled(array: Any, most: Sequence[int], *, most_chunks: int) -> tuple[Any, str]:
    """Return elements at equal distances along the last axes, as numbers, and where in the leading ones they are.

    Parameters
    ----------
    array : Array
        What is read, by slices with a step.
    most : sequence of int
        So many elements along each of the last axes, at most.
    most_chunks : int
        So many chunks may be read.

    Returns
    -------
    values : ndarray of float64
        As many axes as `most` has, or as the array has. A complex number is its magnitude, NaT is NaN.
    place : str
        The index along the leading axes, such as `[30, :, :]`; empty if there are none.
    """
    if array.dtype.kind not in "biufcmM":
        raise InvalidArgument(
            f"{array.name} has dtype {array.dtype}; only numbers and times can be drawn", field="plot"
        )
    axes = min(len(most), array.ndim)
    leading = tuple(length // 2 for length in array.shape[: array.ndim - axes])
    shape, chunks = array.shape[array.ndim - axes :], array.chunks[array.ndim - axes :]
    wanted = [min(length, room) for length, room in zip(shape, most[len(most) - axes :], strict=True)]
    while np.prod(touched := [min(-(-n // c), w) for n, c, w in zip(shape, chunks, wanted, strict=True)]) > most_chunks:
        widest = int(np.argmax(touched))
        wanted[widest] = touched[widest] - 1
    steps = [max(1, -(-length // count)) if count else 1 for length, count in zip(shape, wanted, strict=True)]
    values = np.asarray(array[(*leading, *(slice(None, None, step) for step in steps))])
    place = f"[{', '.join([*map(str, leading), *[':'] * axes])}]" if leading else ""
    return _numbers(values), place


def _numbers(values: Any) -> Any:
    if values.dtype.kind == "c":
        return np.abs(values).astype("f8")
    if values.dtype.kind in "mM":
        return np.where(np.isnat(values), np.nan, values.astype("i8").astype("f8"))
    return values.astype("f8")


def corners(array: Any) -> Iterator[str]:
    """Yield lines of text with the first and last elements of the last two axes; at most four parts are read."""
    if array.size == 0:
        yield "no elements"
        return
    leading = tuple(0 for _ in array.shape[:-2])
    if leading:
        yield f"[{', '.join([*map(str, leading), ':', ':'])}]"
    shape = array.shape[-2:]
    parts = [_ends(length) for length in shape]
    while len(parts) < 2:
        parts.insert(0, [slice(0, 1)])
    rows: list[list[str]] = []
    for number, down in enumerate(parts[0]):
        if number:
            rows.append(["…"])
        blocks = []
        for across in parts[1]:
            key = (*leading, *(down, across)[2 - len(shape) :])
            blocks.append(np.atleast_2d(np.asarray(array[key])))
        rows += [
            [text for place, block in enumerate(blocks) for text in [*["…"] * bool(place), *map(_text, block[row])]]
            for row in range(blocks[0].shape[0])
        ]
    width = max(len(text) for row in rows for text in row)
    for row in rows:
        yield "  ".join(text.rjust(width) for text in row)


def _ends(length: int) -> list[slice]:
    return [slice(0, EDGE), slice(length - EDGE, length)] if length > 2 * EDGE + 1 else [slice(0, length)]


def _text(value: Any) -> str:
    if isinstance(value, (np.floating, np.complexfloating)):
        return f"{value:.6g}"
    text = str(value.decode("utf-8", "replace") if isinstance(value, bytes) else value)
    shown = "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)
    return shown if len(shown) <= 24 else f"{shown[:23]}…"
