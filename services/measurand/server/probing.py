"""Do the stores answer? Asked now and then, so that a load balancer sends calls to servers that can answer them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from measurand.core.ports import BlobStore, DocumentStore
from measurand.wire.errors import MeasurandError, NotFound

__all__ = ["Probe"]

logger = logging.getLogger(__name__)

_NO_BLOB = "probe/none"
_PATIENCE_SECONDS = 3.0
"""A store that takes longer to say so little is of no use now, whatever patience a call may have with it."""


class Probe:
    """Asks both stores for something small.

    Parameters
    ----------
    shortage : callable
        Says which containers are missing of those that new blobs need; empty: none.
    """

    def __init__(self, documents: DocumentStore, blobs: BlobStore, *, shortage: Callable[[], str] = lambda: "") -> None:
        self._documents = documents
        self._blobs = blobs
        self._shortage = shortage
        self.is_well = True

    async def run(self) -> bool:
        """Ask, and tell whether both have answered and there are containers enough."""
        faults = [*await asyncio.gather(_in_time(self._ask_documents()), _in_time(self._ask_blobs())), self._shortage()]
        self.is_well = not any(faults)
        for fault in filter(None, faults):
            logger.warning("event=store_away message=%s", fault)
        return self.is_well

    async def _ask_documents(self) -> str:
        try:
            await self._documents.fetch("deployments", "deployment")
        except MeasurandError as error:
            return str(error)
        return ""

    async def _ask_blobs(self) -> str:
        try:
            await self._blobs.stat(_NO_BLOB)
        except NotFound:
            return ""
        except MeasurandError as error:
            return str(error)
        return ""


async def _in_time(asked: Awaitable[str]) -> str:
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            return await asked
    except TimeoutError:
        return f"a store has not answered within {_PATIENCE_SECONDS:g} s"
