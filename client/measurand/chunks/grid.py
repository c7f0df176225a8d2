"""The regular grid of chunks that an array is cut into."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

__all__ = ["Grid", "chunk_key"]


@dataclass(frozen=True, slots=True)
class Grid:
    """Chunks of one shape, laid from the first element of an array.

    The last chunks of an axis may reach beyond the array.

    Parameters
    ----------
    shape : tuple of int
        Length of the array along each axis.
    chunk_shape : tuple of int
        Length of a chunk along each axis, at least 1.
    """

    shape: tuple[int, ...]
    chunk_shape: tuple[int, ...]

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of chunks along each axis."""
        return tuple(-(-length // chunk) for length, chunk in zip(self.shape, self.chunk_shape, strict=True))

    @property
    def size(self) -> int:
        """Number of chunks."""
        return math.prod(self.counts)

    def contains(self, index: tuple[int, ...]) -> bool:
        """Whether there is a chunk with this index."""
        counts = self.counts
        return len(index) == len(counts) and all(0 <= at < count for at, count in zip(index, counts, strict=True))

    def span(self, index: tuple[int, ...]) -> tuple[slice, ...]:
        """Return which elements of the array a chunk holds; what reaches beyond the array is left out."""
        return tuple(
            slice(at * chunk, min((at + 1) * chunk, length))
            for at, chunk, length in zip(index, self.chunk_shape, self.shape, strict=True)
        )

    def indexes(self) -> Iterator[tuple[int, ...]]:
        """Yield the index of every chunk, in C order."""
        return product(*map(range, self.counts))


def chunk_key(index: tuple[int, ...]) -> str:
    """Return the key of a chunk in Zarr v3's default encoding: `c/0/1`, and `c` for an array without axes."""
    return "/".join(("c", *map(str, index)))
