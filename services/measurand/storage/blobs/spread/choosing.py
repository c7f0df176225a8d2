"""Where parts go: `decide` over the containers as they are now."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from measurand.core.containers.placements import Part, Placement
from measurand.core.containers.ports import Sites
from measurand.core.placement.deciding import Decision, decide, replace_parts
from measurand.core.placement.policies import Policy

__all__ = ["Choosing"]


class Choosing:
    """Chooses containers for this process.

    Parameters
    ----------
    random_bytes : callable
        As in `Means`.
    """

    def __init__(self, sites: Sites, *, random_bytes: Callable[[int], bytes]) -> None:
        self._sites = sites
        self._random_bytes = random_bytes

    def choose(self, policy: Policy, size: int | None) -> Decision:
        """Return where a blob of so many bytes goes; None: nobody knows yet how many. Raises the decision's problem."""
        decision = decide(policy, self._sites.field, size, chance=self._chance)
        if decision.problem is not None:
            raise decision.problem
        return decision

    def instead_of(
        self, placement: Placement, parts: Sequence[Part], rows: Sequence[int], failed: Collection[str], size: int
    ) -> dict[int, str] | None:
        """Return other containers for some parts of a segment, or None when there are not so many.

        Parameters
        ----------
        parts : sequence of Part
            All parts of the segment, by row.
        rows : sequence of int
            Those that are to go elsewhere.
        failed : collection of str
            Containers that were tried.
        size : int
            Bytes of the segment.
        """
        decision = replace_parts(
            placement.policy,
            self._sites.field,
            size,
            data_parts=placement.data_parts,
            parity_parts=placement.parity_parts,
            kept=[part.container for row, part in enumerate(parts) if row not in rows],
            missing=len(rows),
            chance=self._chance,
            avoid=failed,
        )
        return dict(zip(rows, decision.chosen, strict=True)) if len(decision.chosen) == len(rows) else None

    def _chance(self) -> float:
        return int.from_bytes(self._random_bytes(6), "big") / (1 << 48)
