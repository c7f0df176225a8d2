"""Adaptive placements that look at the containers with the most room only: the two greedy ones and LB of D-Rex.

D-Rex: dynamic data replication and erasure coding for heterogeneous storage (GreedyMinStorage, GreedyLeastUsed, LB).
"""

from __future__ import annotations

from collections.abc import Sequence

from measurand.core.placement.candidates import Candidate
from measurand.core.placement.demands import Demand, Plan, by_room, probabilities, spans
from measurand.core.placement.reliability import NONE_YET, adding, most_data_parts, survival

__all__ = ["balance_penalty", "least_used", "min_storage"]


def min_storage(candidates: Sequence[Candidate], demand: Demand) -> Plan | None:
    """Choose the plan with the fewest stored bytes among those over the containers with the most room.

    The widest one wins where several store as little.
    """
    ordered = by_room(candidates)
    best: Plan | None = None
    least = float("inf")
    for number, data_parts in reversed(list(_cuts(ordered, demand))):
        part = demand.size / data_parts
        members = ordered[:number]
        # Ordered by room, so what fits into the last one fits into all.
        if members[-1].room_bytes >= part and part * number < least and spans(members, demand.min_zones):
            least, best = part * number, Plan(data_parts, tuple(members))
    return best


def least_used(candidates: Sequence[Candidate], demand: Demand) -> Plan | None:
    """Choose the fewest of the containers with the most room that are reliable enough."""
    ordered = by_room(candidates)
    for number, data_parts in _cuts(ordered, demand):
        members = ordered[:number]
        if members[-1].room_bytes >= demand.size / data_parts and spans(members, demand.min_zones):
            return Plan(data_parts, tuple(members))
    return None


def balance_penalty(candidates: Sequence[Candidate], demand: Demand) -> Plan | None:
    """Choose what leaves the room most even, with as few parity parts as are reliable enough (LB).

    The penalty of a plan is the sum over all containers of how far their room will be from the mean of now. One
    container at least stays out, so there must be 4 of them, or 3 where a single data part is allowed.
    """
    ordered = by_room(candidates)
    rooms = [candidate.room_bytes for candidate in ordered]
    mean = sum(rooms) / len(rooms) if rooms else 0.0
    most = min(len(ordered) - 1, demand.most_parts)
    counts: list[Sequence[float]] = [NONE_YET]
    for probability in probabilities(ordered[:most], demand):
        counts.append(adding(counts[-1], probability))
    for parity_parts in range(1, most):
        best, least = 0, float("inf")
        for data_parts in range(demand.least_data_parts, most - parity_parts + 1):
            number = data_parts + parity_parts
            part = demand.size / data_parts
            if rooms[number - 1] < part or not spans(ordered[:number], demand.min_zones):
                continue
            if survival(counts[number], parity_parts) < demand.target_reliability:
                continue
            penalty = sum(abs(room - part - mean) for room in rooms[:number])
            penalty += sum(abs(room - mean) for room in rooms[number:])
            if penalty < least:
                best, least = data_parts, penalty
        if best:
            return Plan(best, tuple(ordered[: best + parity_parts]))
    return None


def _cuts(ordered: Sequence[Candidate], demand: Demand) -> list[tuple[int, int]]:
    """Return for 2, 3, … containers with the most room the most data parts that are reliable enough, if any."""
    found: list[tuple[int, int]] = []
    counts: Sequence[float] = NONE_YET
    for number, probability in enumerate(probabilities(ordered[: demand.most_parts], demand), 1):
        counts = adding(counts, probability)
        if data_parts := most_data_parts(counts, demand.target_reliability, least=demand.least_data_parts):
            found.append((number, data_parts))
    return found
