"""Objects: bytes under keys, one at a time and in batches."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks import containers
from benchmarks.data import random_bytes
from benchmarks.harness import Turn
from benchmarks.product import server

from measurand.client import Client, Objects


@contextmanager
def opened(storage: str | None) -> Iterator[Objects]:
    """Give objects on the local disk; under a policy on six containers there."""
    if storage is None:
        with server() as address, Client(address) as client:
            yield client.create_catalog("lab").objects
    else:
        with containers.serving(6) as (address, _), Client(address) as client:
            yield client.create_catalog("lab").objects("cache", storage=storage)


@contextmanager
def put(count: int, size: int, storage: str | None = None) -> Iterator[Turn]:
    """Put objects one after the other, durable, in milliseconds each (median)."""
    data = random_bytes(size)
    with opened(storage) as objects:

        def turn() -> float:
            return statistics.median(timed(lambda: objects.put(data)) for _ in range(count)) * 1e3

        yield turn


@contextmanager
def get(count: int, size: int, storage: str | None = None) -> Iterator[Turn]:
    """Get objects one after the other, verified, in milliseconds each (median)."""
    with opened(storage) as objects:
        keys = [objects.put(random_bytes(size)) for _ in range(count)]

        def turn() -> float:
            return statistics.median(timed(lambda key=key: objects.get(key)) for key in keys) * 1e3

        yield turn
        assert len(objects.get(keys[0])) == size


@contextmanager
def put_batch(count: int, size: int, storage: str | None = None) -> Iterator[Turn]:
    """Put a batch, durable, in objects a second."""
    batch = [random_bytes(size)] * count
    with opened(storage) as objects:
        yield lambda: count / timed(lambda: objects.put_batch(batch))


@contextmanager
def get_batch(count: int, size: int, storage: str | None = None) -> Iterator[Turn]:
    """Get a batch, verified, in objects a second."""
    with opened(storage) as objects:
        keys = [str(key) for key in objects.put_batch([random_bytes(size)] * count)]
        yield lambda: count / timed(lambda: objects.get_batch(keys))


def timed(work: object) -> float:
    """Return the seconds that it took."""
    assert callable(work)
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin
