"""The bare loop: what one process can do with the disk and a checksum when nobody else is in between."""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.data import CHUNK_BYTES, callers, crc32c, random_bytes
from benchmarks.harness import Turn


def write_durably(path: Path, data: memoryview) -> int:
    """Write, sum up, fsync, rename into place, fsync the folder; return the crc32c."""
    crc = 0
    unfinished = path.with_suffix(".part")
    with unfinished.open("wb", buffering=0) as file:
        for begin in range(0, len(data), CHUNK_BYTES):
            chunk = data[begin : begin + CHUNK_BYTES]
            crc = crc32c(chunk, crc)
            file.write(chunk)
        os.fsync(file.fileno())
    unfinished.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return crc


@contextmanager
def put(size: int) -> Iterator[Turn]:
    """Write `size` bytes durably, in GB/s."""
    data = memoryview(random_bytes(size))
    with tempfile.TemporaryDirectory() as folder:
        numbers = itertools.count()

        def turn() -> float:
            path = Path(folder) / f"{next(numbers)}"  # a new file each time: nobody writes over a measurement
            begin = time.perf_counter()
            write_durably(path, data)
            return size / (time.perf_counter() - begin) / 1e9

        yield turn


@contextmanager
def get(size: int) -> Iterator[Turn]:
    """Read `size` bytes into a buffer that is there, with their crc32c, in GB/s."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        expected = write_durably(path, memoryview(random_bytes(size)))
        target = memoryview(bytearray(size))

        def turn() -> float:
            begin, crc = time.perf_counter(), 0
            with path.open("rb", buffering=0) as file:
                for offset in range(0, size, CHUNK_BYTES):
                    chunk = target[offset : offset + CHUNK_BYTES]
                    file.readinto(chunk)
                    crc = crc32c(chunk, crc)
            took = time.perf_counter() - begin
            assert crc == expected
            return size / took / 1e9

        yield turn


@contextmanager
def put_many(count: int, size: int, threads: int) -> Iterator[Turn]:
    """Write `count` files of `size` bytes durably from `threads` threads, in files a second."""
    data = memoryview(random_bytes(size))
    with tempfile.TemporaryDirectory() as folder, callers(threads) as each:

        def turn() -> float:
            place = Path(tempfile.mkdtemp(dir=folder))
            return count / each(count, lambda index: write_durably(place / f"{index}", data))

        yield turn


@contextmanager
def get_many(count: int, size: int, threads: int) -> Iterator[Turn]:
    """Read `count` files of `size` bytes from `threads` threads, in files a second."""
    data = memoryview(random_bytes(size))
    with tempfile.TemporaryDirectory() as folder, callers(threads) as each:
        paths = [Path(folder) / f"{index}" for index in range(count)]
        for path in paths:
            path.write_bytes(data)

        def turn() -> float:
            return count / each(count, lambda index: crc32c(paths[index].read_bytes(), 0))

        yield turn
