"""Placements of D-Rex by speed, and by chance: min time, time-space, the fastest bound, random."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from measurand.core.placement.candidates import Candidate
from measurand.core.placement.coding_costs import encoding_seconds
from measurand.core.placement.demands import Demand, Plan, fits, probabilities, ranks, spans
from measurand.core.placement.fronts import pareto_front
from measurand.core.placement.reliability import NONE_YET, adding, failure_counts, most_data_parts, survival
from measurand.core.placement.subsets import Subset, Subsets, first_of

__all__ = ["at_random", "fastest_bound", "min_time", "time_space"]

GOOD_PROGRESS = 90.0
MOST_TRIES = 1000


def min_time(candidates: Sequence[Candidate], demand: Demand, subsets: Subsets) -> Plan | None:
    """Choose the plan that is coded and written soonest, part after part ("algorithm 2")."""
    ordered, places = ranks(candidates)
    writes = [1 / one.write_bandwidth for one in candidates].__getitem__
    best: list[Subset] = []
    least = float("inf")
    for subset in subsets.of(candidates, ordered, demand):
        number, part = len(subset.members), demand.size / subset.data_parts
        seconds = encoding_seconds(number, subset.data_parts, demand.size) + part * sum(map(writes, subset.members))
        if seconds <= least and fits([candidates[at] for at in subset.members], part):
            best = [*best, subset] if seconds == least else [subset]
            least = seconds
    return first_of(best, candidates, places) if best else None


def time_space(candidates: Sequence[Candidate], demand: Demand, subsets: Subsets) -> Plan | None:
    """Choose what stores least among what is coded nearly as soon as possible ("algorithm 3")."""
    ordered, places = ranks(candidates)
    fitting: list[Subset] = []
    costs: list[tuple[float, float, float]] = []
    for subset in subsets.of(candidates, ordered, demand):
        number, part = len(subset.members), demand.size / subset.data_parts
        if fits([candidates[at] for at in subset.members], part):
            fitting.append(subset)
            costs.append((encoding_seconds(number, subset.data_parts, demand.size), part * number, 0.0))
    front = sorted(pareto_front(costs), key=lambda at: costs[at])
    if not front:
        return None
    soonest, latest = costs[front[0]][0], costs[front[-1]][0]
    best = costs[front[0]]
    for at in front:
        span = latest - soonest
        progress = 100 - 100 * (costs[at][0] - soonest) / span if span else 100.0
        if progress < GOOD_PROGRESS:
            break
        best = costs[at]
    return first_of([fitting[at] for at in front if costs[at] == best], candidates, places)


def at_random(candidates: Sequence[Candidate], demand: Demand, chance: Callable[[], float]) -> Plan | None:
    """Choose any number of parts and any containers, again and again until they are reliable enough and have room."""
    pool = list(candidates)
    most = min(len(pool), demand.most_parts)
    for _ in range(MOST_TRIES if most >= 2 else 0):
        number = 2 + int(chance() * (most - 1))
        data_parts = 1 + int(chance() * (number - 1))
        for at in range(number):  # the beginning of a shuffle
            other = at + int(chance() * (len(pool) - at))
            pool[at], pool[other] = pool[other], pool[at]
        members = tuple(pool[:number])
        if data_parts < demand.least_data_parts or not fits(members, demand.size / data_parts):
            continue
        counts = failure_counts(probabilities(members, demand))
        reached = survival(counts, number - data_parts)
        if reached >= demand.target_reliability and spans(members, demand.min_zones):
            return Plan(data_parts, members)
    return None


def fastest_bound(candidates: Sequence[Candidate], demand: Demand) -> float | None:
    """Return the least seconds to code and write over the fastest writers, whatever room they have: a yardstick."""
    ordered = sorted(candidates, key=lambda one: -one.write_bandwidth)[: demand.most_parts]
    counts: Sequence[float] = NONE_YET
    least: float | None = None
    for number, probability in enumerate(probabilities(ordered, demand), 1):
        counts = adding(counts, probability)
        data_parts = most_data_parts(counts, demand.target_reliability, least=demand.least_data_parts)
        if data_parts:
            part = demand.size / data_parts
            seconds = encoding_seconds(number, data_parts, demand.size) + part / ordered[number - 1].write_bandwidth
            least = seconds if least is None else min(least, seconds)
    return least
