"""Fixed numbers of parts over the fastest writers, and how known systems choose the numbers: yardsticks of D-Rex."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from measurand.core.placement.candidates import Candidate
from measurand.core.placement.demands import Demand, Plan, probabilities, spans
from measurand.core.placement.picking import by_speed
from measurand.core.placement.reliability import failure_counts, survival
from measurand.core.placement.spreading import Spread, spread

__all__ = ["daos", "fastest", "glusterfs", "hdfs", "reed_solomon"]

HDFS_RESERVE = 128e6
"""HDFS leaves containers alone that have less room."""


def fastest(candidates: Sequence[Candidate], demand: Demand, data_parts: int, parts: int) -> Plan | None:
    """Choose the fastest writers with room, and swap until together they are reliable enough.

    Where there are several zones, the fastest of the zones with the fewest parts, one after the other. While they are
    not reliable enough, the least reliable member makes room for the most reliable one outside. A target reliability of
    0 is always reached.
    """
    roomy = [one for one in candidates if one.room_bytes >= demand.size / data_parts]
    members = [choice.container for choice in spread(roomy, parts, by_speed, Spread())]
    if len(members) < parts:
        return None
    for _ in range(len(candidates) - parts + 1):
        if _is_reliable(members, demand, parts - data_parts):
            return Plan(data_parts, tuple(members)) if spans(members, demand.min_zones) else None
        names = {one.name for one in members}
        outside = [one for one in roomy if one.name not in names]
        if not outside:
            return None
        weakest = max(range(parts), key=lambda at: members[at].annual_failure_rate)
        members[weakest] = min(outside, key=lambda one: one.annual_failure_rate)
    return None


def hdfs(candidates: Sequence[Candidate], demand: Demand) -> Plan | None:
    """Choose as HDFS does: 3 copies on containers with more than 128 MB of room."""
    roomy = [one for one in candidates if one.room_bytes > HDFS_RESERVE]
    return fastest(roomy, demand, 1, 3)


def reed_solomon(candidates: Sequence[Candidate], demand: Demand) -> Plan | None:
    """Choose as the Reed-Solomon policies of HDFS do: (10, 14), (6, 9) or (3, 5) by the number of containers."""
    number = len(candidates)
    data_parts, parts = (10, 14) if number >= 14 else (6, 9) if number >= 9 else (3, 5)
    return fastest(candidates, demand, data_parts, parts)


def glusterfs(candidates: Sequence[Candidate], demand: Demand) -> Plan | None:
    """Choose as GlusterFS does: (8, 12), (8, 11) or (4, 6) by the number of containers."""
    number = len(candidates)
    data_parts, parts = (8, 12) if number >= 12 else (8, 11) if number >= 11 else (4, 6)
    return fastest(candidates, demand, data_parts, parts)


def daos(candidates: Sequence[Candidate], demand: Demand) -> Plan | None:
    """Choose as DAOS does: one parity part, then two, then 4 copies, then 6, until it is reliable enough."""
    codes = [(8, 9), (8, 10)] if len(candidates) >= 10 else [(4, 5), (4, 6)] if len(candidates) >= 6 else []
    plans = (fastest(candidates, demand, *code) for code in chain(codes, [(1, 4), (1, 6)]))
    return next((plan for plan in plans if plan is not None), None)


def _is_reliable(members: Sequence[Candidate], demand: Demand, losses: int) -> bool:
    if demand.target_reliability <= 0:
        return True
    return survival(failure_counts(probabilities(members, demand)), losses) >= demand.target_reliability
