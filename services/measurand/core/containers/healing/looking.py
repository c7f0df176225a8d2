"""How a blob stands: which of its parts are there, and how many more it can lose."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from measurand.core.containers.placements import Placement
from measurand.core.containers.ports import Health, Parts
from measurand.core.containers.sites import Sites
from measurand.wire.errors import NotFound

__all__ = ["Looking", "Seen", "Standing"]

Standing = Literal["safe", "degraded", "at_risk", "lost"]

_LOOK_SECONDS = 10.0
_SLOWEST = 1e6


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look at a blob has found.

    Parameters
    ----------
    bad : mapping
        The parts that are not whole, by index.
    """

    placement: Placement
    bad: Mapping[int, Health]

    @property
    def gone(self) -> Collection[int]:
        """The parts that will not come back by themselves."""
        return [index for index, health in self.bad.items() if health != "unreachable"]

    @property
    def margin(self) -> int:
        """How many more parts may be lost; 0 also where some can just not be reached."""
        margin = self.placement.margin(self.bad)
        return margin if margin >= 0 else min(self.placement.margin(self.gone), 0)

    @property
    def standing(self) -> Standing:
        """In a word."""
        if not self.bad:
            return "safe"
        if self.margin < 0:
            return "lost"
        return "degraded" if self.margin else "at_risk"


class Looking:
    """Looks at blobs without changing anything."""

    def __init__(self, sites: Sites, parts: Parts) -> None:
        self._sites = sites
        self._parts = parts

    def evident(self, placement: Placement, *, patience_seconds: float) -> Mapping[int, Health]:
        """Return which parts are gone by what is known without asking: their containers are, or they never came.

        Parameters
        ----------
        patience_seconds : float
            A container that is down for less than that may come back.
        """
        bad: dict[int, Health] = dict.fromkeys(placement.missing, "missing")
        for part in placement.parts:
            if part.container not in self._sites.all:
                bad[part.index] = "missing"
            elif self.is_away(part.container, patience_seconds):
                bad.setdefault(part.index, "unreachable")
        return bad

    async def refresh(self) -> None:
        """See which containers there are now."""
        await self._sites.refresh()

    def check_name(self, container: str) -> None:
        """Raise NotFound if there is no such container."""
        if container not in self._sites.all:
            name = f"containers/{container}"
            raise NotFound(f"{name}: there is no such container; list the containers", resource=name)

    def is_away(self, container: str, patience_seconds: float) -> bool:
        """Tell whether a container is gone, or down for so long that nobody waits for it any more."""
        if container not in self._sites.all:
            return True
        return self._sites.state(container) == "down" and self._sites.down_seconds(container) >= patience_seconds

    async def look(
        self,
        placement: Placement,
        *,
        verify_bytes: bool,
        only: Collection[int] | None = None,
        verified: Collection[int] = (),
    ) -> Seen:
        """Look at all parts of a blob.

        Parameters
        ----------
        only : collection of int, optional
            These parts. None: all.
        verified : collection of int
            The bytes of these are read in any case.
        """
        indexes = [part.index for part in placement.parts if only is None or part.index in only]
        found = await asyncio.gather(
            *(self._look(placement, index, verify_bytes=verify_bytes or index in verified) for index in indexes)
        )
        return Seen(placement, {index: health for index, health in zip(indexes, found, strict=True) if health != "ok"})

    async def _look(self, placement: Placement, index: int, *, verify_bytes: bool) -> Health:
        name = placement.parts[index].container
        if name not in self._sites.all:
            return "missing"
        if self._sites.state(name) == "down":  # an empty mount point would give wrong answers
            return "unreachable"
        seconds = _LOOK_SECONDS + (placement.part_bytes(index) / _SLOWEST if verify_bytes else 0.0)
        try:
            async with asyncio.timeout(seconds):
                return await self._parts.check(placement, index, verify_bytes=verify_bytes)
        except TimeoutError:
            return "unreachable"
