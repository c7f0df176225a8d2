"""Datasets: made one by one from many connections, and found among many."""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

from benchmarks import product
from benchmarks.data import callers
from benchmarks.harness import Turn
from benchmarks.product import Kind

from measurand.client import Client

STORES = "BENCHMARK_STORES"
"""The variable that names the folder where filled stores are kept during a run."""
BATCH = 10_000
QUERIES = 50
PAGE = 20


@contextmanager
def create(count: int, threads: int, kind: Kind = "disk", servers: int = 1) -> Iterator[Turn]:
    """Make datasets with some metadata over `threads` connections, spread over servers, in datasets a second."""
    with callers(threads) as each, ExitStack() as stack:
        name = f"create{uuid4().hex}" if servers > 1 else ""
        addresses = [stack.enter_context(product.server(kind, name=name)) for _ in range(servers)]
        clients = [stack.enter_context(Client(addresses[index % servers])) for index in range(threads)]
        clients[0].create_catalog("lab")
        labs = [client.catalog("lab") for client in clients]

        def make(index: int) -> None:
            labs[index % threads].create(f"run {index}", {"temperature": index * 0.001, "fridge": "BF4"})

        yield lambda: count / each(count, make)


@contextmanager
def filled(count: int, kind: Kind = "disk") -> Iterator[str]:
    """Run a server with a catalog `lab` of `count` datasets and give its address.

    A million of them take minutes to make, so a run of the benchmarks makes each such store once and opens it again.
    """
    folder = Path(os.environ[STORES]) / f"{kind}-{count}"
    complete = folder / "complete"
    with product.server(kind, folder=folder, name=f"filled{count}") as address:
        if not complete.exists():
            fill(address, count)
            complete.touch()
        yield address


def fill(address: str, count: int) -> None:
    """Make a catalog `lab` of `count` datasets."""
    with Client(address) as client:
        lab = client.create_catalog("lab")
        chance = random.Random(11)
        for begin in range(0, count, BATCH):
            lab.create_many(described(index, chance) for index in range(begin, min(begin + BATCH, count)))


def described(index: int, chance: random.Random) -> dict[str, object]:
    """Return one dataset of many: `serial` is its own, `temperature` spreads evenly, the rest is shared."""
    metadata = {"serial": index, "temperature": chance.random(), "fridge": f"BF{index % 8}", "shots": index % 1000}
    return {"title": f"run {index}", "kind": "run", "tags": [f"t{index % 16}"], "metadata": metadata}


def p95(ask: Callable[[random.Random], int]) -> float:
    """Return the 95th percentile of the time that a question takes, in milliseconds; it must find a full page."""
    chance, took = random.Random(5), []
    for _ in range(QUERIES):
        begin = time.perf_counter()
        found = ask(chance)
        took.append((time.perf_counter() - begin) * 1e3)
        assert found == PAGE
    return statistics.quantiles(took, n=20)[-1]


@contextmanager
def search(count: int, kind: Kind = "disk") -> Iterator[Turn]:
    """Find 20 of `count` datasets by a range of one value, different ones each time; p95 in milliseconds."""
    with filled(count, kind) as address, Client(address) as client:
        lab = client.catalog("lab")

        def ask(chance: random.Random) -> int:
            begin = chance.randrange(count - PAGE)
            return len(list(lab.find(f"metadata.serial >= {begin}", order_by="metadata.serial", limit=PAGE)))

        yield lambda: p95(ask)


@contextmanager
def search_narrow(count: int, kind: Kind = "disk") -> Iterator[Turn]:
    """Find the 20 newest of `count` datasets that meet two wide restrictions; p95 in milliseconds."""
    with filled(count, kind) as address, Client(address) as client:
        lab = client.catalog("lab")

        def ask(chance: random.Random) -> int:
            question = f'metadata.temperature < {0.5 + chance.random() / 2} AND tags:"t{chance.randrange(16)}"'
            return len(list(lab.find(question, order_by="-created", limit=PAGE)))

        yield lambda: p95(ask)


@contextmanager
def list_page(count: int, kind: Kind = "disk") -> Iterator[Turn]:
    """List the 20 newest of `count` datasets; p95 in milliseconds."""
    with filled(count, kind) as address, Client(address) as client:
        lab = client.catalog("lab")
        yield lambda: p95(lambda _: len(list(lab.find("", order_by="-created", limit=PAGE))))


@contextmanager
def create_among(present: int, count: int, threads: int, kind: Kind = "disk") -> Iterator[Turn]:
    """Make datasets in a catalog that holds `present` of them already, in datasets a second."""
    with filled(present, kind) as address, callers(threads) as each, ExitStack() as stack:
        labs = [stack.enter_context(Client(address)).catalog("lab") for _ in range(threads)]
        yield lambda: count / each(count, lambda index: labs[index % threads].create(f"run {index}", {"t": index}))
