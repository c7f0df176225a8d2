"""The usual placement: how even it keeps containers, and how it spreads parts over zones."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping

import pytest
from tests.core.placement.sites import TB, site

from measurand.core.placement.candidates import Candidate
from measurand.core.placement.deciding import decide
from measurand.core.placement.field import Field
from measurand.core.placement.policies import Policy

OBJECTS = 10_000
COPIES = Policy(replicas=2)


def unequal(weights: Mapping[int, float] | None = None) -> list[Candidate]:
    """Return ten containers of capacity 1, 2 and 4."""
    capacities = [1] * 5 + [2] * 3 + [4] * 2
    weights = weights or {}
    return [site(at, capacity=size * TB, weight=weights.get(at, 1.0)) for at, size in enumerate(capacities)]


def half_filled(fleet: Field, *, seed: int, servers: int = 1, stale: int = 1, placement: str = "") -> list[float]:
    """Put objects of exponential size until the containers are half full, and return how full each is.

    Each server sees what it wrote itself at once, and what the others wrote every `stale` objects.
    """
    chance, policy = random.Random(seed), Policy(replicas=2, placement=placement)
    mean = sum(one.capacity_bytes for one in fleet) / (4 * OBJECTS)
    seen = [Field(fleet) for _ in range(servers)]
    for number in range(OBJECTS):
        if stale > 1 and number % stale == 0:
            for field in seen:
                for candidate in fleet:
                    field.set(candidate)
        field = seen[number % servers] if stale > 1 else fleet
        size = int(chance.expovariate(1 / mean)) + 1
        decision = decide(policy, field, size, chance=chance.random)
        assert decision.problem is None
        for target in {id(field): field, id(fleet): fleet}.values():
            target.begin(decision.chosen, decision.part_bytes, size)
            for name in decision.chosen:
                target.end(name, decision.part_bytes, size)
    return [one.stored_bytes / one.capacity_bytes for one in fleet]


def test_unequal_containers_stay_within_a_point() -> None:
    fullness = half_filled(Field(unequal()), seed=1)
    assert max(fullness) - min(fullness) <= 0.01


def test_four_servers_with_old_figures_stay_within_three_points() -> None:
    fullness = half_filled(Field(unequal()), seed=2, servers=4, stale=200)
    assert max(fullness) - min(fullness) <= 0.03


def test_half_the_weight_gets_half() -> None:
    fullness = half_filled(Field(unequal({2: 0.5, 8: 0.5})), seed=3)
    usual = [full for at, full in enumerate(fullness) if at not in (2, 8)]
    for at in (2, 8):
        assert fullness[at] == pytest.approx(0.5 * sum(usual) / len(usual), rel=0.05)


def zones_of(field: Field, names: tuple[str, ...]) -> Counter[str]:
    return Counter(one.zone for one in field if one.name in names)


@pytest.mark.parametrize("placement", ["balanced", "utilisation", "two_choices", "popularity", "fastest"])
def test_six_parts_over_three_zones_are_two_in_each(placement: str) -> None:
    chance = random.Random(placement)
    policy = Policy(data_parts=4, parity_parts=2, placement=placement)
    for _ in range(50):
        field = Field(
            site(
                at,
                "abc"[at % 3],
                held=chance.random() * 0.9,
                write_bandwidth=chance.random(),
                popularity=chance.random(),
            )
            for at in range(9)
        )
        decision = decide(policy, field, 100_000, chance=chance.random)
        assert sorted(zones_of(field, decision.chosen).values()) == [2, 2, 2]
        assert len(set(decision.chosen)) == 6


def test_zones_that_are_small_or_full_give_what_they_can() -> None:
    field = Field([site(0, "small"), *(site(at, "large") for at in range(1, 6)), site(6, "full", held=1)])
    for seed in range(20):
        decision = decide(Policy(data_parts=4, parity_parts=2), field, 10**6, chance=random.Random(seed).random)
        assert zones_of(field, decision.chosen) == {"small": 1, "large": 5}


def test_an_uneven_number_of_parts_differs_by_one_between_zones() -> None:
    chance = random.Random(8)
    field = Field(site(at, f"z{at % 4}", capacity=TB * (1 + at % 3)) for at in range(40))
    for parts in range(2, 16):
        decision = decide(Policy(replicas=parts), field, 1000, chance=chance.random)
        counts = zones_of(field, decision.chosen)
        spread = [counts[f"z{at}"] for at in range(4)]
        assert max(spread) - min(spread) <= 1 and sum(spread) == parts


def test_nearly_all_room_in_one_container_is_no_hindrance() -> None:
    field = Field([site(0, capacity=10**9 * TB), *(site(at, capacity=10**6) for at in range(1, 6))])
    for seed in range(20):
        decision = decide(Policy(data_parts=4, parity_parts=2), field, 1000, chance=random.Random(seed).random)
        assert len(set(decision.chosen)) == 6


def test_what_is_being_written_counts_as_full() -> None:
    field = Field([site(0), site(1)])
    field.begin(["n0"], 4 * 10**11)
    chosen = {decide(Policy(replicas=1), field, 1000, chance=random.Random(seed).random).chosen for seed in range(30)}
    assert chosen == {("n1",)}
    field.end("n0", 4 * 10**11)
    chosen = {decide(Policy(replicas=1), field, 1000, chance=random.Random(seed).random).chosen for seed in range(30)}
    assert chosen == {("n0",), ("n1",)}
