"""Some rounds of what `scripts/soak` does for hours."""

from __future__ import annotations

import pytest
from tests.end_to_end import kill_rounds
from tests.stores import DURABLE, Site

SIZE = 32 * 1024 * 1024

pytestmark = [pytest.mark.stores(*DURABLE), pytest.mark.usefixtures("_own_places")]


@pytest.mark.parametrize("seed", range(3))
def test_an_upload_completes_over_the_death_of_its_server(site: Site, seed: int) -> None:
    kill_rounds.check(kill_rounds.server_round(site, SIZE, seed), SIZE)


@pytest.mark.parametrize("seed", range(2))
def test_an_upload_goes_on_when_its_client_is_run_again(site: Site, seed: int) -> None:
    kill_rounds.check(kill_rounds.client_round(site, SIZE, seed), SIZE)
