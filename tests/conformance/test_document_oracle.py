"""Every DocumentStore gives the answers of the oracle, which is the memory store."""

from __future__ import annotations

import random
import tempfile
from collections.abc import AsyncIterator
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conformance.documents import STORES, OpenStore, at, number, string
from tests.strategies import filters, orders, views

from measurand.core.filters.tree import And, Compare, Filter, Not, Or, Regex
from measurand.core.ports import Document, DocumentStore, Order
from measurand.core.view import Scalar, View
from measurand.server.patterns import compile_pattern
from measurand.storage.documents.memory import Memory

pytestmark = pytest.mark.parametrize("open_store", STORES.values(), ids=STORES)


@pytest.fixture
async def store(open_store: OpenStore, tmp_path: Path) -> AsyncIterator[DocumentStore]:
    async with open_store(tmp_path, 10_000) as opened:
        yield opened


async def test_many_scopes_are_searched_as_right_as_few(store: DocumentStore) -> None:
    scopes = [f"s{index:03}" for index in range(150)]
    documents = [
        Document(f"{scope}/{index}", scope, {}, view=at("p", number(int(scope[1:]) % 7 * 10 + index)))
        for scope in scopes
        for index in range(2)
    ]
    await store.insert_many("things", documents)
    oracle = Memory(compile_pattern)
    await oracle.insert_many("things", documents)
    for wanted in (None, scopes[:1], scopes[-1:], scopes[60:70], scopes[::3]):
        for order in ([], [Order("p")], [Order("p", descending=True)]):
            for where in (None, Compare("p", "=", number(30)), Not(Compare("p", ">", number(20)))):
                expected = await oracle.find("things", scopes=wanted, order=order, where=where, limit=20)
                assert await store.find("things", scopes=wanted, order=order, where=where, limit=20) == expected
                assert await store.count("things", scopes=wanted, where=where) == await oracle.count(
                    "things", scopes=wanted, where=where
                )


async def test_crowds_of_equal_values_are_paged_as_by_the_oracle(store: DocumentStore) -> None:
    chance = random.Random(0)
    numbers = chance.sample(range(10_000), 1_500)
    documents = [
        Document(
            f"{index:04}",
            "s",
            {},
            view=[
                *at("state", string("open" if chance.random() < 0.95 else "shut")),
                *at("late", Scalar("b", index > 9_000)),
                *(at("some", number(chance.randrange(3))) if chance.random() < 0.7 else []),
                *at("exact", number(chance.random())),
            ],
        )
        for index in numbers
    ]
    oracle = Memory(compile_pattern)
    await oracle.insert_many("things", documents)
    await store.insert_many("things", documents)
    late = Compare("late", "=", Scalar("b", True))
    wheres: list[Filter | None] = [
        None,
        late,
        And((late, Compare("state", "=", string("shut")))),
        Compare("exact", ">", number(0.3)),
        And((Compare("exact", "<", number(0.999)), Compare("exact", ">=", number(0.1)), Not(late))),
        Or((Compare("some", "=", number(1)), Compare("exact", "<", number(0.01)))),
        Regex("state", "^shut$"),
    ]
    some_orders = [
        [Order("state")],
        [Order("state", descending=True), Order("exact", descending=True)],
        [Order("some"), Order("late", descending=True)],
        [Order("some", descending=True)],
        [Order("exact")],
        [Order("late", descending=True), Order("some"), Order("exact")],
        [],
    ]
    for where in wheres:
        assert await store.count("things", where=where) == await oracle.count("things", where=where)
        for order in some_orders:
            after = None
            for limit in (20, 700, 20):
                expected = await oracle.find("things", where=where, order=order, after=after, limit=limit)
                assert await store.find("things", where=where, order=order, after=after, limit=limit) == expected
                after = expected[-1].position if expected else after


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(views(), min_size=1, max_size=8), st.data())
async def test_every_search_gives_the_answer_of_the_oracle(
    open_store: OpenStore, some: list[View], data: st.DataObject
) -> None:
    documents = [
        Document(f"k{index}", data.draw(st.sampled_from("st")), {"index": index}, f"{index}", view)
        for index, view in enumerate(some)
    ]
    oracle = Memory(compile_pattern)
    with tempfile.TemporaryDirectory() as folder:
        async with open_store(Path(folder), 100) as store:
            for each in (store, oracle):
                await each.insert_many("things", documents[::-1])
                await each.replace("things", documents[0], expected_revision=1)
            entries = list(chain.from_iterable(some))
            for _ in range(4):
                where, order = data.draw(filters(entries)), data.draw(orders())
                scopes = data.draw(st.sampled_from([None, ["s"], ["s", "t"]]))
                after = None
                limit = data.draw(st.integers(1, 4))
                while True:
                    expected = await oracle.find(
                        "things", scopes=scopes, where=where, order=order, after=after, limit=limit
                    )
                    found = await store.find(
                        "things", scopes=scopes, where=where, order=order, after=after, limit=limit
                    )
                    assert found == expected
                    if not found:
                        break
                    after = found[-1].position
                path = data.draw(st.sampled_from(entries)).path if entries else "title"
                assert await store.count("things", scopes=scopes, where=where) == await oracle.count(
                    "things", scopes=scopes, where=where
                )
                assert await store.total("things", path, where=where) == await oracle.total("things", path, where=where)
                assert await store.values("things", path, scopes=["s", "t"]) == await oracle.values(
                    "things", path, scopes=["s", "t"]
                )
