"""Reading a blob: run by run, a few of them ahead of the reader."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from measurand.core.blob_rules import closing
from measurand.core.containers.placements import Placement, Placements
from measurand.core.containers.ports import Coder, Tell
from measurand.core.means import Means
from measurand.core.ports import Buffer
from measurand.storage.blobs.spread.calling import Calling
from measurand.storage.blobs.spread.fetching import Fetch
from measurand.storage.blobs.spread.hedging import Allowance
from measurand.storage.blobs.spread.runs import runs_of
from measurand.storage.blobs.spread.sources import Replaced, Source

__all__ = ["Reading"]

_AHEAD_UNITS = 12
"""So many data pieces are on their way for one reader, but at least two runs and at most four."""


class Reading:
    """Reads blobs from as many of their parts as it takes.

    Parameters
    ----------
    tell : Tell
        Hears of parts that are missing or damaged.
    """

    def __init__(self, calling: Calling, placements: Placements, coder: Coder, means: Means, tell: Tell) -> None:
        self._calling = calling
        self._placements = placements
        self._coder = coder
        self._means = means
        self._tell = tell
        self._allowance = Allowance()
        self._turn = 0

    async def read(self, placement: Placement, offset: int, length: int) -> AsyncIterator[Buffer]:
        """Yield bytes of a blob that lie within it.

        Raises
        ------
        NotFound, ContainersUnavailable, DataLoss
            It was removed, too many of its containers are down, or too many of its parts are gone or damaged.
        """
        self._turn += 1
        end = offset + length
        while True:
            try:
                async with closing(self._read(placement, offset, end - offset)) as chunks:
                    async for chunk in chunks:
                        yield chunk
                        offset += len(chunk)
            except Replaced as replaced:
                placement = replaced.placement
            else:
                return

    async def _read(self, placement: Placement, offset: int, length: int) -> AsyncIterator[Buffer]:
        source = Source(placement, self._placements, turn=self._turn)
        runs = runs_of(placement, offset, length)
        most = min(max(_AHEAD_UNITS // placement.data_parts, 2), 4)
        ahead: deque[asyncio.Task[list[Buffer]]] = deque()
        try:
            while True:
                while len(ahead) < most and (run := next(runs, None)) is not None:
                    fetch = Fetch(run, source, self._calling, self._coder, self._allowance, self._means, self._tell)
                    ahead.append(asyncio.ensure_future(fetch.bytes()))
                if not ahead:
                    return
                for chunk in await ahead[0]:
                    yield chunk
                del ahead[0]
        finally:
            self._calling.errands.give_up(ahead)
