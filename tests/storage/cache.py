"""A cached store over memory, with a time that the test moves, and what it has asked the store below."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from tests.conformance.blobs import checked
from tests.conformance.test_blobs import content
from tests.faults import Failing

from measurand.core.ports import Blob, BlobStore
from measurand.server.crc32c import make_crc32c
from measurand.storage.blobs.cached import Cached
from measurand.storage.blobs.measured import Measured
from measurand.storage.blobs.memory import Memory
from measurand.wire.errors import StoreFull

__all__ = ["BLOCK", "Cache", "MakeCache"]

BLOCK = 64 << 10

MakeCache = Callable[..., "Cache"]
"""Makes a `Cache`, which is closed at the end of the test."""


class Cache:
    """A folder, a store below it, and the cached store that was opened last.

    Parameters
    ----------
    block_bytes : int
        Of the checks; 0: the store below makes none.
    wrap : callable
        Put around the memory at the bottom.
    """

    def __init__(
        self,
        folder: Path,
        *,
        block_bytes: int = BLOCK,
        most_bytes: int = 256 << 20,
        wrap: Callable[[BlobStore], BlobStore] = lambda inner: inner,
    ) -> None:
        self.folder = folder
        self.time = 2e9
        self.read_bytes = 0
        self.most_bytes = most_bytes
        measured = Measured(wrap(Memory()), store="test", metrics=self, monotonic=lambda: 0.0)
        self._counted = Failing(measured, verb="open", at=0, error=StoreFull("never raised"))
        self._inner: BlobStore = checked(self._counted, block_bytes) if block_bytes else self._counted
        self._opened: list[Cached] = []
        self.store = self.open()

    def open(self, most_bytes: int = 0) -> Cached:
        """Open it as another process does."""
        self.store = Cached(
            self._inner,
            self.folder,
            most_bytes=most_bytes or self.most_bytes,
            in_thread=asyncio.to_thread,
            crc32c=make_crc32c(),
            now=lambda: self.time,
        )
        self._opened.append(self.store)
        return self.store

    @property
    def reads(self) -> int:
        """How often the store below was read from."""
        return self._counted.calls.get("open", 0)

    @property
    def files(self) -> list[Path]:
        return sorted(path for path in self.folder.rglob("*") if path.is_file())

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(path.stat().st_size for path in self.files)

    def followers(self, key: str) -> int:
        """Return how many readers of a blob wait for the store below."""
        fetching = self.store._fetching.get(key)
        return sum(run.followers for run in fetching._runs) if fetching else 0

    async def content(self, blob: Blob, offset: int = 0, length: int | None = None) -> bytes:
        """Read, and return when what is kept of it lies in the folder."""
        data = await content(self.store, blob, offset, length)
        await self.settle()
        return data

    async def settle(self) -> None:
        """Return when everything that was fetched lies in the folder."""
        for store in self._opened:
            await asyncio.gather(*store._keeping)

    async def until(self, is_so: Callable[[], bool]) -> None:
        while not is_so():  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.001)

    async def close(self) -> None:
        for store in self._opened:
            await store.close()

    def observe(self, store: str, verb: str, seconds: float, error: str) -> None: ...

    def moved(self, store: str, verb: str, size: int) -> None:
        self.read_bytes += size if verb == "open" else 0
