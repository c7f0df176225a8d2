"""What only the measured wrapper of documents has: a figure for every call, by collection."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable

import pytest

from measurand.core.ports import Document
from measurand.server.patterns import compile_pattern
from measurand.storage.documents.measured import Measured
from measurand.storage.documents.memory import Memory
from measurand.wire.errors import AlreadyExists, InvalidArgument


class Figures:
    """A meter that keeps everything, with a clock that goes on by a second whenever it is read."""

    def __init__(self) -> None:
        self.read = itertools.count(100.0).__next__
        self.calls: list[tuple[str, str, float, str]] = []

    def asked(self, store: str, collection: str, verb: str, seconds: float, error: str) -> None:
        assert store == "tested"
        self.calls.append((collection, verb, seconds, error))


def measured(figures: Figures) -> Measured:
    return Measured(Memory(compile_pattern), store="tested", metrics=figures, monotonic=figures.read)


async def test_every_verb_is_counted_with_its_collection_and_its_time() -> None:
    figures = Figures()
    store = measured(figures)
    verbs: dict[str, Callable[[], Awaitable[object]]] = {
        "insert": lambda: store.insert("things", Document("a", "s", {})),
        "insert_many": lambda: store.insert_many("things", [Document("b", "s", {})]),
        "fetch": lambda: store.fetch("things", "a"),
        "fetch_many": lambda: store.fetch_many("things", ["a", "b"]),
        "replace": lambda: store.replace("things", Document("a", "s", {"n": 1}), expected_revision=1),
        "find": lambda: store.find("things"),
        "count": lambda: store.count("things"),
        "total": lambda: store.total("things", "n"),
        "values": lambda: store.values("things", "n", scopes=["s"]),
        "changes": lambda: store.changes("things", after=None),
        "remove": lambda: store.remove("things", "a"),
    }
    for call in verbs.values():
        await call()
    assert figures.calls == [("things", verb, 1.0, "") for verb in verbs]


async def test_waiting_for_changes_is_counted_apart_from_asking_for_them() -> None:
    figures = Figures()
    store = measured(figures)
    now = await store.changes("things", after=None)
    await store.changes("things", after=now.token, wait_seconds=0.001)
    assert [verb for _, verb, _, _ in figures.calls] == ["changes", "wait"]


async def test_an_error_is_counted_by_its_reason() -> None:
    figures = Figures()
    store = measured(figures)
    await store.insert("things", Document("a", "s", {}))
    with pytest.raises(AlreadyExists):
        await store.insert("things", Document("a", "s", {}))
    with pytest.raises(InvalidArgument):
        await store.changes("things", after="no token")
    assert [(verb, error) for _, verb, _, error in figures.calls] == [
        ("insert", ""),
        ("insert", "RESOURCE_EXISTS"),
        ("changes", "PAGE_TOKEN_INVALID"),
    ]


async def test_a_call_that_was_cancelled_is_counted_as_that() -> None:
    figures = Figures()
    store = measured(figures)
    now = await store.changes("things", after=None)
    waiting = asyncio.ensure_future(store.changes("things", after=now.token, wait_seconds=60.0))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert figures.calls[-1] == ("things", "wait", 1.0, "CANCELLED")


async def test_it_prints_as_the_sentence_that_composed_it() -> None:
    assert repr(measured(Figures())) == "measured(memory())"
