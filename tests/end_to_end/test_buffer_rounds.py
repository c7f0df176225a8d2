"""Short rounds of what `scripts/soak --buffers` does two hundred times."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.end_to_end.buffer_rounds import start_place
from tests.end_to_end.chaos import Event
from tests.stores import DURABLE

pytestmark = [pytest.mark.stores(*DURABLE), pytest.mark.usefixtures("_own_places")]

EVENTS = {
    "embedded": [Event("a", "kill", 0.5, 0.0), Event("client", "kill", 1.0, 0.0)],
    "fleet": [
        Event("mongod", "kill", 0.4, 0.2),
        Event("a", "kill", 0.7, 0.0),
        Event("s3", "kill", 1.0, 0.2),
        Event("client", "kill", 1.2, 0.0),
    ],
}


def test_records_are_whole_over_the_deaths_of_servers_stores_and_writers(stores: str, tmp_path: Path) -> None:
    with start_place(stores, tmp_path) as place:
        place.round(EVENTS[stores], 1, seconds=1.5)
    assert place.report.records > 0
