"""Evening out after containers were added: how even, how few bytes, and what stays as it was promised."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import pytest
from tests.core.placement.sites import TB, site

from measurand.core.placement.evening import Evening, misplaced, shifts
from measurand.core.placement.field import Field
from measurand.core.placement.policies import Policy

PART = TB // 500
CODED = Policy(data_parts=4, parity_parts=2)


def grown(zones: str = "") -> tuple[Field, list[list[str]]]:
    """Return eight containers that are 60 % full of parts, and two that are empty and new."""
    chance = random.Random(6)
    places: list[list[str]] = []
    held = Counter[str]()
    while sum(held.values()) < 8 * 300:
        emptiest = sorted(range(8), key=lambda at: (held[f"n{at}"], chance.random()))[:6]
        places.append([f"n{at}" for at in emptiest])
        held.update(places[-1])
    field = Field(
        site(at, zones[at % len(zones)] if zones else "", held=held[f"n{at}"] * PART / TB) for at in range(10)
    )
    return field, places


def evened(field: Field, places: list[list[str]], policy: Policy = CODED, most: int = 10**9) -> Evening:
    """Move part after part, so many at most."""
    evening = Evening(field)
    for holders in places:
        for at in range(len(holders)):
            if most <= 0:
                return evening
            goal = evening.move(policy, holders, at, PART, policy.data_parts)
            if goal is not None:
                field.end(holders[at], 0, -PART)
                field.end(goal, 0, PART)
                holders[at], most = goal, most - 1
    return evening


def fullness(field: Field) -> list[float]:
    return [one.utilisation() for one in field]


def least_moved(field: Field, within: float = 0.05) -> float:
    """Return the fewest bytes that make containers of one size differ by no more, by trying levels one by one."""
    full, best = fullness(field), float("inf")
    for step in range(1000):
        low = step / 1000
        lack = sum(max(low - one, 0) for one in full)
        if sum(max(one - low - within, 0) for one in full) <= lack:
            best = min(best, lack)
    return best * TB


def test_two_empty_ones_beside_eight_are_filled_with_few_bytes() -> None:
    field, places = grown()
    least = least_moved(field)
    evening = evened(field, places)
    full = fullness(field)
    assert max(full) - min(full) <= 0.05
    assert evening.moved_bytes <= 1.1 * least
    assert evening.is_done
    assert all(len(set(holders)) == 6 for holders in places)


def test_what_is_even_enough_is_left_alone() -> None:
    field = Field(site(at, held=0.5 + at * 0.005) for at in range(10))
    assert shifts(field).moved_bytes == 0
    evening = Evening(field)
    assert evening.is_done and evening.move(CODED, ["n9", *(f"n{at}" for at in range(5))], 0, PART, 4) is None


def test_it_can_stop_at_any_part_and_go_on_later() -> None:
    field, places = grown()
    moved = evened(field, places, most=70).moved_bytes
    assert moved == 70 * PART
    moved += evened(field, places).moved_bytes
    full = fullness(field)
    assert max(full) - min(full) <= 0.05
    assert moved <= 1.1 * least_moved(grown()[0])


def test_zones_are_spread_over_as_before() -> None:
    field, places = grown("abc")
    before = [_spread(field, holders) for holders in places]
    evening = evened(field, places)
    assert evening.moved_bytes > 0
    assert all(_spread(field, holders) <= was for holders, was in zip(places, before, strict=True))


def _spread(field: Field, holders: Sequence[str]) -> int:
    counts = Counter(one.zone for one in field if one.name in holders)
    return max(counts.values()) - min(counts[zone] for zone in "abc")


def test_a_container_of_half_the_weight_takes_half() -> None:
    field = Field([*(site(at, held=0.6) for at in range(8)), site(8), site(9, weight=0.5)])
    planned = shifts(field)
    assert planned.take["n9"] == pytest.approx(planned.take["n8"] / 2, rel=1e-6)


def test_what_is_named_or_shut_out_stays() -> None:
    names = tuple(f"n{at}" for at in range(6))
    field, _ = grown()
    for policy in (
        Policy(data_parts=4, parity_parts=2, containers=names),
        Policy(data_parts=4, parity_parts=2, exclude=("n8", "n9")),
    ):
        assert Evening(field).move(policy, list(names), 0, PART, 4) is None


def test_a_target_reliability_is_kept() -> None:
    field = Field([*(site(at, held=0.6) for at in range(8)), site(8, annual_failure_rate=3.0), site(9)])
    policy = Policy(placement="saturation", target_reliability=0.9999)
    for _ in range(20):
        assert Evening(field).move(policy, [f"n{at}" for at in range(6)], 0, PART, 4) in ("n9", None)
    assert Evening(field).move(policy, [f"n{at}" for at in range(6)], 0, PART, 4) == "n9"


def test_draining_ones_neither_give_nor_take() -> None:
    field = Field([site(0, held=0.9, takes_blobs=False), site(1, held=0.5), site(2, held=0.1)])
    planned = shifts(field)
    assert set(planned.give) == {"n1"} and set(planned.take) == {"n2"}


def test_parts_that_their_policy_does_not_let_in_are_found() -> None:
    field = Field(site(at, "north" if at else "south") for at in range(6))
    policy = Policy(replicas=3, zones=("north",))
    assert misplaced(policy, field, ["n1", "n0", "n2"]) == [1]
    assert misplaced(policy, field, ["n1", "n2", "n1"]) == [2]
    assert misplaced(policy, field, ["n1", "n2", "gone"]) == []
