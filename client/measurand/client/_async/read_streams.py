"""Many files on their way down: one stream after the other, until each has its result."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import aclosing
from typing import Protocol, Self

from measurand.client import methods, retries
from measurand.client._async.calls import AsyncCalls
from measurand.v1 import files_pb2
from measurand.wire.errors import MeasurandError, Unavailable

__all__ = ["NAMES_A_STREAM", "STREAMED", "AsyncSink", "read_streams"]

STREAMED = 8 << 20
"""Files up to this size come by the one stream; larger ones by themselves, so that they can be resumed."""
NAMES_A_STREAM = 5000


class AsyncSink(Protocol):
    """Takes what one stream brings. When its block ends all of that is settled, and nothing half is left."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *_: object) -> None: ...

    async def take(self, frames: Sequence[files_pb2.FileFrame], data: memoryview) -> None:
        """Take a message."""
        ...


async def read_streams(
    calls: AsyncCalls,
    dataset: str,
    left: Collection[str],
    open_sink: Callable[[], AsyncSink],
    *,
    max_file_bytes: int = 0,
) -> None:
    """Ask for the files that are left, which the sinks make fewer with every result, until none is.

    Parameters
    ----------
    max_file_bytes : int
        Larger ones have the result TOO_LARGE; 0: any size.
    """
    transport = await calls.transport()
    tries = calls.tries()
    while left:
        request = files_pb2.ReadFilesRequest(names=left, max_file_bytes=max_file_bytes)
        has_ended = False
        try:
            async with open_sink() as sink, aclosing(transport.stream(methods.READ_FILES, request)) as answers:
                async for head, data in answers:
                    tries.progress()
                    await sink.take(head.frames, memoryview(data))
                    has_ended |= head.HasField("summary")
            if not has_ended:
                raise Unavailable(f"{dataset}: the stream ended before all files had come", transport="OK")
        except MeasurandError as error:
            if not retries.may_reopen(error):
                raise
            await calls.pause(tries, error)
