"""A wrapper whose calls fail as a test decides, also after they have taken effect, as on a network that loses answers.

Where nothing fails it passes the suite of the port; like all wrappers it writes out every verb.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Literal, TypeVar

from tests.faults import Verb

from measurand.core.blob_rules import closing
from measurand.core.placement.policies import Policy
from measurand.core.ports import Blob, BlobStore, Buffer, Stage, StoredBlob
from measurand.storage.blobs.retrying import Retrying
from measurand.wire.errors import MeasurandError, Unavailable

__all__ = ["Fault", "Flaky", "Plan", "unreliable"]

Fault = Literal["before", "after"]
"""The call fails before the store hears of it, or the store does as it was asked and the answer is lost."""

Plan = Callable[[Verb], Fault | None]
"""Asked at each call, and again after each chunk or blob that was given out: "after" breaks off there."""

Result = TypeVar("Result")


def gone() -> MeasurandError:
    return Unavailable("the store is gone", retry_seconds=0.0, store="flaky")


class Flaky:
    """Raises what `error` makes wherever `plan` wants it.

    Parameters
    ----------
    inner : BlobStore
        What does everything else.
    plan : callable
        What befalls the next call of a verb of the store or of its stages.
    error : callable
        Makes what is raised: Unavailable, worth another try at once.
    """

    def __init__(self, inner: BlobStore, *, plan: Plan, error: Callable[[], MeasurandError] = gone) -> None:
        self._inner = inner
        self._plan = plan
        self._error = error

    def __repr__(self) -> str:
        return f"flaky({self._inner!r})"

    async def call(self, verb: Verb, work: Callable[[], Awaitable[Result]]) -> Result:
        fault = self._plan(verb)
        if fault == "before":
            raise self._error()
        answer = await work()
        if fault == "after":
            raise self._error()
        return answer

    async def put(self, key: str, chunks: Iterable[Buffer], *, policy: Policy | None = None) -> Blob:
        return await self.call("put", lambda: self._inner.put(key, chunks, policy=policy))

    async def open(self, blob: Blob, offset: int = 0, length: int | None = None) -> AsyncIterator[Buffer]:
        async with closing(self._each("open", self._inner.open(blob, offset, length))) as chunks:
            async for chunk in chunks:
                yield chunk

    async def stat(self, key: str) -> StoredBlob:
        return await self.call("stat", lambda: self._inner.stat(key))

    async def delete(self, key: str) -> None:
        await self.call("delete", lambda: self._inner.delete(key))

    async def scan(self, prefix: str = "") -> AsyncIterator[StoredBlob]:
        async with closing(self._each("scan", self._inner.scan(prefix))) as blobs:
            async for blob in blobs:
                yield blob

    async def stage(self, key: str, *, policy: Policy | None = None) -> Stage:
        return _FlakyStage(await self.call("stage", lambda: self._inner.stage(key, policy=policy)), self)

    async def finish(self, key: str, size: int) -> Blob:
        return await self.call("finish", lambda: self._inner.finish(key, size))

    async def discard(self, key: str) -> None:
        await self.call("discard", lambda: self._inner.discard(key))

    async def close(self) -> None:
        await self._inner.close()

    async def _each(self, verb: Verb, items: AsyncIterator[Result]) -> AsyncIterator[Result]:
        fault = self._plan(verb)
        if fault == "before":
            raise self._error()
        async with closing(items):
            async for item in items:
                yield item
                if fault == "after":
                    raise self._error()
                fault = self._plan(verb)


class _FlakyStage:
    def __init__(self, inner: Stage, store: Flaky) -> None:
        self._inner = inner
        self._store = store

    async def append(self, chunks: Sequence[Buffer]) -> None:
        await self._store.call("append", lambda: self._inner.append(chunks))

    async def persist(self, *, whole: bool = True) -> int:
        return await self._store.call("persist", lambda: self._inner.persist(whole=whole))

    async def close(self) -> None:
        await self._inner.close()


def unreliable(inner: BlobStore) -> Retrying:
    """Let one call in four fail wherever `Retrying` promises that nobody notices, and have it try for ever."""
    chance = random.Random(1)

    def plan(verb: Verb) -> Fault | None:
        if verb in ("append", "stage") or chance.random() > 0.25:
            return None
        return "before" if verb == "scan" else chance.choice(("before", "after"))

    flaky = Flaky(inner, plan=plan)
    return Retrying(flaky, tries=100, seconds=1000.0, share=100.0, sleep=lambda _: asyncio.sleep(0))
