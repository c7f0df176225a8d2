"""Pareto fronts: what no other choice beats in every cost, and where such a front bends most."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import combinations

__all__ = ["bends", "pareto_front"]


def pareto_front(costs: Sequence[tuple[float, float, float]]) -> list[int]:
    """Return the positions, in their order, of the costs that no other ones beat or equal in all three."""
    front: list[int] = []
    # Two of three coordinates of what came before, ever larger in the first and smaller in the second.
    seconds: list[float] = []
    thirds: list[float] = []
    ordered = sorted(range(len(costs)), key=lambda at: costs[at])
    previous: tuple[float, float, float] | None = None
    for at in ordered:
        _, second, third = costs[at]
        if costs[at] == previous:  # alike in all three: neither beats the other
            front.append(at)
            continue
        place = bisect_right(seconds, second)
        if place and thirds[place - 1] <= third:
            continue
        front.append(at)
        previous = costs[at]
        first = bisect_left(seconds, second)
        last = first
        while last < len(seconds) and thirds[last] >= third:
            last += 1
        seconds[first:last], thirds[first:last] = [second], [third]
    return sorted(front)


def bends(costs: Sequence[tuple[float, float, float]]) -> list[float]:
    """Return how sharply a front bends at each of its points: the mean angle over the three pairs of costs, in radians.

    Costs are scaled to 0 to 1 over the front; the ends of a front bend by 0.
    """
    scaled = []
    for values in zip(*costs, strict=True):
        least, span = min(values), max(values) - min(values)
        scaled.append([(value - least) / span if span else 0.0 for value in values])
    angles = [0.0] * len(costs)
    for across, along in combinations(scaled, 2):
        ordered = sorted(range(len(costs)), key=lambda at: (across[at], along[at]))
        for before, at, after in zip(ordered, ordered[1:], ordered[2:], strict=False):
            into = math.atan2(along[at] - along[before], across[at] - across[before])
            out = math.atan2(along[after] - along[at], across[after] - across[at])
            angles[at] += abs(out - into) / 3
    return angles
