"""What every DocumentStore promises about finding documents. Memory is the oracle."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from tests.conformance.documents import STORES, OpenStore, at, number, string

from measurand.core.filters.tree import And, Compare, Contains, Exists, Filter, Glob, Has, Not, Or, Regex
from measurand.core.ports import Document, DocumentStore, Found, Order, Position, Total
from measurand.core.view import Entry, Scalar, View

pytestmark = pytest.mark.parametrize("open_store", STORES.values(), ids=STORES)

INFINITY = float("inf")


@pytest.fixture
async def store(open_store: OpenStore, tmp_path: Path) -> AsyncIterator[DocumentStore]:
    async with open_store(tmp_path, 10_000) as opened:
        yield opened


async def fill(store: DocumentStore, views: dict[str, View], scope: str = "s") -> None:
    documents = [Document(key, scope, {"key": key}, f"text of {key}", view) for key, view in views.items()]
    assert all(await store.insert_many("things", documents))


def keys(found: Sequence[Found]) -> list[str]:
    return [each.document.key for each in found]


async def keys_where(store: DocumentStore, where: Filter) -> list[str]:
    return keys(await store.find("things", where=where))


async def pages(
    store: DocumentStore, limit: int, order: Sequence[Order] = (), where: Filter | None = None
) -> list[Found]:
    """Return all pages, one behind the other."""
    everything: list[Found] = []
    after: Position | None = None
    while page := await store.find("things", where=where, order=order, after=after, limit=limit):
        assert len(page) <= limit
        everything += page
        after = page[-1].position
    return everything


KINDS: dict[str, View] = {
    "missing": [],
    "null": at("p", Scalar("z", None)),
    "object": at("p", None),
    "list": at("p", number(-100), string("x"), listed=True),
    "-inf": at("p", number(-INFINITY)),
    "-1": at("p", number(-1)),
    "2^53": at("p", number(2.0**53)),
    "2^53+1": at("p", number(2**53 + 1)),
    "inf": at("p", number(INFINITY)),
    "empty": at("p", string("")),
    "Z": at("p", string("Z")),
    "a": at("p", string("a")),
    "a0": at("p", string("a\x00")),
    "ffff": at("p", string("\uffff")),
    "10000": at("p", string("\U00010000")),
    "false": at("p", Scalar("b", False)),
    "true": at("p", Scalar("b", True)),
    "before": at("p", Scalar("t", -1)),
    "since": at("p", Scalar("t", 0)),
}
LOWEST = ["list", "missing", "null", "object"]
RISING = [key for key in KINDS if key not in LOWEST]


async def test_what_is_missing_sorts_lowest_then_numbers_strings_booleans_times(store: DocumentStore) -> None:
    await fill(store, KINDS)
    assert keys(await store.find("things", order=[Order("p")])) == LOWEST + RISING
    assert keys(await store.find("things", order=[Order("p", descending=True)])) == RISING[::-1] + LOWEST


async def test_ties_go_by_key_upwards_whatever_the_direction(store: DocumentStore) -> None:
    await fill(store, {"é": at("p", number(1)), "b": at("p", number(1.0)), "a": at("p", number(2))})
    assert keys(await store.find("things", order=[Order("p")])) == ["b", "é", "a"]
    assert keys(await store.find("things", order=[Order("p", descending=True)])) == ["a", "b", "é"]
    assert keys(await store.find("things", order=[Order("p", required=True)])) == ["b", "é", "a"]
    assert keys(await store.find("things", order=[Order("never seen")])) == ["a", "b", "é"]


async def test_a_position_tells_the_values_that_a_document_stands_at(store: DocumentStore) -> None:
    await fill(store, KINDS)
    found = await store.find("things", order=[Order("p"), Order("q")])
    positions = {each.document.key: each.position for each in found}
    assert positions["2^53+1"] == Position((number(2**53 + 1), None), "2^53+1")
    assert positions["true"] == Position((Scalar("b", True), None), "true")
    assert positions["list"] == Position((None, None), "list")
    (value,) = (each.position.values[0] for each in found if each.document.key == "false")
    assert value is not None
    assert value.value is False


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("limit", [1, 3, 100])
async def test_pages_hold_each_document_once_in_order(store: DocumentStore, descending: bool, limit: int) -> None:
    await fill(store, KINDS)
    order = [Order("p", descending)]
    whole = keys(await store.find("things", order=order))
    assert keys(await pages(store, limit, order)) == whole
    assert keys(await pages(store, limit)) == sorted(KINDS)


async def test_a_position_stays_good_when_its_document_is_gone(store: DocumentStore) -> None:
    await fill(store, {key: at("p", number(ord(key))) for key in "abcdef"})
    page = await store.find("things", order=[Order("p", descending=True)], limit=3)
    for key in "fed":
        await store.remove("things", key)
    rest = await store.find("things", order=[Order("p", descending=True)], after=page[-1].position)
    assert keys(rest) == ["c", "b", "a"]


async def test_paging_sees_what_stays_once_whatever_comes_and_goes(store: DocumentStore) -> None:
    chance = random.Random(7)
    staying = {f"stay{index:03}": at("p", number(chance.randrange(10))) for index in range(60)}
    await fill(store, staying)
    busy = True

    async def come_and_go() -> None:
        index = 0
        while busy:
            index += 1
            await fill(store, {f"{chance.choice(['a', 'z'])}{index}": at("p", number(chance.randrange(10)))})
            if index % 3 == 0:
                await asyncio.gather(*(store.remove("things", f"{letter}{index - 1}") for letter in "az"))

    writing = asyncio.create_task(come_and_go())
    orders: list[list[Order]] = [[], [Order("p")], [Order("p", descending=True)]]
    for order in orders:
        seen = [key for key in keys(await pages(store, 7, order)) if key in staying]
        assert sorted(seen) == sorted(staying)
    busy = False
    await writing


async def test_only_the_wanted_scopes_are_searched(store: DocumentStore) -> None:
    for scope in ("s", "t", "s/t", ""):
        await fill(store, {f"{scope}:{index}": at("p", number(index)) for index in range(3)}, scope)
    big = Compare("p", ">=", number(1))
    assert keys(await store.find("things", scopes=["t"])) == ["t:0", "t:1", "t:2"]
    assert keys(await store.find("things", scopes=["t", "", "t"], where=big)) == [":1", ":2", "t:1", "t:2"]
    assert keys(await store.find("things", scopes=["s", "t"], order=[Order("p", descending=True)], limit=3)) == [
        "s:2",
        "t:2",
        "s:1",
    ]
    assert await store.find("things", scopes=[]) == []
    assert await store.find("things", scopes=["S"], where=big) == []
    assert await store.count("things", scopes=["s/t", "nowhere"]) == 3


PREFIXES = ("", "a", "a%", "a_", "%", "_", "*", "[", "\x00", "a\x00", "é", "\ud7ff", "\uffff", "\U0010ffff")


@pytest.mark.parametrize("prefix", PREFIXES, ids=ascii)
async def test_a_prefix_is_taken_as_it_stands(store: DocumentStore, prefix: str) -> None:
    names = [each + rest for each in PREFIXES for rest in ("", "\x00", "z", "\U0010ffff")]
    names = sorted(set(names))
    await fill(store, {key: at("p", number(1)) for key in names})
    wanted = [key for key in names if key.startswith(prefix)]
    assert keys(await store.find("things", key_prefix=prefix)) == wanted
    assert keys(await store.find("things", key_prefix=prefix, order=[Order("p")])) == wanted
    assert await store.count("things", key_prefix=prefix) == len(wanted)
    if len(wanted) > 1:
        behind = await store.find("things", key_prefix=prefix, after=Position((), wanted[0]))
        assert keys(behind) == wanted[1:]


async def test_text_is_left_out_when_it_is_not_asked_for(store: DocumentStore) -> None:
    await fill(store, {"a": at("p", number(1))})
    (with_text,) = await store.find("things")
    (without,) = await store.find("things", with_text=False)
    assert with_text.document.text == "text of a"
    assert without.document == Document("a", "s", {"key": "a"}, "", (), 1)


async def test_numbers_compare_exactly_and_only_with_numbers(store: DocumentStore) -> None:
    await fill(store, KINDS)
    assert await keys_where(store, Compare("p", ">", number(2.0**53))) == ["2^53+1", "inf"]
    assert await keys_where(store, Compare("p", "=", number(2**53))) == ["2^53"]
    assert await keys_where(store, Compare("p", "<", number(0))) == ["-1", "-inf", "list"]
    assert await keys_where(store, Compare("p", ">=", number(INFINITY))) == ["inf"]
    assert await keys_where(store, Compare("p", ">", string("a"))) == ["10000", "a0", "ffff", "list"]
    assert await keys_where(store, Compare("p", "=", Scalar("b", False))) == ["false"]
    assert await keys_where(store, Compare("p", "=", Scalar("z", None))) == ["null"]
    assert await keys_where(store, Compare("p", "<=", Scalar("t", 0))) == ["before", "since"]


async def test_logic_has_two_values(store: DocumentStore) -> None:
    await fill(store, KINDS)
    everything = sorted(KINDS)
    assert await keys_where(store, And(())) == everything
    assert await keys_where(store, Or(())) == []
    assert await keys_where(store, Not(Exists("p"))) == ["missing"]
    assert await keys_where(store, Not(Exists("unknown"))) == everything
    below = Compare("p", "<", number(0))
    assert await keys_where(store, Or((below, Not(below)))) == everything
    assert await keys_where(store, And((below, Not(below)))) == []


async def test_strings_are_found_by_globs_expressions_and_parts(store: DocumentStore) -> None:
    await fill(
        store,
        {
            "run": at("p", string("Run 12\x00b")),
            "list": at("p", string("x"), string("Ru*n"), listed=True),
            "sharp": at("p", string("STRASSE")),
            "number": at("p", number(12)),
        },
    )
    assert await keys_where(store, Glob("p", ("Ru", ""))) == ["list", "run"]
    assert await keys_where(store, Glob("p", ("Ru", "2", "b"))) == ["run"]
    assert await keys_where(store, Glob("p", ("Ru*n",))) == ["list"]
    assert await keys_where(store, Glob("p", ("", ""))) == ["list", "run", "sharp"]
    assert await keys_where(store, Regex("p", r"\d\x00b$")) == ["run"]
    assert await keys_where(store, Regex("p", "(?i)^RU")) == ["list", "run"]
    assert await keys_where(store, Contains("p", "straße")) == ["sharp"]
    assert await keys_where(store, Contains("p", "2\x00B")) == ["run"]


async def test_a_key_of_an_object_is_had(store: DocumentStore) -> None:
    await fill(
        store,
        {
            "object": [Entry("p", None), Entry("p.a%2Eb", number(1)), Entry("p.%", number(1))],
            "list": at("p", string("a.b"), listed=True),
            "value": at("p", string("")),
        },
    )
    assert await keys_where(store, Has("p", string("a.b"))) == ["list", "object"]
    assert await keys_where(store, Has("p", string(""))) == ["object", "value"]
    assert await keys_where(store, Has("p", number(1))) == []


async def test_wide_and_deep_filters_hold(store: DocumentStore) -> None:
    await fill(store, {f"{index:04}": at("p", number(index)) for index in range(50)})
    some = [Compare("p", "=", number(index)) for index in range(0, 3000, 2)]
    assert await store.count("things", where=Or(tuple(some))) == 25
    assert await store.count("things", where=And(tuple(Not(each) for each in some))) == 25
    deep: Filter = Compare("p", "<", number(10))
    for _ in range(16):
        deep = And((Or((deep, Not(Exists("p")))), Not(Not(deep)))) if isinstance(deep, Compare) else Not(Not(deep))
    assert await store.count("things", where=deep) == 10


async def test_counting_stops_at_the_most(store: DocumentStore) -> None:
    await fill(store, {f"{index:03}": at("p", number(index)) for index in range(30)})
    big = Compare("p", ">=", number(10))
    assert [await store.count("things", most=most) for most in (1, 29, 30, 31, 10**6)] == [1, 29, 30, 30, 30]
    assert [await store.count("things", where=big, most=most) for most in (1, 19, 20, 21, 10**6)] == [1, 19, 20, 20, 20]
    assert await store.count("things", where=big, key_prefix="02") == 10


async def test_a_total_sums_the_integers(store: DocumentStore) -> None:
    most = 2**63 - 1
    values: list[float | str] = [most, most, most, -5, 2.5, "7", INFINITY]
    await fill(
        store,
        {
            f"{index}": at("size", string(value) if isinstance(value, str) else number(value))
            for index, value in enumerate(values)
        }
        | {"list": at("size", number(1000), listed=True), "none": []},
    )
    assert await store.total("things", "size") == Total(9, 3 * most - 5)
    assert await store.total("things", "size", scopes=["s"]) == Total(9, 3 * most - 5)
    assert await store.total("things", "size", where=Compare("size", "<", number(10))) == Total(2, -5 + 0)
    assert await store.total("things", "other") == Total(9, 0)
    assert await store.total("things", "size", scopes=["t"]) == Total(0, 0)
    assert await store.total("nothing", "size") == Total(0, 0)


async def test_values_are_distinct_counted_by_document_and_in_order(store: DocumentStore) -> None:
    tags = {"a": ["x", "y", "y"], "b": ["y"], "c": ["y\x00", "\uffff"], "d": ["\U00010000", "x"]}
    await fill(store, {key: at("tags", *map(string, each), listed=True) for key, each in tags.items()})
    await fill(store, {"e": at("tags", string("x")), "f": at("tags", number(1))}, "t")
    everything = [("x", 3), ("y", 2), ("y\x00", 1), ("\uffff", 1), ("\U00010000", 1)]
    assert list(await store.values("things", "tags", scopes=["s", "t"])) == everything
    assert list(await store.values("things", "tags", scopes=["t"])) == [("x", 1)]
    assert list(await store.values("things", "tags", scopes=["s", "t"], prefix="y")) == everything[1:3]
    assert list(await store.values("things", "tags", scopes=["s", "t"], after="y", limit=2)) == everything[2:4]
    assert list(await store.values("things", "tags", scopes=["nowhere"])) == []
