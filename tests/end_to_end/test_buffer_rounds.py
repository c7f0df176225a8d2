"""Some rounds of what `scripts/soak` does for hours."""

from __future__ import annotations

import pytest
from tests.end_to_end import buffer_rounds
from tests.stores import DURABLE, Site

pytestmark = [pytest.mark.stores(*DURABLE), pytest.mark.usefixtures("_own_places")]


def test_records_are_whole_over_the_death_of_their_server(site: Site) -> None:
    assert buffer_rounds.server_round(site, 1).records > 0


def test_a_writer_with_a_spool_goes_on_when_it_is_run_again(site: Site) -> None:
    assert buffer_rounds.client_round(site, 0).kills > 0
