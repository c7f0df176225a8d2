"""Decisions: which code, which containers, and why there is no place."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from tests.core.placement.sites import MB, random_field, random_policy, site

from measurand.core.containers.stripes import Layout
from measurand.core.placement.codes import part_bytes
from measurand.core.placement.deciding import Decision, decide
from measurand.core.placement.demands import probabilities
from measurand.core.placement.field import Field, lets_in
from measurand.core.placement.policies import ADAPTIVE, Policy
from measurand.core.placement.reliability import failure_counts, survival
from measurand.core.placement.searching import demand_of
from measurand.wire.errors import ContainersUnavailable, FailedPrecondition, InvalidArgument, StoreFull

SIX = tuple(f"n{at}" for at in range(6))


def decided(policy: Policy, field: Field, size: int | None = MB, seed: int = 1) -> Decision:
    return decide(policy, field, size, chance=random.Random(seed).random)


def fleet(number: int, **more: object) -> Field:
    return Field(site(at, **more) for at in range(number))  # type: ignore[arg-type]


# ---------------------------------------------------------------------------------------------- how many parts


@pytest.mark.parametrize(
    ("policy", "up", "size", "code"),
    [
        (Policy(losses=2), 9, MB, (4, 2)),
        (Policy(losses=2), 7, MB, (4, 2)),
        (Policy(losses=2), 6, MB, (3, 2)),
        (Policy(losses=2), 5, MB, (2, 2)),
        (Policy(losses=2), 4, MB, (1, 2)),
        (Policy(losses=2), 3, MB, (1, 2)),
        (Policy(losses=1), 8, MB, (4, 1)),
        (Policy(losses=2), 9, (256 << 10) - 1, (1, 2)),
        (Policy(losses=2), 9, 256 << 10, (4, 2)),
        (Policy(losses=2), 9, 0, (1, 2)),
        (Policy(losses=2), 9, None, (4, 2)),
        (Policy(), 9, MB, (4, 2)),
        (Policy(replicas=1), 9, MB, (1, 0)),
        (Policy(replicas=3), 9, MB, (1, 2)),
        (Policy(data_parts=4, parity_parts=2), 6, 10, (4, 2)),
        (Policy(data_parts=8, parity_parts=4), 12, None, (8, 4)),
    ],
)
def test_the_code_follows_the_policy_the_size_and_who_is_up(
    policy: Policy, up: int, size: int | None, code: tuple[int, int]
) -> None:
    field = Field([*(site(at) for at in range(up)), *(site(at, takes_blobs=False) for at in range(50, 54))])
    decision = decided(policy, field, size)
    assert decision.problem is None
    assert (decision.data_parts, decision.parity_parts) == code
    assert len(set(decision.chosen)) == sum(code)


def test_where_the_server_chooses_fewer_parts_do_when_some_containers_are_full() -> None:
    field = Field([site(0, held=1), site(1, held=1), *(site(at) for at in range(2, 7))])
    decision = decided(Policy(losses=2), field)
    assert (decision.data_parts, decision.parity_parts) == (3, 2)
    assert not {"n0", "n1"} & set(decision.chosen)


@pytest.mark.parametrize(("code", "quorum"), [((4, 2), 5), ((4, 3), 6), ((1, 2), 2), ((1, 0), 1), ((2, 1), 3)])
def test_a_quorum_is_the_data_parts_and_half_of_the_others(code: tuple[int, int], quorum: int) -> None:
    assert Decision(*code).quorum == quorum


@pytest.mark.parametrize(
    ("size", "data_parts", "expected"),
    [
        (0, 1, 64),
        (1, 4, 65),
        (1 << 20, 1, (1 << 20) + 64),
        ((4 << 20) + 1, 4, (1 << 20) + 1 + 128),
        (9 << 20, 2, 0x480140),
    ],
)
def test_a_part_is_its_share_and_a_header_for_each_stripe(size: int, data_parts: int, expected: int) -> None:
    assert part_bytes(size, data_parts) == expected


def test_a_part_is_never_larger_than_it_was_placed_for() -> None:
    chance = random.Random(3)
    for _ in range(500):
        size, data_parts = int(chance.uniform(0, 40) ** 2 * MB // 16), chance.randint(1, 32)
        assert 0 <= part_bytes(size, data_parts) - Layout(size, data_parts).part_bytes <= 64


# ------------------------------------------------------------------------------------------- named, left out, labelled


def test_named_containers_are_used_in_their_order() -> None:
    names = ("n4", "n1", "n5", "n0", "n7", "n2")
    for policy in (Policy(data_parts=4, parity_parts=2, containers=names), Policy(losses=2, containers=names)):
        assert decided(policy, fleet(9)).chosen == names
    every = tuple(f"n{at}" for at in range(9))
    assert decided(Policy(losses=2, containers=every), fleet(9)).chosen == every
    down = Field(site(at, takes_blobs=at != 8, state="down") for at in range(9))
    problem = decided(Policy(losses=2, containers=every), down).problem
    assert isinstance(problem, ContainersUnavailable) and problem.details["container"] == "n8"


def test_some_of_those_that_are_named_do_for_a_small_blob_where_the_server_chooses() -> None:
    decision = decided(Policy(losses=2, containers=SIX), fleet(9), 1000)
    assert len(decision.chosen) == 3 and set(decision.chosen) <= set(SIX)


def test_a_named_container_that_is_down_is_named_by_the_error() -> None:
    field = Field(site(at, takes_blobs=at != 3, state="active" if at != 3 else "down") for at in range(9))
    problem = decided(Policy(data_parts=4, parity_parts=2, containers=SIX), field).problem
    assert isinstance(problem, ContainersUnavailable)
    assert (problem.details["container"], problem.details["needed"], problem.details["available"]) == ("n3", "6", "5")
    assert "n3" in problem.message and "down" in problem.message


def test_a_named_container_that_is_full_is_named_by_the_error() -> None:
    field = Field(site(at, held=1 if at == 2 else 0) for at in range(6))
    problem = decided(Policy(data_parts=4, parity_parts=2, containers=SIX), field).problem
    assert isinstance(problem, StoreFull) and problem.details["container"] == "n2"


@pytest.mark.parametrize("policy", [Policy(zones=("north",), containers=SIX, data_parts=4, parity_parts=2)])
def test_a_named_container_that_the_policy_shuts_out_is_a_wrong_policy(policy: Policy) -> None:
    field = Field(site(at, "south" if at == 4 else "north") for at in range(9))
    problem = decided(policy, field).problem
    assert isinstance(problem, InvalidArgument) and problem.details["container"] == "n4"
    problem = decided(replace(policy, containers=(*SIX[:5], "n99")), field).problem
    assert isinstance(problem, InvalidArgument) and problem.details["field"] == "storage.containers"


def test_labels_zones_and_exclusions_are_kept_by_every_placement() -> None:
    chance = random.Random(21)
    placed = 0
    for _ in range(400):
        field = Field(random_field(chance))
        policy = random_policy(chance, [one.name for one in field])
        size = chance.choice((0, 10, MB, 40 * MB))
        decision = decide(policy, field, size, chance=chance.random)
        assert (decision.problem is None) == bool(decision.chosen)
        placed += bool(decision.chosen)
        assert len(set(decision.chosen)) == len(decision.chosen) == decision.data_parts + decision.parity_parts
        chosen = [one for one in field if one.name in decision.chosen]
        assert all(lets_in(policy, one) and one.takes_blobs for one in chosen)
        if policy.is_adaptive:
            assert all(one.room_bytes >= size / decision.data_parts for one in chosen)
        else:
            assert all(one.room_bytes >= decision.part_bytes for one in chosen)
        if chosen:
            assert len({one.zone for one in chosen}) >= policy.min_zones
    assert placed > 100


# ------------------------------------------------------------------------------------------------ adaptive placements


@pytest.mark.parametrize("placement", sorted(ADAPTIVE))
def test_an_adaptive_placement_is_reliable_enough_and_wastes_nothing(placement: str) -> None:
    chance = random.Random(placement)
    placed = 0
    for _ in range(60):
        field = Field(random_field(chance))
        policy = Policy(placement=placement, target_reliability=chance.choice((0.5, 0.99, 0.99999)))
        size = chance.choice((1, MB, 300 * MB))
        decision = decide(policy, field, size, chance=chance.random)
        if decision.problem is not None:
            continue
        placed += 1
        demand = demand_of(policy, field, size)
        counts = failure_counts(probabilities((one for one in field if one.name in decision.chosen), demand))
        assert survival(counts, decision.parity_parts) >= policy.target_reliability
        if placement not in ("random", "balance_penalty") and decision.parity_parts > 1:
            # One data part more would not be reliable enough: what is stored is the least for these containers.
            assert survival(counts, decision.parity_parts - 1) < policy.target_reliability
    assert placed > 10


@pytest.mark.parametrize("placement", sorted(ADAPTIVE - {"random"}))
def test_an_adaptive_placement_finds_a_place_whenever_copies_would_do(placement: str) -> None:
    """Two containers with room are enough for two copies; only LB leaves one out."""
    field = fleet(3 if placement == "balance_penalty" else 2)
    decision = decided(Policy(placement=placement, target_reliability=0.99), field)
    assert (decision.data_parts, decision.parity_parts) == (1, 1)


def test_a_target_that_cannot_be_reached_says_what_can() -> None:
    problem = decided(Policy(placement="saturation", target_reliability=0.9999999), fleet(3)).problem
    assert isinstance(problem, FailedPrecondition)
    assert float(problem.details["reachable"]) == pytest.approx(1 - 3.3e-6, abs=1e-7)
    assert "add containers" in problem.message


def test_a_target_that_only_want_of_room_stands_against_is_a_full_store() -> None:
    problem = decided(Policy(placement="saturation"), fleet(6, capacity=MB), 40 * MB).problem
    assert isinstance(problem, StoreFull)


def test_the_fastest_are_swapped_until_they_are_reliable_enough() -> None:
    field = Field(
        site(at, write_bandwidth=1000.0 - at, annual_failure_rate=0.5 if at < 3 else 0.001) for at in range(6)
    )
    fast = Policy(replicas=3, placement="fastest")
    assert decided(fast, field).chosen == ("n0", "n1", "n2")
    assert set(decided(replace(fast, target_reliability=0.999), field).chosen) == {"n3", "n1", "n2"}
    problem = decided(replace(fast, target_reliability=0.9999999999), field).problem
    assert isinstance(problem, FailedPrecondition) and float(problem.details["reachable"]) < 0.9999999999


# ---------------------------------------------------------------------------------------------------- why not


def test_too_few_that_are_up_are_counted() -> None:
    field = Field(site(at, takes_blobs=at < 5, state="down") for at in range(8))
    problem = decided(Policy(data_parts=4, parity_parts=2), field).problem
    assert isinstance(problem, ContainersUnavailable)
    assert problem.details == {"needed": "6", "available": "5"}


def test_the_store_is_full_only_when_no_set_of_containers_has_room() -> None:
    field = Field(site(at, capacity=(10 if at < 3 else 1) * MB) for at in range(9))
    assert decided(Policy(replicas=3), field, 9 * MB).problem is None
    problem = decided(Policy(replicas=4), field, 9 * MB).problem
    assert isinstance(problem, StoreFull) and int(problem.details["needed_bytes"]) > 9 * MB


def test_more_zones_than_there_are_is_said_in_words() -> None:
    field = Field(site(at, "abc"[at % 3]) for at in range(9))
    problem = decided(Policy(data_parts=4, parity_parts=2, min_zones=4), field).problem
    assert isinstance(problem, FailedPrecondition)
    assert "4 zones" in problem.message and "lie in 3" in problem.message


def test_zones_that_are_down_are_waited_for() -> None:
    field = Field(site(at, "abcd"[at % 4], takes_blobs=at % 4 != 3) for at in range(12))
    problem = decided(Policy(data_parts=4, parity_parts=2, min_zones=4), field).problem
    assert isinstance(problem, ContainersUnavailable)
    assert problem.details == {"needed": "4", "available": "3"}


def test_no_containers_at_all_is_a_problem_and_no_crash() -> None:
    for placement in ("", *sorted(ADAPTIVE), "fastest", "popularity"):
        assert isinstance(decided(Policy(placement=placement), Field()).problem, ContainersUnavailable)
