"""The staged writes that callers of a blob service have begun: theirs across many calls, until they say otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from measurand.core.ports import BlobStore, Buffer, Stage
from measurand.wire.errors import OffsetGap, Unavailable

__all__ = ["Stages"]

IDLE_SECONDS = 24 * 3600.0
"""A write on which nothing has come for so long is let go: its writer is gone, as an upload would be."""
OVER_SECONDS = 60.0
"""The same for one that was finished or discarded."""
SWEEP_SECONDS = 10.0


class _Open:
    """One write."""

    def __init__(self, key: str, stage: Stage) -> None:
        self.key = key
        self.stage = stage
        self.used = 0.0
        self.is_over = False
        self._turn = asyncio.Lock()
        self._size = 0
        self._sequence = 0

    async def append(self, sequence: int, offset: int, data: Buffer) -> None:
        async with self._turn:
            if sequence == self._sequence:  # sent again, as the answer was lost
                return
            if (sequence, offset) != (self._sequence + 1, self._size):
                raise OffsetGap(
                    f"{self.key}: message {self._sequence + 1} at {self._size} is next, and not {sequence} at {offset}",
                    expected_offset=self._size,
                    offset=offset,
                )
            await self.stage.append([data])
            self._sequence, self._size = sequence, self._size + len(data)


class Stages:
    """All of them, by the ids that their writers have chosen."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._open: dict[str, asyncio.Task[_Open]] = {}
        self._swept = monotonic()

    async def begin(self, store: BlobStore, key: str, stage_id: str) -> None:
        """Begin a write, or find that this caller has begun it."""
        await self._sweep()
        task = self._open.get(stage_id)
        if task is None:
            task = self._open[stage_id] = asyncio.ensure_future(self._begin(store, key))
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            raise
        except BaseException:
            self._open.pop(stage_id, None)
            raise

    async def append(self, stage_id: str, sequence: int, offset: int, data: Buffer) -> None:
        """Append, to the end even if nobody waits for it any longer."""
        await asyncio.shield(asyncio.ensure_future((await self._find(stage_id)).append(sequence, offset, data)))

    async def persist(self, stage_id: str, *, whole: bool) -> int:
        """Return how many bytes are durable."""
        return await (await self._find(stage_id)).stage.persist(whole=whole)

    async def close(self, stage_id: str) -> None:
        """Let go of a write. One that is gone already is no matter."""
        task = self._open.pop(stage_id, None)
        if task is not None:
            await _let_go(task)

    def over(self, key: str) -> None:
        """Note that nobody should write to the blob of this key any more."""
        for task in self._open.values():
            if _is_begun(task) and task.result().key == key:
                task.result().is_over = True

    async def close_all(self) -> None:
        """Let go of all of them."""
        for stage_id in list(self._open):
            await self.close(stage_id)

    async def _begin(self, store: BlobStore, key: str) -> _Open:
        found = _Open(key, await store.stage(key))
        found.used = self._monotonic()
        return found

    async def _find(self, stage_id: str) -> _Open:
        task = self._open.get(stage_id)
        if task is None or not _is_begun(task):
            raise Unavailable(
                "this write is not open here; the container was started anew, or nothing was written for a day. Write "
                "what was not persisted anew"
            )
        found = task.result()
        found.used = self._monotonic()
        return found

    async def _sweep(self) -> None:
        now = self._monotonic()
        if now - self._swept < SWEEP_SECONDS:
            return
        self._swept = now
        for stage_id, task in list(self._open.items()):
            if _is_begun(task):
                found = task.result()
                if now - found.used > (OVER_SECONDS if found.is_over else IDLE_SECONDS):
                    await self.close(stage_id)


def _is_begun(task: asyncio.Task[_Open]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


async def _let_go(task: asyncio.Task[_Open]) -> None:
    await asyncio.wait((task,))
    if _is_begun(task):
        await task.result().stage.close()
