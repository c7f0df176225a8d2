"""A store goes away for some seconds and comes back (IN-42). `scripts/soak` takes it away for half a minute."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.end_to_end.fleet import Fleet, Victim, start_fleet
from tests.end_to_end.outage import CALL_SECONDS, Worker, suffer
from tests.end_to_end.replica_set import start_replica_set
from tests.end_to_end.serving import until
from tests.servers import running

from measurand.client import Client

pytestmark = pytest.mark.stores("fleet")


@pytest.fixture(scope="module")
def fleet(stores: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with start_fleet(tmp_path_factory.mktemp("outages")) as fleet:
        yield fleet


@pytest.mark.parametrize(
    ("victim", "frozen", "away"),
    [("mongod", False, 7.0), ("s3", False, 7.0), ("mongod", True, 14.0)],
    ids=["MongoDB is killed", "the S3 server is killed", "MongoDB is frozen"],
)
def test_no_process_ends_calls_say_when_to_come_again_and_all_goes_on(
    fleet: Fleet, victim: Victim, frozen: bool, away: float
) -> None:
    outage = suffer(fleet, victim, frozen=frozen, before=1.0, away=away, after=1.0)
    assert outage.answers <= {"UNAVAILABLE"}, outage
    assert outage.before > 0 and outage.after > 0, outage


def test_another_member_of_a_replica_set_takes_over_and_nothing_acknowledged_is_lost(
    stores: str, tmp_path: Path
) -> None:
    """The primary is killed, and the next one frozen; nobody restarts anything."""
    with (
        start_replica_set(tmp_path / "set") as replicas,
        running(tmp_path / "data", "--documents", replicas.url_of("lab")) as server,
        Client(server.address, timeout=CALL_SECONDS) as client,
        ThreadPoolExecutor(4) as threads,
    ):
        lab, ended = client.create_catalog("lab"), threading.Event()
        workers = [Worker(lab, f"w{number}") for number in range(4)]
        working = [threads.submit(worker.work, ended) for worker in workers]
        try:
            time.sleep(1.0)
            first = replicas.primary()
            first.kill()
            second = replicas.primary()
            _wait_for_progress(workers)
            first.start()
            second.pause()
            try:
                replicas.primary(but=second)
                _wait_for_progress(workers)
            finally:
                second.resume()
            _wait_for_progress(workers)
        finally:
            ended.set()
        for one in working:
            one.result(60)
        for worker in workers:
            worker.check(lab)
        assert server.process.poll() is None


def _wait_for_progress(workers: list[Worker]) -> None:
    """Return when everybody has had something acknowledged."""
    before = [len(worker.times) for worker in workers]
    until(lambda: all(len(worker.times) > count for worker, count in zip(workers, before, strict=True)), 60)
