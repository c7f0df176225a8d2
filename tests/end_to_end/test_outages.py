"""A store goes away for some seconds and comes back (IN-42). `scripts/soak` takes it away for half a minute."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.end_to_end.fleet import Fleet, Victim, start_fleet
from tests.end_to_end.outage import suffer

pytestmark = pytest.mark.stores("fleet")


@pytest.fixture(scope="module")
def fleet(stores: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with start_fleet(tmp_path_factory.mktemp("outages")) as fleet:
        yield fleet


@pytest.mark.parametrize(
    ("victim", "frozen", "away"),
    [("mongod", False, 8.0), ("s3", False, 8.0), ("mongod", True, 16.0)],
    ids=["MongoDB is killed", "the S3 server is killed", "MongoDB is frozen"],
)
def test_no_process_ends_calls_say_when_to_come_again_and_all_goes_on(
    fleet: Fleet, victim: Victim, frozen: bool, away: float
) -> None:
    outage = suffer(fleet, victim, frozen=frozen, before=2.0, away=away, after=2.0)
    assert outage.answers <= {"UNAVAILABLE"}, outage
    assert outage.before > 0 and outage.after > 0, outage
