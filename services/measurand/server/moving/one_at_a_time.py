"""Only one command of a kind works on a store at a time, wherever it was started."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from measurand.core.leases import Lease
from measurand.core.means import Means
from measurand.core.ports import DocumentStore
from measurand.wire.errors import Busy, MeasurandError

__all__ = ["alone"]

SECONDS = 10.0
"""A command that was killed is waited for this long."""


@asynccontextmanager
async def alone(documents: DocumentStore, means: Means, name: str) -> AsyncIterator[Lease]:
    """Hold the lease of this name for the time of the block.

    Raises
    ------
    Busy
        SERVER_BUSY: another one holds it, and goes on doing so.
    """
    lease = Lease(documents, means, name=name, owner=secrets.token_hex(8), seconds=SECONDS)
    end = means.monotonic() + 2 * SECONDS
    while not await lease.try_hold():
        if means.monotonic() > end:
            raise Busy(f"another {name} of this store is running; wait for its end", retry_seconds=60.0)
        await asyncio.sleep(SECONDS / 20)
    renewing = asyncio.create_task(_renew(lease), name=f"lease {name}")
    try:
        yield lease
    finally:
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)
        with suppress(MeasurandError):
            await lease.release()


async def _renew(lease: Lease) -> None:
    while True:
        await asyncio.sleep(SECONDS / 4)
        with suppress(MeasurandError):  # the next try may come in time
            await lease.try_hold()
