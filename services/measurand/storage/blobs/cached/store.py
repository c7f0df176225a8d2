"""The port, over another store far away: what is read is kept on a disk of this machine, and read from there again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from weakref import WeakValueDictionary

from measurand.core.blob_rules import check_key, check_range, closing
from measurand.core.means import Threads
from measurand.core.placement.policies import Policy
from measurand.core.ports import Blob, BlobStore, Buffer, Stage, StoredBlob
from measurand.storage.blobs.cached.cuts import Cut, Unit, cut_of
from measurand.storage.blobs.cached.fetching import Fetching, Pieces
from measurand.storage.blobs.cached.reader import Reader
from measurand.storage.blobs.cached.shelf import Shelf
from measurand.wire.errors import DataLoss

__all__ = ["Cached"]

_CHUNK_BYTES = 2 << 20
_MOST_KEEPING_BYTES = 32 << 20
"""What waits for the disk; beyond it units are passed on without being kept, so that a slow disk slows no reader."""


class Cached:
    """Keeps what is read in a bounded folder; the least recently used goes first.

    A blob with checks is kept block by block, one without as the ranges that are asked for. Each file in the folder is
    proved when it is read, and what is damaged is fetched again. Reads of more than a quarter of the folder pass by.

    Blobs are never changed, so what is kept is never wrong; but it may outlive its blob. What is removed through this
    store is gone. What another process over this folder removes is gone too, but for a part that was being fetched at
    that moment. What is removed on another machine can still be read here, with its right bytes, while they are kept.

    Parameters
    ----------
    inner : BlobStore
        Where the bytes rest.
    folder : Path
        Where they are kept; any number of processes of one machine may share it. Made when it is first needed.
    most_bytes : int
        Most of the disk that it takes.
    in_thread : callable
        Runs its reads and writes beside the event loop.
    crc32c : callable
        As in `Means`.
    now : callable
        Seconds since 1970.
    """

    def __init__(
        self,
        inner: BlobStore,
        folder: Path,
        *,
        most_bytes: int,
        in_thread: Threads,
        crc32c: Callable[[Buffer, int], int],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._inner = inner
        self._most_bytes = most_bytes
        self._in_thread = in_thread
        self._shelf = Shelf(folder, most_bytes=most_bytes, crc32c=crc32c, now=now)
        self._fetching: WeakValueDictionary[str, Fetching] = WeakValueDictionary()
        self._keeping: set[asyncio.Task[None]] = set()
        self._keeping_bytes = self._hit_bytes = self._fetched_bytes = 0
        self._writers = asyncio.Semaphore(2)  # one may be busy making room

    @property
    def hit_bytes(self) -> int:
        """How much was read from the folder."""
        return self._hit_bytes

    @property
    def fetched_bytes(self) -> int:
        """How much was read from the inner store because it was not there."""
        return self._fetched_bytes

    def __repr__(self) -> str:
        return f"cached({self._inner!r}, most_bytes={self._most_bytes})"

    async def put(self, key: str, chunks: Iterable[Buffer], *, policy: Policy | None = None) -> Blob:
        return await self._inner.put(key, chunks, policy=policy)

    async def open(self, blob: Blob, offset: int = 0, length: int | None = None) -> AsyncIterator[Buffer]:
        check_key(blob.key)
        count = check_range(blob, offset, length)
        cut = cut_of(blob, offset, count) if 0 < count <= self._most_bytes // 4 else None
        position, end = offset, offset + count
        if cut is not None:
            try:
                async with closing(self._units(blob, cut, range(cut.at(offset), cut.at(end - 1) + 1))) as units:
                    async for begin, pieces in units:
                        for chunk in _within(begin, pieces, position, end):
                            position += len(chunk)
                            yield chunk
            except DataLoss:
                # Of a unit, or of a neighbour that somebody else wanted: the inner store knows what is left of these
                # very bytes.
                cut = None
        if cut is None:
            async with closing(self._inner.open(blob, position, end - position)) as chunks:
                async for chunk in chunks:
                    yield chunk

    async def stat(self, key: str) -> StoredBlob:
        return await self._inner.stat(key)

    async def delete(self, key: str) -> None:
        check_key(key)
        try:
            await self._inner.delete(key)
        finally:
            await self._forget(key)

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
        if self._keeping:
            await asyncio.wait(self._keeping)
        await self._inner.close()

    async def _units(self, blob: Blob, cut: Cut, numbers: range) -> AsyncIterator[tuple[int, Pieces]]:
        """Yield where each unit begins, and its bytes."""
        fetching = self._fetching.setdefault(blob.key, Fetching(blob.key))
        reader = Reader(self._inner, blob, cut, numbers[-1], fetching, self._shelf, self._in_thread, self._keep)
        try:
            for number in numbers:
                yield cut.unit(number).begin, await reader.take(number)
        finally:
            self._hit_bytes += reader.hit_bytes
            await reader.close()

    def _keep(self, fetching: Fetching, unit: Unit, pieces: Pieces) -> None:
        """Begin to write a unit that was fetched to the folder."""
        size = unit.size
        self._fetched_bytes += size
        if fetching.is_gone or unit in fetching.keeping or self._keeping_bytes + size > _MOST_KEEPING_BYTES:
            return
        fetching.keeping[unit] = pieces
        self._keeping_bytes += size

        async def write() -> None:
            try:
                async with self._writers:
                    await self._in_thread(self._shelf.write, fetching.key, unit, pieces)
            finally:
                fetching.keeping.pop(unit, None)
                self._keeping_bytes -= size

        task = asyncio.create_task(write(), name="keep a unit")
        for tasks in (self._keeping, fetching.tasks):
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    async def _forget(self, key: str) -> None:
        """Remove what is kept of a blob, also what is just being fetched."""
        fetching = self._fetching.get(key)
        if fetching is not None:
            fetching.is_gone = True
            fetching.keeping.clear()
            if fetching.tasks:
                await asyncio.wait(fetching.tasks)
        await self._in_thread(self._shelf.drop, key)


def _within(begin: int, pieces: Pieces, position: int, end: int) -> Iterator[Buffer]:
    """Yield what of the pieces, which begin at `begin`, lies from `position` to `end`."""
    for piece in pieces:
        last = min(begin + len(piece), end)
        for start in range(max(begin, position), last, _CHUNK_BYTES):
            stop = min(start + _CHUNK_BYTES, last)
            yield piece if stop - start == len(piece) else memoryview(piece)[start - begin : stop - begin]
        begin += len(piece)
