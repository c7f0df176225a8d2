"""Arrow Flight over loopback: one Python server that keeps what it is sent as files, as durably as we do.

A put is answered once the bytes are written, summed up (crc32c) and synced, and the file has its name. A get sends what
is there and checks nothing, which is less than we do.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.flight
from benchmarks.data import CHUNK_BYTES, callers, crc32c, random_bytes
from benchmarks.harness import Turn

SCHEMA = pa.schema([("data", pa.uint8())])


def batch_of(data: Any) -> pa.RecordBatch:
    """Return bytes as a batch, without a copy."""
    return pa.record_batch([pa.Array.from_buffers(pa.uint8(), len(data), [None, pa.py_buffer(data)])], schema=SCHEMA)


def bytes_of(batch: pa.RecordBatch) -> memoryview:
    """Return the bytes of a batch, without a copy."""
    return memoryview(batch.column(0).buffers()[1]).cast("B")[: batch.num_rows]


class Keeper(pyarrow.flight.FlightServerBase):  # type: ignore[misc]  # it ships no types
    """Keeps each stream under the name that its descriptor gives; in a folder, or in memory where there is none."""

    def __init__(self, folder: Path | None) -> None:
        super().__init__("grpc://127.0.0.1:0")
        self._folder = folder
        self._memory: dict[str, list[pa.RecordBatch]] = {}

    def do_put(self, context: Any, descriptor: Any, reader: Any, writer: Any) -> None:
        name = descriptor.path[0].decode()
        if self._folder is None:
            self._memory[name] = [chunk.data for chunk in reader]
            return
        path, crc = self._folder / name, 0
        unfinished = path.with_suffix(f".{time.monotonic_ns()}")
        with unfinished.open("wb", buffering=0) as file:
            for chunk in reader:
                data = bytes_of(chunk.data)
                crc = crc32c(data, crc)
                file.write(data)
            os.fsync(file.fileno())
        unfinished.rename(path)
        handle = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        writer.write(crc.to_bytes(4, "little"))

    def do_get(self, context: Any, ticket: Any) -> Any:
        name = ticket.ticket.decode()
        if self._folder is None:
            return pyarrow.flight.GeneratorStream(SCHEMA, iter(self._memory[name]))
        return pyarrow.flight.GeneratorStream(SCHEMA, self._batches(self._folder / name))

    @staticmethod
    def _batches(path: Path) -> Iterator[pa.RecordBatch]:
        with path.open("rb", buffering=0) as file:
            while data := file.read(CHUNK_BYTES):
                yield batch_of(data)


class Caller:
    """One connection to a `Keeper`."""

    def __init__(self, address: str) -> None:
        self._client = pyarrow.flight.connect(address)

    def put(self, name: str, data: memoryview) -> None:
        descriptor = pyarrow.flight.FlightDescriptor.for_path(name)
        writer, reader = self._client.do_put(descriptor, SCHEMA)
        with writer:
            for begin in range(0, len(data), CHUNK_BYTES):
                writer.write_batch(batch_of(data[begin : begin + CHUNK_BYTES]))
            writer.done_writing()
            reader.read()

    def get(self, name: str, target: memoryview) -> int:
        offset = 0
        for chunk in self._client.do_get(pyarrow.flight.Ticket(name.encode())):
            size = chunk.data.num_rows
            target[offset : offset + size] = bytes_of(chunk.data)
            offset += size
        return offset

    def close(self) -> None:
        self._client.close()


@contextmanager
def server(place: Literal["disk", "memory"]) -> Iterator[str]:
    """Run a server in a process of its own and give its address."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.peers.flight", folder if place == "disk" else "memory"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                yield process.stdout.readline().strip()
            finally:
                process.kill()


@contextmanager
def put(size: int, place: Literal["disk", "memory"]) -> Iterator[Turn]:
    """Send `size` bytes, in GB/s."""
    data = memoryview(random_bytes(size))
    with server(place) as address:
        caller = Caller(address)
        numbers = itertools.count()

        def turn() -> float:
            name = f"file{next(numbers)}"  # a new one each time: nobody writes over a measurement
            begin = time.perf_counter()
            caller.put(name, data)
            return size / (time.perf_counter() - begin) / 1e9

        yield turn
        caller.close()


@contextmanager
def get(size: int, place: Literal["disk", "memory"]) -> Iterator[Turn]:
    """Fetch `size` bytes into a buffer that is there, in GB/s."""
    data = memoryview(random_bytes(size))
    target = memoryview(bytearray(size))
    with server(place) as address:
        caller = Caller(address)
        caller.put("file", data)

        def turn() -> float:
            begin = time.perf_counter()
            caller.get("file", target)
            return size / (time.perf_counter() - begin) / 1e9

        yield turn
        assert target == data
        caller.close()


@contextmanager
def put_many(count: int, size: int, threads: int) -> Iterator[Turn]:
    """Send `count` objects of `size` bytes from `threads` threads, in objects a second."""
    data = memoryview(random_bytes(size))
    with server("disk") as address, callers(threads) as each:
        connections = [Caller(address) for _ in range(threads)]
        turns = iter(range(sys.maxsize))

        def turn() -> float:
            number = next(turns)
            return count / each(count, lambda index: connections[index % threads].put(f"{number}-{index}", data))

        yield turn


@contextmanager
def get_many(count: int, size: int, threads: int) -> Iterator[Turn]:
    """Fetch `count` objects of `size` bytes from `threads` threads, in objects a second."""
    data = memoryview(random_bytes(size))
    with server("disk") as address, callers(threads) as each:
        connections = [Caller(address) for _ in range(threads)]
        each(count, lambda index: connections[index % threads].put(f"{index}", data))
        targets = [memoryview(bytearray(size)) for _ in range(count)]

        def turn() -> float:
            return count / each(count, lambda index: connections[index % threads].get(f"{index}", targets[index]))

        yield turn
        assert all(target == data for target in targets)


def main() -> None:
    """Serve until killed."""
    place = sys.argv[1]
    keeper = Keeper(None if place == "memory" else Path(place))
    print(f"grpc://127.0.0.1:{keeper.port}", flush=True)
    keeper.serve()


if __name__ == "__main__":
    main()
