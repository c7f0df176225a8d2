"""Some rounds of what `scripts/soak --chaos` does two hundred times."""

from __future__ import annotations

import os
from collections.abc import Iterator
from unittest import mock

import pytest
from tests.end_to_end.chaos import Chaos, Event, start_chaos

pytestmark = pytest.mark.stores("fleet")


@pytest.fixture(scope="module")
def chaos(stores: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chaos]:
    folder = tmp_path_factory.mktemp("chaos")
    with (
        mock.patch.dict(os.environ, {"XDG_STATE_HOME": str(folder / "state")}),
        start_chaos(folder, seed=1, window_seconds=20.0, grace_seconds=10.0) as chaos,
    ):
        yield chaos


ROUNDS = {
    "MongoDB is killed": [Event("mongod", "kill", 1.0, 1.5)],
    "the S3 server is killed": [Event("s3", "kill", 1.5, 1.0), Event("client", "kill", 2.5, 0.0)],
    "a server is killed": [Event("a", "kill", 1.2, 0.5)],
    "both servers are killed, one after the other": [Event("b", "kill", 0.7, 1.0), Event("a", "kill", 2.8, 0.0)],
    "both stores are frozen": [Event("mongod", "pause", 0.5, 2.0), Event("s3", "pause", 1.5, 2.0)],
    "everything is killed": [
        Event("mongod", "kill", 0.5, 2.0),
        Event("b", "kill", 1.0, 0.0),
        Event("s3", "kill", 1.5, 1.5),
        Event("client", "kill", 2.0, 0.0),
        Event("a", "kill", 2.5, 0.5),
    ],
}


@pytest.mark.parametrize("events", ROUNDS)
def test_nothing_acknowledged_is_lost_nothing_half_is_seen_and_nothing_hangs_when(chaos: Chaos, events: str) -> None:
    chaos.round(ROUNDS[events])


def test_in_the_end_all_that_was_acknowledged_is_there_and_nothing_else(chaos: Chaos) -> None:
    chaos.check_all()
    assert chaos.report.rounds == len(ROUNDS)
