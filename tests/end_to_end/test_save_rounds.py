"""Some rounds of ME-8: a measurement is saved as a whole or not at all, and once."""

from __future__ import annotations

import pytest
from tests.end_to_end.save_rounds import start_rounds
from tests.stores import DURABLE, Site

pytestmark = [pytest.mark.stores(*DURABLE), pytest.mark.usefixtures("_own_places")]


def test_a_save_over_the_death_of_its_server_gives_all_or_nothing(site: Site) -> None:
    with start_rounds(site, seed=1) as rounds:
        for _ in range(3):
            rounds.server_round()
        assert rounds.looks > 0


def test_a_save_whose_program_is_run_again_gives_one_dataset(site: Site) -> None:
    with start_rounds(site, seed=2) as rounds:
        for _ in range(2):
            rounds.client_round()
        assert rounds.looks > 0
