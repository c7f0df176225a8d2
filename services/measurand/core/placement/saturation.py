"""The adaptive placement that weighs time against room by how full everything is: SC of D-Rex.

Three costs of each set of containers are compared: the time to code, write and read back, the bytes stored, and how
full the members become. Of the sets that no other one beats in all three the best weighted score wins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from measurand.core.placement.candidates import Candidate
from measurand.core.placement.coding_costs import decoding_seconds, encoding_seconds
from measurand.core.placement.demands import Demand, Plan, ranks
from measurand.core.placement.fronts import bends, pareto_front
from measurand.core.placement.subsets import Subset, Subsets, first_of

__all__ = ["WEIGHTINGS", "Scores", "saturation"]


@dataclass(frozen=True, slots=True)
class Scores:
    """How good a set is among those compared, 0 to 100 in each cost; 0 where all are alike."""

    time: float
    space: float
    fill: float


Weighting = Callable[[Scores, float], float]
"""The score in all, from the three and from how full everything is (0 to 1)."""

WEIGHTINGS: dict[str, Weighting] = {
    "default": lambda s, full: (1 - full) * s.time + (s.space + s.fill) / 2,
    "fuller_for_room": lambda s, full: s.time + full * (s.space + s.fill) / 2,
    "fill": lambda s, full: (s.time + s.space) / 2 + s.fill,
    "fuller_for_fill": lambda s, full: (s.time + s.space) / 2 + full * s.fill,
}


def saturation(
    candidates: Sequence[Candidate], demand: Demand, subsets: Subsets, *, weighting: str = "default"
) -> Plan | None:
    """Choose by time, bytes stored and how full the members become (SC).

    Parameters
    ----------
    subsets : Subsets
        What was found about sets of containers before.
    weighting : str
        One of `WEIGHTINGS`, or `knee`: the set at the sharpest bend of the front.
    """
    ordered, places = ranks(candidates)
    rows: list[tuple[Subset, tuple[float, float, float]]] = []
    fillings = _Fillings(candidates, demand)
    room = fillings.rooms.__getitem__
    write = [one.write_bandwidth for one in candidates].__getitem__
    read = [one.read_bandwidth for one in candidates].__getitem__
    coding: dict[tuple[int, int], float] = {}
    leaving = demand.size / demand.outgoing_bandwidth
    for subset in subsets.of(candidates, ordered, demand):
        number, part = len(subset.members), demand.size / subset.data_parts
        if min(map(room, subset.members)) < part:
            continue
        code = (number, subset.data_parts)
        if code not in coding:
            coding[code] = encoding_seconds(*code, demand.size) + decoding_seconds(*code, demand.size)
        moving = max(leaving, part / min(map(write, subset.members)))
        moving += max(leaving, part / min(map(read, subset.members)))
        rows.append((subset, (coding[code] + moving, part * number, fillings.mean(subset.members, part))))
    if not rows:
        return None
    front = [rows[at] for at in pareto_front([costs for _, costs in rows])]
    if weighting == "knee":
        points = bends([costs for _, costs in front])
    else:
        points = [WEIGHTINGS[weighting](score, fillings.saturation) for score in _scores([costs for _, costs in front])]
    most = max(points)
    best = [subset for (subset, _), point in zip(front, points, strict=True) if point == most]
    return first_of(best, candidates, places)


class _Fillings:
    """How full containers, and all of them together, are on the scale of D-Rex: 0 empty, 1 - 1/L full."""

    def __init__(self, candidates: Sequence[Candidate], demand: Demand) -> None:
        self._base = 1 / len(candidates) if candidates else 1.0
        self.rooms = [one.room_bytes for one in candidates]
        capacities = [one.usable_bytes for one in candidates]
        self._smallest = min(demand.smallest_size or demand.size, demand.size)
        self._largest = max(capacities, default=0)
        self._kept: dict[tuple[int, float], float] = {}
        self.saturation = self._full(sum(self.rooms), sum(capacities))

    def mean(self, members: Sequence[int], part: float) -> float:
        """Return how full the members become on average."""
        kept = self._kept
        total = 0.0
        for position in members:
            value = kept.get((position, part))
            if value is None:
                value = kept[position, part] = self._full(self.rooms[position] - part, self._largest)
            total += value
        return total / len(members)

    def _full(self, room: float, whole: float) -> float:
        span = self._smallest - whole
        # Where the smallest blob is all there is room for, a container is empty or full.
        exponent = (room - whole) / span if span < 0 else float(room < whole)
        return float(1 - self._base**exponent)


def _scores(front: Sequence[tuple[float, float, float]]) -> list[Scores]:
    columns = []
    for values in zip(*front, strict=True):
        least, span = min(values), max(values) - min(values)
        columns.append([100 - 100 * (value - least) / span if span else 0.0 for value in values])
    return [Scores(*row) for row in zip(*columns, strict=True)]
