"""Shards of Zarr v3's `sharding_indexed`: many encoded chunks one after the other, and an index at the end.

The index has offset and size of each chunk, in C order, both uint64 little-endian; all ones where there is none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

__all__ = ["ABSENT", "index_size", "join", "ranges"]

ABSENT = 2**64 - 1
ENTRY_BYTES = 16


def index_size(counts: tuple[int, ...]) -> int:
    """Return the bytes of an index, without its crc32c, for so many chunks along each axis."""
    return ENTRY_BYTES * math.prod(counts)


def join(chunks: Iterable[bytes]) -> tuple[list[bytes], bytes]:
    """Return the chunks of a shard, in C order, and the index that belongs behind them."""
    pieces = list(chunks)
    sizes = np.array([len(piece) for piece in pieces], "<u8")
    index = np.stack([np.cumsum(sizes) - sizes, sizes], axis=-1)
    return pieces, index.astype("<u8").tobytes()


def ranges(index: npt.NDArray[np.uint8], size: int) -> list[slice | None]:
    """Return where in the shard each chunk lies, in C order; None for those that are absent and read as fill.

    Parameters
    ----------
    index : array of uint8
        Without its crc32c.
    size : int
        Bytes before the index.

    Raises
    ------
    ValueError
        The index points outside the shard.
    """
    entries = np.frombuffer(index, "<u8").reshape(-1, 2).tolist()
    found = [None if offset == length == ABSENT else slice(offset, offset + length) for offset, length in entries]
    if any(place is not None and place.stop > size for place in found):
        raise ValueError("the index of the shard points outside it")
    return found
