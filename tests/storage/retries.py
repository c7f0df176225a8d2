"""Stores that fail as planned, under a retrying one whose time only waiting moves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from tests.conformance.test_blobs import content, keys_of
from tests.faults import Failing, Verb
from tests.flaky import Fault, Flaky

from measurand.core.ports import Blob, BlobStore
from measurand.storage.blobs.retrying import Retrying
from measurand.wire.errors import Unavailable

__all__ = ["CALLS", "FAULTS", "Clock", "away", "planned", "staged"]

FAULTS: tuple[Fault, ...] = ("before", "after")


@dataclass
class Clock:
    """A time that only waiting moves, and the waits."""

    time: float = 1000.0
    chance: float = 1.0
    waits: list[float] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.time += seconds
        await asyncio.sleep(0)

    def retrying(self, inner: BlobStore, tries: int = 5) -> Retrying:
        return Retrying(inner, tries=tries, chance=lambda: self.chance, sleep=self.sleep, monotonic=lambda: self.time)


def planned(inner: BlobStore, verb: Verb, faults: Sequence[Fault | None]) -> Flaky:
    """Let the first calls of a verb, and what they give out, end so; then no more."""
    following = iter(faults)
    return Flaky(inner, plan=lambda called: next(following, None) if called == verb else None)


def away(inner: BlobStore, verb: Verb = "stat", *, times: int = 10_000, retry_seconds: float | None = 0.0) -> Failing:
    """Give no answer to so many calls of a verb, and count them."""
    error = Unavailable("the store is gone", retry_seconds=retry_seconds, store="s3")
    return Failing(inner, verb=verb, times=times, error=error)


async def staged(store: BlobStore, key: str, data: bytes) -> None:
    stage = await store.stage(key)
    await stage.append([data])
    assert await stage.persist() == len(data)
    await stage.close()


CALLS: dict[Verb, Callable[[BlobStore], Awaitable[object]]] = {
    "put": lambda store: store.put("new", [b"12345"]),
    "open": lambda store: content(store, Blob("there", 5)),
    "stat": lambda store: store.stat("there"),
    "delete": lambda store: store.delete("there"),
    "scan": lambda store: keys_of(store),
    "finish": lambda store: store.finish("staged", 5),
    "discard": lambda store: store.discard("staged"),
    "persist": lambda store: staged(store, "new", b"12345"),
}
