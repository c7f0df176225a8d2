"""The product: the real `measurand serve` in its own process, called through the real client."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

import psutil
from benchmarks.data import MiB, callers, random_bytes
from benchmarks.harness import Turn
from benchmarks.stores import fleet_options

from measurand.client import Client

Kind = Literal["disk", "workers", "memory", "s3", "mongodb", "fleet"]
"""What a server stands on: SQLite and a folder, the same with four workers, memory, SQLite and S3, MongoDB and a
folder, MongoDB and S3.
"""

COMMAND = str(Path(sys.executable).with_name("measurand"))


@contextmanager
def serving(kind: Kind = "disk", *, folder: Path | None = None, name: str = "") -> Iterator[tuple[str, int]]:
    """Run a server and give its address and process id.

    Parameters
    ----------
    folder : Path, optional
        What it keeps there stays. None: an empty folder that goes with it.
    name : str
        Of the database and of the prefix in the shared stores. Empty: new ones.
    """
    with tempfile.TemporaryDirectory() as empty:
        command = [
            COMMAND,
            "serve",
            "--data",
            str(folder or empty),
            "--listen",
            "127.0.0.1:0",
            "--http",
            "off",
            "--log-level",
            "error",
        ]
        environment: dict[str, str] = {}
        if kind == "memory":
            command += ["--documents", "memory:", "--blobs", "memory:"]
        else:
            documents = name if kind in ("mongodb", "fleet") else None
            blobs = name if kind in ("s3", "fleet") else None
            options, environment = fleet_options(documents, blobs)
            command += options
            if kind == "workers":
                command += ["--workers", "4"]
        variables = {**os.environ, **environment}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=variables) as process:
            try:
                assert process.stdout is not None
                listening = process.stdout.readline()
                if not listening.startswith("listening on "):
                    raise RuntimeError(f"the server ended before it listened: {' '.join(command)}")
                yield listening.split()[2], process.pid
            finally:
                process.terminate()


@contextmanager
def server(kind: Kind = "disk", *, folder: Path | None = None, name: str = "") -> Iterator[str]:
    """Run a server as `serving` does and give its address."""
    with serving(kind, folder=folder, name=name) as (address, _):
        yield address


@contextmanager
def put(size: int, kind: Kind) -> Iterator[Turn]:
    """Upload `size` bytes durably, in GB/s."""
    data = random_bytes(size)
    with server(kind) as address, Client(address) as client:
        run = client.create_catalog("lab").create("put")

        def turn() -> float:
            begin = time.perf_counter()
            run.write_bytes("file", data)
            return size / (time.perf_counter() - begin) / 1e9

        yield turn


@contextmanager
def get(size: int, kind: Kind) -> Iterator[Turn]:
    """Read `size` bytes into a buffer that is there, verified, in GB/s."""
    data = random_bytes(size)
    target = memoryview(bytearray(size))
    with server(kind) as address, Client(address) as client:
        run = client.create_catalog("lab").create("get")
        run.write_bytes("file", data)

        def turn() -> float:
            begin = time.perf_counter()
            run.read_into("file", target)
            return size / (time.perf_counter() - begin) / 1e9

        yield turn
        assert target == data


@contextmanager
def put_many(count: int, size: int, threads: int, kind: Kind = "disk") -> Iterator[Turn]:
    """Put `count` files of `size` bytes from `threads` callers, one call each, in files a second."""
    data = random_bytes(size)
    with server(kind) as address, callers(threads) as each, ExitStack() as stack:
        clients = [stack.enter_context(Client(address)) for _ in range(threads)]
        run = clients[0].create_catalog("lab").create("put")
        runs = [client.catalog("lab").get(run.id) for client in clients]
        turns = iter(range(sys.maxsize))

        def turn() -> float:
            number = next(turns)
            return count / each(count, lambda index: runs[index % threads].write_bytes(f"{number}/{index}", data))

        yield turn


@contextmanager
def get_many(count: int, size: int, threads: int, kind: Kind = "disk") -> Iterator[Turn]:
    """Read `count` files of `size` bytes from `threads` callers, one call each, in files a second."""
    data = random_bytes(size)
    with server(kind) as address, callers(threads) as each, ExitStack() as stack:
        clients = [stack.enter_context(Client(address)) for _ in range(threads)]
        run = clients[0].create_catalog("lab").create("get")
        runs = [client.catalog("lab").get(run.id) for client in clients]
        each(count, lambda index: runs[index % threads].write_bytes(f"{index}", data))

        def read(index: int) -> None:
            assert runs[index % threads].read_bytes(f"{index}") == data

        yield lambda: count / each(count, read)


@contextmanager
def put_folder(count: int, size: int) -> Iterator[Turn]:
    """Upload a folder of `count` files of `size` bytes by one call, in files a second."""
    with tempfile.TemporaryDirectory() as folder, server() as address, Client(address) as client:
        fill(Path(folder), count, size)
        lab = client.create_catalog("lab")

        def turn() -> float:
            run = lab.create("put")
            begin = time.perf_counter()
            run.upload_dir(folder)
            return count / (time.perf_counter() - begin)

        yield turn


@contextmanager
def get_folder(count: int, size: int) -> Iterator[Turn]:
    """Download a folder of `count` files of `size` bytes by one call, in files a second."""
    with tempfile.TemporaryDirectory() as folder, server() as address, Client(address) as client:
        source, target = Path(folder) / "source", Path(folder) / "target"
        fill(source, count, size)
        run = client.create_catalog("lab").create("get")
        run.upload_dir(source)

        def turn() -> float:
            shutil.rmtree(target, ignore_errors=True)
            begin = time.perf_counter()
            run.download_dir(to=target)
            return count / (time.perf_counter() - begin)

        yield turn


def fill(folder: Path, count: int, size: int) -> None:
    """Make a folder of small files, a hundred to a folder below it."""
    data = random_bytes(size)
    for index in range(count):
        path = folder / f"{index // 100:03}" / f"{index:05}.dat"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


@contextmanager
def memory(streams: int, size: int) -> Iterator[Turn]:
    """Upload `streams` files of `size` bytes at once; the most memory that the server had resident, in MiB."""
    with (
        tempfile.TemporaryDirectory() as folder,
        serving() as (address, pid),
        callers(streams) as each,
        ExitStack() as stack,
    ):
        source = Path(folder) / "source"
        block = random_bytes(16 * MiB)
        with source.open("wb") as file:
            for _ in range(0, size, len(block)):
                file.write(block)
        clients = [stack.enter_context(Client(address)) for _ in range(streams)]
        run = clients[0].create_catalog("lab").create("memory")
        runs = [client.catalog("lab").get(run.id) for client in clients]

        def turn() -> float:
            with watched(pid) as peak:
                each(streams, lambda index: runs[index].upload(source, f"{index}"))
            for index in range(streams):
                run.delete_file(f"{index}")
            return max(peak) / MiB

        yield turn


@contextmanager
def watched(pid: int) -> Iterator[Sequence[int]]:
    """Give the resident sizes of a process and its children while the block runs, twenty times a second."""
    process, sizes, ended = psutil.Process(pid), [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.05):
            sizes.append(sum(item.memory_info().rss for item in [process, *process.children(recursive=True)]))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield sizes
    finally:
        ended.set()
        watcher.join()
