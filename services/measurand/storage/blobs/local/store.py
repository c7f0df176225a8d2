"""Blobs as files in a folder of this machine: the port, over `Files` in threads."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path

from measurand.core.blob_rules import check_key, check_range
from measurand.core.means import Threads
from measurand.core.placement.policies import Policy
from measurand.core.ports import Blob, Buffer, Stage, StoredBlob
from measurand.storage.blobs.local.disk import Descriptor, make_durable, translating, write
from measurand.storage.blobs.local.files import Files
from measurand.storage.blobs.local.plain import LocalPlain
from measurand.wire.errors import Unavailable

__all__ = ["Local"]

_CHUNK_BYTES = 1 << 20
_SMALL_BYTES = 2 << 20
"""What is not larger is read at once where it is in memory, without a thread."""


class Local:
    """A store in the folder `root`, which it makes when it first writes; any number of processes may share it.

    Parameters
    ----------
    root : Path
        On a file system with hard links. The store leaves alone whatever else lies there.
    in_thread : callable
        Runs its reads and writes beside the event loop.
    """

    def __init__(self, root: Path, *, in_thread: Threads) -> None:
        self._root = root
        self._files = Files(root)
        self._in_thread = in_thread

    def __repr__(self) -> str:
        return f"local({str(self._root)!r})"

    def plain(self, crc32c: Callable[[Buffer, int], int]) -> LocalPlain:
        """Return where plain layouts lie beside these blobs. It goes when the store is closed."""
        return LocalPlain(self._root, self._files, in_thread=self._in_thread, crc32c=crc32c)

    async def room(self) -> tuple[int, int]:
        """Return how many bytes the disk has, and how many are free.

        Raises
        ------
        Unavailable
            STORE_UNAVAILABLE: the folders are gone; perhaps the disk is not mounted.
        """
        return await self._in_thread(self._files.room)

    async def put(self, key: str, chunks: Iterable[Buffer], *, policy: Policy | None = None) -> Blob:
        check_key(key)
        return Blob(key, await self._in_thread(self._files.put, key, chunks))

    async def open(self, blob: Blob, offset: int = 0, length: int | None = None) -> AsyncIterator[Buffer]:
        """Yield chunks of 1 MiB; while one is used the next is read."""
        check_key(blob.key)
        end = offset + check_range(blob, offset, length)
        if 0 < end - offset <= _SMALL_BYTES:
            data = self._files.read_cached(blob.key, offset, end - offset, end)
            if data is not None:
                yield data
                return
        file = Descriptor()
        ahead: asyncio.Future[bytes] = asyncio.ensure_future(
            self._in_thread(self._files.open, file, blob.key, offset, min(_CHUNK_BYTES, end - offset), end)
        )
        try:
            while True:
                chunk = await ahead
                offset += len(chunk)
                if offset < end:
                    size = min(_CHUNK_BYTES, end - offset)
                    ahead = asyncio.ensure_future(self._in_thread(self._files.read, file, blob.key, offset, size))
                else:
                    file.close()
                if chunk:
                    yield chunk
                if offset >= end:
                    return
        finally:
            if not ahead.cancel() and not ahead.cancelled():
                ahead.exception()  # looked at, so that asyncio does not report what nobody waits for any more
            file.close()

    async def stat(self, key: str) -> StoredBlob:
        check_key(key)
        return await self._in_thread(self._files.stat, key)

    async def delete(self, key: str) -> None:
        """Remove it. After a loss of power it may be back, as a blob that nobody names."""
        check_key(key)
        await self._in_thread(self._files.delete, key)

    async def scan(self, prefix: str = "") -> AsyncIterator[StoredBlob]:
        # Staged ones first: what is finished during the scan is then seen at least once, and not again if it was.
        staged = await self._in_thread(self._files.staged, prefix)
        for blob in staged:
            yield blob
        seen = {blob.key for blob in staged}
        for shard in await self._in_thread(self._files.shards):
            for blob in await self._in_thread(self._files.finished, shard, prefix):
                if blob.key not in seen:
                    yield blob

    async def stage(self, key: str, *, policy: Policy | None = None) -> Stage:
        check_key(key)
        file = Descriptor()
        try:
            await self._in_thread(self._files.stage, file, key)
        except BaseException:
            file.close()
            raise
        return _LocalStage(self._files, file, key, self._in_thread)

    async def finish(self, key: str, size: int) -> Blob:
        check_key(key)
        await self._in_thread(self._files.finish, key, size)
        return Blob(key, size)

    async def discard(self, key: str) -> None:
        check_key(key)
        await self._in_thread(self._files.discard, key)

    async def close(self) -> None:
        self._files.close()


class _LocalStage:
    """A staged write of this process.

    What changes with an append changes in its thread, under its lock: an append that was cancelled while it ran is
    whole before the next begins.
    """

    def __init__(self, files: Files, file: Descriptor, key: str, in_thread: Threads) -> None:
        self._files = files
        self._file = file
        self._key = key
        self._in_thread = in_thread
        self._appending = threading.Lock()
        self._size = 0
        self._is_broken = False
        self._has_name = False

    async def append(self, chunks: Sequence[Buffer]) -> None:
        await self._in_thread(self._append, chunks)

    async def persist(self, *, whole: bool = True) -> int:
        # The size as of the call: what is appended meanwhile may become durable too, but is not counted.
        return await self._in_thread(self._persist, self._size)

    async def close(self) -> None:
        self._file.close()

    def _append(self, chunks: Sequence[Buffer]) -> None:
        with translating(self._key), self._appending, self._file.use() as descriptor:
            # An append that failed half way has moved the place to write to, but not the size.
            os.lseek(descriptor, self._size, os.SEEK_SET)
            self._size += write(descriptor, chunks)

    def _persist(self, size: int) -> int:
        with translating(self._key), self._file.use() as descriptor:
            if self._is_broken:
                raise Unavailable(f"{self._key}: the disk has refused its bytes before; write it anew", store="local")
            try:
                make_durable(descriptor)
                if not self._has_name:
                    self._files.make_staging_durable()
                    self._has_name = True
            except OSError:
                # The kernel reports lost pages once and forgets them: the next sync would wrongly succeed.
                self._is_broken = True
                raise
        return size
