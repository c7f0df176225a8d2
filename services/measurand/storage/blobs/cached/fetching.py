"""What is fetched of one blob at this moment: each unit once, whoever wants it and however many do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

from measurand.core.blob_rules import closing, short
from measurand.core.ports import Buffer
from measurand.storage.blobs.cached.cuts import Cut, Unit

__all__ = ["Fetching", "Pieces", "Run"]

Pieces = Sequence[Buffer]
"""The bytes of one unit, in order."""

_AHEAD = 2
"""So many units are fetched beyond the one that somebody waits for, and stay at hand."""


class Fetching:
    """The runs over one blob, and the units that are on their way to the shelf.

    Lives as long as somebody reads the blob or keeps a part of it.

    Attributes
    ----------
    is_gone : bool
        The blob was removed: what still comes of it is not kept.
    """

    def __init__(self, key: str) -> None:
        self.key = key
        self.is_gone = False
        self._runs: list[Run] = []
        self.keeping: dict[Unit, Pieces] = {}
        self.tasks: set[asyncio.Task[None]] = set()

    def follow(self, cut: Cut, number: int) -> Run | None:
        """Follow a run that has a unit at hand, or will soon come to it, if there is one."""
        for run in self._runs:
            if run.cut == cut and run.comes_to(number) and number <= run.position + _AHEAD:
                run.followers += 1
                return run
        return None

    def begin(
        self, cut: Cut, numbers: range, chunks: AsyncIterator[Buffer], keep: Callable[[Unit, Pieces], None]
    ) -> Run:
        """Begin a run over these units and follow it."""
        run = Run(self.key, cut, numbers, chunks, keep)
        run.followers = 1
        self._runs.append(run)
        return run

    async def leave(self, run: Run) -> None:
        """Stop following a run; when nobody else does, let go of the inner store."""
        run.followers -= 1
        if not run.followers:
            self._runs.remove(run)  # nobody shall begin to follow what is about to end
            await run.stop()

    def before_others(self, cut: Cut, number: int, last: int) -> int:
        """Return the last unit, from `number` on, before one that another run will come to."""
        begins = [run.position for run in self._runs if run.cut == cut and number < run.position <= last]
        return min(begins) - 1 if begins else last


class Run:
    """One read of the inner store over units that follow each other, at the pace of the fastest who follows it.

    Nobody waits for a slower reader: units that it has not taken in time are on the shelf, or are fetched again.

    Parameters
    ----------
    numbers : range
        The units.
    chunks : async iterator
        Their bytes.
    keep : callable
        Told of each unit that has come.

    Attributes
    ----------
    followers : int
        Those who take units of it. The run goes on as long as there are some.
    position : int
        The unit that comes next.
    """

    def __init__(
        self, key: str, cut: Cut, numbers: range, chunks: AsyncIterator[Buffer], keep: Callable[[Unit, Pieces], None]
    ) -> None:
        self.cut = cut
        self.followers = 0
        self.position = self._wanted = numbers[0]
        self._last = numbers[-1]
        self._key = key
        self._keep = keep
        self._more = asyncio.Event()
        self._ready: dict[int, Pieces] = {}
        self._coming: dict[int, asyncio.Future[Pieces]] = {}
        self._task = asyncio.create_task(self._fetch(chunks), name="fetch units")

    def comes_to(self, number: int) -> bool:
        return number in self._ready or (self.position <= number <= self._last and not self._task.done())

    async def stop(self) -> None:
        """End it, and return when it has let go of the inner store."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def take(self, number: int) -> Pieces | None:
        """Return a unit; None if it has passed, or never comes. Raises what the inner store has raised."""
        if number in self._ready:
            self._want(number)
            return self._ready[number]
        if not self.comes_to(number):
            return None
        coming = self._coming.get(number)
        if coming is None:
            coming = self._coming[number] = asyncio.get_running_loop().create_future()
        self._want(number)
        await asyncio.wait([coming])  # it is not only ours: we may be cancelled, it must not
        return coming.result()

    def _want(self, number: int) -> None:
        self._wanted = max(self._wanted, number + _AHEAD)
        self._more.set()

    async def _fetch(self, chunks: AsyncIterator[Buffer]) -> None:
        try:
            await self._deliver_all(chunks)
        except Exception as error:
            for coming in self._coming.values():
                coming.set_exception(error)
                coming.exception()  # whoever waited may have gone

    async def _deliver_all(self, chunks: AsyncIterator[Buffer]) -> None:
        pieces: list[Buffer] = []
        missing = self.cut.unit(self.position).size
        async with closing(chunks):
            async for chunk in chunks:
                rest = memoryview(chunk)
                while len(rest):
                    pieces.append(chunk if len(chunk) == len(rest) <= missing else rest[:missing])
                    rest = rest[missing:]
                    missing -= len(pieces[-1])
                    if missing:
                        continue
                    self._deliver(pieces)
                    if self.position > self._last:
                        return
                    pieces, missing = [], self.cut.unit(self.position).size
                    while self.position > self._wanted:
                        self._more.clear()
                        await self._more.wait()
        raise short(self._key, self.cut.unit(self._last).end, self.cut.unit(self.position).end - missing)

    def _deliver(self, pieces: Pieces) -> None:
        self._ready[self.position] = pieces
        self._ready.pop(self.position - _AHEAD - 1, None)
        self._keep(self.cut.unit(self.position), pieces)
        coming = self._coming.pop(self.position, None)
        if coming is not None:
            coming.set_result(pieces)
        self.position += 1
