"""The placement that is used unless another is asked for: of two containers drawn by room, the one that is less full.

Always taking the emptiest herds many servers, whose figures are a little old, onto one container; two random choices
keep the spread nearly as even and do not.

Mitzenmacher, The power of two choices in randomized load balancing (2001).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from measurand.core.placement.candidates import Candidate
from measurand.core.placement.field import Pool
from measurand.core.placement.spreading import Chance, Choice, Spread, by_weight

__all__ = ["balanced"]

TRIES = 16


def balanced(pool: Pool, part: float, count: int, chance: Chance, spread: Spread) -> list[Choice]:
    """Choose a container for each of so many parts, each in another one; fewer when there are no more with room.

    Each choice is between two, drawn with a probability in proportion to room times weight among the zones with the
    fewest parts. It does not look at all containers unless what it draws does not come into question again and again.
    """
    roomy: list[Candidate] | None = None
    chosen: list[Choice] = []
    for _ in range(count):
        pair = _drawn(pool, part, spread, chance) if roomy is None else []
        if not pair:
            if roomy is None:
                roomy = pool.roomy(part)
            pair = _drawn_among(pool, spread.open_to(roomy), chance)
        if not pair:
            break
        first, second = sorted(pair, key=lambda one: one.utilisation(part)) if len(pair) > 1 else (pair[0], None)
        chosen.append(Choice(first, second))
        spread.add(first)
    return chosen


def _drawn(pool: Pool, part: float, spread: Spread, chance: Chance) -> list[Candidate]:
    """Draw two from the whole pool, and again when one does not come into question; empty after too many tries."""
    sums = pool.sums()
    whole = sums[-1] if sums else 0.0
    if whole <= 0:
        return []
    fewest = spread.fewest(pool.zones)
    pair: list[Candidate] = []
    for _ in range(TRIES):
        one = pool.candidates[min(bisect_right(sums, chance() * whole), len(sums) - 1)]
        if one.name in spread.names or spread.zones.get(one.zone, 0) != fewest or one.room_bytes < part:
            continue
        if pair and one is pair[0]:
            continue
        pair.append(one)
        if len(pair) == 2:
            return pair
    return []


def _drawn_among(pool: Pool, candidates: Sequence[Candidate], chance: Chance) -> list[Candidate]:
    """Draw two of these, or the only one there is."""
    if len(candidates) < 2:
        return list(candidates)
    first = by_weight(candidates, map(pool.weight, candidates), chance)
    others = [one for one in candidates if one is not first]
    return [first, by_weight(others, map(pool.weight, others), chance)]
