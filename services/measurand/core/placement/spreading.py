"""Parts over zones as evenly as possible: each goes to one of the zones that have the fewest so far and still can."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from measurand.core.placement.candidates import Candidate

__all__ = ["Chance", "Choice", "Pick", "Spread", "by_weight", "spread"]

Chance = Callable[[], float]
"""A number from 0 to below 1, another one each time."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The container of a part, and the one that it was preferred to where it came down to two."""

    container: Candidate
    instead_of: Candidate | None = None


Pick = Callable[[Sequence[Candidate]], Choice]
"""Chooses one among those that may take the next part; there is at least one."""


class Spread:
    """How many parts lie in each zone, and who has one already.

    Parameters
    ----------
    kept : iterable of Candidate
        Containers that hold other parts of the same blob.
    avoid : iterable of str
        Containers that are to get none.
    """

    def __init__(self, kept: Iterable[Candidate] = (), avoid: Iterable[str] = ()) -> None:
        self.names = set(avoid)
        """Those that get no more."""
        self.zones: dict[str, int] = {}
        for candidate in kept:
            self.add(candidate)

    def add(self, candidate: Candidate) -> None:
        """Count a part more."""
        self.names.add(candidate.name)
        self.zones[candidate.zone] = self.zones.get(candidate.zone, 0) + 1

    def open_to(self, candidates: Iterable[Candidate]) -> list[Candidate]:
        """Return those without a part in the zones with the fewest parts."""
        left = [one for one in candidates if one.name not in self.names]
        counts = self.zones
        fewest = min((counts.get(one.zone, 0) for one in left), default=0)
        return [one for one in left if counts.get(one.zone, 0) == fewest]

    def fewest(self, available: Mapping[str, int]) -> int:
        """Return how many parts lie in the emptiest of the zones that have so many containers each."""
        if len(available) > len(self.zones):
            return 0
        counts = [(self.zones.get(zone, 0), number) for zone, number in available.items()]
        return min((count for count, number in counts if count < number), default=0)


def spread(candidates: Sequence[Candidate], count: int, pick: Pick, so_far: Spread) -> list[Choice]:
    """Choose a container for each of so many parts, each in another one; fewer when there are no more of them."""
    chosen: list[Choice] = []
    for _ in range(count):
        left = so_far.open_to(candidates)
        if not left:
            break
        chosen.append(pick(left))
        so_far.add(chosen[-1].container)
    return chosen


def by_weight(candidates: Sequence[Candidate], weights: Iterable[float], chance: Chance) -> Candidate:
    """Draw one with the probability of its weight."""
    sums = list(accumulate(weights))
    return candidates[min(bisect_right(sums, chance() * sums[-1]), len(candidates) - 1)]
