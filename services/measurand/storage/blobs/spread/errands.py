"""What goes on when nobody waits for it any more: calls that were given up, parts that are to be removed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Iterable
from contextlib import suppress
from typing import Any

from measurand.wire.errors import MeasurandError

__all__ = ["Errands"]

_WAIT_SECONDS = 1.0


class Errands:
    """Holds tasks until they end; what they come to is of no interest."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def run(self, work: Awaitable[object]) -> None:
        """Let it go on beside."""
        self.let_go_on(asyncio.ensure_future(_ignoring(work)))

    def give_up(self, calls: Iterable[asyncio.Task[Any]]) -> None:
        """Cancel calls, and let them come to their end."""
        for call in calls:
            if not call.done():
                call.cancel()
                self.let_go_on(call)
            elif not call.cancelled():
                call.exception()  # looked at, so that asyncio does not report what nobody waits for any more

    def let_go_on(self, call: asyncio.Task[Any]) -> None:
        """Hold a task whose end nobody waits for."""
        self._tasks.add(call)
        call.add_done_callback(self._ended)

    async def all_of(self, works: Iterable[Coroutine[Any, Any, object]]) -> None:
        """Do all of it, and wait for what is quick; the rest goes on beside."""
        tasks = [asyncio.ensure_future(_ignoring(work)) for work in works]
        for task in tasks:
            self.let_go_on(task)
        if tasks:
            await asyncio.wait(tasks, timeout=_WAIT_SECONDS)

    def _ended(self, call: asyncio.Task[Any]) -> None:
        self._tasks.discard(call)
        if not call.cancelled():
            call.exception()

    async def close(self) -> None:
        """Give up what is left."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _ignoring(work: Awaitable[object]) -> None:
    with suppress(MeasurandError, TimeoutError, asyncio.CancelledError):
        await work
