"""Some rounds of what `scripts/soak` does many times: frames are streamed while servers and measurements are killed."""

from __future__ import annotations

import pytest
from tests.end_to_end import array_rounds
from tests.stores import DURABLE, Site

pytestmark = [pytest.mark.stores(*DURABLE), pytest.mark.usefixtures("_own_places")]


@pytest.mark.parametrize("seed", range(2))
def test_a_stream_goes_on_over_the_death_of_its_server_and_of_its_measurement(site: Site, seed: int) -> None:
    array_rounds.killed_round(site, 400, seed, server_kills=2)


def test_what_was_handed_to_a_spool_arrives_whoever_was_away(site: Site) -> None:
    array_rounds.spooled_round(site, 300, 1, rate=200.0, away_seconds=1.5)
