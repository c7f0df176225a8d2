"""ProxyStore's file connector: objects as files of one folder, in the calling process. It syncs and checks nothing."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.data import random_bytes
from benchmarks.harness import Turn
from benchmarks.objects import timed


@contextmanager
def opened() -> Iterator[Any]:
    """Give a connector to an empty folder."""
    from proxystore.connectors.file import FileConnector

    with tempfile.TemporaryDirectory() as folder:
        yield FileConnector(folder)


@contextmanager
def put(count: int, size: int) -> Iterator[Turn]:
    """Put objects one after the other, in milliseconds each (median)."""
    data = random_bytes(size)
    with opened() as connector:

        def turn() -> float:
            keys = []
            took = statistics.median(timed(lambda: keys.append(connector.put(data))) for _ in range(count))
            for key in keys:
                connector.evict(key)
            return took * 1e3

        yield turn


@contextmanager
def get(count: int, size: int) -> Iterator[Turn]:
    """Get objects one after the other, in milliseconds each (median)."""
    with opened() as connector:
        keys = [connector.put(random_bytes(size)) for _ in range(count)]
        yield lambda: statistics.median(timed(lambda key=key: connector.get(key)) for key in keys) * 1e3


@contextmanager
def put_batch(count: int, size: int) -> Iterator[Turn]:
    """Put a batch, in objects a second."""
    batch = [random_bytes(size)] * count
    with opened() as connector:
        yield lambda: count / timed(lambda: connector.put_batch(batch))


@contextmanager
def get_batch(count: int, size: int) -> Iterator[Turn]:
    """Get a batch, in objects a second."""
    with opened() as connector:
        keys = connector.put_batch([random_bytes(size)] * count)
        yield lambda: count / timed(lambda: connector.get_batch(keys))
