"""What a field keeps between decisions is what it would find out anew."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from tests.core.placement.sites import MB, random_field, random_policy, site

from measurand.core.placement.candidates import Candidate
from measurand.core.placement.deciding import decide
from measurand.core.placement.field import Field
from measurand.core.placement.policies import Policy


def test_changes_leave_pools_as_if_they_were_made_anew() -> None:
    """Fields that lived through many changes decide as fields that are new."""
    chance = random.Random(11)
    for _ in range(60):
        field = Field(random_field(chance))
        names = [one.name for one in field]
        policies = [random_policy(chance, names) for _ in range(4)]
        for _ in range(12):
            _change(field, chance)
            fresh = Field(field)
            fresh.smallest_size = field.smallest_size
            policy, size, seed = chance.choice(policies), chance.choice((0, 1000, MB, 300 * MB)), chance.random()
            kept = decide(policy, field, size, chance=random.Random(seed).random)
            new = decide(policy, fresh, size, chance=random.Random(seed).random)
            assert (kept.chosen, kept.data_parts, str(kept.problem)) == (new.chosen, new.data_parts, str(new.problem))


def _change(field: Field, chance: random.Random) -> None:
    one = chance.choice(list(field))
    match chance.randrange(5):
        case 0:
            field.set(replace(one, takes_blobs=not one.takes_blobs))
        case 1:
            field.set(replace(one, zone=chance.choice(("zone-0", "zone-1", "zone-9"))))
        case 2 if len(field) > 1:
            field.remove(one.name)
        case 3:
            field.begin([one.name], 40 * MB, 40 * MB)
        case _:
            field.end(one.name, 40 * MB, 40 * MB)


def test_new_figures_of_a_container_keep_what_is_being_written_to_it() -> None:
    field = Field([site(0)])
    field.begin(["n0"], 700)
    field.set(site(0, held=0.5))
    one = field.get("n0")
    assert one is not None and (one.in_flight_bytes, one.held_bytes) == (700, 5 * 10**11 + 700)
    field.end("n0", 700, 650)
    one = field.get("n0")
    assert one is not None and (one.in_flight_bytes, one.stored_bytes) == (0, 5 * 10**11 + 650)
    assert one.free_bytes == 5 * 10**11 - 650


def test_what_is_gone_is_not_counted() -> None:
    field = Field([site(0)])
    field.remove("n0")
    field.begin(["n0"], 10)
    field.end("n0", 10, 10)
    field.remove("n0")
    assert len(field) == 0 and field.get("n0") is None


@pytest.mark.parametrize(
    ("figures", "usable", "room"),
    [
        ({"capacity_bytes": 1000, "free_bytes": 400, "stored_bytes": 500}, 900, 400),
        ({"capacity_bytes": 1000, "free_bytes": 400, "stored_bytes": 500, "in_flight_bytes": 150}, 900, 250),
        ({"capacity_bytes": 1000, "free_bytes": 400, "stored_bytes": 500, "max_bytes": 600}, 600, 100),
        ({"capacity_bytes": 1000, "free_bytes": 400, "stored_bytes": 500, "max_bytes": 400}, 400, 0),
        ({"stored_bytes": 500}, 1 << 40, (1 << 40) - 500),
        ({"stored_bytes": 1 << 41}, 1 << 42, 1 << 41),
        ({"stored_bytes": 500, "max_bytes": 700}, 700, 200),
    ],
)
def test_room_is_what_there_is_and_what_there_may_be(figures: dict[str, int], usable: int, room: int) -> None:
    one = Candidate("n", **figures)  # type: ignore[arg-type]
    assert (one.usable_bytes, one.room_bytes) == (usable, room)


def test_many_policies_do_not_fill_the_memory() -> None:
    field = Field(site(at) for at in range(4))
    for number in range(500):
        assert field.pool(Policy(exclude=(f"x{number}",))).up == 4
    assert len(field._pools) <= 64
