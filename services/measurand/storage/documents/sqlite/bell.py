"""Wakes those who wait for changes: at once for those of this process, soon for those of others."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Coroutine, Iterable, Iterator

__all__ = ["Bell"]

_LOOK_SECONDS = 0.05


class Bell:
    """Rings by collection.

    Parameters
    ----------
    connection : sqlite3.Connection
        Used for nothing else: its `data_version` changes with the commits of all other connections of all processes.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._rung: dict[str, asyncio.Event] = {}
        self._listeners = 0
        self._version = 0
        self._watch: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def listening(self, collection: str) -> Iterator[Callable[[float], Coroutine[None, None, None]]]:
        """Give a function that waits, at most so many seconds, for a ring since its last call, or since now.

        It may ring without a change, never fail to ring after one.
        """
        if not self._listeners:
            self._version = self._seen()
            self._watch = asyncio.create_task(self._look())
        self._listeners += 1
        rung = self._event(collection)

        async def wait(seconds: float) -> None:
            nonlocal rung
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(rung.wait(), seconds)
            rung = self._event(collection)

        try:
            yield wait
        finally:
            self._listeners -= 1
            if not self._listeners and self._watch is not None:
                self._watch.cancel()

    def ring(self, collections: Iterable[str]) -> None:
        """Wake those who listen for changes of these."""
        for collection in collections:
            rung = self._rung.pop(collection, None)
            if rung is not None:
                rung.set()

    def close(self) -> None:
        """Wake everybody, and look no more."""
        if self._watch is not None:
            self._watch.cancel()
        self.ring(list(self._rung))
        self._connection.close()

    def _event(self, collection: str) -> asyncio.Event:
        return self._rung.setdefault(collection, asyncio.Event())

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            seen = self._seen()
            if seen != self._version:
                self._version = seen
                self.ring(list(self._rung))

    def _seen(self) -> int:
        """Return what changes with each commit. It is a look into shared memory, quick enough for the event loop."""
        try:
            (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        except sqlite3.Error:  # another process recovers the log, which takes a moment; or the store is closed
            return -1
        return int(version)
