"""Datasets shaped like the components of computed experiments, searched as people search those (behaviour IN-13)."""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import product
from benchmarks.datasets import BATCH, STORES
from benchmarks.harness import Turn
from benchmarks.product import Kind
from benchmarks.stores import MONGOD

from measurand.client import Client

QUERIES = 40
PAGE = 20
AN_INSTANCE = 100
"""So many components does an instance have: in ten stages of ten."""
STATES = ("running", "finished", "failed")


def component(index: int) -> dict[str, Any]:
    """Return the metadata of one component."""
    chance = random.Random(index)
    instance, number = divmod(index, AN_INSTANCE)
    return {
        "instance": f"file://site-{instance % 4}/instances/experiment-{instance:05}.instance",
        "type": "component",
        "stage": number // 10,
        "name": f"component{number % 10}",
        "runId": f"run-{instance // 5:05}",
        "memoizationHash": f"{chance.getrandbits(128):032x}",
        "files": [
            f"/instances/{instance:05}/stages/stage{number // 10}/component{number % 10}/out.{part}" for part in "ab"
        ],
        "state": STATES[min(chance.randrange(20), 2)],
    }


def _one(count: int, chance: random.Random) -> Mapping[str, Any]:
    return component(chance.randrange(count))


def _quoted(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def _all_equal(*names: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda of: " AND ".join(f"metadata.{name} = {_quoted(of[name])}" for name in names)


QUESTIONS: Mapping[str, tuple[Callable[[Mapping[str, Any]], str], str]] = {
    "instance": (_all_equal("instance"), ""),
    "name": (_all_equal("stage", "name"), ""),
    "run": (_all_equal("runId"), ""),
    "hash": (_all_equal("memoizationHash"), ""),
    "file": (lambda of: f'metadata.files:"{of["files"][1]}"', ""),
    "newest": (_all_equal("state"), "-created"),
}
"""For each a filter made of a component that is there, and the order."""


@contextmanager
def filled(count: int, kind: Kind) -> Iterator[str]:
    """Run a server with a catalog `lab` of `count` components and give its address. Kept for the whole run."""
    complete = Path(os.environ[STORES]) / f"components-{kind}-{count}"
    with product.server(kind, folder=complete, name=f"components{count}") as address:
        mark = complete / "complete"
        if not mark.exists():
            with Client(address) as client:
                lab = client.create_catalog("lab")
                for begin in range(0, count, BATCH):
                    part = range(begin, min(begin + BATCH, count))
                    lab.create_many({"title": f"c{n}", "kind": "component", "metadata": component(n)} for n in part)
            mark.touch()
        yield address


def p95(ask: Callable[[random.Random], None], queries: int = QUERIES) -> float:
    """Return the 95th percentile of the time that a question takes, in milliseconds."""
    chance, took = random.Random(5), []
    for _ in range(queries):
        begin = time.perf_counter()
        ask(chance)
        took.append((time.perf_counter() - begin) * 1e3)
    return statistics.quantiles(took, n=20)[-1]


@contextmanager
def search(count: int, kind: Kind, question: str) -> Iterator[Turn]:
    """Ask for 20 components, other ones each time; p95 in milliseconds."""
    words, order = QUESTIONS[question]
    with filled(count, kind) as address, Client(address) as client:
        lab = client.catalog("lab")

        def ask(chance: random.Random) -> None:
            found = list(lab.find(words(_one(count, chance)), order_by=order, limit=PAGE))
            assert found and len(found) <= PAGE

        yield lambda: p95(ask)


@contextmanager
def count_all(count: int, kind: Kind) -> Iterator[Turn]:
    """Count the components of one name and stage, a hundredth of all; p95 in milliseconds."""
    words, _ = QUESTIONS["name"]
    with filled(count, kind) as address, Client(address) as client:
        lab = client.catalog("lab")

        def ask(chance: random.Random) -> None:
            assert lab.count(words(_one(count, chance))) == count // AN_INSTANCE

        yield lambda: p95(ask)


@contextmanager
def regex(count: int, question: str) -> Iterator[Turn]:
    """Ask as the system that went before does: by regular expressions over a collection without indexes."""
    import re

    import pymongo

    names = {"instance": ("instance",), "name": ("name",), "run": ("runId",), "hash": ("memoizationHash",)}.get(
        question
    )
    with pymongo.MongoClient[dict[str, Any]](os.environ[MONGOD].format(f"regex{count}")) as client:
        components = client.get_default_database()["components"]
        if components.estimated_document_count() < count:
            components.drop()
            for begin in range(0, count, BATCH):
                components.insert_many([component(n) for n in range(begin, begin + BATCH)])

        def ask(chance: random.Random) -> None:
            one = _one(count, chance)
            wanted: dict[str, Any]
            if names is not None:
                wanted = {name: {"$regex": f"^{re.escape(one[name])}$"} for name in names}
                wanted |= {"stage": one["stage"]} if question == "name" else {}
            elif question == "file":
                wanted = {"files": {"$regex": re.escape(one["files"][1])}}
            else:
                wanted = {"state": {"$regex": f"^{one['state']}$"}}
            found = components.find(wanted)
            assert list(found.sort("_id", -1).limit(PAGE) if question == "newest" else found.limit(PAGE))

        yield lambda: p95(ask, 10)  # each takes most of a second
