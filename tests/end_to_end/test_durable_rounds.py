"""Some rounds of ME-5. `scripts/soak` does fifty of each kind."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.end_to_end.durable_rounds import start_durable
from tests.end_to_end.fleet import start_stores
from tests.stores import DURABLE, Site

pytestmark = [pytest.mark.stores(*DURABLE), pytest.mark.usefixtures("_own_places")]

ROUNDS = 3


def test_what_was_acknowledged_survives_the_death_of_the_server_right_after(site: Site) -> None:
    with start_durable(site, seed=1) as durable:
        for _ in range(ROUNDS):
            durable.after_an_acknowledgement()


def test_what_was_cut_off_is_as_before_or_as_it_was_to_be(site: Site) -> None:
    with start_durable(site, seed=2) as durable:
        for _ in range(ROUNDS):
            durable.amid_a_write()


@pytest.mark.stores("fleet")
def test_what_was_acknowledged_survives_the_death_of_the_server_and_both_stores(stores: str, tmp_path: Path) -> None:
    with (
        start_stores(tmp_path / "stores") as (mongod, seaweed, site),
        start_durable(site, seed=3, stores=[mongod, seaweed]) as durable,
    ):
        durable.after_an_acknowledgement()
        durable.amid_a_write()
