"""A wrapper that stages bytes in parts, as S3 does, so that what core does with such a store is tested without one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence

from measurand.core.blob_rules import closing
from measurand.core.placement.policies import Policy
from measurand.core.ports import Blob, BlobStore, Buffer, Stage, StoredBlob

__all__ = ["Parted"]


class Parted:
    """Hands on what is staged when it fills a part; the rest stays with the writer until it must be persisted whole.

    Parameters
    ----------
    inner : BlobStore
        Where the parts rest.
    part_bytes : int
        Size of a part. What is kept back goes with the stage: a writer that dies has lost it.
    """

    def __init__(self, inner: BlobStore, *, part_bytes: int) -> None:
        self._inner = inner
        self._part_bytes = part_bytes

    def __repr__(self) -> str:
        return f"parted({self._inner!r})"

    async def put(self, key: str, chunks: Iterable[Buffer], *, policy: Policy | None = None) -> Blob:
        return await self._inner.put(key, chunks, policy=policy)

    async def open(self, blob: Blob, offset: int = 0, length: int | None = None) -> AsyncIterator[Buffer]:
        async with closing(self._inner.open(blob, offset, length)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def stat(self, key: str) -> StoredBlob:
        return await self._inner.stat(key)

    async def delete(self, key: str) -> None:
        await self._inner.delete(key)

    async def scan(self, prefix: str = "") -> AsyncIterator[StoredBlob]:
        async with closing(self._inner.scan(prefix)) as blobs:
            async for blob in blobs:
                yield blob

    async def stage(self, key: str, *, policy: Policy | None = None) -> Stage:
        return _PartedStage(await self._inner.stage(key, policy=policy), self._part_bytes)

    async def finish(self, key: str, size: int) -> Blob:
        return await self._inner.finish(key, size)

    async def discard(self, key: str) -> None:
        await self._inner.discard(key)

    async def close(self) -> None:
        await self._inner.close()


class _PartedStage:
    def __init__(self, inner: Stage, part_bytes: int) -> None:
        self._inner = inner
        self._part_bytes = part_bytes
        self._held = bytearray()
        self._given = 0
        self._giving = asyncio.Lock()

    async def append(self, chunks: Sequence[Buffer]) -> None:
        self._held += b"".join(chunks)
        appended = self._given + len(self._held)
        async with self._giving:
            await self._give(self._whole_parts(appended))

    async def persist(self, *, whole: bool = True) -> int:
        appended = self._given + len(self._held)
        async with self._giving:
            await self._give(appended if whole else self._whole_parts(appended))
            size = min(self._given, appended)
            await self._inner.persist(whole=whole)
            return size

    async def close(self) -> None:
        await self._inner.close()

    def _whole_parts(self, size: int) -> int:
        return size - size % self._part_bytes

    async def _give(self, until: int) -> None:
        while self._given < until:
            part = bytes(self._held[: min(self._part_bytes - self._given % self._part_bytes, until - self._given)])
            await self._inner.append([part])
            del self._held[: len(part)]
            self._given += len(part)
