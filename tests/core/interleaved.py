"""Work that goes on call by call, between the calls that something else makes of its stores: by chance, not by time."""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import AsyncIterator, Awaitable
from typing import Any, cast

from measurand.core.ports import BlobStore, DocumentStore

CALLS = (0, 0, 0, 1, 1, 2, 3, 20)
"""So many calls of the work may come between two of the other side; sometimes a whole piece of work."""


class Gate:
    """Lets the calls of the work through when the other side says so, and counts them."""

    def __init__(self) -> None:
        self.calls = 0
        self._allowed = 0
        self._is_open = False
        self._more = asyncio.Event()
        self._still = asyncio.Event()
        self._work: asyncio.Future[None] | None = None

    def begin(self, work: Awaitable[None]) -> None:
        self._work = asyncio.ensure_future(work)
        self._work.add_done_callback(lambda _: self._still.set())

    async def enter(self) -> None:
        """Wait to be let through."""
        while not self._allowed and not self._is_open:
            self._more.clear()
            self._still.set()
            await self._more.wait()
        self.calls += 1
        self._allowed -= not self._is_open

    async def let(self, count: int) -> None:
        """Let so many calls through, and return when the work stands still again."""
        assert self._work is not None
        if count and not self._work.done():
            self._allowed = count
            self._still.clear()
            self._more.set()
            await self._still.wait()
            self._allowed = 0

    async def end(self) -> None:
        """Let everything through until the work is at its end, and raise what it has raised."""
        self._is_open = True
        self._more.set()
        assert self._work is not None
        await self._work


class Gated:
    """A store of the work: each call waits at the gate."""

    def __init__(self, inner: Any, gate: Gate) -> None:
        self._inner = inner
        self._gate = gate

    def __getattr__(self, verb: str) -> Any:
        method = getattr(self._inner, verb)
        if verb in ("open", "scan"):
            return lambda *args, **more: self._stream(method, *args, **more)
        assert inspect.iscoroutinefunction(method), verb

        async def call(*args: Any, **more: Any) -> Any:
            await self._gate.enter()
            return await method(*args, **more)

        return call

    async def _stream(self, method: Any, *args: Any, **more: Any) -> AsyncIterator[Any]:
        await self._gate.enter()
        async for item in method(*args, **more):
            yield item


class Letting:
    """A store of the other side: before each call some of the work happens."""

    def __init__(self, inner: Any, gate: Gate, chance: random.Random) -> None:
        self._inner = inner
        self._gate = gate
        self._chance = chance

    def __getattr__(self, verb: str) -> Any:
        method = getattr(self._inner, verb)
        if verb in ("open", "scan"):
            return method

        async def call(*args: Any, **more: Any) -> Any:
            await self._gate.let(self._chance.choice(CALLS))
            return await method(*args, **more)

        return call


def gated(documents: DocumentStore, blobs: BlobStore, gate: Gate) -> tuple[DocumentStore, BlobStore]:
    """Return both stores as the work sees them."""
    return cast("DocumentStore", Gated(documents, gate)), cast("BlobStore", Gated(blobs, gate))


def letting(
    documents: DocumentStore, blobs: BlobStore, gate: Gate, chance: random.Random
) -> tuple[DocumentStore, BlobStore]:
    """Return both stores as the other side sees them."""
    return (
        cast("DocumentStore", Letting(documents, gate, chance)),
        cast("BlobStore", Letting(blobs, gate, chance)),
    )
