"""Tiled: its own server over a catalog in SQLite and a folder, its own client. Bytes travel as arrays of uint8."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.data import callers, free_port, random_bytes
from benchmarks.harness import Turn

KEY = "benchmark"


@contextmanager
def server() -> Iterator[str]:
    """Run a server in a process of its own and give its address."""
    with tempfile.TemporaryDirectory() as folder:
        place, port = Path(folder), free_port()
        command = [str(Path(sys.executable).with_name("tiled")), "serve", "catalog", str(place / "catalog.db")]
        command += ["--init", "--write", str(place / "data"), "--api-key", KEY, "--port", str(port)]
        home = {**os.environ, "HOME": folder}
        with subprocess.Popen(command, env=home, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT) as process:
            try:
                address = f"http://127.0.0.1:{port}"
                wait_for(address, process)
                yield address
            finally:
                process.terminate()
                process.wait(timeout=30)


def wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    """Return when the server answers."""
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/healthz"):
                return
        except urllib.error.URLError:
            time.sleep(0.05)
    raise RuntimeError("the Tiled server does not come up")


def connect(address: str) -> Any:
    """Return a client of its own for the calling thread."""
    from tiled.client import from_uri

    return from_uri(f"{address}/api/v1", api_key=KEY)


@contextmanager
def put(size: int) -> Iterator[Turn]:
    """Write an array of `size` bytes, in GB/s."""
    array = np.frombuffer(random_bytes(size), np.uint8)
    with server() as address:
        client = connect(address)

        def turn() -> float:
            begin = time.perf_counter()
            client.write_array(array)
            return size / (time.perf_counter() - begin) / 1e9

        yield turn


@contextmanager
def get(size: int) -> Iterator[Turn]:
    """Read an array of `size` bytes, in GB/s."""
    array = np.frombuffer(random_bytes(size), np.uint8)
    with server() as address:
        kept = connect(address).write_array(array)

        def turn() -> float:
            begin = time.perf_counter()
            read = kept.read()
            took = time.perf_counter() - begin
            assert read.nbytes == size
            return size / took / 1e9

        yield turn


@contextmanager
def put_many(count: int, size: int, threads: int) -> Iterator[Turn]:
    """Write `count` arrays of `size` bytes from `threads` threads, in arrays a second."""
    array = np.frombuffer(random_bytes(size), np.uint8)
    with server() as address, callers(threads) as each:
        clients = [connect(address) for _ in range(threads)]
        yield lambda: count / each(count, lambda index: clients[index % threads].write_array(array))


@contextmanager
def get_many(count: int, size: int, threads: int) -> Iterator[Turn]:
    """Read `count` arrays of `size` bytes from `threads` threads, in arrays a second."""
    array = np.frombuffer(random_bytes(size), np.uint8)
    with server() as address, callers(threads) as each:
        client = connect(address)
        kept = [client.write_array(array) for _ in range(count)]
        yield lambda: count / each(count, lambda index: kept[index].read())


@contextmanager
def create(count: int, threads: int) -> Iterator[Turn]:
    """Make containers with some metadata over `threads` connections, in containers a second."""
    with server() as address, callers(threads) as each:
        clients = [connect(address) for _ in range(threads)]

        def make(index: int) -> None:
            clients[index % threads].create_container(metadata={"temperature": index * 0.001, "fridge": "BF4"})

        yield lambda: count / each(count, make)


@contextmanager
def search(datasets: int) -> Iterator[Turn]:
    """Find the first 20 of the containers whose metadata has a value, in milliseconds."""
    from tiled.queries import Comparison

    with server() as address, callers(8) as each:
        clients = [connect(address) for _ in range(8)]
        each(datasets, lambda index: clients[index % 8].create_container(metadata={"temperature": index / datasets}))

        def turn() -> float:
            begin = time.perf_counter()
            found = list(clients[0].search(Comparison("lt", "temperature", 0.1)).values().head(20))
            took = time.perf_counter() - begin
            assert len(found) == 20
            return took * 1e3

        yield turn
