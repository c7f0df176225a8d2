"""Short rounds of what `scripts/soak --containers` does two hundred times."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.end_to_end.container_rounds import Event, Shape, start_place

pytestmark = pytest.mark.usefixtures("_own_places")

ROUNDS = [
    [Event("d1", "wipe", 0.5), Event("r0", "kill", 0.8), Event("a", "restart", 1.2)],
    [Event("d2", "damage", 1.0), Event("d3", "unmount", 0.5), Event("r0", "restart", 0.7)],
]


def test_what_was_acknowledged_outlives_the_loss_of_containers_twice(tmp_path: Path) -> None:
    with start_place("embedded", tmp_path, Shape(losses=2, folders=6, served=1, workers=6)) as place:
        for seed, events in enumerate(ROUNDS):
            place.round(events, seed, seconds=1.5)
        place.check_leaks()
    assert place.report.repaired > 0
