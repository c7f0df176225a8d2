"""The sets of containers that the searching placements of D-Rex compare, with what about each does not change.

How many data parts a set bears depends on failure rates and the target only, so it is kept for as long as those and the
order by room stay the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, islice

from measurand.core.placement.candidates import Candidate
from measurand.core.placement.demands import Demand, probabilities, spans
from measurand.core.placement.reliability import NONE_YET, adding, most_data_parts

__all__ = ["Subset", "Subsets"]

MOST_KEPT = 16


@dataclass(frozen=True, slots=True)
class Subset:
    """A set of containers that can be made reliable enough.

    Parameters
    ----------
    members : tuple of int
        Positions in the order by room.
    data_parts : int
        The most that are reliable enough.
    write_bandwidth, read_bandwidth : float
        Of the slowest member, bytes a second.
    """

    members: tuple[int, ...]
    data_parts: int
    write_bandwidth: float
    read_bandwidth: float


class Subsets:
    """Sets of containers by the containers and the target that they were made for; keeps the newest few."""

    def __init__(self) -> None:
        self._kept: dict[tuple[object, ...], Sequence[Subset]] = {}

    def of(self, ordered: Sequence[Candidate], demand: Demand) -> Sequence[Subset]:
        """Return the sets that are worth comparing.

        Parameters
        ----------
        ordered : sequence of Candidate
            With the most room first.

        Returns
        -------
        sequence of Subset
            All sets of two and more where they are fewer than `demand.most_sets`; else of each size the first in
            lexicographic order. Those that are never reliable enough are left out.
        """
        traits = tuple((one.zone, one.annual_failure_rate, one.write_bandwidth, one.read_bandwidth) for one in ordered)
        asked = (demand.target_reliability, demand.retention_days, demand.min_zones, demand.least_data_parts)
        key = (traits, asked, demand.most_parts, demand.most_sets)
        kept = self._kept.pop(key, None)
        if kept is None:
            kept = list(_reliable(ordered, demand))
            if len(self._kept) >= MOST_KEPT:
                del self._kept[next(iter(self._kept))]
        self._kept[key] = kept  # now the newest
        return kept


def _reliable(ordered: Sequence[Candidate], demand: Demand) -> Iterator[Subset]:
    chances = probabilities(ordered, demand)
    writes = [one.write_bandwidth for one in ordered].__getitem__
    reads = [one.read_bandwidth for one in ordered].__getitem__
    # Neighbours in lexicographic order begin alike: the distributions of the common beginning are used again.
    last: tuple[int, ...] = ()
    counts: list[Sequence[float]] = [NONE_YET]
    for members in _sets(len(ordered), demand):
        common = next((at for at, (a, b) in enumerate(zip(last, members, strict=False)) if a != b), len(last))
        del counts[min(common, len(members)) + 1 :]
        for position in members[len(counts) - 1 :]:
            counts.append(adding(counts[-1], chances[position]))
        last = members
        data_parts = most_data_parts(counts[-1], demand.target_reliability, least=demand.least_data_parts)
        if data_parts and (demand.min_zones <= 1 or spans([ordered[at] for at in members], demand.min_zones)):
            yield Subset(members, data_parts, min(map(writes, members)), min(map(reads, members)))


def _sets(number: int, demand: Demand) -> Iterator[tuple[int, ...]]:
    sizes = range(2, min(number, demand.most_parts) + 1)
    is_all = 2**number - number - 1 < demand.most_sets
    most = None if is_all else demand.most_sets // (number - 1)
    for size in sizes:
        yield from islice(combinations(range(number), size), most)
