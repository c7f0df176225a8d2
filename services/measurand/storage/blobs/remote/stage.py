"""A staged write in another process, message by message; each is asked for again if its answer is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

from measurand.core.ports import Buffer
from measurand.storage.blobs.remote.calls import Calls
from measurand.storage.blobs.remote.pieces import pieces
from measurand.v1 import blobs_pb2
from measurand.wire.codec import pack
from measurand.wire.errors import MeasurandError, Unavailable

__all__ = ["RemoteStage"]

CLOSE_SECONDS = 2.0


class RemoteStage:
    """One write of this process.

    An append that is cancelled goes on beside, so it is whole before the next begins. One that has failed leaves open
    how much of it arrived: nothing more can be appended then.
    """

    def __init__(self, stage_id: str, calls: Calls, *, crc32c: Callable[[Buffer, int], int]) -> None:
        self._stage_id = stage_id
        self._calls = calls
        self._crc32c = crc32c
        self._turn = asyncio.Lock()
        self._running: set[asyncio.Task[None]] = set()
        self._size = 0
        self._sequence = 0
        self._failed: MeasurandError | None = None

    async def append(self, chunks: Sequence[Buffer]) -> None:
        task = asyncio.ensure_future(self._append(chunks))
        self._running.add(task)
        task.add_done_callback(self._ended)
        await asyncio.shield(task)

    async def persist(self, *, whole: bool = True) -> int:
        size = self._size  # as of the call
        request = blobs_pb2.PersistStagedBlobRequest(stage_id=self._stage_id, whole=whole)
        answer = await self._calls.unary(self._calls.stub.PersistStagedBlob, request)
        persisted: int = answer.persisted_size
        return min(size, persisted)

    async def close(self) -> None:
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)
        request = blobs_pb2.CloseStagedBlobRequest(stage_id=self._stage_id)
        with suppress(MeasurandError):  # it lets go by itself later
            await self._calls.once(self._calls.stub.CloseStagedBlob, request, seconds=CLOSE_SECONDS)

    async def _append(self, chunks: Sequence[Buffer]) -> None:
        async with self._turn:
            for piece in pieces(chunks):
                if self._failed is not None:
                    raise Unavailable(
                        f"{self._calls.target}: an append has failed before; write it anew", store=self._calls.target
                    ) from self._failed
                await self._send(piece)

    async def _send(self, piece: Buffer) -> None:
        head = blobs_pb2.AppendStagedBlobRequest(
            stage_id=self._stage_id,
            sequence=self._sequence + 1,
            offset=self._size,
            crc32c=self._crc32c(piece, 0),
        )
        try:
            await self._calls.unary(self._calls.stub.AppendStagedBlob, pack(head, piece))
        except MeasurandError as error:
            self._failed = error
            raise
        self._sequence += 1
        self._size += len(piece)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # looked at, so that asyncio does not report what nobody waits for any more
