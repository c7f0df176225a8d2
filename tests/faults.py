"""Wrappers that make a blob store misbehave, so that what to do about it is tested by composition.

Idle, each passes the suite of the port; like all wrappers they write out every verb.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Literal

from measurand.core.blob_rules import closing
from measurand.core.placement.policies import Policy
from measurand.core.ports import Blob, BlobStore, Buffer, Stage, StoredBlob
from measurand.wire.errors import MeasurandError, NotFound, StoreFull

__all__ = ["Chopped", "Damaged", "Failing", "Full", "Slow", "Verb"]

Verb = Literal["put", "open", "stat", "delete", "scan", "stage", "append", "persist", "finish", "discard"]


class Failing:
    """Raises `error` instead of the call number `at` (from 1; 0: never) of one verb, and of those that follow it.

    Parameters
    ----------
    inner : BlobStore
        What does everything else.
    verb : str
        A verb of the store or of its stages.
    at, times : int
        The first call that fails, and how many in a row do.
    error : MeasurandError
        What is raised. The inner store is not asked.
    """

    def __init__(self, inner: BlobStore, *, verb: Verb, error: MeasurandError, at: int = 1, times: int = 1) -> None:
        self._inner = inner
        self._fails: set[tuple[str, int]] = {(verb, at + index) for index in range(times)} if at else set()
        self._error = error
        self.calls: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"failing({self._inner!r})"

    def count(self, verb: Verb) -> None:
        self.calls[verb] = self.calls.get(verb, 0) + 1
        if (verb, self.calls[verb]) in self._fails:
            raise self._error

    async def put(self, key: str, chunks: Iterable[Buffer], *, policy: Policy | None = None) -> Blob:
        self.count("put")
        return await self._inner.put(key, chunks, policy=policy)

    async def open(self, blob: Blob, offset: int = 0, length: int | None = None) -> AsyncIterator[Buffer]:
        self.count("open")
        async with closing(self._inner.open(blob, offset, length)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def stat(self, key: str) -> StoredBlob:
        self.count("stat")
        return await self._inner.stat(key)

    async def delete(self, key: str) -> None:
        self.count("delete")
        await self._inner.delete(key)

    async def scan(self, prefix: str = "") -> AsyncIterator[StoredBlob]:
        self.count("scan")
        async with closing(self._inner.scan(prefix)) as blobs:
            async for blob in blobs:
                yield blob

    async def stage(self, key: str, *, policy: Policy | None = None) -> Stage:
        self.count("stage")
        return _FailingStage(await self._inner.stage(key, policy=policy), self.count)

    async def finish(self, key: str, size: int) -> Blob:
        self.count("finish")
        return await self._inner.finish(key, size)

    async def discard(self, key: str) -> None:
        self.count("discard")
        await self._inner.discard(key)

    async def close(self) -> None:
        await self._inner.close()


class _FailingStage:
    def __init__(self, inner: Stage, count: Callable[[Verb], None]) -> None:
        self._inner = inner
        self._count = count

    async def append(self, chunks: Sequence[Buffer]) -> None:
        self._count("append")
        await self._inner.append(chunks)

    async def persist(self, *, whole: bool = True) -> int:
        self._count("persist")
        return await self._inner.persist(whole=whole)

    async def close(self) -> None:
        await self._inner.close()


class Full:
    """Has room for so many bytes; more is refused with StoreFull before the inner store sees any of it.

    Parameters
    ----------
    inner : BlobStore
        Where the bytes go that there is room for.
    room_bytes : int
        What is left. A test may give more; `delete` and `discard` give back what the blob took.
    """

    def __init__(self, inner: BlobStore, *, room_bytes: int) -> None:
        self._inner = inner
        self._taken: dict[str, int] = {}
        self.room_bytes = room_bytes

    def __repr__(self) -> str:
        return f"full({self._inner!r})"

    def take(self, key: str, size: int) -> None:
        if size > self.room_bytes:
            raise StoreFull(f"{key}: there is no room for {size} bytes", needed_bytes=size)
        self.room_bytes -= size
        self._taken[key] = self._taken.get(key, 0) + size

    async def put(self, key: str, chunks: Iterable[Buffer], *, policy: Policy | None = None) -> Blob:
        pieces = list(chunks)
        size = sum(map(len, pieces))
        self.take(key, size)
        try:
            return await self._inner.put(key, pieces, policy=policy)
        except BaseException:
            self._give_back(key, size)
            raise

    async def open(self, blob: Blob, offset: int = 0, length: int | None = None) -> AsyncIterator[Buffer]:
        async with closing(self._inner.open(blob, offset, length)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def stat(self, key: str) -> StoredBlob:
        return await self._inner.stat(key)

    async def delete(self, key: str) -> None:
        try:
            size = (await self._inner.stat(key)).size
        except NotFound:
            size = 0
        await self._inner.delete(key)
        self._give_back(key, size)

    async def scan(self, prefix: str = "") -> AsyncIterator[StoredBlob]:
        async with closing(self._inner.scan(prefix)) as blobs:
            async for blob in blobs:
                yield blob

    async def stage(self, key: str, *, policy: Policy | None = None) -> Stage:
        return _FullStage(await self._inner.stage(key, policy=policy), key, self.take)

    async def finish(self, key: str, size: int) -> Blob:
        blob = await self._inner.finish(key, size)
        self._give_back(key, self._taken.get(key, size) - size)
        return blob

    async def discard(self, key: str) -> None:
        await self._inner.discard(key)
        try:
            await self._inner.stat(key)
        except NotFound:
            self._give_back(key, self._taken.get(key, 0))

    async def close(self) -> None:
        await self._inner.close()

    def _give_back(self, key: str, size: int) -> None:
        given = min(size, self._taken.get(key, 0))
        self.room_bytes += given
        self._taken[key] = self._taken.get(key, 0) - given


class _FullStage:
    def __init__(self, inner: Stage, key: str, take: Callable[[str, int], None]) -> None:
        self._inner = inner
        self._key = key
        self._take = take

    async def append(self, chunks: Sequence[Buffer]) -> None:
        self._take(self._key, sum(map(len, chunks)))
        await self._inner.append(chunks)

    async def persist(self, *, whole: bool = True) -> int:
        return await self._inner.persist(whole=whole)

    async def close(self) -> None:
        await self._inner.close()


class Slow:
    """Awaits `pause(verb)` before each call and each chunk, so that a test decides what overlaps with what."""

    def __init__(self, inner: BlobStore, *, pause: Callable[[Verb], Awaitable[object]]) -> None:
        self._inner = inner
        self._pause = pause

    def __repr__(self) -> str:
        return f"slow({self._inner!r})"

    async def put(self, key: str, chunks: Iterable[Buffer], *, policy: Policy | None = None) -> Blob:
        await self._pause("put")
        return await self._inner.put(key, chunks, policy=policy)

    async def open(self, blob: Blob, offset: int = 0, length: int | None = None) -> AsyncIterator[Buffer]:
        await self._pause("open")
        async with closing(self._inner.open(blob, offset, length)) as chunks:
            async for chunk in chunks:
                yield chunk
                await self._pause("open")

    async def stat(self, key: str) -> StoredBlob:
        await self._pause("stat")
        return await self._inner.stat(key)

    async def delete(self, key: str) -> None:
        await self._pause("delete")
        await self._inner.delete(key)

    async def scan(self, prefix: str = "") -> AsyncIterator[StoredBlob]:
        await self._pause("scan")
        async with closing(self._inner.scan(prefix)) as blobs:
            async for blob in blobs:
                yield blob
                await self._pause("scan")

    async def stage(self, key: str, *, policy: Policy | None = None) -> Stage:
        await self._pause("stage")
        return _SlowStage(await self._inner.stage(key, policy=policy), self._pause)

    async def finish(self, key: str, size: int) -> Blob:
        await self._pause("finish")
        return await self._inner.finish(key, size)

    async def discard(self, key: str) -> None:
        await self._pause("discard")
        await self._inner.discard(key)

    async def close(self) -> None:
        await self._inner.close()


class _SlowStage:
    def __init__(self, inner: Stage, pause: Callable[[Verb], Awaitable[object]]) -> None:
        self._inner = inner
        self._pause = pause

    async def append(self, chunks: Sequence[Buffer]) -> None:
        await self._pause("append")
        await self._inner.append(chunks)

    async def persist(self, *, whole: bool = True) -> int:
        # What was appended before the call counts, so the call comes first and the answer is late.
        size = await self._inner.persist(whole=whole)
        await self._pause("persist")
        return size

    async def close(self) -> None:
        await self._inner.close()


class _Reading:
    """All verbs but `open` as they are, for wrappers that change only what is read."""

    def __init__(self, inner: BlobStore) -> None:
        self._inner = inner

    async def put(self, key: str, chunks: Iterable[Buffer], *, policy: Policy | None = None) -> Blob:
        return await self._inner.put(key, chunks, policy=policy)

    async def stat(self, key: str) -> StoredBlob:
        return await self._inner.stat(key)

    async def delete(self, key: str) -> None:
        await self._inner.delete(key)

    async def scan(self, prefix: str = "") -> AsyncIterator[StoredBlob]:
        async with closing(self._inner.scan(prefix)) as blobs:
            async for blob in blobs:
                yield blob

    async def stage(self, key: str, *, policy: Policy | None = None) -> Stage:
        return await self._inner.stage(key, policy=policy)

    async def finish(self, key: str, size: int) -> Blob:
        return await self._inner.finish(key, size)

    async def discard(self, key: str) -> None:
        await self._inner.discard(key)

    async def close(self) -> None:
        await self._inner.close()


class Damaged(_Reading):
    """Gives the byte at `at` of every blob with one bit flipped; None: gives what is there."""

    def __init__(self, inner: BlobStore, *, at: int | None = None) -> None:
        super().__init__(inner)
        self.at = at

    def __repr__(self) -> str:
        return f"damaged({self._inner!r})"

    async def open(self, blob: Blob, offset: int = 0, length: int | None = None) -> AsyncIterator[Buffer]:
        async with closing(self._inner.open(blob, offset, length)) as chunks:
            async for chunk in chunks:
                begin, offset = offset, offset + len(chunk)
                if self.at is not None and begin <= self.at < offset:
                    wrong = bytearray(chunk)
                    wrong[self.at - begin] ^= 0x10
                    yield bytes(wrong)
                else:
                    yield chunk


class Chopped(_Reading):
    """Gives what is read in chunks of at most `chunk_bytes`, which end anywhere."""

    def __init__(self, inner: BlobStore, *, chunk_bytes: int) -> None:
        super().__init__(inner)
        self._chunk_bytes = chunk_bytes

    def __repr__(self) -> str:
        return f"chopped({self._inner!r})"

    async def open(self, blob: Blob, offset: int = 0, length: int | None = None) -> AsyncIterator[Buffer]:
        async with closing(self._inner.open(blob, offset, length)) as chunks:
            async for chunk in chunks:
                for start in range(0, len(chunk), self._chunk_bytes):
                    yield memoryview(chunk)[start : start + self._chunk_bytes]
