"""Placements that pick one container after the other by a figure: those of DynoStore, and by speed."""

from __future__ import annotations

from collections.abc import Sequence

from measurand.core.placement.candidates import Candidate
from measurand.core.placement.spreading import Chance, Choice, Pick

__all__ = ["by_popularity", "by_safety", "by_speed", "by_two_choices", "by_utilisation"]

FULLNESS_SHARE = 0.25
POPULARITY_SHARE = 0.75
TIE_BREAK = 1e-6


def by_utilisation(part: float) -> Pick:
    """Pick the least full one, with the part counted in; the first of those that are as full."""
    return lambda candidates: Choice(min(candidates, key=lambda one: _fullness(one, part)))


def by_safety(candidates: Sequence[Candidate]) -> Choice:
    """Pick the one that fails most rarely; of those that are as safe the least full one."""
    return Choice(min(candidates, key=lambda one: (one.annual_failure_rate, one.utilisation())))


def by_speed(candidates: Sequence[Candidate]) -> Choice:
    """Pick the fastest writer; the first of those that are as fast."""
    return Choice(max(candidates, key=lambda one: one.write_bandwidth))


def by_two_choices(part: float, chance: Chance) -> Pick:
    """Pick the less full one of two that are drawn, all as likely."""

    def pick(candidates: Sequence[Candidate]) -> Choice:
        first = int(chance() * len(candidates))
        if len(candidates) == 1:
            return Choice(candidates[first])
        second = int(chance() * (len(candidates) - 1))
        pair = [candidates[first], candidates[second + (second >= first)]]
        pair.sort(key=lambda one: _fullness(one, part))
        return Choice(*pair)

    return pick


def by_popularity(among: Sequence[Candidate], part: float, chance: Chance) -> Pick:
    """Pick the one with the lowest score: a quarter how full it is, three quarters how much is read from it.

    Both are scaled to 0 to 1 over the candidates, 0 where all are alike; a little chance breaks ties.
    """
    fullness = _scaled([_fullness(one, part) for one in among])
    popularity = _scaled([one.popularity for one in among])
    scores = {
        one.name: FULLNESS_SHARE * full + POPULARITY_SHARE * popular + TIE_BREAK * chance()
        for one, full, popular in zip(among, fullness, popularity, strict=True)
    }
    return lambda candidates: Choice(min(candidates, key=lambda one: scores[one.name]))


def _fullness(candidate: Candidate, part: float) -> float:
    return (candidate.held_bytes + part) / max(candidate.usable_bytes, 1)


def _scaled(values: Sequence[float]) -> list[float]:
    least, span = min(values, default=0.0), max(values, default=0.0) - min(values, default=0.0)
    return [(value - least) / span if span else 0.0 for value in values]
