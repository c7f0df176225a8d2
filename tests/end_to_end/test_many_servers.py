"""Two servers over one MongoDB and one S3 store are one service: what one has begun the other goes on with."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from blake3 import blake3
from tests.end_to_end.fleet import SERVERS, Fleet, Victim, start_fleet
from tests.end_to_end.hasty import HASTY_LEASE_SECONDS
from tests.end_to_end.serving import until

from measurand.client import Catalog, Client, Dataset, File
from measurand.client.errors import Conflict, GenerationMismatch, LeaseHeld, NotFound, WriterFenced

MiB = 1024 * 1024

pytestmark = [pytest.mark.stores("fleet"), pytest.mark.usefixtures("_own_places")]


@pytest.fixture(scope="module")
def fleet(stores: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    grace = {"MEASURAND_LIMITS__BLOB_GRACE": "1s"}
    with start_fleet(tmp_path_factory.mktemp("servers"), environment=grace) as fleet:
        yield fleet


@pytest.fixture
def labs(fleet: Fleet, request: pytest.FixtureRequest) -> Iterator[tuple[Catalog, Catalog]]:
    """One catalog, as clients of the one and of the other server see it."""
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.originalname)[:100]
    with Client(fleet.servants["a"].address) as first, Client(fleet.servants["b"].address) as second:
        yield first.create_catalog(name), second.catalog(name)


def test_what_is_made_at_one_is_found_read_and_edited_at_the_other(labs: tuple[Catalog, Catalog]) -> None:
    first, second = labs
    made = first.create("run", {"kelvin": 0.012}, tags=["t1"])
    made.write_bytes("a", b"small")
    made.write_bytes("b", data := os.urandom(9 * MiB))
    (found,) = second.find('metadata.kelvin < 0.02 AND tags = "t1"')
    assert found == made
    assert (found.read_bytes("a"), found.read_bytes("b")) == (b"small", data)
    found.update({"kelvin": 4.2})
    with pytest.raises(Conflict):
        made.update({"kelvin": 1})
    assert made.refresh().metadata == {"kelvin": 4.2}
    found.delete_file("a")
    with pytest.raises(NotFound):
        made.read_bytes("a")
    found.delete()
    assert list(first.find()) == []
    assert first.undelete(made.id) is not None
    assert second.get(made.id).read_bytes("b") == data


def test_a_watch_at_one_tells_of_changes_at_the_other(labs: tuple[Catalog, Catalog]) -> None:
    first, second = labs
    changes = first.watch()
    run = second.create("run", id="run")
    run.add_tags("seen")
    seen = [next(changes) for _ in range(2)]
    changes.close()
    assert [(change.kind, change.dataset.tags) for change in seen] == [("created", ()), ("updated", ("seen",))]


def test_counting_at_both_loses_nothing(labs: tuple[Catalog, Catalog]) -> None:
    labs[0].create("counter", {"n": 0}, id="counter")

    def count(lab: Catalog) -> None:
        run = lab.get("counter")
        for _ in range(25):
            while True:
                try:
                    run.update({"n": run.metadata["n"] + 1})
                    break
                except Conflict:
                    run.refresh()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(count, labs * 2))
    run = labs[0].get("counter")
    assert (run.metadata["n"], run.revision) == (100, 101)


def test_an_upload_begun_at_one_that_was_killed_is_finished_at_the_other(
    fleet: Fleet, labs: tuple[Catalog, Catalog], tmp_path: Path
) -> None:
    """The client is killed as well: another run of its program finds the other server at the same address."""
    source = tmp_path / "frames.bin"
    source.write_bytes(data := os.urandom(40 * MiB))
    labs[0].create("run", id="run")
    passing, first, second = fleet.passing, fleet.servants["a"], fleet.servants["b"]
    passing.lead_to(first.address)
    command = [sys.executable, "-m", "tests.end_to_end.uploading", fleet.address, labs[0].id, "run", str(source), "f"]
    begun = passing.sent_bytes
    client = subprocess.Popen(command)
    try:
        until(lambda: passing.sent_bytes - begun > 25 * MiB)
        first.kill()
        client.kill()
        client.wait(60)
        before = passing.sent_bytes
        passing.lead_to(second.address)
        assert subprocess.run(command, check=False, timeout=120).returncode == 0
        assert passing.sent_bytes - before < 40 * MiB - 5 * MiB  # it did not begin anew
    finally:
        client.kill()
        client.wait(60)
        if first.process is None:
            first.start()
        passing.lead_to(first.address, second.address)
    for lab in labs:
        assert lab.get("run").stat("f").blake3 == blake3(data).hexdigest()
        assert lab.get("run").read_bytes("f") == data


class Pause:
    """Stands still, as a progress of an upload, once so many bytes are safe, until it is told to go on."""

    def __init__(self, at: int) -> None:
        self._at = at
        self.is_reached = threading.Event()
        self.go_on = threading.Event()

    def __call__(self, done: int, _: int | None) -> None:
        if done >= self._at:
            self.is_reached.set()
            assert self.go_on.wait(120)


def test_of_two_writers_at_two_servers_the_older_is_fenced(
    fleet: Fleet, labs: tuple[Catalog, Catalog], tmp_path: Path
) -> None:
    """A program stands still in the middle of an upload, is run a second time, and then both go on."""
    source = tmp_path / "frames.bin"
    source.write_bytes(data := os.urandom(48 * MiB))
    labs[0].create("run", id="run")
    pauses = Pause(4 * MiB), Pause(30 * MiB)
    with ThreadPoolExecutor(2) as threads:
        try:
            runs = []
            for name, pause in zip(SERVERS, pauses, strict=True):
                fleet.passing.lead_to(fleet.servants[name].address)
                runs.append(threads.submit(_upload, fleet.address, labs[0].id, source, pause))
                assert pause.is_reached.wait(60)
            pauses[0].go_on.set()
            with pytest.raises(WriterFenced):
                runs[0].result(60)
        finally:
            fleet.passing.lead_to(*(servant.address for servant in fleet.servants.values()))
            for pause in pauses:
                pause.go_on.set()
        assert runs[1].result(60).blake3 == blake3(data).hexdigest()
    for lab in labs:
        assert len(lab.get("run").files(show_superseded=True)) == 1
        assert lab.get("run").read_bytes("f") == data


def _upload(address: str, catalog: str, source: Path, pause: Pause) -> File:
    with Client(address) as client:
        return client.catalog(catalog).get("run").upload(source, "f", progress=pause)


def test_a_read_at_one_while_the_other_purges_ends_with_what_was_there_or_with_not_found(
    labs: tuple[Catalog, Catalog],
) -> None:
    """With a grace of a second the bytes go while they are read; never are they others, or too few."""
    first, second = labs
    data = os.urandom(8 * MiB)
    outcomes = set()
    for number in range(6):
        run = first.create("run", id=f"run-{number}")
        run.write_bytes("f", data)
        with ThreadPoolExecutor(3) as threads:
            reads = [threads.submit(_read_on, second.get(run.id), data) for _ in range(3)]
            run.purge(force=True)
            outcomes |= {read.result(120) for read in reads}
    assert outcomes == {"not found"}


def _read_on(run: Dataset, data: bytes) -> str:
    """Read until the dataset is gone."""
    while True:
        try:
            assert run.read_bytes("f") == data
        except NotFound:
            return "not found"


def test_two_servers_are_one_registry(fleet: Fleet) -> None:
    with Client(fleet.servants["a"].address) as first, Client(fleet.servants["b"].address) as second:
        changes = second.registry.watch("gateway")
        with first.registry.register("gateway", "held", "grpc://a:1", ttl=1) as lease:
            assert second.registry.get("gateway", "held").etag == lease.registration.etag
            came = next(changes)
            with pytest.raises(LeaseHeld), second.registry.register("gateway", "held"):
                pass
            # Renewed at the one, it lives at the other.
            until(lambda: second.registry.get("gateway", "held").renewed != came.registration.created)
        went = next(changes)
        assert [came.kind, went.kind, went.registration.name] == ["created", "deleted", "held"]
        second.registry.put("gateway", "short", "grpc://b:1", ttl=1)
        while (change := next(changes)).kind != "deleted":
            assert change.kind == "created"
        changes.close()
        assert change.registration.name == "short"
        assert first.registry.list("gateway") == []


# ------------------------------------------------------------------------------------------------- background work


def leaders(fleet: Fleet) -> list[Victim]:
    """Return which of the servers that run do the shared work, from what they said last."""
    found: list[Victim] = []
    for name, servant in fleet.servants.items():
        if servant.process is not None:
            said = [
                line for line in servant.process.log.splitlines() if "event=leading" in line or "lease_lost" in line
            ]
            if said and "event=leading" in said[-1]:
                found.append(name)
    return found


def test_the_shared_work_is_done_by_one_and_taken_over_when_it_is_killed(
    fleet: Fleet, labs: tuple[Catalog, Catalog]
) -> None:
    until(lambda: len(leaders(fleet)) == 1)
    (leader,) = leaders(fleet)
    (other,) = set(SERVERS) - {leader}
    servant = fleet.servants[leader]
    try:
        servant.kill()
        until(lambda: leaders(fleet) == [other])
        with Client(fleet.servants[other].address) as client:
            run = client.catalog(labs[0].id).create("run", id="run")
            for number in range(3):
                run.write_bytes(f"{number}", bytes(1000))
            # Counted by the work in the background.
            until(lambda: (run.refresh().file_count, run.stored_bytes) == (3, 3000))
    finally:
        if servant.process is None:
            servant.start()
    time.sleep(2 * HASTY_LEASE_SECONDS)  # long enough for a second one to take it, were that possible
    assert leaders(fleet) == [other]


def test_many_make_one_catalog_at_once_and_put_into_it(fleet: Fleet) -> None:
    with ExitStack() as ending, ThreadPoolExecutor(64) as pool:
        clients = [ending.enter_context(Client(servant.address)) for servant in fleet.servants.values()]

        def put(name: str, number: int) -> tuple[str, bool]:
            lab = clients[number % len(clients)].create_catalog(name, exist_ok=True)
            key = lab.objects.put(b"%d" % number)
            try:
                lab.objects.put(b"%d" % number, "first", if_absent=True)
            except GenerationMismatch:
                return key, False
            return key, True

        for name in ("lab-x", "lab-y"):
            made = list(pool.map(put, [name] * 64, range(64)))
            assert sum(is_first for _, is_first in made) == 1
            for client in clients:
                assert [catalog.id for catalog in client.catalogs()].count(name) == 1
                lab = client.catalog(name)
                assert {file.path for file in lab.objects.list()} == {"first"} | {key for key, _ in made}
                assert lab.objects.get_batch([key for key, _ in made]) == [b"%d" % number for number in range(64)]
