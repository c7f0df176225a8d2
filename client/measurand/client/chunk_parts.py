"""Encoded chunks as they arrive: proven on arrival, and put together from their parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from measurand.client.hashing import Bytes, crc32c
from measurand.v1 import arrays_pb2
from measurand.wire.codec import Bulk
from measurand.wire.errors import ChecksumMismatch

__all__ = ["ChunkParts", "Found", "cut"]

MOST_NUMBERS = 30_000
"""A request names chunks by so many numbers at most."""


@dataclass(frozen=True, slots=True)
class Found:
    """An encoded chunk.

    Parameters
    ----------
    data : bytes or None
        None: it was never written.
    etag : str
        Changes with every write of the chunk; empty where it was never written.
    """

    index: tuple[int, ...]
    data: Bytes | None
    etag: str


class ChunkParts:
    """Puts the parts of one chunk after the other together; a chunk of one part is not copied.

    Parameters
    ----------
    name : str
        The array's, for errors.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._whole = bytearray()
        self._index: tuple[int, ...] = ()
        self.etag = ""
        """Of the chunk."""
        self.size = 0
        """Bytes of the chunk that have come."""

    def add(self, answer: Bulk[arrays_pb2.ReadArrayChunksResponse]) -> Found | None:
        """Take a part; returns the chunk once it is whole.

        Raises
        ------
        ChecksumMismatch
            CHECKSUM_MISMATCH: the part was damaged on its way, or one before it is missing.
        """
        head, data = answer
        view, index = memoryview(data), tuple(head.index)
        if view.nbytes and crc32c(view) != head.crc32c:
            raise ChecksumMismatch(f"{self._name}: chunk {[*index]} was damaged on its way", index=[*index])
        if not head.chunk_size:
            self.size = 0
            return Found(index, None, "")
        if not head.part_offset:
            self._index, self.etag, self.size = index, head.chunk_etag, view.nbytes
            if view.nbytes == head.chunk_size:
                self.size = 0
                return Found(index, view, head.chunk_etag)
            self._whole = bytearray(head.chunk_size)
            self._whole[: view.nbytes] = view
            return None
        if index != self._index or head.part_offset != self.size or self.size + view.nbytes > len(self._whole):
            raise ChecksumMismatch(f"{self._name}: a part of chunk {[*index]} is missing", index=[*index])
        self._whole[self.size : self.size + view.nbytes] = view
        self.size += view.nbytes
        if self.size < len(self._whole):
            return None
        whole, self._whole, self.size = self._whole, bytearray(), 0
        return Found(index, whole, self.etag)


def cut(indexes: Sequence[tuple[int, ...]], lanes: int) -> Iterator[Sequence[tuple[int, ...]]]:
    """Yield the indexes in as many runs as there are lanes, alike in length, and none too long for a request."""
    most = max(1, MOST_NUMBERS // max(1, len(indexes[0]) if indexes else 1))
    step = min(most, -(-len(indexes) // lanes))
    for start in range(0, len(indexes), step or 1):
        yield indexes[start : start + step]
