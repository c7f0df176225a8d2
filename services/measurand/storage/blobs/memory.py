"""Blobs in this process's memory: for `memory:` servers, and for tests of everything above the port."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from measurand.core.blob_rules import check_key, check_range, missing, short, taken
from measurand.core.placement.policies import Policy
from measurand.core.ports import Blob, Buffer, Stage, StoredBlob

__all__ = ["Memory"]

_CHUNK_BYTES = 2 << 20


@dataclass(slots=True)
class _Held:
    """Bytes in pieces, and where each piece ends."""

    modified_time: datetime
    pieces: list[bytes] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)

    @property
    def size(self) -> int:
        return self.ends[-1] if self.ends else 0

    def add(self, piece: bytes) -> None:
        if piece:
            self.ends.append(self.size + len(piece))
            self.pieces.append(piece)


class Memory:
    """A dict of blobs and one of staged writes.

    Parameters
    ----------
    now : callable
        The store's clock, aware and in UTC.
    """

    def __init__(self, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now
        self._finished: dict[str, _Held] = {}
        self._staged: dict[str, _Held] = {}

    def __repr__(self) -> str:
        return "memory()"

    async def put(self, key: str, chunks: Iterable[Buffer], *, policy: Policy | None = None) -> Blob:
        self._check_free(key)
        held = _Held(self._now())
        held.add(b"".join(chunks))
        self._check_free(key)  # whoever made the chunks may have stored something meanwhile
        self._finished[key] = held
        return Blob(key, held.size)

    async def open(self, blob: Blob, offset: int = 0, length: int | None = None) -> AsyncIterator[Buffer]:
        check_key(blob.key)
        end = offset + check_range(blob, offset, length)
        held = self._find(blob.key)
        if held.size < end:
            raise short(blob.key, end, held.size)
        index = bisect_right(held.ends, offset)
        while offset < end:
            begin = held.ends[index] - len(held.pieces[index])
            stop = min(held.ends[index], end, offset + _CHUNK_BYTES)
            whole = offset == begin and stop == held.ends[index]
            yield held.pieces[index] if whole else memoryview(held.pieces[index])[offset - begin : stop - begin]
            offset = stop
            index += offset == held.ends[index]

    async def stat(self, key: str) -> StoredBlob:
        check_key(key)
        held = self._find(key)
        return StoredBlob(key, held.size, held.modified_time)

    async def delete(self, key: str) -> None:
        check_key(key)
        self._finished.pop(key, None)

    async def scan(self, prefix: str = "") -> AsyncIterator[StoredBlob]:
        found = [
            StoredBlob(key, held.size, held.modified_time, staged=blobs is self._staged)
            for blobs in (self._finished, self._staged)
            for key, held in blobs.items()
            if key.startswith(prefix)
        ]
        for blob in found:
            yield blob

    async def stage(self, key: str, *, policy: Policy | None = None) -> Stage:
        self._check_free(key)
        held = self._staged[key] = _Held(self._now())
        return _MemoryStage(held, self._now)

    async def finish(self, key: str, size: int) -> Blob:
        check_key(key)
        held = self._finished.get(key) or self._staged.get(key)
        if held is None:
            raise missing(key)
        if held.size < size:
            raise short(key, size, held.size)
        if key in self._staged:
            # Pieces of its own: the writer may still be adding to the others.
            finished = _Held(held.modified_time)
            for piece, end in zip(held.pieces, held.ends, strict=True):
                finished.add(piece[: max(0, size - (end - len(piece)))])
            self._finished[key] = finished
            del self._staged[key]
        return Blob(key, size)

    async def discard(self, key: str) -> None:
        check_key(key)
        self._staged.pop(key, None)

    async def close(self) -> None:
        """Keep everything: the memory is the store, and goes with the process."""

    def _find(self, key: str) -> _Held:
        held = self._finished.get(key)
        if held is None:
            raise missing(key)
        return held

    def _check_free(self, key: str) -> None:
        check_key(key)
        if key in self._finished or key in self._staged:
            raise taken(key)


class _MemoryStage:
    """What was appended; there is nothing more durable here than memory."""

    def __init__(self, held: _Held, now: Callable[[], datetime]) -> None:
        self._held = held
        self._now = now

    async def append(self, chunks: Sequence[Buffer]) -> None:
        self._held.add(b"".join(chunks))
        self._held.modified_time = self._now()

    async def persist(self, *, whole: bool = True) -> int:
        return self._held.size

    async def close(self) -> None:
        """Keep everything, for `finish` or `discard`."""
