"""Why there is no place, in words and with what a program needs to know."""

from __future__ import annotations

from collections.abc import Sequence

from measurand.core.placement.candidates import Candidate
from measurand.core.placement.demands import Demand, probabilities
from measurand.core.placement.field import Field, Pool
from measurand.core.placement.policies import Policy
from measurand.core.placement.reliability import failure_counts, survival
from measurand.wire.errors import (
    ContainersUnavailable,
    FailedPrecondition,
    InvalidArgument,
    MeasurandError,
    StoreFull,
)

__all__ = ["against", "named_problem", "no_plan", "too_few", "unreliable", "words"]


def words(size: float) -> str:
    """Return a number of bytes as people say it."""
    for unit in ("bytes", "KB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "bytes" or size >= 100 else f"{size:.1f} {unit}"


def against(policy: Policy, candidate: Candidate, part: float) -> str:
    """Return what stands against a container, in words; empty when it comes into question."""
    if policy.containers and candidate.name not in policy.containers:
        return "not among the containers that are named"
    if candidate.name in policy.exclude:
        return "excluded by name"
    if policy.zones and candidate.zone not in policy.zones:
        return f'zone "{candidate.zone}" is not asked for'
    missing = sorted(set(policy.container_labels) - set(candidate.labels))
    if missing:
        return "label {}={} is missing".format(*missing[0])
    if not candidate.takes_blobs:
        return f"{candidate.state}: takes no new parts"
    if candidate.weight <= 0:
        return "its weight is 0"
    if candidate.room_bytes < max(part, 1):
        return f"{words(candidate.room_bytes)} free, a part has {words(part)}"
    return ""


def named_problem(policy: Policy, field: Field, names: Sequence[str], part: float) -> MeasurandError | None:
    """Return why the containers that a policy names cannot be used, or None when each can."""
    for name in names:
        candidate = field.get(name)
        if candidate is None:
            return InvalidArgument(
                f"storage.containers: there is no container {name!r}; list the containers, or leave it out",
                field="storage.containers",
                container=name,
            )
        why = against(policy, candidate, part)
        if not why:
            continue
        if not candidate.takes_blobs:
            available = sum(one.takes_blobs for one in map(field.get, names) if one is not None)
            return ContainersUnavailable(
                f"containers/{name}, which the policy names, is {candidate.state}; wait for it, or name another",
                container=name,
                needed=len(names),
                available=available,
            )
        if candidate.room_bytes < part:
            return StoreFull(
                f"containers/{name}, which the policy names, has no room: {why}; name another",
                container=name,
                needed_bytes=int(part),
            )
        return InvalidArgument(
            f"storage.containers: {name} does not come into question: {why}; name another",
            field="storage.containers",
            container=name,
        )
    return None


def too_few(policy: Policy, pool: Pool, part: float, needed: int, zones: int, closed: int = 0) -> MeasurandError:
    """Return why so many containers, in so many zones, are not to be had.

    Parameters
    ----------
    needed : int
        Containers that are wanted.
    zones : int
        How many zones they would lie in, if there were enough of them; 0 when there were not.
    closed : int
        Containers that are up and may not be chosen, as they hold other parts or are to be avoided.
    """
    roomy = len(pool.roomy(part))
    available = pool.up - closed
    if available < needed:
        return ContainersUnavailable(
            f"{needed} containers are needed and {available} that fit the policy take new parts; "
            "bring others up, or ask for fewer parts",
            needed=needed,
            available=available,
        )
    if not zones:
        return StoreFull(
            f"no set of containers has room: {needed} are needed with {words(part)} free each, and {roomy} have that; "
            "add containers, or remove what is not needed",
            needed_bytes=int(part),
        )
    everywhere = {one.zone for one in pool.candidates}
    if len(everywhere) < policy.min_zones:
        return FailedPrecondition(
            f"storage.min_zones: parts are to lie in {policy.min_zones} zones, and the containers that fit the policy "
            f"lie in {len(everywhere)}; add a container in another zone, or lower min_zones",
            resource="containers",
            needed=policy.min_zones,
            available=len(everywhere),
        )
    return ContainersUnavailable(
        f"parts are to lie in {policy.min_zones} zones, and containers that take new parts lie in {zones}; "
        "bring others up, or lower min_zones",
        needed=policy.min_zones,
        available=zones,
    )


def no_plan(policy: Policy, pool: Pool, demand: Demand) -> MeasurandError:
    """Return why an adaptive placement found no plan: the best that can be reached, and what is missing."""
    up = [one for one in pool.candidates if one.takes_blobs]
    if len(up) < 2:
        return ContainersUnavailable(
            f"2 containers are needed at least and {len(up)} that fit the policy take new parts; bring others up",
            needed=2,
            available=len(up),
        )
    zones = {one.zone for one in up}
    if len(zones) < demand.min_zones:
        return too_few(policy, pool, 0, 1, len(zones))
    if _best_reliability(up, demand) < demand.target_reliability:
        return unreliable(up, demand)
    roomy = _best_reliability([one for one in up if one.room_bytes >= demand.size], demand)
    return StoreFull(
        f"no set of containers that is reliable enough has room for {words(demand.size)}; those with room for a whole "
        f"copy reach {roomy:.10g}, asked for is {demand.target_reliability:.10g}; add containers, remove what is not "
        "needed, or lower target_reliability",
        needed_bytes=int(demand.size),
        reachable=f"{roomy:.10g}",
    )


def unreliable(candidates: Sequence[Candidate], demand: Demand, losses: int | None = None) -> MeasurandError:
    """Return that no choice among these reaches the target, and the best that can be reached.

    Parameters
    ----------
    losses : int, optional
        So many of the containers may be lost; None: as many as there are parity parts at most.
    """
    reachable = _best_reliability(candidates, demand, losses)
    return FailedPrecondition(
        f"storage.target_reliability: the best that {len(candidates)} containers can reach in "
        f"{demand.retention_days:g} days is {reachable:.10g}, asked for is {demand.target_reliability:.10g}; "
        "add containers or parity parts, or lower it",
        resource="containers",
        reachable=f"{reachable:.10g}",
        target=f"{demand.target_reliability:.10g}",
    )


def _best_reliability(candidates: Sequence[Candidate], demand: Demand, losses: int | None = None) -> float:
    """Return how reliable the safest containers are, with as few data parts as are allowed."""
    safest = sorted(probabilities(candidates, demand))[: demand.most_parts]
    if losses is None:
        losses = len(safest) - demand.least_data_parts
    return survival(failure_counts(safest), losses) if losses > 0 else 0.0
