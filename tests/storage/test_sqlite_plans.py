"""That searches in SQLite go by an index, and cost the same however many documents there are."""

from __future__ import annotations

import random
import re
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from measurand.core.filters.tree import And, Compare, Contains, Exists, Filter, Glob, Has, Not, Or, Regex
from measurand.core.ports import Document, Order, Position
from measurand.core.view import Entry, Scalar, View
from measurand.server.patterns import compile_pattern
from measurand.storage.documents.sqlite import Sqlite, counter
from measurand.storage.documents.sqlite.changes import read
from measurand.storage.documents.sqlite.compiler import matcher
from measurand.storage.documents.sqlite.finder import Finder
from measurand.storage.documents.sqlite.numbers import Lookup
from measurand.storage.documents.sqlite.schema import connect
from measurand.storage.documents.sqlite.selection import Selection

FEW, MANY = 2_000, 16_000


def number(value: float) -> Scalar:
    return Scalar("n", value)


def view(chance: random.Random, index: int) -> View:
    return [
        Entry("created", Scalar("t", index)),
        Entry("kind", Scalar("s", chance.choice(["run", "scan"]))),
        Entry("tags", None),
        Entry("tags", Scalar("s", f"t{index % 100}"), in_list=True),
        Entry("temperature", number(chance.random())),
        Entry("sample", Scalar("s", f"S{index}")),
    ]


@asynccontextmanager
async def filled(path: Path, documents: int) -> AsyncIterator[sqlite3.Connection]:
    """Make a database of so many documents, and give a connection that reads it."""
    store = await Sqlite.open(path, compile_pattern=compile_pattern)
    chance = random.Random(1)
    await store.insert_many(
        "things", [Document(f"{index:08}", "s", {}, view=view(chance, index)) for index in range(documents)]
    )
    await store.close()
    connection = connect(path, cache_bytes=16 * 1024 * 1024)
    matcher(connection, compile_pattern)
    try:
        yield connection
    finally:
        connection.close()


def selection(
    connection: sqlite3.Connection, where: Filter | None, *, scopes: Sequence[str] | None = ("s",), prefix: str = ""
) -> Selection:
    lookup = Lookup()
    home = lookup.home(connection, "things", scopes)
    assert home is not None
    return Selection(connection, lookup, home, where, prefix)


RUN = Compare("kind", "=", Scalar("s", "run"))
COLD = Compare("temperature", "<", number(0.01))
ONE = Compare("sample", "=", Scalar("s", "S7"))
FILTERS: Sequence[Filter | None] = (
    None,
    RUN,
    COLD,
    And((RUN, COLD)),
    Or((ONE, COLD)),
    Not(RUN),
    Has("tags", Scalar("s", "t1")),
    Exists("tags"),
    Glob("sample", ("S12", "")),
    Contains("sample", "s77"),
    And((Regex("sample", "7$"), RUN)),
    Compare("created", ">", Scalar("t", 100)),
)
CREATED = Order("created", descending=True, required=True)
ORDERS: Sequence[Sequence[Order]] = (
    [],
    [CREATED],
    [Order("temperature")],
    [Order("kind"), CREATED],
    [Order("kind", descending=True)],
)


async def test_no_search_walks_through_a_whole_table(tmp_path: Path) -> None:
    path = tmp_path / "documents.db"
    statements: set[str] = set()
    async with filled(path, FEW) as connection:
        connection.set_trace_callback(statements.add)
        for scopes in (("s",), None):
            for where in FILTERS:
                for order in ORDERS:
                    chosen = selection(connection, where, scopes=scopes)
                    first = Finder(chosen, order, 20).find(None)
                    assert first
                    Finder(chosen, order, 20).find(first[-1].position())
                Finder(selection(connection, where, scopes=scopes, prefix="0000"), ORDERS[1], 20).find(None)
                for most in (None, 1, 10**6):
                    counter.count(selection(connection, where, scopes=scopes), most)
                counter.total(selection(connection, where, scopes=scopes), "temperature")
            counter.values(selection(connection, None, scopes=scopes), "kind", prefix="r", after="", limit=10)
        token = read(connection, Lookup(), "0" * 8, "things", after=None, scopes=None, limit=1).token
        assert token == f"00000000-{FEW}"
        read(connection, Lookup(), "0" * 8, "things", after=f"00000000-{FEW - 5}", scopes=["s"], limit=10)
        connection.set_trace_callback(None)
        assert len(statements) > 200
        tables = re.compile(r"SCAN (docs|bodies|vals|changes|scopes|paths|[dbsvc]|o\d)\b")
        scans = {
            (detail, statement)
            for statement in statements
            for *_, detail in connection.execute(f"EXPLAIN QUERY PLAN {statement}")
            if tables.match(detail)
        }
    assert scans == set()


PAGES: Mapping[str, Callable[[int], tuple[Filter | None, Sequence[Order], Position | None]]] = {
    "a page of a list": lambda many: (None, [], Position((), f"{many // 2:08}")),
    "a page by time": lambda many: (None, [CREATED], Position((Scalar("t", many // 2),), f"{many // 2:08}")),
    "a page by a measured value": lambda many: (None, [Order("temperature")], Position((number(0.5),), "")),
    "one sample": lambda many: (ONE, [CREATED], None),
    "much of it, by time": lambda many: (RUN, [CREATED], None),
    "the same number of rows of it": lambda many: (Compare("temperature", "<", number(100 / many)), [], None),
    "from a time on, by time": lambda many: (
        And((Compare("created", ">", Scalar("t", many // 2)), RUN)),
        [Order("created", required=True)],
        None,
    ),
    "all tied, from the top": lambda many: (None, [Order("kind", descending=True)], None),
    "all tied": lambda many: (None, [Order("kind")], None),
}


async def test_a_page_costs_the_same_among_few_and_many(tmp_path: Path) -> None:
    steps: dict[tuple[str, int], int] = {}
    for documents in (FEW, MANY):
        path = tmp_path / f"{documents}.db"
        async with filled(path, documents) as connection:
            for name, page in PAGES.items():
                where, order, after = page(documents)
                chosen = selection(connection, where)
                taken = 0

                def count() -> None:
                    nonlocal taken
                    taken += 1

                connection.set_progress_handler(count, 10)
                rows = Finder(chosen, order, 20).find(after)
                connection.set_progress_handler(None, 10)
                assert len(rows) == (1 if where is ONE else 20)
                steps[name, documents] = taken
    growth = {name: steps[name, MANY] / steps[name, FEW] for name in PAGES}
    assert {name: times for name, times in growth.items() if times > 1.2} == {}


@pytest.mark.parametrize("where", [ONE, Compare("temperature", "<", number(-1))])
async def test_what_hardly_anything_matches_is_found_without_looking_at_the_rest(tmp_path: Path, where: Filter) -> None:
    path = tmp_path / "documents.db"
    async with filled(path, FEW) as connection:
        chosen = selection(connection, where)
        steps = 0

        def count() -> None:
            nonlocal steps
            steps += 1

        connection.set_progress_handler(count, 1)
        for order in ORDERS:
            Finder(chosen, order, 20).find(None)
        connection.set_progress_handler(None, 1)
    assert steps / len(ORDERS) < FEW / 4
