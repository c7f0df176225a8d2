"""Waits that end when the server goes away, so that they do not hold it up."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

from measurand.wire.errors import ShuttingDown

__all__ = ["unless_leaving"]

Result = TypeVar("Result")


async def unless_leaving(wait: Coroutine[None, None, Result], leaving: asyncio.Event | None) -> Result:
    """Return what comes of a wait that changes nothing; it is cancelled as soon as the event is set.

    Raises
    ------
    ShuttingDown
        SHUTTING_DOWN: the event was set first.
    """
    waiting = asyncio.ensure_future(wait)
    going = asyncio.ensure_future((leaving or asyncio.Event()).wait())
    try:
        await asyncio.wait((waiting, going), return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            return waiting.result()
        raise ShuttingDown("the server is going away; try again, another will answer", retry_seconds=0.2)
    finally:
        waiting.cancel()
        going.cancel()
        await asyncio.gather(waiting, going, return_exceptions=True)
