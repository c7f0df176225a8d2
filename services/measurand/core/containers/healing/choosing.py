"""Where parts that are made anew, or moved, go to."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from measurand.core.containers.placements import Placement
from measurand.core.containers.sites import Sites
from measurand.core.means import Means
from measurand.core.placement.deciding import replace_parts
from measurand.wire.errors import MeasurandError

__all__ = ["Targets"]


class Targets:
    """Chooses containers for parts."""

    def __init__(self, sites: Sites, means: Means) -> None:
        self._sites = sites
        self._means = means

    def choose(
        self, placement: Placement, segment: int, indexes: Sequence[int], avoid: Collection[str] = ()
    ) -> tuple[dict[int, str], MeasurandError | None]:
        """Return containers for parts of one segment, for as many of them as there are, and why not for all.

        Parameters
        ----------
        indexes : sequence of int
            Of these parts; those that matter most first.
        avoid : collection of str
            Not these containers.
        """
        kept = [part.container for part in placement.parts_of(segment) if part.index not in indexes]
        problem: MeasurandError | None = None
        for count in range(len(indexes), 0, -1):
            decision = replace_parts(
                placement.policy,
                self._sites.field,
                placement.segments[segment].size,
                data_parts=placement.data_parts,
                parity_parts=placement.parity_parts,
                kept=kept,
                missing=count,
                chance=self._chance(),
                avoid=avoid,
            )
            problem = problem or decision.problem
            if len(decision.chosen) == count:
                return dict(zip(indexes, decision.chosen, strict=False)), problem
        return {}, problem

    def _chance(self) -> Callable[[], float]:
        return lambda: int.from_bytes(self._means.random_bytes(6), "big") / (1 << 48)
