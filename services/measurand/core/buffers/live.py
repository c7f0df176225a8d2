"""The newest heads and the newest segments' bytes, as this process knows them, and waiting for what is new.

What is committed in this process is pinned up here by whoever has committed it, so tails learn of it at once and read
no store. What other processes commit is learned from the store's changes, as long as somebody waits.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from dataclasses import dataclass
from weakref import WeakValueDictionary

from measurand.core.buffers.documents import BUFFERS
from measurand.core.buffers.heads import Head, Segment
from measurand.core.buffers.standing import Standing, find_standing, missing
from measurand.core.names import BufferName, parse_buffer
from measurand.core.ports import DocumentStore
from measurand.wire.errors import MeasurandError

__all__ = ["Board"]

CACHED_BYTES = 16 * 1024 * 1024
MOST_HEADS = 1000
TRUSTED_SECONDS = 60.0
"""A head of which nothing was heard for so long is read again before anything is built on it."""
WATCH_SECONDS = 5.0
PAUSE_SECONDS = 0.2


@dataclass(slots=True)
class _Pinned:
    standing: Standing
    time: float


class Board:
    """What this process knows of buffers.

    Parameters
    ----------
    documents : DocumentStore
        Where heads are read, and changes of other processes learned of.
    """

    def __init__(self, documents: DocumentStore) -> None:
        self._documents = documents
        self._heads: OrderedDict[BufferName, _Pinned] = OrderedDict()
        self._news: dict[BufferName, asyncio.Event] = {}
        self._waiting: dict[BufferName, int] = {}
        self._turns: WeakValueDictionary[BufferName, asyncio.Lock] = WeakValueDictionary()
        self._bytes: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._cached_bytes = 0
        self._watching: asyncio.Task[None] | None = None
        self._is_primed = asyncio.Event()

    async def newest(
        self,
        name: BufferName,
        known_next_sequence: int | None = None,
        wait_seconds: float = 0.0,
        *,
        known_version: int | None = None,
        known_next_event: int | None = None,
    ) -> Head:
        """Return the head as soon as it has something new, and at the latest after the wait.

        Parameters
        ----------
        known_next_sequence, known_next_event : int, optional
            New is a head that has more records, or events, than that.
        wait_seconds : float
            0: return what the store has now, which sees every acknowledged record of every process.
        known_version : int, optional
            New is a head of another version, which counts changes of state, window and everything but records and
            notes. None: of another than when the call began.

        Raises
        ------
        NotFound
            RESOURCE_NOT_FOUND: there is no such buffer, or it was removed meanwhile.
        """
        if wait_seconds <= 0:
            return (await self.read(name)).head

        def is_new(head: Head) -> bool:
            return (
                (known_next_sequence is not None and head.next_sequence > known_next_sequence)
                or (known_next_event is not None and head.next_event > known_next_event)
                or (known_version is not None and head.version != known_version)
            )

        pinned = self._heads.get(name)
        if pinned is not None and known_next_sequence is not None:
            head = pinned.standing.head
            if head.next_sequence > known_next_sequence:
                return head
        clock = asyncio.get_running_loop().time
        deadline = clock() + wait_seconds
        self._waiting[name] = self._waiting.get(name, 0) + 1
        try:
            await self._watch_along(deadline - clock())
            head = (await self.read(name)).head
            uid, known_version = head.uid, head.version if known_version is None else known_version
            while not is_new(head) and (left := deadline - clock()) > 0:
                news = self._news.setdefault(name, asyncio.Event())
                pinned = self._heads.get(name)
                if pinned is None or pinned.standing.head.uid != uid:
                    head = (await self.read(name)).head
                    if head.uid != uid:
                        raise missing(name)
                elif pinned.standing.head is not head:
                    head = pinned.standing.head
                else:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(left):  # wait_for can lose a cancellation
                            await news.wait()
            return head
        finally:
            self._waiting[name] -= 1
            if not self._waiting[name]:
                del self._waiting[name]

    async def read(self, name: BufferName) -> Standing:
        """Return the head as the store has it, and pin it up. Raises NotFound."""
        standing = await find_standing(self._documents, name)
        if standing is None:
            self.forget(name)
            raise missing(name)
        self.publish(standing.head, revision=standing.revision)
        return standing

    def known(self, name: BufferName) -> Standing | None:
        """Return the newest head that this process has heard of lately; the store may have a newer one."""
        pinned = self._heads.get(name)
        if pinned is None or not pinned.standing.revision:
            return None
        if asyncio.get_running_loop().time() - pinned.time > TRUSTED_SECONDS:
            return None
        return pinned.standing

    def turn(self, name: BufferName) -> asyncio.Lock:
        """Return the lock under which this process reads, decides and replaces the head of a buffer.

        The store's revision check decides; the turns only keep those within one process from losing to each other.
        """
        lock = self._turns.get(name)
        if lock is None:
            lock = self._turns[name] = asyncio.Lock()
        return lock

    def publish(
        self, head: Head, segment: Segment | None = None, blob_bytes: bytes | None = None, *, revision: int = 0
    ) -> None:
        """Pin up a head that was stored or read, perhaps with the bytes of its newest segment.

        Parameters
        ----------
        revision : int
            Of its document. 0: not known.
        """
        if segment is not None and blob_bytes is not None:
            self._cache((head.uid, segment.ulid), blob_bytes)
        pinned = self._heads.get(head.name)
        if pinned is not None and not _is_newer(Standing(head, revision), pinned.standing):
            if pinned.standing.revision == revision:
                pinned.time = asyncio.get_running_loop().time()
            return
        self._heads[head.name] = _Pinned(Standing(head, revision), asyncio.get_running_loop().time())
        self._heads.move_to_end(head.name)
        while len(self._heads) > MOST_HEADS:
            self._heads.popitem(last=False)
        self._wake(head.name)

    def forget(self, name: BufferName) -> None:
        """Take down what is pinned up of a buffer: it was removed, or what was known turned out to be old."""
        self._heads.pop(name, None)
        self._wake(name)

    def cached(self, uid: str, segment: Segment) -> bytes | None:
        """Return the whole blob of a segment if this process still has it in memory."""
        return self._bytes.get((uid, segment.ulid))

    async def close(self) -> None:
        """End the watch."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)

    # ---------------------------------------------------------------------------------------------------------- inside

    def _cache(self, key: tuple[str, str], blob_bytes: bytes) -> None:
        if len(blob_bytes) > CACHED_BYTES // 2 or key in self._bytes:
            return
        self._bytes[key] = blob_bytes
        self._cached_bytes += len(blob_bytes)
        while self._cached_bytes > CACHED_BYTES:
            _, oldest = self._bytes.popitem(last=False)
            self._cached_bytes -= len(oldest)

    def _wake(self, name: BufferName) -> None:
        if news := self._news.pop(name, None):
            news.set()

    async def _watch_along(self, seconds: float) -> None:
        """Return when changes that other processes make from now on will be heard of."""
        if self._watching is None:
            self._is_primed.clear()
            self._watching = asyncio.create_task(self._watch(), name="watch of buffers")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)):
                await self._is_primed.wait()

    async def _watch(self) -> None:
        token: str | None = None
        try:
            while self._waiting:
                try:
                    if token is None:
                        token = (await self._documents.changes(BUFFERS, after=None)).token
                        names = set(self._waiting) if self._is_primed.is_set() else set()
                        self._is_primed.set()
                    else:
                        answer = await self._documents.changes(
                            BUFFERS, after=token, limit=1000, wait_seconds=WATCH_SECONDS
                        )
                        token = answer.token
                        newest = {change.key: change.revision for change in answer.changes}
                        names = {name for name in map(parse_buffer, newest) if self._is_behind(name, newest[str(name)])}
                    for name in names:
                        with contextlib.suppress(MeasurandError):  # whoever waits finds out what it is
                            await self.read(name)
                except MeasurandError:  # the store does not answer, or has forgotten where we were
                    token = None
                    await asyncio.sleep(PAUSE_SECONDS)
        finally:
            self._watching = None

    def _is_behind(self, name: BufferName, revision: int) -> bool:
        """Tell whether somebody waits for a head that is now at a revision which is not pinned up."""
        pinned = self._heads.get(name)
        return name in self._waiting and (pinned is None or pinned.standing.revision < revision)


def _is_newer(new: Standing, old: Standing) -> bool:
    if new.head.uid != old.head.uid:
        return new.head.uid > old.head.uid  # a ULID
    if new.revision and old.revision:
        return new.revision > old.revision
    return (new.head.next_sequence, new.head.version, new.head.next_event) > (
        old.head.next_sequence,
        old.head.version,
        old.head.next_event,
    )
