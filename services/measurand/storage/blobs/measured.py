"""A wrapper that tells a meter of every call: how long the store took, how it ended, how many bytes went through."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, TypeVar

from measurand.core.blob_rules import closing
from measurand.core.placement.policies import Policy
from measurand.core.ports import Blob, BlobStore, Buffer, Stage, StoredBlob
from measurand.wire.errors import Internal, MeasurandError

__all__ = ["Measured", "Meter"]

Item = TypeVar("Item")


class Meter(Protocol):
    """Where the figures go: the server room turns them into metrics."""

    def observe(self, store: str, verb: str, seconds: float, error: str) -> None:
        """Take one call that has ended; `error` is its reason word, "CANCELLED", or "" for none."""
        ...

    def moved(self, store: str, verb: str, size: int) -> None:
        """Take bytes that went through: written by `put` and `append`, read by `open`."""
        ...


class Measured:
    """Changes nothing and measures everything.

    Parameters
    ----------
    inner : BlobStore
        What is measured.
    store : str
        The name that its figures get, from a closed set such as the words of the configuration.
    metrics : Meter
        Where they go.
    monotonic : callable
        Seconds that never go back.
    """

    def __init__(self, inner: BlobStore, *, store: str, metrics: Meter, monotonic: Callable[[], float]) -> None:
        self._inner = inner
        self._watch = _Watch(store, metrics, monotonic)

    def __repr__(self) -> str:
        return f"measured({self._inner!r})"

    async def put(self, key: str, chunks: Iterable[Buffer], *, policy: Policy | None = None) -> Blob:
        with self._watch.call("put"):
            blob = await self._inner.put(key, chunks, policy=policy)
        self._watch.moved("put", blob.size)
        return blob

    async def open(self, blob: Blob, offset: int = 0, length: int | None = None) -> AsyncIterator[Buffer]:
        """Yield the chunks; the time is what was spent waiting for them, not what the reader did with them."""
        async with closing(self._watch.each("open", self._inner.open(blob, offset, length))) as chunks:
            async for chunk in chunks:
                self._watch.moved("open", len(chunk))
                yield chunk

    async def stat(self, key: str) -> StoredBlob:
        with self._watch.call("stat"):
            return await self._inner.stat(key)

    async def delete(self, key: str) -> None:
        with self._watch.call("delete"):
            await self._inner.delete(key)

    async def scan(self, prefix: str = "") -> AsyncIterator[StoredBlob]:
        async with closing(self._watch.each("scan", self._inner.scan(prefix))) as blobs:
            async for blob in blobs:
                yield blob

    async def stage(self, key: str, *, policy: Policy | None = None) -> Stage:
        with self._watch.call("stage"):
            return _MeasuredStage(await self._inner.stage(key, policy=policy), self._watch)

    async def finish(self, key: str, size: int) -> Blob:
        with self._watch.call("finish"):
            return await self._inner.finish(key, size)

    async def discard(self, key: str) -> None:
        with self._watch.call("discard"):
            await self._inner.discard(key)

    async def close(self) -> None:
        await self._inner.close()


class _MeasuredStage:
    """Measures `append` and `persist` of one stage."""

    def __init__(self, inner: Stage, watch: _Watch) -> None:
        self._inner = inner
        self._watch = watch

    async def append(self, chunks: Sequence[Buffer]) -> None:
        with self._watch.call("append"):
            await self._inner.append(chunks)
        self._watch.moved("append", sum(map(len, chunks)))

    async def persist(self, *, whole: bool = True) -> int:
        with self._watch.call("persist"):
            return await self._inner.persist(whole=whole)

    async def close(self) -> None:
        await self._inner.close()


class _Watch:
    """Takes the time of calls for one store."""

    def __init__(self, store: str, metrics: Meter, monotonic: Callable[[], float]) -> None:
        self._store = store
        self._metrics = metrics
        self._monotonic = monotonic

    def moved(self, verb: str, size: int) -> None:
        self._metrics.moved(self._store, verb, size)

    @contextmanager
    def call(self, verb: str) -> Iterator[None]:
        """Measure the block as one call."""
        begin, error = self._monotonic(), ""
        try:
            yield
        except BaseException as raised:
            error = _word(raised)
            raise
        finally:
            self._metrics.observe(self._store, verb, self._monotonic() - begin, error)

    async def each(self, verb: str, items: AsyncIterator[Item]) -> AsyncIterator[Item]:
        """Yield the items, measured as one call that took as long as they were waited for."""
        seconds, error = 0.0, ""
        async with closing(items):
            try:
                while True:
                    begin = self._monotonic()
                    try:
                        item = await anext(items)
                    except StopAsyncIteration:
                        return
                    except BaseException as raised:
                        error = _word(raised)
                        raise
                    finally:
                        seconds += self._monotonic() - begin
                    yield item
            finally:
                self._metrics.observe(self._store, verb, seconds, error)


def _word(raised: BaseException) -> str:
    if isinstance(raised, MeasurandError):
        return raised.reason
    return "CANCELLED" if isinstance(raised, asyncio.CancelledError) else Internal.reason
