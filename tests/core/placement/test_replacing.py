"""Parts that are made anew or moved off: where they go beside those that stay."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from tests.core.placement.sites import MB, site

from measurand.core.placement.deciding import Decision, replace_parts
from measurand.core.placement.field import Field
from measurand.core.placement.policies import ADAPTIVE, PLACEMENTS, Policy
from measurand.wire.errors import ContainersUnavailable, StoreFull

CODED = Policy(data_parts=4, parity_parts=2)


def replaced(field: Field, kept: list[str], missing: int, policy: Policy = CODED, **more: object) -> Decision:
    chance = random.Random(str(kept)).random
    return replace_parts(
        policy,
        field,
        9 * MB,
        data_parts=4,
        parity_parts=2,
        kept=kept,
        missing=missing,
        chance=chance,
        **more,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("placement", sorted(PLACEMENTS))
def test_new_parts_go_to_containers_without_one_and_to_zones_that_lack(placement: str) -> None:
    field = Field(site(at, "abc"[at % 3]) for at in range(12))
    policy = Policy(placement=placement) if placement in ADAPTIVE else Policy(4 * 0, 4, 2, placement=placement)
    decision = replaced(field, ["n0", "n3", "n1", "n4"], 2, policy)  # two in a, two in b
    assert {int(name[1:]) % 3 for name in decision.chosen} == {2}
    assert len(set(decision.chosen)) == 2
    assert (decision.data_parts, decision.parity_parts) == (4, 2)


def test_what_stays_counts_even_in_a_container_that_takes_no_more() -> None:
    field = Field(
        site(at, "abc"[at % 3], takes_blobs=at != 0, state="draining" if at == 0 else "active") for at in range(6)
    )
    decision = replaced(field, ["n0", "n1", "n3", "n4"], 2)
    assert set(decision.chosen) == {"n2", "n5"}


def test_a_container_that_is_avoided_gets_nothing() -> None:
    field = Field(site(at) for at in range(8))
    for seed in range(20):
        decision = replace_parts(
            CODED, field, MB, data_parts=4, parity_parts=2, kept=["n0", "n1", "n2", "n3", "n4"], missing=1,
            chance=random.Random(seed).random, avoid=["n5"],
        )  # fmt: skip
        assert decision.chosen[0] in ("n6", "n7")


def test_too_few_others_are_counted_without_those_that_hold_a_part() -> None:
    field = Field(site(at) for at in range(6))
    problem = replaced(field, ["n0", "n1", "n2", "n3", "n4"], 2).problem
    assert isinstance(problem, ContainersUnavailable)
    assert problem.details == {"needed": "2", "available": "1"}


def test_others_without_room_are_a_full_store() -> None:
    field = Field([*(site(at) for at in range(5)), site(5, held=1)])
    assert isinstance(replaced(field, ["n0", "n1", "n2", "n3", "n4"], 1).problem, StoreFull)


def test_a_zone_too_few_does_not_stop_a_repair() -> None:
    field = Field(site(at, "a") for at in range(8))
    policy = Policy(data_parts=4, parity_parts=2, min_zones=2)
    assert replaced(field, ["n0", "n1", "n2", "n3"], 2, policy).problem is None


def test_repairs_of_many_blobs_spread_over_all_that_are_left() -> None:
    field = Field(site(at) for at in range(8))
    chance, count = random.Random(4), Counter[str]()
    for _ in range(600):
        kept = chance.sample([f"n{at}" for at in range(1, 8)], 5)
        decision = replace_parts(
            CODED, field, MB, data_parts=4, parity_parts=2, kept=kept, missing=1, chance=chance.random, avoid=["n0"]
        )
        field.begin(decision.chosen, decision.part_bytes)
        field.end(decision.chosen[0], decision.part_bytes, decision.part_bytes)
        count[decision.chosen[0]] += 1
    assert set(count) == {f"n{at}" for at in range(1, 8)}
    assert max(count.values()) - min(count.values()) <= 30


def test_a_target_reliability_is_kept_by_what_is_made_anew() -> None:
    field = Field(
        [*(site(at, annual_failure_rate=0.01) for at in range(5)), site(5, annual_failure_rate=0.01, held=0.9)]
    )
    for at in range(6, 12):
        field.set(site(at, annual_failure_rate=2.0))
    policy = Policy(placement="saturation", target_reliability=0.9999)
    decision = replaced(field, ["n0", "n1", "n2", "n3", "n4"], 1, policy)
    assert decision.chosen == ("n5",)
    decision = replaced(field, ["n0", "n1", "n2", "n3", "n4"], 2, policy)
    assert "n5" in decision.chosen  # not enough for the target any more, and still better than none
