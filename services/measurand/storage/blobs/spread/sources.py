"""Where a blob is read from: its placement, found anew when a part is gone."""

from __future__ import annotations

from measurand.core.blob_rules import missing
from measurand.core.containers.placements import Placement, Placements

__all__ = ["Replaced", "Source"]


class Replaced(Exception):
    """The blob is in other parts now, made anew with another code."""

    def __init__(self, placement: Placement) -> None:
        super().__init__(placement.blob)
        self.placement = placement


class Source:
    """Where a blob is read from; found anew when a part is gone.

    Parameters
    ----------
    turn : int
        Which of equal copies is read first.
    """

    def __init__(self, placement: Placement, placements: Placements, *, turn: int) -> None:
        self.placement = placement
        self.turn = turn
        self._placements = placements

    async def refresh(self) -> None:
        """See where it is now. Raises NotFound when it was removed."""
        found = await self._placements.fetch(self.placement.blob, fresh=True)
        if found is None:
            raise missing(self.placement.blob)
        if found.uid != self.placement.uid:
            raise Replaced(found)
        self.placement = found
