"""Keeping heads small beside the commits: one at a time for each buffer is relieved of what it grows too large with."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from measurand.core.buffers.heads import Head
from measurand.core.buffers.remembering import Moved, Remembering, surplus, without
from measurand.core.means import Means
from measurand.wire.errors import MeasurandError

__all__ = ["Tidying"]

MOST_HELD = 20_000
"""No more ids stay in a head while those before them are being moved out of it."""
MOST_MOVED = 256


class Tidying:
    """Moves what is too much out of heads, and knows what the next ones are to leave out."""

    def __init__(self, remembering: Remembering, means: Means) -> None:
        self._remembering = remembering
        self._means = means
        self._moved: OrderedDict[str, Moved] = OrderedDict()
        self._moving: dict[str, asyncio.Task[None]] = {}

    def begin(self, head: Head) -> None:
        """Begin to move out of a head that was stored what is too much in it; unless that is going on already."""
        if head.uid in self._moving:
            return
        moved = surplus(head, self._means.now())
        if moved:
            self._moving[head.uid] = asyncio.create_task(self._move(head, moved), name=f"surplus of {head.name}")

    def left_out(self, head: Head) -> Head:
        """Return the head without what was moved out of an earlier one; the very same if there is nothing of it."""
        moved = self._moved.get(head.uid)
        return head if moved is None else without(head, moved)

    async def wait_for(self, head: Head) -> None:
        """Return when a head may grow."""
        moving = self._moving.get(head.uid)
        if moving is not None and len(head.ids) + len(head.requests) > MOST_HELD:
            await asyncio.wait([moving])

    async def close(self) -> None:
        """Return when nothing is being moved."""
        while self._moving:
            await asyncio.wait(list(self._moving.values()))

    async def _move(self, head: Head, moved: Moved) -> None:
        try:
            await self._remembering.move(head, moved)
        except MeasurandError:
            return  # it stays where it is, and the next commit tries again
        finally:
            del self._moving[head.uid]
        self._moved[head.uid] = moved
        self._moved.move_to_end(head.uid)
        while len(self._moved) > MOST_MOVED:
            self._moved.popitem(last=False)
