"""Buffers: how many records a second become durable, how soon they are seen, and what many of them cost."""

from __future__ import annotations

import multiprocessing
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from typing import Literal
from uuid import uuid4

from benchmarks.data import KiB, random_bytes
from benchmarks.harness import Turn
from benchmarks.product import Kind, server

from measurand.client import Buffer, Client

How = Literal["pipelined", "unary"]
"""Through `writer()`, or each record by an `append` of its own that waits for its acknowledgement."""

RECORD = KiB
WINDOW = 1024 * KiB
"""A writer has so much on its way: with 64 MiB of each of 64, the end of a turn would be waited for for minutes."""
RUN_IN = 1.0
STRAIN = 13_107
"""Bytes of 0.1 s of float64 at 16384 Hz."""
CALLS = 100


@contextmanager
def buffer(kind: Kind = "disk") -> Iterator[tuple[str, Buffer]]:
    """Give a new buffer of a server of its own, and the server's address."""
    with server(kind) as address, Client(address) as client:
        yield address, client.create_catalog("lab").create_buffer("records")


@contextmanager
def throughput(
    how: How, kind: Kind = "disk", servers: int = 1, processes: int = 8, threads: int = 8, seconds: float = 3.0
) -> Iterator[Turn]:
    """Append records of 1 KiB to one buffer from many writers, in durable records a second."""
    with crew(how, kind, servers, processes, threads) as together:
        yield lambda: sum(together(seconds))


@contextmanager
def fairness(kind: Kind, servers: int, seconds: float = 6.0) -> Iterator[Turn]:
    """Append through several servers and give what the slowest of them stored, as a part of their mean."""
    with crew("pipelined", kind, servers, servers, 16) as together:

        def turn() -> float:
            rates = together(seconds)
            return min(rates) / statistics.mean(rates)

        yield turn


class Together:
    """Processes with writers in them; called, all of them write for some seconds, and each tells its rate."""

    def __init__(self, ends: Sequence[Connection]) -> None:
        self._ends = ends

    def __call__(self, seconds: float) -> list[float]:
        for end in self._ends:
            end.send(seconds)
        return [float(end.recv()) for end in self._ends]


@contextmanager
def crew(how: How, kind: Kind, servers: int, processes: int, threads: int) -> Iterator[Together]:
    """Run so many processes of so many writers each, spread over servers that share their stores."""
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        name = f"b{uuid4().hex}"
        addresses = [stack.enter_context(server(kind, name=name)) for _ in range(servers)]
        with Client(addresses[0]) as client:
            client.create_catalog("lab").create_buffer("records")
        ends = []
        for number in range(processes):
            here, there = context.Pipe()
            process = context.Process(target=write, args=(addresses[number % servers], how, threads, there))
            process.start()
            there.close()
            stack.callback(process.join)
            stack.callback(here.close)  # that is how a process learns that it is over
            ends.append(here)
        for end in ends:
            end.recv()  # its writers are open
        yield Together(ends)


def write(address: str, how: How, threads: int, there: Connection) -> None:
    """Append from so many threads, each time for as long as is asked for; tell how many records a second got durable.

    The rate is of what was acknowledged between two moments in which everybody writes: neither the beginning, when the
    first groups are on their way, nor the end, when what is on its way is waited for, is a part of it.
    """
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(address)) for _ in range(threads)]
        buffers = [client.catalog("lab").buffer("records") for client in clients]
        writers: Sequence[Pipelined | Calling]
        if how == "pipelined":
            writers = [stack.enter_context(Pipelined(one)) for one in buffers]
        else:
            writers = [Calling(one) for one in buffers]
        there.send(None)
        while True:
            try:
                seconds = float(there.recv())
            except EOFError:
                return
            end = time.perf_counter() + RUN_IN + seconds
            workers = [threading.Thread(target=writer.write, args=(end,)) for writer in writers]
            for worker in workers:
                worker.start()
            time.sleep(RUN_IN)
            begin, before = time.perf_counter(), sum(writer.durable for writer in writers)
            time.sleep(max(end - time.perf_counter(), 0))
            durable = sum(writer.durable for writer in writers) - before
            rate = durable / (time.perf_counter() - begin)
            for worker in workers:
                worker.join()
            there.send(rate)


class Pipelined:
    """A writer that hands records over without waiting for each of them."""

    def __init__(self, buffer: Buffer) -> None:
        self._writer = buffer.writer(window_bytes=WINDOW)

    @property
    def durable(self) -> int:
        """Records that were acknowledged."""
        return self._writer.durable

    def write(self, end: float) -> None:
        """Write until a moment, and wait for what is on its way then."""
        data = random_bytes(RECORD)
        while time.perf_counter() < end:
            for _ in range(64):
                self._writer.write(data)
        self._writer.flush()

    def __enter__(self) -> Pipelined:
        self._writer.open()
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()


class Calling:
    """A caller that appends each record by a call, and waits for its acknowledgement."""

    def __init__(self, buffer: Buffer) -> None:
        self._buffer = buffer
        self.durable = 0

    def write(self, end: float) -> None:
        """Append until a moment."""
        data = random_bytes(RECORD)
        while time.perf_counter() < end:
            self._buffer.append(data)
            self.durable += 1


@contextmanager
def latency(tails: int, records: int = 200, rate: float = 10.0) -> Iterator[Turn]:
    """Append strain in real time beside tails and a group; how long after its acknowledgement a record is seen.

    The figure is p95 over all records and all readers, in milliseconds.
    """
    with buffer() as (address, out), ExitStack() as stack:
        data = random_bytes(STRAIN)
        readers = [stack.enter_context(Client(address)).catalog("lab").buffer("records") for _ in range(tails + 1)]
        seen: list[tuple[int, float]] = []

        def tail(reader: Buffer, after: int) -> None:
            for record in reader.tail(after=after):
                seen.append((record.seq, time.perf_counter()))
                if record.seq == after + records:
                    return

        def consume(reader: Buffer, last: int) -> None:
            with reader.consume("shared") as taken:
                for record in taken:
                    seen.append((record.seq, time.perf_counter()))
                    record.ack()
                    if record.seq == last:
                        return

        def turn() -> float:
            seen.clear()
            first = out.append(data)
            workers = [threading.Thread(target=tail, args=(reader, first)) for reader in readers[1:]]
            workers.append(threading.Thread(target=consume, args=(readers[0], first + records)))
            for worker in workers:
                worker.start()
            time.sleep(0.5)  # they are all there before it begins
            acknowledged: dict[int, float] = {}
            begin = time.perf_counter()
            for number in range(records):
                sequence = out.append(data)
                acknowledged[sequence] = time.perf_counter()
                time.sleep(max(begin + (number + 1) / rate - time.perf_counter(), 0))
            for worker in workers:
                worker.join(30)
            waited = sorted(
                max(when - acknowledged[sequence], 0) for sequence, when in seen if sequence in acknowledged
            )
            if len(waited) != records * (tails + 1):
                raise RuntimeError(f"{len(waited)} of {records * (tails + 1)} records were seen")
            return waited[int(len(waited) * 0.95)] * 1e3

        yield turn


@contextmanager
def append_among(count: int) -> Iterator[Turn]:
    """Append one record to a buffer of so many, durably, in milliseconds: the median of some."""
    with buffer() as (_, out):
        fill(out, count)
        data = random_bytes(RECORD)
        yield lambda: median(lambda: out.append(data))


@contextmanager
def stats_among(count: int) -> Iterator[Turn]:
    """Ask for the statistics of a buffer of so many records, in milliseconds: the median of some."""
    with buffer() as (_, out):
        fill(out, count)

        def ask() -> None:
            if out.stats().records != count:
                raise RuntimeError("the statistics are wrong")

        yield lambda: median(ask)


def fill(out: Buffer, count: int) -> None:
    """Append so many small records, in groups that are committed by themselves."""
    with out.writer() as writer:
        for number in range(count):
            writer.write(number.to_bytes(8, "little"))
            if number % 1000 == 999:
                writer.flush()


def median(work: Callable[[], object]) -> float:
    """Return the median time of some calls, in milliseconds."""
    took = []
    for _ in range(CALLS):
        begin = time.perf_counter()
        work()
        took.append(time.perf_counter() - begin)
    return statistics.median(took) * 1e3
