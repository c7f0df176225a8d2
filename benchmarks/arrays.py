"""Arrays: written, streamed while they are measured, read whole and by slice; by the product and by its peers."""

from __future__ import annotations

import multiprocessing
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
from benchmarks.data import MiB, random_bytes
from benchmarks.harness import Turn
from benchmarks.peers import flight, tiled
from benchmarks.product import Kind, server, serving

from measurand.client import Client, Dataset

STACK = (60, 1065, 1030)
"""A stack of detector images of float32: 263 MB."""
FRAME = (1024, 1024)
SLICES = 20


@cache
def stack() -> npt.NDArray[np.float32]:
    """Return photon counts of a powder, corrected for the flat field: what a detector gives after its first step."""
    chance = np.random.default_rng(5)
    y, x = np.indices(STACK[1:])
    brightness = 2 + 40 * np.exp(-(((np.hypot(y - 530, x - 510) % 150) / 12) ** 2))
    flat = chance.normal(1, 0.02, STACK[1:]).astype(np.float32)
    return np.stack([chance.poisson(brightness).astype(np.float32) * flat for _ in range(STACK[0])])


@cache
def frames(count: int) -> npt.NDArray[np.uint16]:
    """Return raw frames of a counting detector, 16 bits a pixel."""
    chance = np.random.default_rng(6)
    y, x = np.indices(FRAME)
    brightness = 0.4 + 9 * np.exp(-(((np.hypot(y - 500, x - 520) % 120) / 9) ** 2))
    return np.stack([chance.poisson(brightness).astype(np.uint16) for _ in range(count)])


@contextmanager
def dataset(kind: Kind = "disk") -> Iterator[Dataset]:
    """Give a new dataset of a server of its own."""
    with server(kind) as address, Client(address) as client:
        yield client.create_catalog("lab").create("arrays")


@contextmanager
def write() -> Iterator[Turn]:
    """Write the stack whole, durably, in GB/s of elements."""
    array = stack()
    with dataset() as run:

        def turn() -> float:
            begin = time.perf_counter()
            run["stack"] = array
            return array.nbytes / (time.perf_counter() - begin) / 1e9

        yield turn


@contextmanager
def read(kind: Kind = "disk") -> Iterator[Turn]:
    """Read the stack whole into an array that is there, in seconds."""
    array, target = stack(), np.empty(STACK, np.float32)
    with dataset(kind) as run:
        run["stack"] = array
        kept = run["stack"]

        def turn() -> float:
            begin = time.perf_counter()
            kept.read(out=target)
            took = time.perf_counter() - begin
            assert target[-1, -1, -1] == array[-1, -1, -1]
            return took

        yield turn


@contextmanager
def read_plain(size: int, kind: Kind = "disk") -> Iterator[Turn]:
    """Read an array that nobody can compress into one that is there, in GB/s."""
    array = np.frombuffer(random_bytes(size), np.uint8)
    target = np.empty_like(array)
    with dataset(kind) as run:
        run["bytes"] = array
        kept = run["bytes"]

        def turn() -> float:
            begin = time.perf_counter()
            kept.read(out=target)
            return size / (time.perf_counter() - begin) / 1e9

        yield turn


@contextmanager
def read_frame() -> Iterator[Turn]:
    """Read one image of the stack, in milliseconds: the median of some."""
    with dataset() as run:
        run["stack"] = stack()
        kept = run["stack"]
        yield lambda: of_some(lambda index: kept[index])


@contextmanager
def write_tiled() -> Iterator[Turn]:
    """Write the stack with Tiled, in GB/s of elements."""
    array = stack()
    with tiled.server() as address:
        client = tiled.connect(address)

        def turn() -> float:
            begin = time.perf_counter()
            client.write_array(array)
            return array.nbytes / (time.perf_counter() - begin) / 1e9

        yield turn


@contextmanager
def read_tiled() -> Iterator[Turn]:
    """Read the stack whole with Tiled, in seconds."""
    with tiled.server() as address:
        kept = tiled.connect(address).write_array(stack())

        def turn() -> float:
            begin = time.perf_counter()
            found = kept.read()
            took = time.perf_counter() - begin
            assert found.shape == STACK
            return took

        yield turn


@contextmanager
def read_frame_tiled() -> Iterator[Turn]:
    """Read one image of the stack with Tiled, in milliseconds: the median of some."""
    with tiled.server() as address:
        kept = tiled.connect(address).write_array(stack())
        yield lambda: of_some(lambda index: kept[index])


@contextmanager
def read_frame_flight() -> Iterator[Turn]:
    """Read a stream of as many bytes as an image has, in milliseconds: the median of some."""
    image = memoryview(stack()[0].tobytes())
    target = memoryview(bytearray(len(image)))
    with flight.server("disk") as address:
        caller = flight.Caller(address)
        caller.put("image", image)
        yield lambda: of_some(lambda _: caller.get("image", target))
        caller.close()


@contextmanager
def stream(count: int, kind: Kind = "disk") -> Iterator[Turn]:
    """Stream raw detector frames in, one by one, until all are durable, in MB/s of what the detector gave."""
    given = frames(count)
    with dataset(kind) as run:
        turns = iter(range(1_000_000))

        def turn() -> float:
            begin = time.perf_counter()
            with run.stream_array(f"frames-{next(turns)}", frame_shape=FRAME, dtype="u2") as out:
                for frame in given:
                    out.write(frame)
            return given.nbytes / (time.perf_counter() - begin) / 1e6

        yield turn


def part(address: str, name: str, planes: range) -> None:
    """Write some planes of an array that is there, from a process of its own."""
    with Client(address) as client:
        array = client.catalog("lab").get(name)["planes"]
        plane = np.random.default_rng(planes.start).integers(0, 4000, array.shape[1:], np.uint16)
        for index in planes:
            array[index] = plane


@contextmanager
def fill(writers: int) -> Iterator[Turn]:
    """Fill an array of 256 MiB plane by plane from so many processes, in MB/s."""
    shape = (128, 1024, 1024)
    with server() as address, Client(address) as client:
        lab = client.create_catalog("lab")

        def turn() -> float:
            run = lab.create("parallel")
            run.create_array("planes", shape=shape, dtype="u2", chunks=(1, *shape[1:]))
            share = shape[0] // writers
            context = multiprocessing.get_context("spawn")
            parts = [
                context.Process(target=part, args=(address, run.id, range(number * share, (number + 1) * share)))
                for number in range(writers)
            ]
            begin = time.perf_counter()
            for process in parts:
                process.start()
            for process in parts:
                process.join()
            assert all(process.exitcode == 0 for process in parts)
            return float(np.prod(shape)) * 2 / (time.perf_counter() - begin) / 1e6

        yield turn


@contextmanager
def chunk_among(count: int) -> Iterator[Turn]:
    """Read one chunk of an array of so many chunks, in milliseconds: the median of some."""
    with dataset() as run:
        array = run.create_array("many", shape=(count, 64), dtype="u1", chunks=(1, 64), codec="none")
        block = np.zeros((min(count, 20_000), 64), np.uint8)
        for start in range(0, count, len(block)):
            array[start : start + len(block)] = block
        places = np.random.default_rng(3).integers(0, count, 200)

        def turn() -> float:
            took = []
            for place in places:
                begin = time.perf_counter()
                array[int(place)]
                took.append(time.perf_counter() - begin)
            return statistics.median(took) * 1e3

        yield turn


@contextmanager
def open_many(count: int) -> Iterator[Turn]:
    """Open arrays of a gigabyte each that nobody has written, in milliseconds each."""
    with dataset() as run:
        for number in range(count):
            run.create_array(f"a{number}", shape=(256, 1024, 1024), dtype="f4")

        def turn() -> float:
            begin = time.perf_counter()
            for number in range(count):
                assert run[f"a{number}"].nbytes == 1 << 30
            return (time.perf_counter() - begin) / count * 1e3

        yield turn


@contextmanager
def live(rate: float, seconds: float) -> Iterator[Turn]:
    """Watch a stream from another thread, and give how long after its flush a frame is seen, p95 in milliseconds."""
    with dataset() as run, Client(run_address(run)) as other:
        turns = iter(range(1_000_000))

        def turn() -> float:
            name = f"live-{next(turns)}"
            flushed: dict[int, float] = {}
            seen: list[float] = []
            count = int(rate * seconds)
            with run.stream_array(name, frame_shape=(32, 1024), dtype="u2") as out:
                out.write(np.zeros((32, 1024), np.uint16))
                out.flush()
                array = other.catalog("lab").get(run.id)[name]

                def watch() -> None:
                    for length in array.watch():
                        now = time.perf_counter()
                        new = [key for key in flushed if key <= length]
                        seen.extend(max(now - flushed.pop(number), 0.0) for number in new)
                        if length > count:
                            return

                watcher = threading.Thread(target=watch)
                watcher.start()
                begin = time.perf_counter()
                for number in range(count):
                    out.write(np.full((32, 1024), number, np.uint16))
                    if number % 20 == 0:
                        out.flush()
                        flushed[number + 2] = time.perf_counter()
                    time.sleep(max(begin + (number + 1) / rate - time.perf_counter(), 0))
            watcher.join(30)
            return sorted(seen)[int(len(seen) * 0.95)] * 1e3

        yield turn


def run_address(run: Dataset) -> str:
    """Return where the server of a dataset is."""
    return run._calls.address.target  # noqa: SLF001  # the handle does not tell


@contextmanager
def memory(size: int) -> Iterator[Turn]:
    """Stream so many bytes in and read them back slice by slice; the most that server or client hold, in MiB."""
    frame = np.random.default_rng(1).integers(0, 4000, FRAME, np.uint16)
    with serving() as (address, pid), Client(address) as client:
        run = client.create_catalog("lab").create("long")
        turns = iter(range(1_000_000))

        def turn() -> float:
            name = f"frames-{next(turns)}"
            before = psutil.Process().memory_info().rss
            most = 0.0
            ended = threading.Event()

            def look() -> None:
                nonlocal most
                tree = psutil.Process(pid)
                while not ended.wait(0.05):
                    own = psutil.Process().memory_info().rss - before
                    most = max(most, tree.memory_info().rss, own)

            looking = threading.Thread(target=look)
            looking.start()
            with run.stream_array(name, frame_shape=FRAME, dtype="u2", codec="none") as out:
                for _ in range(size // frame.nbytes):
                    out.write(frame)
            for start in range(0, size // frame.nbytes, 64):
                run[name][start : start + 64]
            ended.set()
            looking.join()
            return most / MiB

        yield turn


def of_some(work: Any) -> float:
    """Return the median of some calls, in milliseconds, each for another image."""
    took = []
    for number in range(SLICES):
        begin = time.perf_counter()
        work(number * 7 % STACK[0])
        took.append(time.perf_counter() - begin)
    return statistics.median(took) * 1e3
