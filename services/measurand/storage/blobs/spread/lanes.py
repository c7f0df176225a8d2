"""One part of a staged blob: what is appended to it, one frame after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from measurand.core.containers.placements import Part
from measurand.core.ports import BlobStore, Buffer, Stage
from measurand.storage.blobs.spread.calling import Calling
from measurand.wire.errors import MeasurandError

__all__ = ["Lane"]

Result = TypeVar("Result")


class Lane:
    """The staged part in one container. Once something has failed it does nothing more, and `error` tells why.

    Parameters
    ----------
    can_wait : callable
        As for `Calling.written`.
    """

    def __init__(self, part: Part, calling: Calling, *, can_wait: Callable[[], bool]) -> None:
        self.part = part
        self.error: MeasurandError | None = None
        self.fault: Exception | None = None
        """What nobody has foreseen."""
        self._calling = calling
        self._can_wait = can_wait
        self._stage: Stage | None = None
        self._last: asyncio.Task[None] | None = None
        self.is_finished = False

    async def begin(self) -> None:
        """Begin the part."""
        self._stage = await self._tried(0, lambda store: store.stage(self.part.key))

    def send(self, chunks: Sequence[Buffer]) -> asyncio.Task[None]:
        """Append these bytes behind what was sent before."""
        self._last = asyncio.ensure_future(self._append(self._last, chunks))
        return self._last

    async def drained(self) -> None:
        """Return when what was sent so far is appended, or the lane has failed."""
        if self._last is not None:
            await asyncio.wait((self._last,))
        if self.fault is not None:
            raise self.fault

    async def persist(self, *, whole: bool) -> int:
        """Return how many bytes of the part are durable."""
        stage = self._stage
        if stage is None or self.error is not None:
            return 0
        return await self._tried(0, lambda _: stage.persist(whole=whole)) or 0

    async def finish(self, size: int) -> None:
        """Make a finished blob of it, which has so many bytes; once."""
        if not self.is_finished:
            await self.drained()
            await self.persist(whole=True)
            await self._tried(0, lambda store: store.finish(self.part.key, size))
            self.is_finished = self.error is None

    async def close(self) -> None:
        """Let go of it."""
        if self._last is not None:
            self._calling.errands.give_up((self._last,))
        stage, self._stage = self._stage, None
        if stage is not None:
            await stage.close()

    async def _append(self, before: asyncio.Task[None] | None, chunks: Sequence[Buffer]) -> None:
        if before is not None:
            await before
        stage = self._stage
        if stage is None or self.fault is not None:
            return
        try:
            await self._tried(sum(map(len, chunks)), lambda _: stage.append(chunks))
        except Exception as fault:  # raised where somebody waits for the lane
            self.fault = fault

    async def _tried(self, size: int, work: Callable[[BlobStore], Coroutine[Any, Any, Result]]) -> Result | None:
        if self.error is not None:
            return None
        try:
            return await self._calling.in_time(self.part.container, "write", size, work, can_wait=self._can_wait)
        except MeasurandError as error:
            self.error = error
            return None
