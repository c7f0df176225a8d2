"""What the contenders share: the bytes they move and the threads they are called from."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import google_crc32c
import numpy as np

KiB = 1024
MiB = 1024 * KiB
GiB = 1024 * MiB
CHUNK_BYTES = MiB

Each = Callable[[int, Callable[[int], object]], float]
"""Calls the work with 0, 1, … so many times, from all threads, and returns the seconds that took."""


def random_bytes(size: int) -> bytes:
    """Return bytes that nobody can compress, the same ones every time."""
    return np.random.default_rng(7).bytes(size)


def crc32c(data: bytes | memoryview, before: int) -> int:
    """Return the CRC-32C of the bytes, going on from that of those before them."""
    # The extension refuses memoryviews, whatever they are of; an array over the same bytes it takes.
    crc: int = google_crc32c.extend(before, np.frombuffer(data, np.uint8))
    return crc


@contextmanager
def callers(threads: int) -> Iterator[Each]:
    """Give a way to do many things from several threads at once."""
    with ThreadPoolExecutor(threads) as pool:

        def each(count: int, work: Callable[[int], object]) -> float:
            begin = time.perf_counter()
            for _ in pool.map(work, range(count)):
                pass
            return time.perf_counter() - begin

        yield each


def free_port() -> int:
    """Return a port of the loopback interface that is free now, for peers that cannot choose one themselves."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
