"""That searches in MongoDB go by an index, and look at no more than they must, however many documents there are."""

from __future__ import annotations

import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import pymongo
import pytest
import pytest_asyncio
from tests.mongod import shared_mongod

from measurand.core.filters.tree import And, Compare, Contains, Exists, Filter, Glob, Has, Not, Or, Regex
from measurand.core.ports import Document, Found, Order, Position
from measurand.core.view import Entry, Scalar, View
from measurand.server.patterns import compile_pattern
from measurand.storage.documents.mongo import Mongo

MANY = 6_000
PAGE = 20


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
        Entry("file_count", number(index)),
    ]


@dataclass(frozen=True, slots=True)
class Work:
    """What MongoDB did for a call, over all of its queries.

    Parameters
    ----------
    documents, looked_at : int
        How many documents it read, and how many keys of indexes or documents, whichever were more.
    """

    plans: Sequence[str]
    documents: int
    looked_at: int


class Lab:
    """A store with many datasets, and MongoDB's own record of what it did for each call."""

    def __init__(self, store: Mongo, client: pymongo.MongoClient[dict[str, Any]], database: str) -> None:
        self.store = store
        self._database = client[database]

    async def find(
        self,
        where: Filter | None = None,
        order: Sequence[Order] = (),
        after: Position | None = None,
        *,
        scopes: Sequence[str] | None = ("s",),
        key_prefix: str = "",
    ) -> Sequence[Found]:
        return await self.store.find(
            "datasets", scopes=scopes, where=where, order=order, after=after, key_prefix=key_prefix, limit=PAGE
        )

    async def work(self, call: Callable[[], Awaitable[object]]) -> Work:
        await call()  # after this the plans are chosen
        self._database.drop_collection("system.profile")
        self._database.command("profile", 2)
        await call()
        self._database.command("profile", 0)
        records = list(self._database["system.profile"].find({"planSummary": {"$exists": True}}))
        assert records
        return Work(
            plans=[record["planSummary"] for record in records],
            documents=sum(record["docsExamined"] for record in records),
            looked_at=sum(max(record["keysExamined"], record["docsExamined"]) for record in records),
        )


@asynccontextmanager
async def filled() -> AsyncIterator[Lab]:
    mongod, database = shared_mongod(), f"t{uuid.uuid4().hex}"
    store = await Mongo.open(mongod.url_of(database), compile_pattern=compile_pattern)
    chance = random.Random(1)
    numbers = list(range(MANY))
    chance.shuffle(numbers)
    await store.insert_many(
        "datasets", [Document(f"{index:08}", "s", {}, view=view(chance, index)) for index in numbers]
    )
    with mongod.client() as client:
        try:
            yield Lab(store, client, database)
        finally:
            await store.close()
            client.drop_database(database)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab() -> AsyncIterator[Lab]:
    async with filled() as lab:
        yield lab


pytestmark = pytest.mark.asyncio(loop_scope="module")

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
    And((Regex("sample", "^S.*7$"), RUN)),
    Compare("created", ">", Scalar("t", 100)),
)
CREATED = Order("created", descending=True, required=True)
ORDERS: Sequence[Sequence[Order]] = (
    [],
    [CREATED],
    [Order("temperature", required=True)],
    [Order("kind", required=True), CREATED],
    [Order("kind", descending=True)],
)


PAGES: Mapping[str, tuple[Filter | None, Sequence[Order], Position | None]] = {
    "a list": (None, [], None),
    "a page of a list": (None, [], Position((), f"{MANY // 2:08}")),
    "what is not deleted": (Not(Exists("deleted")), [], None),
    "by time": (Not(Exists("deleted")), [CREATED], None),
    "by time upwards": (None, [Order("created", required=True)], None),
    "a page by time": (None, [CREATED], Position((Scalar("t", MANY // 2),), f"{MANY // 2:08}")),
    "from a time on": (Compare("created", ">", Scalar("t", MANY // 2)), [Order("created", required=True)], None),
    "up to a time": (Compare("created", "<", Scalar("t", MANY // 2)), [CREATED], None),
    "one sample": (ONE, [CREATED], None),
    "much of it, by time": (RUN, [CREATED], None),
    "by a measured value": (None, [Order("temperature", descending=True)], None),
    "a page by a measured value": (None, [Order("temperature")], Position((number(0.5),), "")),
    "a range, by the same value": (Compare("temperature", ">", number(0.5)), [Order("temperature")], None),
    "all tied": (None, [Order("kind", descending=True), CREATED], None),
    "a page of what is tied": (None, [Order("kind")], Position((Scalar("s", "run"),), f"{MANY // 2:08}")),
    "a prefix": (Glob("sample", ("S12", "")), [], None),
}


def searches(lab: Lab, scopes: Sequence[str] | None) -> Mapping[str, Callable[[], Awaitable[object]]]:
    """Return calls of all kinds, by what they are."""
    store = lab.store
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "prefix": partial(lab.find, key_prefix="0000", scopes=scopes),
        "total": partial(store.total, "datasets", "temperature", scopes=scopes, where=RUN),
        "values": partial(store.values, "datasets", "kind", scopes=["s"]),
    }
    for where in FILTERS:
        for order in ORDERS:
            calls[f"find {where} {order}"] = partial(lab.find, where, order, scopes=scopes)
        for most in (None, 1, 10**6) if scopes else (None,):
            calls[f"count {where} {most}"] = partial(store.count, "datasets", scopes=scopes, where=where, most=most)
    return calls


@pytest.mark.parametrize("scopes", [["s"], None])
async def test_no_search_walks_through_a_whole_collection(lab: Lab, scopes: Sequence[str] | None) -> None:
    found = {name: await lab.work(call) for name, call in searches(lab, scopes).items()}
    assert {name: work.plans for name, work in found.items() if any("COLLSCAN" in plan for plan in work.plans)} == {}


@pytest.mark.parametrize("name", PAGES)
async def test_a_page_looks_at_little_more_than_it_shows(lab: Lab, name: str) -> None:
    where, order, after = PAGES[name]
    found = await lab.find(where, order, after)
    assert len(found) == (1 if where is ONE else PAGE)
    work = await lab.work(partial(lab.find, where, order, after))
    assert work.looked_at <= 8 * PAGE, work


@pytest.mark.parametrize("where", [ONE, Compare("temperature", "<", number(-1)), Exists("never")])
@pytest.mark.parametrize("order", ORDERS)
async def test_what_hardly_anything_matches_is_found_without_looking_at_the_rest(
    lab: Lab, where: Filter, order: Sequence[Order]
) -> None:
    work = await lab.work(partial(lab.find, where, order))
    assert work.looked_at <= 20, work


async def test_all_are_counted_without_being_looked_at(lab: Lab) -> None:
    for scopes in (["s"], None):
        for where in (None, Not(Exists("deleted"))):
            work = await lab.work(partial(lab.store.count, "datasets", scopes=scopes, where=where))
            assert {plan.partition(" ")[0] for plan in work.plans} <= {"COUNT_SCAN", "IXSCAN"}, work
            assert work.documents <= 1, work


async def test_what_is_summed_of_whole_scopes_is_summed_from_an_index(lab: Lab) -> None:
    for path in ("file_count", "stored_bytes"):
        assert (await lab.store.total("datasets", path, scopes=["s"])).count == MANY
        work = await lab.work(partial(lab.store.total, "datasets", path, scopes=["s"]))
        assert work.documents == 0, work
