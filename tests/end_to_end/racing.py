"""A program of many threads that append to one buffer, and say what became of it. What the races are made of."""

from __future__ import annotations

import argparse
import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from tests.end_to_end.recording import BUFFER, record_of

from measurand.client import Buffer, Client
from measurand.client.errors import Frozen

__all__ = ["command"]


def command(addresses: list[str], catalog: str, producers: range, count: int) -> list[str]:
    """Return what runs it, with a connection to each of the addresses.

    First each producer appends so many records, every second one by a writer. Then, when a line comes in, all append
    until the buffer is frozen. After each part it prints as JSON: of each producer the sequences of its records, and
    the owner of the freeze.
    """
    numbers = [str(number) for number in (producers.start, producers.stop, count)]
    return [sys.executable, "-m", __name__, catalog, *numbers, *addresses]


def append(buffer: Buffer, producer: int, count: int) -> tuple[list[int | None], str]:
    """Append so many records."""
    if producer % 2 == 0:
        return [buffer.append(record_of(producer, number)) for number in range(count)], ""
    places: list[int | None] = []
    with buffer.writer() as out:
        out.on_durable(lambda _, sequence: places.append(sequence))
        for number in range(count):
            out.write(record_of(producer, number))
    return places, ""


def race(buffer: Buffer, producer: int, count: int, begun: threading.Barrier) -> tuple[list[int], str]:
    """Append until the buffer is frozen."""
    places: list[int] = []
    try:
        while True:
            places.append(buffer.append(record_of(producer, count + len(places))))
            if len(places) == 1:
                begun.wait(60)
    except Frozen as error:
        return places, str(error.details["owner"])


def main() -> None:
    """Append, and race."""
    parser = argparse.ArgumentParser()
    parser.add_argument("catalog")
    parser.add_argument("first", type=int)
    parser.add_argument("end", type=int)
    parser.add_argument("count", type=int)
    parser.add_argument("addresses", nargs="+")
    options = parser.parse_args()
    producers = range(options.first, options.end)
    begun = threading.Barrier(len(producers) + 1)
    with ExitStack() as ending, ThreadPoolExecutor(len(producers)) as pool:
        clients = [ending.enter_context(Client(address)) for address in options.addresses]
        buffers = [client.catalog(options.catalog).buffer(BUFFER) for client in clients]
        of = {producer: buffers[producer % len(buffers)] for producer in producers}
        appending = {one: pool.submit(append, of[one], one, options.count) for one in producers}
        _say(json.dumps({producer: one.result() for producer, one in appending.items()}))
        sys.stdin.readline()
        racing = {one: pool.submit(race, of[one], one, options.count, begun) for one in producers}
        begun.wait(60)
        _say("all have begun")
        _say(json.dumps({producer: one.result() for producer, one in racing.items()}))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
