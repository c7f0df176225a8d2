"""Arrays piece by piece: which pieces of an array, read one after the other, are all of it in C order."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product

__all__ = ["BLOCK_BYTES", "block_keys"]

BLOCK_BYTES = 16 << 20
"""About so many bytes are in memory at a time."""

Key = tuple[int | slice, ...]


def block_keys(
    shape: Sequence[int], chunks: Sequence[int], item_bytes: int, *, most_bytes: int = BLOCK_BYTES
) -> Iterator[Key]:
    """Yield what to read of an array: each element is in one piece, and the pieces follow each other in C order.

    A piece is whole chunk rows where they fit; where not even one row of elements does, the leading axes are gone
    through one by one.

    Parameters
    ----------
    shape, chunks : sequence of int
        Length of the array and of a chunk along each axis.
    item_bytes : int
        Size of an element.
    most_bytes : int
        Size of a piece. It is exceeded only by a single element.
    """
    if 0 in shape:
        return
    axis, row = 0, 0
    for axis in range(len(shape)):
        row = item_bytes * math.prod(shape[axis + 1 :])
        if row <= most_bytes:
            break
    else:
        yield from (product(*(range(length) for length in shape)) if shape else [()])
        return
    rows = max(1, most_bytes // row)
    if rows > chunks[axis]:
        rows -= rows % chunks[axis]
    for leading in product(*(range(length) for length in shape[:axis])):
        for start in range(0, shape[axis], rows):
            yield (*leading, slice(start, min(start + rows, shape[axis])))
