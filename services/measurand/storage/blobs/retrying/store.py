"""The port, with another try for what a store did not answer, where asking twice does no harm.

A call that had no answer may have had its effect all the same. What is asked again is safe then too: reads; `delete`,
`discard`, `finish` and `persist`, which may be repeated by the promises of the port; `put` and `stage`, because keys
are never used again. `append` is not: nobody knows how much of it was taken.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

from measurand.core.blob_rules import closing
from measurand.core.placement.policies import Policy
from measurand.core.ports import Blob, BlobStore, Buffer, Stage, StoredBlob
from measurand.storage.blobs.retrying.calls import Calls
from measurand.storage.blobs.retrying.measure import Budget
from measurand.wire.errors import AlreadyExists, NotFound, Unavailable

__all__ = ["Retrying"]

Result = TypeVar("Result")


class Retrying:
    """Tries again what failed with an Unavailable that says when that is worth it (`retry_seconds`).

    Every other error passes through, and so does the last Unavailable, which then tells how many `tries` there were.

    Parameters
    ----------
    inner : BlobStore
        What may not answer. A failed `persist` of its stages can be repeated.
    tries : int
        Most tries of a call, the first one included.
    seconds : float
        No try begins later than this after the first one: what waits for the call has a deadline.
    share : float
        How many retries there may be for each call, in the long run: a store in trouble shall not have several times
        the work.
    chance : callable
        A number from 0 to 1 for each wait, so that those who failed together do not come back together.
    sleep, monotonic : callable
        Wait for so many seconds; seconds that never go back.
    """

    def __init__(
        self,
        inner: BlobStore,
        *,
        tries: int = 5,
        seconds: float = 10.0,
        share: float = 0.2,
        chance: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inner = inner
        self._calls = Calls(
            repr(inner),
            tries=tries,
            seconds=seconds,
            budget=Budget(share=share),
            chance=chance,
            sleep=sleep,
            monotonic=monotonic,
        )

    @property
    def retries(self) -> int:
        """How many tries there were so far, the first one of each call left out."""
        return self._calls.retries

    @property
    def is_leaving_alone(self) -> bool:
        """The store has not answered for so long that calls fail at once."""
        return self._calls.circuit.is_open

    def __repr__(self) -> str:
        return f"retrying({self._inner!r}, tries={self._calls.tries})"

    async def put(self, key: str, chunks: Iterable[Buffer], *, policy: Policy | None = None) -> Blob:
        """Store the chunks, which are all drawn at the beginning."""
        kept = list(chunks)
        is_repeated = False

        async def store() -> Blob:
            nonlocal is_repeated
            may_be_there, is_repeated = is_repeated, True
            try:
                return await self._inner.put(key, kept, policy=policy)
            except AlreadyExists:
                blob = await self._find(key, kept) if may_be_there else None
                if blob is None:
                    raise
                return blob

        return await self._repeat(store)

    async def open(self, blob: Blob, offset: int = 0, length: int | None = None) -> AsyncIterator[Buffer]:
        """Yield the chunks; a read that breaks off goes on from the byte that it got to."""
        position, end = offset, blob.size if length is None else offset + length
        with self._calls.begin() as call:
            while True:
                try:
                    async with closing(self._inner.open(blob, position, end - position)) as chunks:
                        async for chunk in chunks:
                            call.answered()
                            position += len(chunk)
                            yield chunk
                            call.waited()
                except Unavailable as error:
                    if offset < position == end:  # nothing is missing
                        return
                    await call.failed(error)
                else:
                    return

    async def stat(self, key: str) -> StoredBlob:
        return await self._repeat(lambda: self._inner.stat(key))

    async def delete(self, key: str) -> None:
        await self._repeat(lambda: self._inner.delete(key))

    async def scan(self, prefix: str = "") -> AsyncIterator[StoredBlob]:
        """Yield the blobs; tried again until the first has come.

        Another try would begin from the beginning, and to yield nothing twice all keys would have to be remembered. A
        store that lists in pages may ask for a page again itself.
        """
        is_begun = False
        with self._calls.begin() as call:
            while True:
                try:
                    async with closing(self._inner.scan(prefix)) as blobs:
                        async for blob in blobs:
                            if not is_begun:
                                is_begun = True
                                call.answered()
                            yield blob
                except Unavailable as error:
                    if is_begun:
                        raise
                    await call.failed(error)
                else:
                    return

    async def stage(self, key: str, *, policy: Policy | None = None) -> Stage:
        """Begin a staged blob.

        If an earlier try has taken the key, that stage is out of reach, and might be somebody else's: then the call
        fails as that try did. Whoever stages comes again with another key.
        """
        failure: Unavailable | None = None
        with self._calls.begin() as call:
            while True:
                try:
                    return _RetryingStage(await self._inner.stage(key, policy=policy), self._calls)
                except Unavailable as error:
                    failure = error
                    await call.failed(error)
                except AlreadyExists as error:
                    if failure is None:
                        raise
                    raise failure from error

    async def finish(self, key: str, size: int) -> Blob:
        return await self._repeat(lambda: self._inner.finish(key, size))

    async def discard(self, key: str) -> None:
        await self._repeat(lambda: self._inner.discard(key))

    async def close(self) -> None:
        await self._inner.close()

    async def _repeat(self, work: Callable[[], Awaitable[Result]]) -> Result:
        with self._calls.begin() as call:
            while True:
                try:
                    return await work()
                except Unavailable as error:
                    await call.failed(error)

    async def _find(self, key: str, kept: Sequence[Buffer]) -> Blob | None:
        """Return the blob that an earlier try has stored; None if what is there is somebody else's."""
        data, position = memoryview(b"".join(kept)), 0
        try:
            if (await self._inner.stat(key)).size != len(data):
                return None
            async with closing(self._inner.open(Blob(key, len(data)))) as chunks:
                async for chunk in chunks:
                    if data[position : position + len(chunk)] != chunk:
                        return None
                    position += len(chunk)
            return await self._inner.finish(key, len(data))  # it is there, and from now on for good
        except NotFound:
            return None


class _RetryingStage:
    """Repeats `persist`. A failed `append` ends the stage: its upload goes on in another one."""

    def __init__(self, inner: Stage, calls: Calls) -> None:
        self._inner = inner
        self._calls = calls
        self._appended = self._persisted = 0

    async def append(self, chunks: Sequence[Buffer]) -> None:
        self._calls.check()
        await self._inner.append(chunks)
        self._appended += sum(map(len, chunks))

    async def persist(self, *, whole: bool = True) -> int:
        appended = self._appended
        with self._calls.begin() as call:
            call.is_telling = False  # a store may have kept everything back, and not been asked at all
            while True:
                try:
                    size = await self._inner.persist(whole=whole)
                except Unavailable as error:
                    await call.failed(error)
                else:
                    call.is_telling = size > self._persisted
                    self._persisted = size
                    # What has come while it waited for another try is not counted.
                    return min(size, appended) if call.tries else size

    async def close(self) -> None:
        await self._inner.close()
