"""The adaptive placements by name: they choose the numbers of parts and the containers together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from measurand.core.placement.candidates import Candidate
from measurand.core.placement.demands import Demand, Plan
from measurand.core.placement.field import Field
from measurand.core.placement.greedy import balance_penalty, least_used, min_storage
from measurand.core.placement.policies import Policy
from measurand.core.placement.reliability import failure_counts, failure_probability, survival
from measurand.core.placement.saturation import saturation
from measurand.core.placement.spreading import Chance
from measurand.core.placement.subsets import Subsets
from measurand.core.placement.timing import at_random, min_time, time_space

__all__ = ["SEARCHES", "demand_of", "is_reliable", "survives"]

USUAL_RELIABILITY = 0.99999
USUAL_DAYS = 365.0

Search = Callable[[Sequence[Candidate], Demand, Subsets, Chance], Plan | None]

SEARCHES: dict[str, Search] = {
    "least_used": lambda candidates, demand, subsets, chance: least_used(candidates, demand),
    "min_storage": lambda candidates, demand, subsets, chance: min_storage(candidates, demand),
    "balance_penalty": lambda candidates, demand, subsets, chance: balance_penalty(candidates, demand),
    "saturation": lambda candidates, demand, subsets, chance: saturation(candidates, demand, subsets),
    "min_time": lambda candidates, demand, subsets, chance: min_time(candidates, demand, subsets),
    "time_space": lambda candidates, demand, subsets, chance: time_space(candidates, demand, subsets),
    "random": lambda candidates, demand, subsets, chance: at_random(candidates, demand, chance),
}


def demand_of(policy: Policy, field: Field, size: int) -> Demand:
    """Return what an adaptive placement is asked under a policy, for a blob of so many bytes."""
    return Demand(
        size,
        policy.target_reliability or USUAL_RELIABILITY,
        policy.retention_days or USUAL_DAYS,
        min_zones=policy.min_zones,
        smallest_size=min(field.smallest_size or size, size),
    )


def is_reliable(policy: Policy, members: Sequence[Candidate], losses: int) -> bool:
    """Tell whether parts in these containers, of which so many may be lost, reach what a policy asks; if it does."""
    target = policy.target_reliability or (USUAL_RELIABILITY if policy.is_adaptive else 0.0)
    return not target or survives(policy, members, losses) >= target


def survives(policy: Policy, members: Iterable[Candidate], losses: int) -> float:
    """Return how likely no more than so many of these containers are lost within the retention of a policy."""
    days = policy.retention_days or USUAL_DAYS
    return survival(failure_counts(failure_probability(one.annual_failure_rate, days) for one in members), losses)
