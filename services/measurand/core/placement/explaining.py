"""Why parts go where they go: the decision itself, made by the function of the put, with each container's score."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from measurand.core.placement.candidates import Candidate
from measurand.core.placement.codes import codes, part_bytes
from measurand.core.placement.deciding import UNKNOWN_SIZE, Decision, decide
from measurand.core.placement.field import Field
from measurand.core.placement.policies import Policy
from measurand.core.placement.problems import against
from measurand.core.placement.searching import survives
from measurand.core.placement.spreading import Chance

__all__ = ["Considered", "Explanation", "explain"]

MOST_NAME = 20


@dataclass(frozen=True, slots=True)
class Considered:
    """What was thought of a container.

    Parameters
    ----------
    score : float
        Higher is better; 0 when it does not come into question.
    reasons : tuple of str
        In words, each short enough for a line of a table.
    """

    container: str
    chosen: bool
    score: float
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision and what was thought of every container, best first.

    Parameters
    ----------
    reliability : float
        How likely enough parts survive the retention of the policy (a year unless it says otherwise) without repair.
    """

    decision: Decision
    considered: tuple[Considered, ...]
    reliability: float


def explain(policy: Policy, field: Field, size: int | None, *, chance: Chance) -> Explanation:
    """Decide as `decide` does, and tell of every container why it was chosen or not."""
    decision = decide(policy, field, size, chance=chance)
    part = decision.part_bytes or _wanted_part(policy, field, size)
    places = {name: at for at, name in enumerate(decision.chosen)}
    beaten = {lost: won for won, lost in zip(decision.chosen, decision.instead_of, strict=True) if lost}
    zones = Counter(one.zone for one in field if one.name in places)
    considered = []
    for candidate in field:
        why = against(policy, candidate, part)
        score = 0.0 if why else _score(policy, candidate, part)
        if candidate.name in places:
            reasons = [f"part {places[candidate.name]}", _state(policy, candidate)]
        elif why:
            reasons = [why]
        else:
            reasons = [_passed_over(policy, candidate, decision, beaten, zones), _state(policy, candidate)]
        considered.append(Considered(candidate.name, candidate.name in places, score, tuple(reasons)))
    considered.sort(key=lambda one: (-one.score, one.container))
    members = [one for one in field if one.name in places]
    reliability = survives(policy, members, decision.parity_parts) if members else 0.0
    return Explanation(decision, tuple(considered), reliability)


def _wanted_part(policy: Policy, field: Field, size: int | None) -> int:
    """Return how large a part would have been where there is no place."""
    known = UNKNOWN_SIZE if size is None else size
    if policy.is_adaptive:
        return 1
    code = next(codes(policy, size, len(policy.containers) or field.pool(policy).up))
    return part_bytes(known, code.data_parts)


def _score(policy: Policy, candidate: Candidate, part: float) -> float:
    """Return what a container is compared by: above 0."""
    match policy.placement:
        case "fastest" | "min_time":
            return max(candidate.write_bandwidth, 1.0) / 1e6
        case "popularity":
            return 1 / (1 + candidate.popularity)
        case "utilisation" | "two_choices":
            return 1 / (1 + (candidate.held_bytes + part) / max(candidate.usable_bytes, 1))
        case "" | "balanced":
            return 1 / (1 + candidate.utilisation(part))
        case _:  # the searching ones begin with those that have the most room
            return candidate.room_bytes / 1e9


def _state(policy: Policy, candidate: Candidate) -> str:
    match policy.placement:
        case "fastest" | "min_time":
            return f"writes {candidate.write_bandwidth / 1e6:.0f} MB/s"
        case "popularity":
            return f"{_free(candidate)}, read {candidate.popularity:.3g}"
        case _:
            return _free(candidate)


def _free(candidate: Candidate) -> str:
    whole = candidate.max_bytes or candidate.capacity_bytes or candidate.usable_bytes
    return f"{min(100 * candidate.room_bytes / max(whole, 1), 100):.0f} % free"


def _passed_over(
    policy: Policy, candidate: Candidate, decision: Decision, beaten: dict[str, str], zones: Counter[str]
) -> str:
    """Return why a container that comes into question was not chosen."""
    if decision.problem is not None:
        return "could take a part; too few can"
    if candidate.name in beaten:
        return f"drawn, and fuller than {_short(beaten[candidate.name])}"
    if policy.is_adaptive:
        return "in no set that is better"
    if policy.containers:
        return "enough others are named"
    if zones[candidate.zone] and len(zones) > 1:
        return f'zone "{_short(candidate.zone)}" has {zones[candidate.zone]} of the parts'
    match policy.placement:
        case "utilisation":
            return "fuller than those chosen"
        case "popularity":
            return "fuller or more read"
        case "fastest":
            return "slower than those chosen"
        case _:
            return "not drawn this time"


def _short(name: str) -> str:
    return name if len(name) <= MOST_NAME else name[: MOST_NAME - 1] + "…"
