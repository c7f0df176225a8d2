"""Containers: files kept in parts, beside one copy on the same disks."""

from __future__ import annotations

import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psutil
from benchmarks.data import callers, random_bytes
from benchmarks.harness import Turn
from benchmarks.product import COMMAND

from measurand.client import Client

CONTAINERS = 8


@contextmanager
def serving(containers: int = CONTAINERS) -> Iterator[tuple[str, int]]:
    """Run a server that keeps everything in containers of its own, and give its address and process id."""
    with tempfile.TemporaryDirectory() as folder:
        command: Sequence[str] = [
            *(COMMAND, "serve", "--data", folder, "--listen", "127.0.0.1:0", "--http", "off", "--log-level", "error"),
            *("--containers", str(containers)),
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                listening = process.stdout.readline()
                if not listening.startswith("listening on "):
                    raise RuntimeError(f"the server ended before it listened: {' '.join(command)}")
                yield listening.split()[2], process.pid
            finally:
                process.terminate()


@contextmanager
def put(size: int, storage: str) -> Iterator[Turn]:
    """Upload `size` bytes durably under a policy, in GB/s."""
    data = random_bytes(size)
    with serving() as (address, _), Client(address) as client:
        run = client.create_catalog("lab", storage=storage).create("put")

        def turn() -> float:
            begin = time.perf_counter()
            run.write_bytes("file", data)
            return size / (time.perf_counter() - begin) / 1e9

        yield turn


@contextmanager
def get(size: int, storage: str) -> Iterator[Turn]:
    """Read `size` bytes that are kept under a policy into a buffer that is there, verified, in GB/s."""
    data = random_bytes(size)
    target = memoryview(bytearray(size))
    with serving() as (address, _), Client(address) as client:
        run = client.create_catalog("lab", storage=storage).create("get")
        run.write_bytes("file", data)

        def turn() -> float:
            begin = time.perf_counter()
            run.read_into("file", target)
            return size / (time.perf_counter() - begin) / 1e9

        yield turn
        assert target == data


@contextmanager
def put_many(count: int, size: int, threads: int, storage: str) -> Iterator[Turn]:
    """Put `count` files of `size` bytes under a policy from `threads` callers, one call each, in files a second."""
    data = random_bytes(size)
    with serving() as (address, _), callers(threads) as each, Client(address) as client:
        run = client.create_catalog("lab", storage=storage).create("put")
        turns = iter(range(1_000_000))

        def turn() -> float:
            number = next(turns)
            return count / each(count, lambda index: run.write_bytes(f"{number}/{index}", data))

        yield turn


@contextmanager
def memory(size: int, storage: str) -> Iterator[Turn]:
    """Upload and read back `size` bytes in one file, and give the most that the server holds, in MiB."""
    piece = random_bytes(64 << 20)
    with serving() as (address, pid), Client(address) as client:
        run = client.create_catalog("lab", storage=storage).create("big")
        process = psutil.Process(pid)

        def turn() -> float:
            most, over = 0, threading.Event()

            def look() -> None:
                nonlocal most
                while not over.wait(0.05):
                    most = max(most, process.memory_info().rss)

            watcher = threading.Thread(target=look)
            watcher.start()
            try:
                with run.open("file", "wb") as file:
                    for _ in range(size // len(piece)):
                        file.write(piece)
                with run.open("file", "rb") as reader:
                    while reader.read(8 << 20):
                        pass
            finally:
                over.set()
                watcher.join()
            return most / (1 << 20)

        yield turn
