"""The sets of containers that the searching placements of D-Rex compare, with what about each does not change.

How many data parts a set bears depends on failure rates and the target only, so it is kept while containers fill up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, islice

from measurand.core.placement.candidates import Candidate
from measurand.core.placement.demands import Demand, Plan, probabilities, spans
from measurand.core.placement.reliability import NONE_YET, adding, most_data_parts

__all__ = ["Subset", "Subsets", "first_of"]

MOST_KEPT = 16


@dataclass(frozen=True, slots=True)
class Subset:
    """A set of containers that can be made reliable enough.

    Parameters
    ----------
    members : tuple of int
        Positions among the candidates, the one with the most room first when the sets were made.
    data_parts : int
        The most that are reliable enough.
    """

    members: tuple[int, ...]
    data_parts: int


class Subsets:
    """Sets of containers by the containers and the target that they were made for; keeps the newest few."""

    def __init__(self) -> None:
        self._kept: dict[tuple[object, ...], Sequence[Subset]] = {}

    def of(self, candidates: Sequence[Candidate], ordered: Sequence[int], demand: Demand) -> Sequence[Subset]:
        """Return the sets that are worth comparing.

        Parameters
        ----------
        ordered : sequence of int
            Positions of the candidates, the one with the most room first.

        Returns
        -------
        sequence of Subset
            All sets of two and more where they are fewer than `demand.most_sets`; else of each size the first in
            lexicographic order. Those that are never reliable enough are left out.
        """
        traits = tuple((one.zone, one.annual_failure_rate) for one in candidates)
        asked = (demand.target_reliability, demand.retention_days, demand.min_zones, demand.least_data_parts)
        # Where all sets are compared, which container has more room does not say which sets they are.
        order = None if _are_all(len(candidates), demand) else tuple(ordered)
        key = (traits, order, asked, demand.most_parts, demand.most_sets)
        kept = self._kept.pop(key, None)
        if kept is None:
            kept = list(_reliable(candidates, ordered, demand))
            if len(self._kept) >= MOST_KEPT:
                del self._kept[next(iter(self._kept))]
        self._kept[key] = kept  # now the newest
        return kept


def first_of(subsets: Sequence[Subset], candidates: Sequence[Candidate], places: Sequence[int]) -> Plan:
    """Return the plan of the first of sets that are as good: the smallest, then the one whose members have most room.

    Parameters
    ----------
    places : sequence of int
        The place of each candidate in the order by room.
    """
    orders = [sorted(subset.members, key=places.__getitem__) for subset in subsets]
    best = min(range(len(orders)), key=lambda at: (len(orders[at]), [places[member] for member in orders[at]]))
    return Plan(subsets[best].data_parts, tuple(candidates[member] for member in orders[best]))


def _reliable(candidates: Sequence[Candidate], ordered: Sequence[int], demand: Demand) -> Iterator[Subset]:
    chances = probabilities(candidates, demand)
    # Neighbours in lexicographic order begin alike: the distributions of the common beginning are used again.
    last: tuple[int, ...] = ()
    counts: list[Sequence[float]] = [NONE_YET]
    for members in _sets(ordered, demand):
        common = next((at for at, (a, b) in enumerate(zip(last, members, strict=False)) if a != b), len(last))
        del counts[min(common, len(members)) + 1 :]
        for position in members[len(counts) - 1 :]:
            counts.append(adding(counts[-1], chances[position]))
        last = members
        data_parts = most_data_parts(counts[-1], demand.target_reliability, least=demand.least_data_parts)
        if data_parts and (demand.min_zones <= 1 or spans([candidates[at] for at in members], demand.min_zones)):
            yield Subset(members, data_parts)


def _sets(ordered: Sequence[int], demand: Demand) -> Iterator[tuple[int, ...]]:
    number = len(ordered)
    most = None if _are_all(number, demand) else demand.most_sets // (number - 1)
    for size in range(2, min(number, demand.most_parts) + 1):
        yield from islice(combinations(ordered, size), most)


def _are_all(number: int, demand: Demand) -> bool:
    return (1 << number) - number - 1 < demand.most_sets
