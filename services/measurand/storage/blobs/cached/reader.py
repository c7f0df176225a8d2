"""One read of a blob: its units one after the other, from wherever each of them can be had."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from measurand.core.means import Threads
from measurand.core.ports import Blob, BlobStore
from measurand.storage.blobs.cached.cuts import Cut, Unit
from measurand.storage.blobs.cached.fetching import Fetching, Pieces, Run
from measurand.storage.blobs.cached.shelf import Shelf

__all__ = ["Reader"]

_MOST_UNITS = 64
"""So many are fetched by one read of the inner store."""


class Reader:
    """Takes units from the shelf, from a run of somebody else, or from one that it begins itself; `close` it.

    Parameters
    ----------
    last : int
        The last unit that is wanted.
    keep : callable
        Told of each unit that a run of this reader has fetched.

    Attributes
    ----------
    hit_bytes : int
        What has come from the shelf.
    """

    def __init__(
        self,
        source: BlobStore,
        blob: Blob,
        cut: Cut,
        last: int,
        fetching: Fetching,
        shelf: Shelf,
        in_thread: Threads,
        keep: Callable[[Fetching, Unit, Pieces], None],
    ) -> None:
        self._source = source
        self._blob = blob
        self._cut = cut
        self._last = last
        self._fetching = fetching
        self._shelf = shelf
        self._in_thread = in_thread
        self._keep = keep
        self.hit_bytes = 0
        self._run: Run | None = None
        self._ahead: asyncio.Future[memoryview | None] | None = None

    async def take(self, number: int) -> Pieces:
        """Return a unit; they are taken in order."""
        if self._run is not None:
            pieces = await self._run.take(number)
            if pieces is not None:
                return pieces
            await self._leave()
        pieces = await self._kept(number)
        if pieces is not None:
            return pieces
        self._run = self._fetching.follow(self._cut, number)
        if self._run is None:
            last = await self._last_missing(number)
            pieces = await self._kept(number) if self._is_kept(number) else None  # somebody has fetched it meanwhile
            if pieces is not None:
                return pieces
            self._run = self._fetching.follow(self._cut, number) or self._begin(number, last)
        pieces = await self._run.take(number)
        assert pieces is not None, "a run that was followed comes to what it was followed for"
        return pieces

    async def close(self) -> None:
        """Let go of everything."""
        if self._ahead is not None and not self._ahead.cancel() and not self._ahead.cancelled():
            self._ahead.exception()  # looked at, so that asyncio does not report what nobody waits for any more
        await self._leave()

    async def _leave(self) -> None:
        if self._run is not None:
            run, self._run = self._run, None
            await self._fetching.leave(run)

    async def _kept(self, number: int) -> Pieces | None:
        """Return a unit that is on the shelf, or on its way there, and begin to read the next."""
        ahead, self._ahead = self._ahead, None
        if ahead is None:
            pieces = self._fetching.keeping.get(self._cut.unit(number))
            if pieces is not None:
                return pieces
            ahead = self._read(number)
        found = await ahead
        if found is None:
            return None
        self.hit_bytes += len(found)
        if number < self._last:
            self._ahead = self._read(number + 1)
        return [found]

    def _read(self, number: int) -> asyncio.Future[memoryview | None]:
        unit = self._cut.unit(number)
        return asyncio.ensure_future(self._in_thread(self._shelf.read, self._blob.key, unit))

    def _is_kept(self, number: int) -> bool:
        """Tell whether a unit can be had now; the system has just been asked for it and knows without the disk."""
        unit = self._cut.unit(number)
        return unit in self._fetching.keeping or not self._shelf.missing(self._blob.key, [unit])

    async def _last_missing(self, number: int) -> int:
        """Return the last unit before one that is on the shelf, from this one on, which is not."""
        units = [self._cut.unit(next_one) for next_one in range(number + 1, min(self._last + 1, number + _MOST_UNITS))]
        return number + (await self._in_thread(self._shelf.missing, self._blob.key, units) if units else 0)

    def _begin(self, number: int, last: int) -> Run:
        """Begin a run from one unit up to another, or to one that somebody else's run will come to."""
        last = self._fetching.before_others(self._cut, number, last)
        begin, end = self._cut.unit(number).begin, self._cut.unit(last).end

        def keep(unit: Unit, pieces: Pieces) -> None:
            self._keep(self._fetching, unit, pieces)

        chunks = self._source.open(self._blob, begin, end - begin)
        return self._fetching.begin(self._cut, range(number, last + 1), chunks, keep)
