"""The operation `rebalance`: parts move from full containers to empty ones until all are about as full."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from measurand.core.containers.healing.pacing import Pace
from measurand.core.containers.placements import PLACEMENTS, Placement, Placements, held_path, in_container
from measurand.core.containers.ports import Parts
from measurand.core.containers.sites import Sites
from measurand.core.operations.jobs import Job
from measurand.core.placement.evening import Evening, misplaced
from measurand.core.placement.field import Field
from measurand.core.ports import DocumentStore, Json
from measurand.wire.errors import MeasurandError

__all__ = ["Rebalancing"]

PAGE = 100
AT_ONCE = 4


class Rebalancing:
    """Does rebalances. A `Handler`."""

    def __init__(
        self, documents: DocumentStore, placements: Placements, parts: Parts, sites: Sites, pace: Pace
    ) -> None:
        self._documents = documents
        self._placements = placements
        self._parts = parts
        self._sites = sites
        self._pace = pace

    async def __call__(self, job: Job) -> Mapping[str, Json]:
        """Move what helps, and return a RebalanceReport."""
        asked = cast("Mapping[str, Any]", job.arguments)
        state = cast("Mapping[str, Any]", job.state or {})
        is_dry = bool(asked.get("validate_only"))
        parts, moved, after = state.get("parts", 0), state.get("bytes", 0), state.get("after", "")
        await self._sites.refresh()
        before = await self._counted(self._sites.field)
        evening = Evening(before)
        job.progress(moved, moved + evening.planned_bytes, "bytes", "evening out")
        while page := await self._placements.find(after=after, limit=PAGE):
            after = page[-1].blob
            blobs = [one for one in page if not one.staged]
            for begin in range(0, len(blobs), AT_ONCE):
                for sizes in await asyncio.gather(
                    *(self._even_out(evening, one, is_dry=is_dry) for one in blobs[begin : begin + AT_ONCE])
                ):
                    parts, moved = parts + len(sizes), moved + sum(sizes)
                job.progress(moved)
                job.check()
            await job.checkpoint({"parts": parts, "bytes": moved, "after": after})
            if evening.is_done:
                break
        return {"moved_parts": parts, "moved_bytes": moved, "spread": _spread(await self._counted(before, moved=True))}

    async def _even_out(self, evening: Evening, placement: Placement, *, is_dry: bool) -> list[int]:
        """Move the parts of one blob that help, and return their sizes."""
        moved: list[int] = []
        for segment in range(len(placement.segments)):
            holders = [part.container for part in placement.parts_of(segment)]
            size = placement.segments[segment].part_bytes
            wrong = misplaced(placement.policy, self._sites.field, holders)
            for row in [*wrong, *(row for row in range(len(holders)) if row not in wrong)]:
                goal = evening.move(placement.policy, holders, row, size, placement.data_parts)
                if goal is None:
                    continue
                if not is_dry:
                    await self._pace.take(2 * size)
                    try:
                        index = segment * placement.width + row
                        placement = await self._parts.move(placement, index, goal)
                    except MeasurandError:
                        return moved  # somebody else has moved it, or it stays where it is and is whole
                holders[row] = goal
                moved.append(size)
        return moved

    async def _counted(self, field: Field, *, moved: bool = False) -> Field:
        """Return the containers with what placements say that each holds now.

        Parameters
        ----------
        moved : bool
            What one holds more or less than in `field`, it has less or more room for.
        """
        counted = Field()
        for one in list(field):
            held = await self._documents.total(PLACEMENTS, held_path(one.name), where=in_container(one.name))
            free = max(one.free_bytes + one.stored_bytes - held.total, 0) if moved else one.free_bytes
            counted.set(replace(one, stored_bytes=held.total, free_bytes=free, in_flight_bytes=0))
        return counted


def _spread(field: Field) -> float:
    """Return how far apart the fullest and the emptiest are, as shares of what they could hold."""
    taking = [one for one in field if one.takes_blobs and one.weight > 0 and one.usable_bytes > 0]
    shares = [one.utilisation() for one in taking]
    return max(shares) - min(shares) if shares else 0.0
