"""What only the measured wrapper has: a figure for every call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from tests.conformance.test_blobs import content
from tests.faults import Failing, Slow, Verb

from measurand.core.ports import Blob, BlobStore, Buffer
from measurand.storage.blobs.measured import Measured
from measurand.storage.blobs.memory import Memory
from measurand.wire.errors import AlreadyExists, NotFound, StoreFull


class Figures:
    """A meter that keeps everything, and the clock that it is read by."""

    def __init__(self) -> None:
        self.time = 100.0
        self.calls: list[tuple[str, float, str]] = []
        self.bytes: list[tuple[str, int]] = []

    def observe(self, store: str, verb: str, seconds: float, error: str) -> None:
        assert store == "tested"
        self.calls.append((verb, seconds, error))

    def moved(self, store: str, verb: str, size: int) -> None:
        assert store == "tested"
        self.bytes.append((verb, size))

    async def take_a_second(self, _: Verb) -> None:
        self.time += 1.0


def measured(figures: Figures, inner: BlobStore) -> Measured:
    return Measured(inner, store="tested", metrics=figures, monotonic=lambda: figures.time)


async def test_every_verb_is_counted_with_its_time() -> None:
    figures = Figures()
    store = measured(figures, Slow(Memory(), pause=figures.take_a_second))
    blob = await store.put("a", [b"123", b"45"])
    assert await content(store, blob) == b"12345"
    await store.stat("a")
    stage = await store.stage("b")
    await stage.append([b"1", b"234"])
    await stage.persist()
    await stage.close()
    await store.finish("b", 4)
    await store.discard("b")
    await store.delete("a")
    assert [found.key async for found in store.scan()] == ["b"]
    assert figures.calls == [
        ("put", 1.0, ""),
        ("open", 2.0, ""),
        ("stat", 1.0, ""),
        ("stage", 1.0, ""),
        ("append", 1.0, ""),
        ("persist", 1.0, ""),
        ("finish", 1.0, ""),
        ("discard", 1.0, ""),
        ("delete", 1.0, ""),
        ("scan", 2.0, ""),
    ]
    assert figures.bytes == [("put", 5), ("open", 5), ("append", 4)]


async def test_the_time_of_a_read_is_that_of_waiting_not_of_the_reader() -> None:
    figures = Figures()
    store = measured(figures, Slow(Memory(), pause=figures.take_a_second))
    blob = await store.put("a", [b"12345"])
    async for _ in store.open(blob):
        figures.time += 60.0
    assert figures.calls[-1] == ("open", 2.0, "")


async def test_a_read_that_was_given_up_is_counted_without_error() -> None:
    figures = Figures()
    store = measured(figures, Memory())
    chunks = store.open(await store.put("a", [bytes(5 << 20)]))
    await anext(chunks)
    await chunks.aclose()  # type: ignore[attr-defined]  # a generator
    assert figures.calls[-1] == ("open", 0.0, "")
    assert figures.bytes[-1] == ("open", 2 << 20)


async def test_an_error_is_counted_by_its_reason_and_moves_nothing() -> None:
    figures = Figures()
    failing = Failing(Memory(), verb="append", error=StoreFull("no room"))
    store = measured(figures, failing)
    await store.put("a", [b""])
    stage = await store.stage("b")
    figures.calls.clear()
    figures.bytes.clear()
    wrong: list[tuple[Callable[[], Awaitable[object]], type[Exception]]] = [
        (lambda: store.put("a", [b"1"]), AlreadyExists),
        (lambda: content(store, Blob("missing", 1)), NotFound),
        (lambda: stage.append([b"1"]), StoreFull),
        (lambda: store.put("c", (1 / 0 for _ in range(1))), ZeroDivisionError),  # type: ignore[misc]  # wrong types too
    ]
    for call, error in wrong:
        with pytest.raises(error):
            await call()
    assert [(verb, reason) for verb, _, reason in figures.calls] == [
        ("put", "RESOURCE_EXISTS"),
        ("open", "RESOURCE_NOT_FOUND"),
        ("append", "STORE_FULL"),
        ("put", "INTERNAL"),
    ]
    assert figures.bytes == []


async def test_a_call_that_was_cancelled_is_counted_as_that() -> None:
    figures = Figures()
    store = measured(figures, Slow(Memory(), pause=lambda _: asyncio.Event().wait()))
    for call in (store.stat("a"), content(store, Blob("a", 1))):
        task = asyncio.ensure_future(call)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert [(verb, reason) for verb, _, reason in figures.calls] == [("stat", "CANCELLED"), ("open", "CANCELLED")]


async def test_a_read_that_was_given_up_lets_go_of_the_store_below_at_once() -> None:
    ended = []

    class Watched(Slow):
        async def open(self, blob: Blob, offset: int = 0, length: int | None = None) -> AsyncIterator[Buffer]:
            try:
                async for chunk in super().open(blob, offset, length):
                    yield chunk
            finally:
                ended.append(blob.key)

    figures = Figures()
    store = measured(figures, Watched(Memory(), pause=figures.take_a_second))
    chunks = store.open(await store.put("a", [bytes(5 << 20)]))
    await anext(chunks)
    await chunks.aclose()  # type: ignore[attr-defined]  # a generator
    assert ended == ["a"]
