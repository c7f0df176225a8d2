"""Repairs that nobody asked for: of what readers told, what was never whole, and containers that do not come back.

One server of a fleet does this for all. A container that is down is left in peace for a while, since most come back;
one that comes back meanwhile keeps its parts, and those that were made anew elsewhere are garbage in it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Iterable, Mapping

from measurand.core.containers.healing.looking import Looking
from measurand.core.containers.healing.mending import Mending
from measurand.core.containers.healing.wanted import WANTED, Wanted, want_of
from measurand.core.containers.placements import PLACEMENTS, Part, Placement, Placements, placement_of
from measurand.core.containers.ports import Health
from measurand.core.containers.sites import Sites
from measurand.core.filters.tree import Compare
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.ports import DocumentStore, Position
from measurand.core.view import Scalar

__all__ = ["Automatic", "Told"]

logger = logging.getLogger(__name__)

PAGE = 500
AT_ONCE = 4
MOST_TOLD = 10_000
WALK_SECONDS = 3600.0
FIND_SECONDS = 5.0
LOOK_AGAIN_SECONDS = 60.0
"""A container that is still not there is looked at so often, for what could not be repaired the last time."""


class Told:
    """What readers of this process found wrong. A `Tell`, which neither waits nor fails."""

    def __init__(self, wanted: Wanted, means: Means) -> None:
        self._wanted = wanted
        self._means = means
        self._told: OrderedDict[str, tuple[Placement, dict[int, Health]]] = OrderedDict()
        self.heard = 0
        """How often readers found a part missing or damaged."""

    def __call__(self, placement: Placement, index: int, health: Health) -> None:
        """Take that a part was found so."""
        self.heard += 1
        _, bad = self._told.setdefault(placement.blob, (placement, {}))
        bad[index] = health
        if len(self._told) > MOST_TOLD:
            self._told.popitem(last=False)  # whoever reads it next tells it again, and so does the next scrub

    async def pass_on(self) -> None:
        """Ask for the repairs."""
        if not self._told:
            return
        told, self._told = self._told, OrderedDict()
        now = self._means.now()
        try:
            await self._wanted.ask([want_of(placement, bad, now) for placement, bad in told.values()])
        except BaseException:
            self._told = OrderedDict({**told, **self._told})
            raise


class Automatic:
    """Finds what is to be repaired, and repairs it."""

    def __init__(
        self,
        documents: DocumentStore,
        placements: Placements,
        sites: Sites,
        looking: Looking,
        mending: Mending,
        wanted: Wanted,
        means: Means,
        limits: Limits,
    ) -> None:
        self._documents = documents
        self._placements = placements
        self._sites = sites
        self._looking = looking
        self._mending = mending
        self._wanted = wanted
        self._means = means
        self._patience = limits.repair_delay.total_seconds()
        self._known: Mapping[str, str] = {}
        self._looked: dict[str, float] = {}
        self._walked = float("-inf")

    async def run_once(self) -> int:
        """Look what is to be repaired, repair it, most endangered first, and return how many parts were made anew."""
        if self._sites.is_empty and not self._known and not await self._documents.count(WANTED, most=1):
            return 0
        await self.find()
        repaired, found = 0, self._means.monotonic()
        while wants := await self._wanted.take(AT_ONCE):
            outcomes = await asyncio.gather(
                *(self._mending.wanted(want, patience_seconds=self._patience) for want in wants)
            )
            repaired += sum(mended.parts for mended in outcomes)
            if self._means.monotonic() - found >= FIND_SECONDS:  # another container may be gone, which makes it worse
                await self.find()
                await self._wanted.count()
                found = self._means.monotonic()
        await self._wanted.count()
        return repaired

    async def find(self) -> None:
        """Put on the list what is evidently not whole."""
        now = self._means.monotonic()
        await self._find_missing()
        if now - self._walked >= WALK_SECONDS:  # also what was removed while this process was not there
            self._known = self._uids()
            await self._walk("")
            self._walked = now
            return
        known, self._known = self._known, self._uids()
        gone = [name for name, uid in known.items() if self._known.get(name) != uid]
        away = [name for name in self._known if self._looking.is_away(name, self._patience)]
        for name in gone:
            logger.warning("event=container_removed container=%s", name)
            await self._walk(name, was_removed=True)
        for name in away:
            if now - self._looked.get(name, float("-inf")) >= LOOK_AGAIN_SECONDS:
                self._looked[name] = now
                await self._walk(name)
        self._looked = {name: at for name, at in self._looked.items() if name in away}

    def _uids(self) -> Mapping[str, str]:
        return {name: site.container.uid for name, site in self._sites.all.items()}

    async def _find_missing(self) -> None:
        never_whole = Compare("missing", ">", Scalar("n", 0))
        after: Position | None = None
        while page := await self._documents.find(PLACEMENTS, where=never_whole, after=after, limit=PAGE):
            await self._ask(placement_of(item.document) for item in page)
            after = page[-1].position

    async def _walk(self, container: str, *, was_removed: bool = False) -> None:
        """Ask for the repair of all that is evidently not whole, of all blobs or of those with a part somewhere."""
        after = ""
        while page := await self._placements.find(container=container, after=after, limit=PAGE):
            await self._ask(page, container if was_removed else "")
            after = page[-1].blob
            await asyncio.sleep(0)

    async def _ask(self, placements: Iterable[Placement], removed: str = "") -> None:
        now, wants = self._means.now(), []
        for placement in placements:
            if placement.staged:
                continue
            bad: dict[int, Health] = dict(self._looking.evident(placement, patience_seconds=self._patience))
            bad |= {part.index: "missing" for part in _in(placement, removed)}
            if bad:
                wants.append(want_of(placement, bad, now))
        await self._wanted.ask(wants)


def _in(placement: Placement, container: str) -> list[Part]:
    return [part for part in placement.parts if container and part.container == container]
