"""Reading every part once in a while, so that damage is found while it can be repaired."""

from __future__ import annotations

from dataclasses import replace

from measurand.core.containers.healing.looking import Looking
from measurand.core.containers.healing.pacing import Pace
from measurand.core.containers.healing.wanted import Wanted, want_of
from measurand.core.containers.placements import PLACEMENTS, Placement, Placements, placement_of
from measurand.core.filters.tree import Compare
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.ports import DocumentStore, Order, Position
from measurand.core.times import microseconds
from measurand.core.view import Scalar

__all__ = ["Scrubbing"]

PAGE = 100
LEAST_RATE = 4e6
"""Bytes a second, where there is little to read."""
AHEAD = 2.0
"""It reads faster than it must by this, and begins with a part when half of its time is over."""
AGAIN_SECONDS = 6 * 3600.0
"""What was not whole, or could not be reached, is left to those who repair for so long."""
REMEMBERED = 100_000


class Scrubbing:
    """Reads parts, those first that were not looked at for longest.

    Parameters
    ----------
    most_rate : Pace
        However much is due, it goes no faster than this lets it.
    """

    def __init__(
        self,
        documents: DocumentStore,
        placements: Placements,
        looking: Looking,
        wanted: Wanted,
        means: Means,
        limits: Limits,
        *,
        most_rate: Pace,
    ) -> None:
        self._documents = documents
        self._placements = placements
        self._looking = looking
        self._wanted = wanted
        self._means = means
        self._interval = limits.scrub_interval
        self._most_rate = most_rate
        self._rate = LEAST_RATE
        self._pace = Pace(lambda: self._rate, means)
        self._tried: dict[str, float] = {}
        self.checked_bytes = 0
        """So many this process has read."""
        self.bad_parts = 0
        """So many it has found damaged or missing."""
        self.oldest_seconds = 0.0
        """How long ago the part was looked at that was not looked at for longest."""

    async def run_once(self) -> int:
        """Read what is due, and return how many blobs were looked at."""
        if not self._interval:
            return 0
        total = await self._documents.total(PLACEMENTS, "part_bytes")
        if not total.count:
            return 0
        self._rate = max(AHEAD * total.total / self._interval.total_seconds(), LEAST_RATE)
        due = self._means.now() - self._interval / AHEAD
        where = Compare("verified", "<", Scalar("t", microseconds(due)))  # which staged blobs do not have
        after: Position | None = None
        looked = 0
        while page := await self._documents.find(
            PLACEMENTS, where=where, order=(Order("verified"),), after=after, limit=PAGE
        ):
            if after is None:
                self._see_oldest(placement_of(page[0].document))
            for item in page:
                looked += await self._scrub(placement_of(item.document))
            after = page[-1].position
        if after is None:
            self.oldest_seconds = 0.0
        return looked

    async def _scrub(self, placement: Placement) -> bool:
        now = self._means.monotonic()
        if now - self._tried.get(placement.blob, float("-inf")) < AGAIN_SECONDS:
            return False
        await self._pace.take(placement.stored_bytes)
        await self._most_rate.take(placement.stored_bytes)
        seen = await self._looking.look(placement, verify_bytes=True)
        self.checked_bytes += placement.stored_bytes
        if not seen.bad:
            self._tried.pop(placement.blob, None)
            await self._placements.replace(replace(placement, verified=self._means.now()))
            return True
        found = await self._placements.fetch(placement.blob, fresh=True)
        if found is None or found.revision != placement.revision:
            return False  # parts were moved beneath the look
        if len(self._tried) >= REMEMBERED:
            self._tried.clear()
        self._tried[placement.blob] = now
        if seen.gone:
            self.bad_parts += len(seen.gone)
            gone = {index: seen.bad[index] for index in seen.gone}
            await self._wanted.ask([want_of(placement, gone, self._means.now())])
        return True

    def _see_oldest(self, placement: Placement) -> None:
        age = self._means.now() - (placement.verified or placement.modified_time)
        self.oldest_seconds = max(age.total_seconds(), 0.0)
