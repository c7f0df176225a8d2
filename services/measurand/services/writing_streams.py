"""What the streams of all writers share: waiting for the caller, for the writer's end, and for the server's."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

import grpc.aio

__all__ = ["Ending", "next_message"]


class Ending(Protocol):
    """A writer that may end before its caller does."""

    @property
    def ending(self) -> asyncio.Future[None]:
        """Done when the writer has ended."""
        ...

    def raise_failure(self) -> None:
        """Raise what has stopped it, if something has."""
        ...


async def next_message(
    context: grpc.aio.ServicerContext[Any, Any], writer: Ending, stop: asyncio.Future[Any]
) -> Any | None:
    """Return the caller's next message, or `grpc.aio.EOF`; None when the server goes away first.

    Raises
    ------
    MeasurandError
        What has stopped the writer.
    """
    if stop.done():
        return None
    following = asyncio.ensure_future(context.read())
    if not following.done():
        await asyncio.wait((following, stop, writer.ending), return_when=asyncio.FIRST_COMPLETED)
    if not following.done():
        following.cancel()
        writer.raise_failure()
        return None
    return following.result()
