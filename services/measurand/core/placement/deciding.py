"""Where the parts of a blob go: one function, for those who write and for those who ask why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from measurand.core.placement.balanced import balanced
from measurand.core.placement.classic import fastest
from measurand.core.placement.codes import Code, codes, part_bytes
from measurand.core.placement.field import Field, Pool
from measurand.core.placement.picking import by_popularity, by_safety, by_speed, by_two_choices, by_utilisation
from measurand.core.placement.policies import Policy
from measurand.core.placement.problems import named_problem, no_plan, too_few, unreliable
from measurand.core.placement.searching import SEARCHES, demand_of, is_reliable
from measurand.core.placement.spreading import Chance, Choice, Spread, spread
from measurand.wire.errors import MeasurandError

__all__ = ["Decision", "decide", "replace_parts"]

UNKNOWN_SIZE = 1 << 20
"""A blob whose size is not known yet is placed as one of this size."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Where parts go.

    Parameters
    ----------
    data_parts, parity_parts : int
        Any `data_parts` of all parts suffice to read; one: whole copies. Both 0 where there is a problem.
    part_bytes : int
        Bytes of a part at most, headers included.
    chosen : tuple of str
        The container of each part, data parts first; of a replacement, of each part that is made anew. Empty where
        there is a problem.
    instead_of : tuple of str
        For each of them the container that it was preferred to, where it came down to two; else empty.
    problem : MeasurandError, optional
        Why there is no place: to be raised by who wanted to write.
    """

    data_parts: int
    parity_parts: int
    part_bytes: int = 0
    chosen: tuple[str, ...] = ()
    instead_of: tuple[str, ...] = ()
    problem: MeasurandError | None = None

    @property
    def quorum(self) -> int:
        """So many parts are enough for an acknowledgement by quorum: the data parts and half of the parity parts."""
        return self.data_parts + -(-self.parity_parts // 2)


def decide(policy: Policy, field: Field, size: int | None, *, chance: Chance) -> Decision:
    """Choose into how many parts a blob is cut, and a container for each of them.

    The field is looked at and not changed: `Field.begin` counts what a decision means to write. The same field and the
    same numbers from `chance` give the same decision.

    Parameters
    ----------
    size : int, optional
        Bytes of the blob. None: not known yet.
    chance : callable
        A number from 0 to below 1, another one each time.
    """
    if policy.is_adaptive:
        return _searched(policy, field, size, chance)
    problem: MeasurandError | None = None
    named = len(policy.containers)
    known = UNKNOWN_SIZE if size is None else size
    for code in codes(policy, size, named or field.pool(policy).up):
        if code.parts == named:
            decision = _as_named(policy, field, known, code)
        else:
            decision = _placed(policy, field, known, code, chance)
        if decision.problem is None:
            return decision
        problem = problem or decision.problem
    return Decision(0, 0, problem=problem)


def replace_parts(
    policy: Policy,
    field: Field,
    size: int,
    *,
    data_parts: int,
    parity_parts: int,
    kept: Iterable[str],
    missing: int,
    chance: Chance,
    avoid: Iterable[str] = (),
) -> Decision:
    """Choose containers for the parts of a blob that are to be made anew, or moved.

    Parameters
    ----------
    kept : iterable of str
        Containers that hold other parts, which stay. None of them gets another one; their zones count.
    missing : int
        So many containers are wanted.
    avoid : iterable of str
        Containers that are not to be used, such as one from which a part is moved off.

    Notes
    -----
    Zones are spread over as evenly as can be, and a target reliability is kept where it can be; neither `min_zones` nor
    the target stops a repair, as any part is better than none.
    """
    avoid = tuple(avoid)
    part = part_bytes(size, data_parts)
    pool = field.pool(policy)
    holders = [one for one in map(field.get, kept) if one is not None]
    so_far = Spread(holders, avoid)
    closed = sum(
        1 for one in map(field.get, so_far.names) if one is not None and one.takes_blobs and pool.has(one.name)
    )
    chosen = _picked(policy, pool, part, missing, chance, so_far)
    if not is_reliable(policy, [*holders, *(choice.container for choice in chosen)], parity_parts):
        chosen = spread(pool.roomy(part), missing, by_safety, Spread(holders, avoid))
    if len(chosen) < missing:
        return Decision(0, 0, problem=too_few(policy, pool, part, missing, 0, closed))
    return _decision(Code(data_parts, parity_parts), size, chosen)


def _placed(policy: Policy, field: Field, size: int, code: Code, chance: Chance) -> Decision:
    """Choose containers for so many parts."""
    pool = field.pool(policy)
    part = part_bytes(size, code.data_parts)
    if policy.placement == "fastest" and policy.target_reliability:
        return _swapped(policy, field, size, code)
    chosen = _picked(policy, pool, part, code.parts, chance, Spread())
    zones = len({choice.container.zone for choice in chosen}) if len(chosen) == code.parts else 0
    if not zones or zones < policy.min_zones:
        return Decision(0, 0, problem=too_few(policy, pool, part, code.parts, zones))
    return _decision(code, size, chosen)


def _picked(policy: Policy, pool: Pool, part: float, count: int, chance: Chance, so_far: Spread) -> list[Choice]:
    """Choose containers one by one, zones first."""
    match policy.placement:
        case "utilisation":
            return spread(pool.roomy(part), count, by_utilisation(part), so_far)
        case "two_choices":
            return spread(pool.roomy(part), count, by_two_choices(part, chance), so_far)
        case "popularity":
            roomy = pool.roomy(part)
            return spread(roomy, count, by_popularity(roomy, part, chance), so_far)
        case "fastest":
            return spread(pool.roomy(part), count, by_speed, so_far)
        case _:  # what an adaptive placement has chosen is mended as what is balanced is
            return balanced(pool, part, count, chance, so_far)


def _swapped(policy: Policy, field: Field, size: int, code: Code) -> Decision:
    """Choose the fastest writers that together are reliable enough."""
    pool = field.pool(policy)
    part = part_bytes(size, code.data_parts)
    demand = replace(demand_of(policy, field, size), size=part * code.data_parts, most_parts=code.parts)
    roomy = pool.roomy(part)
    plan = fastest(roomy, demand, code.data_parts, code.parts)
    if plan is not None:
        return _decision(code, size, [Choice(one) for one in plan.members])
    zones = len({one.zone for one in roomy}) if len(roomy) >= code.parts else 0
    if not zones or zones < policy.min_zones:
        return Decision(0, 0, problem=too_few(policy, pool, part, code.parts, zones))
    return Decision(0, 0, problem=unreliable(roomy, demand, code.parity_parts))


def _as_named(policy: Policy, field: Field, size: int, code: Code) -> Decision:
    """Place the parts in exactly the containers that the policy names."""
    part = part_bytes(size, code.data_parts)
    if problem := named_problem(policy, field, policy.containers, part):
        return Decision(0, 0, problem=problem)
    chosen = [one for one in map(field.get, policy.containers) if one is not None]
    zones = len({one.zone for one in chosen})
    if zones < policy.min_zones:
        return Decision(0, 0, problem=too_few(policy, field.pool(policy), part, len(chosen), zones))
    return _decision(code, size, [Choice(one) for one in chosen])


def _searched(policy: Policy, field: Field, size: int | None, chance: Chance) -> Decision:
    """Let an adaptive placement choose the numbers of parts and the containers."""
    pool = field.pool(policy)
    known = max(UNKNOWN_SIZE if size is None else size, 1)
    demand = demand_of(policy, field, known)
    plan = SEARCHES[policy.placement](pool.roomy(), demand, field.subsets, chance)
    if plan is None:
        return Decision(0, 0, problem=no_plan(policy, pool, demand))
    code = Code(plan.data_parts, len(plan.members) - plan.data_parts)
    return _decision(code, known, [Choice(one) for one in plan.members])


def _decision(code: Code, size: int, chosen: Sequence[Choice]) -> Decision:
    return Decision(
        code.data_parts,
        code.parity_parts,
        part_bytes(size, code.data_parts),
        tuple(choice.container.name for choice in chosen),
        tuple(choice.instead_of.name if choice.instead_of else "" for choice in chosen),
    )
