"""Parts of chunks become chunks, and whatever is wrong with them is noticed."""

from __future__ import annotations

import pytest

from measurand.client.chunk_parts import ChunkParts, Found, cut
from measurand.client.hashing import crc32c
from measurand.v1 import arrays_pb2
from measurand.wire.codec import Bulk
from measurand.wire.errors import ChecksumMismatch

Answer = arrays_pb2.ReadArrayChunksResponse


def part(index: tuple[int, ...], data: bytes, *, size: int, offset: int = 0, crc: int | None = None) -> Bulk[Answer]:
    head = Answer(index=index, chunk_size=size, part_offset=offset, crc32c=crc32c(data) if crc is None else crc)
    if not offset:
        head.chunk_etag = "e"
    return Bulk(head, memoryview(data))


def test_parts_become_the_chunk() -> None:
    parts = ChunkParts("x")
    assert parts.add(part((1, 2), b"whole", size=5)) == Found((1, 2), memoryview(b"whole"), "e")
    assert parts.add(part((1, 3), b"abc", size=7)) is None
    assert parts.add(part((1, 3), b"de", size=7, offset=3)) is None
    assert (parts.size, parts.etag) == (5, "e")
    assert parts.add(part((1, 3), b"fg", size=7, offset=5)) == Found((1, 3), bytearray(b"abcdefg"), "e")
    assert parts.add(Bulk(Answer(index=(0, 0)), b"")) == Found((0, 0), None, "")


def test_a_damaged_or_missing_part_is_noticed() -> None:
    with pytest.raises(ChecksumMismatch):
        ChunkParts("x").add(part((0,), b"abc", size=3, crc=1))
    for wrong in (
        part((0,), b"d", size=7, offset=4),
        part((1,), b"d", size=7, offset=3),
        part((0,), b"d" * 9, size=7, offset=3),
    ):
        parts = ChunkParts("x")
        parts.add(part((0,), b"abc", size=7))
        with pytest.raises(ChecksumMismatch, match="missing"):
            parts.add(wrong)


def test_indexes_are_cut_for_lanes_and_for_requests() -> None:
    indexes = [(number, 0) for number in range(10)]
    assert [len(run) for run in cut(indexes, 4)] == [3, 3, 3, 1]
    assert [index for run in cut(indexes, 3) for index in run] == indexes
    assert list(cut([], 4)) == []
    assert max(len(run) for run in cut([(0, 0)] * 40_000, 1)) == 15_000
