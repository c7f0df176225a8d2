"""What every DocumentStore promises about its changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest
from tests.conformance.documents import STORES, OpenStore

from measurand.core.ports import Change, Document, DocumentStore
from measurand.wire.errors import HistoryTrimmed, InvalidArgument

pytestmark = pytest.mark.parametrize("open_store", STORES.values(), ids=STORES)


@pytest.fixture
async def store(open_store: OpenStore, tmp_path: Path) -> AsyncIterator[DocumentStore]:
    async with open_store(tmp_path, 10_000) as opened:
        yield opened


async def now(store: DocumentStore, collection: str = "things") -> str:
    answer = await store.changes(collection, after=None)
    assert list(answer.changes) == []
    return answer.token


async def keys_after(store: DocumentStore, token: str, scopes: list[str] | None = None) -> list[str]:
    return [change.key for change in (await store.changes("things", after=token, scopes=scopes)).changes]


def facts(change: Change) -> tuple[str, str, str, int]:
    return change.kind, change.key, change.scope, change.revision


async def test_changes_come_in_order_with_what_happened(store: DocumentStore) -> None:
    token = await now(store)
    await store.insert("things", Document("a", "s", {}))
    await store.insert("things", Document("b", "t", {}))
    await store.replace("things", Document("a", "s", {}), expected_revision=1)
    await store.remove("things", "b")
    await store.remove("things", "a", expected_revision=2)
    await store.insert("things", Document("a", "u", {}))
    answer = await store.changes("things", after=token)
    assert [facts(change) for change in answer.changes] == [
        ("inserted", "a", "s", 1),
        ("inserted", "b", "t", 1),
        ("replaced", "a", "s", 2),
        ("removed", "b", "t", 1),
        ("removed", "a", "s", 2),
        ("inserted", "a", "u", 1),
    ]


async def test_what_was_refused_is_no_change(store: DocumentStore) -> None:
    await store.insert("things", Document("a", "s", {}))
    token = await now(store)
    await store.insert_many("things", [Document("a", "s", {})])
    await store.replace("things", Document("a", "s", {}), expected_revision=7)
    await store.remove("things", "a", expected_revision=7)
    assert await keys_after(store, token) == []


async def test_each_change_has_a_token_to_go_on_behind_it(store: DocumentStore) -> None:
    token = await now(store)
    await store.insert_many("things", [Document(f"{n}", "s", {}) for n in range(6)])
    changes = (await store.changes("things", after=token)).changes
    for index, change in enumerate(changes):
        assert await keys_after(store, change.token) == [f"{n}" for n in range(index + 1, 6)]


async def test_a_reader_of_small_pages_misses_nothing_and_sees_nothing_twice(store: DocumentStore) -> None:
    token = await now(store)
    seen: list[str] = []
    for start in range(0, 20, 5):
        await store.insert_many("things", [Document(f"{n:02}", "s", {}) for n in range(start, start + 5)])
        await store.insert("others", Document(f"{start}", "s", {}))
        answer = await store.changes("things", after=token, limit=3)
        assert len(answer.changes) == 3
        seen += [change.key for change in answer.changes]
        token = answer.token
    while rest := (await store.changes("things", after=token, limit=3)).changes:
        seen += [change.key for change in rest]
        token = rest[-1].token
    assert seen == [f"{n:02}" for n in range(20)]


async def test_changes_of_other_scopes_and_collections_are_left_out_and_passed_over(store: DocumentStore) -> None:
    token = await now(store)
    for number, scope in enumerate("stust"):
        await store.insert("things", Document(f"{number}", scope, {}))
        await store.insert("others", Document(f"{number}", scope, {}))
    assert await keys_after(store, token, ["s"]) == ["0", "3"]
    assert await keys_after(store, token, ["t", "u", "nowhere"]) == ["1", "2", "4"]
    assert await keys_after(store, token, ["nowhere"]) == []
    answer = await store.changes("things", after=token, scopes=["nowhere"])
    assert answer.token != token
    assert await keys_after(store, answer.token) == []


async def test_a_token_of_an_empty_collection_sees_its_first_document(store: DocumentStore) -> None:
    token = await now(store, "fresh")
    await store.insert("fresh", Document("k", "s", {}))
    assert [change.key for change in (await store.changes("fresh", after=token)).changes] == ["k"]


@pytest.mark.parametrize("token", ["", "x", "12", "-1", "é", "0123456789ab", "\x00", "zz-1"])
async def test_a_malformed_token_is_refused(store: DocumentStore, token: str) -> None:
    await store.insert("things", Document("k", "s", {}))
    with pytest.raises(InvalidArgument) as caught:
        await store.changes("things", after=token)
    assert caught.value.reason == "PAGE_TOKEN_INVALID"


async def test_a_token_older_than_the_history_is_refused_and_a_younger_one_goes_on(
    open_store: OpenStore, tmp_path: Path
) -> None:
    async with open_store(tmp_path, 5) as store:
        tokens = [await now(store)]
        for number in range(8):
            await store.insert("things", Document(f"{number}", "s", {}))
            tokens.append(await now(store))
        assert await keys_after(store, tokens[-1]) == []
        assert await keys_after(store, tokens[3]) == ["3", "4", "5", "6", "7"]
        for token in tokens[:3]:
            with pytest.raises(HistoryTrimmed):
                await store.changes("things", after=token)


async def test_who_waits_is_woken_by_a_change_of_their_scope_only(store: DocumentStore) -> None:
    token = await now(store)
    waiting = asyncio.create_task(store.changes("things", after=token, scopes=["s"], wait_seconds=60))
    await store.insert("things", Document("other scope", "t", {}))
    await store.insert("others", Document("other collection", "s", {}))
    await store.insert("things", Document("k", "s", {}))
    assert [change.key for change in (await waiting).changes] == ["k"]


async def test_who_waits_in_vain_gets_a_token_that_misses_nothing(store: DocumentStore) -> None:
    token = await now(store)
    answer = await store.changes("things", after=token, wait_seconds=0.02)
    assert list(answer.changes) == []
    await store.insert("things", Document("k", "s", {}))
    assert await keys_after(store, answer.token) == ["k"]


async def test_who_waits_and_finds_something_does_not_wait(store: DocumentStore) -> None:
    token = await now(store)
    await store.insert("things", Document("k", "s", {}))
    async with asyncio.timeout(30):
        answer = await store.changes("things", after=token, wait_seconds=3600)
    assert [change.key for change in answer.changes] == ["k"]


async def test_a_watcher_beside_many_writers_sees_each_change_in_order(store: DocumentStore) -> None:
    token = await now(store)
    writers, rounds = 8, 10

    async def write(key: str) -> None:
        await store.insert("things", Document(key, "s", {}))
        for revision in range(1, rounds):
            assert await store.replace("things", Document(key, "s", {}), expected_revision=revision) is not None

    async def watch(token: str) -> list[Change]:
        seen: list[Change] = []
        while len(seen) < writers * rounds:
            answer = await store.changes("things", after=token, limit=7, wait_seconds=60)
            seen += answer.changes
            token = answer.token
        return seen

    watching = [asyncio.create_task(watch(token)) for _ in range(2)]
    await asyncio.gather(*(write(f"k{number}") for number in range(writers)))
    first, second = await asyncio.gather(*watching)
    assert [facts(change) for change in first] == [facts(change) for change in second]
    for number in range(writers):
        revisions = [change.revision for change in first if change.key == f"k{number}"]
        assert all(later == earlier + 1 for earlier, later in pairwise(revisions))
        assert len(revisions) == rounds
