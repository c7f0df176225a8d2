"""Parts on their way to the store: a few at once, each kept in memory until it is durable."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from measurand.core.ports import Buffer

__all__ = ["Parts"]

_AT_ONCE = 3
"""More gain little (a store has few disks) and cost memory in every writer."""


class Parts:
    """Uploads parts in the background, by their numbers.

    A part that could not be uploaded stays here, and is tried again whenever somebody waits for it.

    Parameters
    ----------
    upload : callable
        Uploads one, and returns when it is durable.
    """

    def __init__(self, upload: Callable[[int, Sequence[Buffer]], Awaitable[None]]) -> None:
        self._upload = upload
        self._begun = self._told = 0
        self._held: dict[int, Sequence[Buffer]] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def begin(self, number: int, chunks: Sequence[Buffer]) -> None:
        """Begin to upload a part; its bytes must not change any more."""
        self._held[number] = chunks
        self._begun = number
        self._start(number)

    async def room(self) -> None:
        """Return when there is room for one more. Raises what has failed, if it fails again."""
        while len(self._held) >= _AT_ONCE:
            failed = [number for number in self._held if self._tasks[number].done()]
            if failed:
                await self.settle(failed[0])
            else:
                await asyncio.wait(self._tasks.values(), return_when=asyncio.FIRST_COMPLETED)
                await asyncio.sleep(0)  # for what is done when a task is

    async def settle(self, last: int) -> None:
        """Return when all parts up to this number are durable. Raises what has failed, if it fails again."""
        waiting = [number for number in self._held if number <= last]
        for number in waiting:
            if self._tasks[number].done():
                self._start(number)
        tasks = [self._tasks[number] for number in waiting]
        if tasks:
            await asyncio.wait(tasks)
        for task in tasks:
            task.result()

    async def first(self) -> int:
        """Return how many parts from the first on are durable, when they are more than at the last time or all.

        Raises what has failed, if it fails again.
        """
        if self._durable == self._told and self._held:
            await self.settle(min(self._held))
        self._told = self._durable
        return self._told

    @property
    def _durable(self) -> int:
        return min(self._held) - 1 if self._held else self._begun

    async def drain(self) -> None:
        """Return when nothing is on its way any more, however it ended."""
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def close(self) -> None:
        """Forget all parts; what is on its way may still arrive."""
        tasks = list(self._tasks.values())
        self._held.clear()
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, number: int) -> None:
        task = asyncio.create_task(self._run(number), name=f"part {number}")
        self._tasks[number] = task
        task.add_done_callback(_look_at)

    async def _run(self, number: int) -> None:
        await self._upload(number, self._held[number])
        self._held.pop(number, None)
        self._tasks.pop(number, None)


def _look_at(task: asyncio.Task[None]) -> None:
    """Ask for what has failed, so that asyncio does not report it: whoever waits for the part is told."""
    if not task.cancelled():
        task.exception()
