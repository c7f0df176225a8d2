"""Where the parts of something are, and where those of something new would go, and why."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from measurand.core.containers.documents import HOME
from measurand.core.containers.placements import Placement, Placements
from measurand.core.containers.sites import Sites
from measurand.core.files import Files
from measurand.core.means import Means
from measurand.core.names import CatalogName, FileName
from measurand.core.placement.deciding import Decision
from measurand.core.placement.explaining import Considered, Explanation, explain
from measurand.core.placement.policies import Policy
from measurand.core.policies import Policies
from measurand.core.principal import Principal
from measurand.wire.errors import MeasurandError

__all__ = ["Explained", "Explaining", "Lying"]

USUAL_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Lying:
    """A part that is somewhere, or would be.

    Parameters
    ----------
    blob : str
        The blob it is a part of; empty for a new one.
    """

    blob: str
    index: int
    container: str
    size: int
    is_healthy: bool = True


@dataclass(frozen=True, slots=True)
class Explained:
    """What was asked for, where the parts are or would go, and what was thought of each container, best first."""

    policy: Policy
    data_parts: int
    parity_parts: int
    parts: Sequence[Lying]
    considered: Sequence[Considered]
    problem: MeasurandError | None = None


class Explaining:
    """Answers both questions.

    Parameters
    ----------
    usual : Policy, optional
        For what has no policy, where there is no home store. None: it goes to the home store.
    """

    def __init__(
        self,
        files: Files,
        placements: Placements,
        policies: Policies,
        sites: Sites,
        means: Means,
        *,
        usual: Policy | None,
    ) -> None:
        self._files = files
        self._placements = placements
        self._policies = policies
        self._sites = sites
        self._means = means
        self._usual = usual

    async def file(self, principal: Principal, name: FileName) -> Explained:
        """Return where the parts of a file are. Raises NotFound."""
        file = await self._files.get(principal, name, 0)
        parts: list[Lying] = []
        policy, code = self._usual or Policy(replicas=1), (1, 0)
        for extent in file.extents:
            placement = await self._placements.fetch(extent.blob.key, fresh=True)
            if placement is None:
                parts.append(Lying(extent.blob.key, 0, HOME, extent.size))
                continue
            policy, code = placement.policy, (placement.data_parts, placement.parity_parts)
            parts += self._lying(placement)
        return Explained(policy, *code, parts, ())

    async def catalog(self, principal: Principal, name: CatalogName, size: int, seed: int) -> Explained:
        """Return where the parts of a new blob in a catalog would go."""
        return self.policy(await self._policies.of(name) or self._usual, size, seed)

    def policy(self, policy: Policy | None, size: int, seed: int) -> Explained:
        """Return where the parts of a new blob under a policy would go; None: the home store's own."""
        if policy is None:
            return Explained(Policy(replicas=1), 1, 0, [Lying("", 0, HOME, size or USUAL_BYTES)], ())
        found: Explanation = explain(policy, self._sites.field, size or USUAL_BYTES, chance=self._chance(seed))
        decision: Decision = found.decision
        parts = [Lying("", index, name, decision.part_bytes) for index, name in enumerate(decision.chosen)]
        return Explained(
            policy, decision.data_parts, decision.parity_parts, parts, found.considered, problem=decision.problem
        )

    def _lying(self, placement: Placement) -> list[Lying]:
        return [
            Lying(
                placement.blob,
                part.index,
                part.container,
                placement.part_bytes(part.index),
                part.index not in placement.missing and self._sites.state(part.container) != "down",
            )
            for part in placement.parts
        ]

    def _chance(self, seed: int) -> Callable[[], float]:
        return random.Random(seed or int.from_bytes(self._means.random_bytes(8), "big")).random  # noqa: S311
