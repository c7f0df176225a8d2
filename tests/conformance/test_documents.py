"""What every DocumentStore promises about single documents."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.conformance.documents import STORES, OpenStore

from measurand.core.filters.tree import Compare
from measurand.core.ports import Document, DocumentStore, Json
from measurand.core.view import Entry, Scalar, View
from measurand.wire.errors import AlreadyExists

pytestmark = pytest.mark.parametrize("open_store", STORES.values(), ids=STORES)

AWKWARD_KEYS = (
    "", " ", "a", "A", "%", "_", "a%", "a_", "*", "'; --", '"', "\\", "\x00", "a\x00b", "\n", "é", "e\u0301", "ß",
    "\ud7ff", "\ue000", "\uffff", "\U00010000", "\U0010ffff", "catalogs/a/datasets/b", "x" * 2000, "é" * 1000,
)  # fmt: skip


@pytest.fixture
async def store(open_store: OpenStore, tmp_path: Path) -> AsyncIterator[DocumentStore]:
    async with open_store(tmp_path, 10_000) as opened:
        yield opened


def made(key: str = "k", body: dict[str, Json] | None = None, *, text: str = "", n: int | None = None) -> Document:
    view: View = [] if n is None else [Entry("n", Scalar("n", n))]
    return Document(key, "s", {} if body is None else body, text, view)


async def keys_where(store: DocumentStore, n: int) -> list[str]:
    found = await store.find("things", where=Compare("n", "=", Scalar("n", n)))
    return [each.document.key for each in found]


async def test_a_document_comes_back_as_it_went_in(store: DocumentStore) -> None:
    body: dict[str, Json] = {
        "z first": 1, "": [], "integers": [0, -1, 2**63 - 1, -(2**63)], "numbers": [0.1, 1e300, 5e-324, 1.0],
        "nested": {"a": [{"b": None}, True, False]}, "text": "\x00 é \U0001f600 \u2028 \"'\\",
    }  # fmt: skip
    text = "\x00{'é': \U0001f600}\r\n"
    stored = await store.insert("things", Document("k", "catalogs/é", body, text, [Entry("n", Scalar("n", 1))]))
    fetched = await store.fetch("things", "k")
    assert stored == Document("k", "catalogs/é", body, text, (), 1)
    assert fetched == stored
    assert fetched is not None
    assert list(fetched.body) == list(body)
    numbers = fetched.body["numbers"]
    assert isinstance(numbers, list)
    assert [type(number) for number in numbers] == [float] * 4


async def test_a_text_of_four_mebibytes_comes_back(store: DocumentStore) -> None:
    text = "é" * (2 * 1024 * 1024)
    await store.insert("things", made(text=text))
    fetched = await store.fetch("things", "k")
    assert fetched is not None
    assert fetched.text == text


async def test_what_a_caller_does_to_a_body_later_changes_nothing(store: DocumentStore) -> None:
    items: list[Json] = [1]
    await store.insert("things", made(body={"items": items}))
    items.append(2)
    fetched = await store.fetch("things", "k")
    assert fetched is not None
    assert fetched.body == {"items": [1]}


async def test_keys_may_hold_any_text(store: DocumentStore) -> None:
    for number, key in enumerate(AWKWARD_KEYS):
        await store.insert("things", made(key, {"number": number}))
    for number, key in enumerate(AWKWARD_KEYS):
        fetched = await store.fetch("things", key)
        assert fetched is not None
        assert (fetched.key, fetched.body) == (key, {"number": number})
    assert [each.document.key for each in await store.find("things")] == sorted(AWKWARD_KEYS)


async def test_a_taken_key_is_refused_and_nothing_changes(store: DocumentStore) -> None:
    await store.insert("things", made(body={"n": 1}, n=1))
    with pytest.raises(AlreadyExists) as caught:
        await store.insert("things", made(body={"n": 2}, n=2))
    assert caught.value.reason == "RESOURCE_EXISTS"
    assert caught.value.details["resource"] == "k"
    fetched = await store.fetch("things", "k")
    assert fetched is not None
    assert (fetched.body, fetched.revision) == ({"n": 1}, 1)
    assert await keys_where(store, 2) == []


async def test_collections_do_not_see_each_other(store: DocumentStore) -> None:
    await store.insert("things", made(body={"in": "things"}, n=1))
    await store.insert("others", made(body={"in": "others"}, n=1))
    assert await store.count("things") == 1
    fetched = await store.fetch("others", "k")
    assert fetched is not None
    assert fetched.body == {"in": "others"}
    assert await store.remove("others", "k")
    assert await keys_where(store, 1) == ["k"]


async def test_many_are_stored_each_by_itself(store: DocumentStore) -> None:
    await store.insert("things", made("7", {"kept": True}))
    documents = [made(str(number), n=number) for number in range(700)]
    stored = await store.insert_many("things", [*documents, made("1"), made("new"), made("new")])
    assert list(stored) == [number != 7 for number in range(700)] + [False, True, False]
    assert await store.count("things") == 701
    assert await keys_where(store, 699) == ["699"]
    kept = await store.fetch("things", "7")
    assert kept is not None
    assert kept.body == {"kept": True}
    assert list(await store.insert_many("things", [])) == []


async def test_what_is_not_there_is_none(store: DocumentStore) -> None:
    assert await store.fetch("things", "k") is None
    assert await store.fetch_many("things", ["k"]) == {}
    assert await store.find("things") == []
    assert await store.count("things") == 0
    await store.insert("things", made())
    assert await store.fetch("things", "K") is None


async def test_a_thousand_are_fetched_at_once_and_the_missing_left_out(store: DocumentStore) -> None:
    await store.insert_many("things", [made(f"k{number}", {"n": number}) for number in range(0, 1000, 2)])
    fetched = await store.fetch_many("things", [f"k{number}" for number in range(1000)])
    assert {key: document.body["n"] for key, document in fetched.items()} == {f"k{n}": n for n in range(0, 1000, 2)}


async def test_a_replacement_counts_the_revision_up_and_keeps_the_scope(store: DocumentStore) -> None:
    await store.insert("things", made(text="old", n=1))
    replaced = await store.replace(
        "things", Document("k", "elsewhere", {"new": True}, "new", [Entry("n", Scalar("n", 2))]), expected_revision=1
    )
    assert replaced == Document("k", "s", {"new": True}, "new", (), 2)
    assert await store.fetch("things", "k") == replaced
    assert [found.document for found in await store.find("things", scopes=["s"])] == [replaced]
    assert await store.find("things", scopes=["elsewhere"]) == []


async def test_a_replaced_document_is_found_by_what_it_now_has_and_no_more_by_what_it_had(store: DocumentStore) -> None:
    await store.insert("things", made(n=1))
    await store.replace("things", made(n=2), expected_revision=1)
    assert (await keys_where(store, 1), await keys_where(store, 2)) == ([], ["k"])
    await store.replace("things", made(), expected_revision=2)
    assert await keys_where(store, 2) == []


async def test_an_integer_that_becomes_an_equal_number_is_no_integer_any_more(store: DocumentStore) -> None:
    for revision, (value, total) in enumerate([(5, 5), (5.0, 0), (5, 5)]):
        document = Document("k", "s", {}, view=[Entry("n", Scalar("n", value))])
        if revision:
            assert await store.replace("things", document, expected_revision=revision)
        else:
            await store.insert("things", document)
        assert (await store.total("things", "n")).total == total


async def test_a_replacement_at_another_revision_changes_nothing(store: DocumentStore) -> None:
    await store.insert("things", made(n=1))
    for revision in (0, 2):
        assert await store.replace("things", made(n=2), expected_revision=revision) is None
    assert await store.replace("things", made("absent"), expected_revision=1) is None
    assert await store.replace("never", made(), expected_revision=1) is None
    fetched = await store.fetch("things", "k")
    assert fetched is not None
    assert fetched.revision == 1
    assert (await keys_where(store, 1), await keys_where(store, 2)) == (["k"], [])


async def test_a_document_is_removed_only_at_the_expected_revision(store: DocumentStore) -> None:
    await store.insert("things", made(n=1))
    await store.replace("things", made(n=2), expected_revision=1)
    assert not await store.remove("things", "k", expected_revision=1)
    assert await store.fetch("things", "k") is not None
    assert await store.remove("things", "k", expected_revision=2)
    assert await store.fetch("things", "k") is None
    assert await keys_where(store, 2) == []
    assert not await store.remove("things", "k")
    assert not await store.remove("never", "k")


async def test_a_removed_key_begins_anew(store: DocumentStore) -> None:
    await store.insert("things", made(n=1))
    assert await store.remove("things", "k")
    again = await store.insert("things", Document("k", "another scope", {}))
    assert (again.revision, again.scope) == (1, "another scope")
    assert await keys_where(store, 1) == []


async def test_of_two_writers_at_one_revision_one_wins(store: DocumentStore) -> None:
    await store.insert("things", made())
    for revision in range(1, 20):
        answers = await asyncio.gather(
            *(store.replace("things", made(body={"by": writer}), expected_revision=revision) for writer in range(4))
        )
        winners = [answer for answer in answers if answer is not None]
        assert len(winners) == 1
        assert await store.fetch("things", "k") == winners[0]


async def test_of_many_who_insert_one_key_one_wins(store: DocumentStore) -> None:
    documents = [made(body={"by": writer}) for writer in range(16)]
    answers = await asyncio.gather(*(store.insert("things", each) for each in documents), return_exceptions=True)
    winners = [answer for answer in answers if isinstance(answer, Document)]
    assert len(winners) == 1
    assert sum(isinstance(answer, AlreadyExists) for answer in answers) == 15
    assert await store.fetch("things", "k") == winners[0]


async def test_counting_up_by_revision_checks_loses_nothing(store: DocumentStore) -> None:
    await store.insert("things", made(body={"n": 0}))

    async def count_up() -> None:
        left = 10
        while left:
            current = await store.fetch("things", "k")
            assert current is not None
            number = current.body["n"]
            assert isinstance(number, int)
            new = made(body={"n": number + 1})
            if await store.replace("things", new, expected_revision=current.revision) is not None:
                left -= 1

    await asyncio.gather(*(count_up() for _ in range(5)))
    fetched = await store.fetch("things", "k")
    assert fetched is not None
    assert (fetched.body["n"], fetched.revision) == (50, 51)


async def test_a_write_is_seen_by_each_later_read(store: DocumentStore) -> None:
    for number in range(100):
        await store.insert("things", made(f"{number:03}", n=number))
        reads = await asyncio.gather(*(store.fetch("things", f"{number:03}") for _ in range(5)))
        assert all(document is not None for document in reads)
        assert await keys_where(store, number) == [f"{number:03}"]
        assert await store.count("things") == number + 1


async def test_callers_who_are_cancelled_take_nobody_with_them(store: DocumentStore) -> None:
    doomed = [asyncio.create_task(store.insert("things", made(f"doomed{n}", n=n))) for n in range(20)]
    spared = [asyncio.create_task(store.insert("things", made(f"spared{n}"))) for n in range(20)]
    reads = [asyncio.create_task(store.find("things")) for _ in range(20)]
    await asyncio.sleep(0)
    for task in (*doomed, *reads):
        task.cancel()
    assert [document.revision for document in await asyncio.gather(*spared)] == [1] * 20
    await asyncio.gather(*doomed, *reads, return_exceptions=True)
    await store.insert("things", made("afterwards"))
    for number in range(20):  # each is there as a whole, or not at all
        there = await store.fetch("things", f"doomed{number}") is not None
        assert await keys_where(store, number) == ([f"doomed{number}"] if there else [])
