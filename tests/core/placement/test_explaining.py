"""Explanations: the decision of a put, with a reason for every container."""

from __future__ import annotations

import random

import pytest
from tests.core.placement.sites import MB, random_field, random_policy, site

from measurand.core.placement.deciding import decide
from measurand.core.placement.explaining import explain
from measurand.core.placement.field import Field
from measurand.core.placement.policies import PLACEMENTS, Policy


def test_what_is_explained_is_what_is_placed() -> None:
    chance = random.Random(31)
    for _ in range(1000):
        field = Field(random_field(chance))
        policy = random_policy(chance, [one.name for one in field])
        size, seed = chance.choice((None, 0, 1000, MB, 300 * MB)), chance.random()
        placed = decide(policy, field, size, chance=random.Random(seed).random)
        explained = explain(policy, field, size, chance=random.Random(seed).random)
        assert explained.decision.chosen == placed.chosen
        assert str(explained.decision.problem) == str(placed.problem)
        considered = explained.considered
        assert {one.container for one in considered} == {one.name for one in field}
        assert {one.container for one in considered if one.chosen} == set(placed.chosen)
        assert all(one.reasons and all(one.reasons) for one in considered)
        assert all(one.score > 0 for one in considered if one.chosen)
        assert [one.score for one in considered] == sorted((one.score for one in considered), reverse=True)
        assert not [one.reasons for one in considered if len(", ".join(one.reasons)) > 60]


@pytest.mark.parametrize("placement", sorted(PLACEMENTS))
def test_a_container_that_does_not_come_into_question_says_why_and_scores_nothing(placement: str) -> None:
    ssd = (("disk", "ssd"),)
    field = Field(
        [
            *(site(at, "north", labels=ssd) for at in range(6)),
            site(6, "north", labels=ssd, takes_blobs=False, state="draining"),
            site(7, "south", labels=ssd),
            site(8, "north"),
            site(9, "north", labels=ssd, held=1),
            site(10, "north", labels=ssd),
        ]
    )
    policy = Policy(placement=placement, zones=("north",), container_labels=ssd, exclude=("n10",))
    explained = explain(policy, field, MB, chance=random.Random(1).random)
    assert explained.decision.problem is None
    found = {one.container: one for one in explained.considered}
    assert [found[f"n{at}"].score for at in range(6, 11)] == [0] * 5
    assert found["n6"].reasons == ("draining: takes no new parts",)
    assert found["n7"].reasons == ('zone "south" is not asked for',)
    assert found["n8"].reasons == ("label disk=ssd is missing",)
    assert found["n9"].reasons[0].startswith("0 bytes free")
    assert found["n10"].reasons == ("excluded by name",)


def test_who_lost_against_whom_is_said() -> None:
    field = Field([site(0, held=0.2), site(1, held=0.6)])
    explained = explain(Policy(replicas=1), field, MB, chance=random.Random(3).random)
    assert explained.decision.chosen == ("n0",)
    assert explained.considered[1].reasons == ("drawn, and fuller than n0", "40 % free")
    assert explained.considered[0].reasons == ("part 0", "80 % free")


def test_a_zone_that_has_its_share_is_said() -> None:
    field = Field([site(0, "a"), site(1, "b"), site(2, "b", held=0.5)])
    explained = explain(Policy(replicas=2, placement="utilisation"), field, MB, chance=random.Random(3).random)
    passed_over = next(one for one in explained.considered if not one.chosen)
    assert passed_over.reasons == ('zone "b" has 1 of the parts', "50 % free")


def test_the_reliability_is_that_of_the_containers_chosen() -> None:
    field = Field(site(at) for at in range(7))
    explained = explain(Policy(losses=2), field, MB, chance=random.Random(3).random)
    assert explained.reliability == pytest.approx(1 - 6.4e-5, abs=1e-6)
