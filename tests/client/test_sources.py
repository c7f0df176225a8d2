from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3

from measurand.client.errors import FailedPrecondition, InvalidArgument
from measurand.client.hashing import crc32c
from measurand.client.sources import FileSource, MemorySource, StreamSource, source_of

DATA = bytes(range(256)) * 20


class Dripping(io.BytesIO):
    """Gives seven bytes at a time, as a pipe may."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(7 if size is None or size < 0 else min(size, 7))


def sources(tmp_path: Path) -> list[FileSource | MemorySource | StreamSource]:
    path = tmp_path / "x"
    path.write_bytes(DATA)
    return [FileSource(path), MemorySource(DATA), StreamSource(io.BytesIO(DATA)), StreamSource(Dripping(DATA))]


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("start", [0, 1000, 1001, len(DATA)])
def test_chunks_are_whole_hashed_and_begin_where_they_should(tmp_path: Path, number: int, start: int) -> None:
    source = sources(tmp_path)[number]
    chunks = list(source.chunks(start, 1000))
    assert b"".join(bytes(chunk.data) for chunk in chunks) == DATA[start:]
    assert [chunk.offset for chunk in chunks] == list(range(start, len(DATA), 1000))
    assert all(chunk.crc32c == crc32c(chunk.data) for chunk in chunks)
    assert source.digest.hexdigest() == blake3(DATA).hexdigest()


@pytest.mark.parametrize("change", [b"longer" * 1000, b"short"])
def test_a_file_that_changes_underneath_is_noticed(tmp_path: Path, change: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(DATA)
    chunks = FileSource(path).chunks(0, 1000)
    next(chunks)
    path.write_bytes(change)
    with pytest.raises(FailedPrecondition, match="changed while it was sent"):
        list(chunks)


def test_a_file_of_the_same_size_and_another_time_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(DATA)
    source = FileSource(path)
    os.utime(path, ns=(1, 1))
    with pytest.raises(FailedPrecondition):
        source.read_whole()


def test_a_source_that_ends_before_the_resume_point_is_an_error() -> None:
    with pytest.raises(FailedPrecondition):
        list(StreamSource(io.BytesIO(b"abc")).chunks(10, 5))


def test_arrays_and_empty_arrays_are_bytes_too() -> None:
    assert source_of(np.arange(4, dtype="u2")).size == 8
    assert list(MemorySource(np.zeros((0, 3))).chunks(0, 10)) == []


def test_a_folder_or_a_number_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="upload_dir"):
        source_of(tmp_path)
    with pytest.raises(InvalidArgument, match="int"):
        source_of(3)
