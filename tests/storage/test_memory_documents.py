"""What only the memory store of documents has; what it shares with the others is in `tests/conformance`."""

from __future__ import annotations

import asyncio

import pytest

from measurand.core.ports import Document
from measurand.server.patterns import compile_pattern
from measurand.storage.documents.memory import Memory
from measurand.wire.errors import HistoryTrimmed


def memory(history: int = 100) -> Memory:
    return Memory(compile_pattern, history=history)


async def token_of(store: Memory) -> str:
    return (await store.changes("things", after=None)).token


def test_it_prints_as_the_word_that_composes_it() -> None:
    assert repr(memory()) == "memory()"


async def test_what_a_caller_does_with_a_document_changes_nothing_in_the_store() -> None:
    store = memory()
    items: list[int] = [1]
    await store.insert("things", Document("k", "s", {"items": items}))
    items.append(2)
    fetched = await store.fetch("things", "k")
    assert fetched is not None
    assert fetched.body == {"items": [1]}
    assert isinstance(fetched.body, dict)
    fetched.body["items"] = "gone"
    again = await store.fetch("things", "k")
    assert again is not None
    assert again.body == {"items": [1]}


async def test_a_body_that_is_no_json_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        await memory().insert("things", Document("k", "s", {"x": float("nan")}))


async def test_history_is_kept_as_far_as_was_asked_for() -> None:
    store = memory(history=3)
    start = await token_of(store)
    for number in range(3):
        await store.insert("things", Document(f"k{number}", "s", {}))
    kept = await store.changes("things", after=start)
    assert [change.key for change in kept.changes] == ["k0", "k1", "k2"]
    await store.insert("things", Document("k3", "s", {}))
    with pytest.raises(HistoryTrimmed):
        await store.changes("things", after=start)
    behind = await store.changes("things", after=kept.changes[0].token)
    assert [change.key for change in behind.changes] == ["k1", "k2", "k3"]


async def test_who_waits_while_history_is_trimmed_away_is_told() -> None:
    store = memory(history=2)
    waiting = asyncio.create_task(store.changes("things", after=await token_of(store), wait_seconds=30))
    await asyncio.sleep(0)
    for number in range(3):
        await store.insert("things", Document(f"k{number}", "s", {}))
    with pytest.raises(HistoryTrimmed):
        await waiting


async def test_a_token_of_another_run_is_older_than_the_history() -> None:
    token = await token_of(memory())
    with pytest.raises(HistoryTrimmed):
        await memory().changes("things", after=token)


async def test_a_change_in_another_scope_does_not_end_the_wait() -> None:
    store = memory()
    start = await token_of(store)
    waiting = asyncio.create_task(store.changes("things", after=start, scopes=["s"], wait_seconds=30))
    await asyncio.sleep(0)
    await store.insert("things", Document("other", "elsewhere", {}))
    await asyncio.sleep(0)
    assert not waiting.done()
    await store.insert("things", Document("k", "s", {}))
    assert [change.key for change in (await waiting).changes] == ["k"]
