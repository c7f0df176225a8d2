"""How many bytes wait to be stored, and waiting until there are fewer."""

from __future__ import annotations

import asyncio
from collections import Counter

__all__ = ["BUFFER_QUEUE_BYTES", "QUEUE_BYTES", "Queues"]

QUEUE_BYTES = 256 * 1024 * 1024
"""The most that may wait in one process, of all buffers."""
BUFFER_QUEUE_BYTES = 64 * 1024 * 1024
"""And of one: a slow store takes it in within the time that a server has for its end."""


class Queues:
    """What waits in this process, of each buffer and together. The first that comes is let in, however large it is.

    Attributes
    ----------
    total : int
        Bytes of all buffers.
    """

    def __init__(self) -> None:
        self._sizes = Counter[str]()
        self._room = asyncio.Event()
        self.total = 0

    def add(self, uid: str, size: int) -> None:
        """Note that so much more waits for the buffer of this uid."""
        self.total += size
        self._sizes[uid] += size

    def take(self, uid: str, size: int) -> None:
        """Note that so much less does."""
        self.total -= size
        self._sizes[uid] -= size
        if not self._sizes[uid]:
            del self._sizes[uid]
        self._room.set()

    def has_room(self, uid: str, size: int) -> bool:
        """Tell whether so much more may wait for a buffer."""
        return all(not queued or queued + size <= most for queued, most in self._bounds(uid))

    async def wait_for_room(self, uid: str) -> None:
        """Return when less waits than may, for this buffer and for all."""
        while any(queued > most for queued, most in self._bounds(uid)):
            self._room.clear()
            await self._room.wait()

    def _bounds(self, uid: str) -> tuple[tuple[int, int], ...]:
        return (self.total, QUEUE_BYTES), (self._sizes[uid], BUFFER_QUEUE_BYTES)
