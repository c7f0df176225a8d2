"""The drill: a server under load is backed up, the backup is killed and run again, the store is lost and restored."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.stores import DURABLE, Site, open_site

from measurand.client import Catalog, Client, Dataset

KiB = 1024
MANY = 20
PATIENCE_SECONDS = 120.0

pytestmark = pytest.mark.usefixtures("_own_places")


@dataclass
class Load:
    """What was acknowledged to writers that go on until they are told to end.

    Attributes
    ----------
    files : dict
        The bytes of each file, by dataset and path.
    notes : dict
        The metadata that each dataset was last given. Datasets that are purged come into neither.
    """

    files: dict[tuple[str, str], bytes] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)
    faults: list[BaseException] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def seen(self) -> Load:
        """Return what was acknowledged until now."""
        return Load(dict(self.files), dict(self.notes))

    def wait_for(self, count: int) -> None:
        """Return when so many more files were acknowledged."""
        goal = len(self.files) + count
        until(lambda: len(self.files) >= goal or bool(self.faults))
        assert not self.faults, self.faults


def until(holds: object, *, seconds: float = PATIENCE_SECONDS) -> None:
    assert callable(holds)
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "this takes too long"
        time.sleep(0.005)


@contextmanager
def load(address: str, *, seed: int = 0) -> Iterator[Load]:
    """Writers that make, fill, change, delete and purge datasets for the time of the block."""
    state = Load()
    with Client(address) as client:
        lab = client.create_catalog("lab")

    def work(number: int) -> None:
        chance = random.Random(seed + number)
        try:
            with Client(address) as client:
                lab = client.catalog("lab")
                for turn in range(1_000_000):
                    if state.ended.wait(0.2):  # leaves some of the machine to the rest of the test
                        return
                    one_dataset(lab, chance, f"run-{number}-{turn}")
        except BaseException as fault:
            state.faults.append(fault)

    def one_dataset(lab: Catalog, chance: random.Random, id: str) -> None:  # noqa: A002  # the field's own word
        run = lab.create("a run", {"note": 0}, id=id)
        files: dict[str, bytes] = {}
        notes: dict[str, int] = {}
        for index in range(chance.randrange(1, 6)):
            write(run, chance, f"{index}.bin", files)
        for note in range(1, chance.randrange(1, 4)):
            run.update({"note": note})
            notes[id] = note
        if files and chance.random() < 0.3:
            write(run, chance, next(iter(files)), files)  # a new generation
        if chance.random() < 0.2:
            run.purge(force=True)  # nothing was said of it: whoever looks meanwhile may not count on it
        else:
            state.notes |= notes
            state.files |= {(id, path): data for path, data in files.items()}

    def write(run: Dataset, chance: random.Random, path: str, files: dict[str, bytes]) -> None:
        data = chance.randbytes(chance.choice([10, 2000, 300 * KiB]))
        if len(data) > 1000 * KiB or chance.random() < 0.3:
            run.upload(data, path)
        else:
            run.write_bytes(path, data)
        files[path] = data

    assert lab.id == "lab"
    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield state
    finally:
        state.ended.set()
        for thread in threads:
            thread.join()
    assert not state.faults, state.faults


def command(*words: str | Path, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    """Start a command in its own process."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MEASURAND_")}
    return subprocess.Popen(
        [sys.executable, "-m", "measurand.cli.main", *map(str, words)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**clean, **environment},
    )


def done(*words: str | Path, environment: Mapping[str, str]) -> str:
    """Run a command to its good end, and return what it said."""
    process = command(*words, environment=environment)
    said, faults = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, f"{said}\n{faults}"
    return said


def places(site: Site) -> list[str | Path]:
    """Return the options that say where the stores of a site are."""
    return ["--data", site.folder, *site.options]


def check_all_there(address: str, expected: Load) -> None:
    with Client(address) as client:
        lab = client.catalog("lab")
        for (id_, path), data in expected.files.items():
            assert lab.get(id_).read_bytes(path) == data, f"{id_}/{path}"
        for id_, note in expected.notes.items():
            dataset = lab.get(id_)
            assert dataset.metadata["note"] >= note
            numbers = [revision.number for revision in dataset.history()]
            assert numbers == list(range(numbers[0], 0, -1)) and numbers
        for dataset in lab.find():
            for file in dataset.files():
                if (dataset.id, file.path) not in expected.files:  # nobody knows what it should be, but it is whole
                    assert len(dataset.read_bytes(file.path)) == file.size


def destroy(site: Site) -> None:
    """Lose all that the stores hold."""
    if site.kind == "embedded":
        shutil.rmtree(site.folder)
        return
    from tests.mongod import shared_mongod
    from tests.seaweed import shared_seaweed

    name = site.options[1].rpartition("/")[2].partition("?")[0]
    with shared_mongod().client() as client:
        client.drop_database(name)
    s3 = shared_seaweed().client()
    for item in s3.list_objects_v2(Bucket="tests", Prefix=f"{name}/").get("Contents", []):
        s3.delete_object(Bucket="tests", Key=item["Key"])


@pytest.mark.stores(*DURABLE)
def test_everything_acknowledged_before_a_backup_is_there_after_the_store_was_lost(site: Site, tmp_path: Path) -> None:
    target, leftovers = tmp_path / "backups", tmp_path / "leftovers"
    leftovers.mkdir()
    with site.running() as server, load(server.address) as state:
        state.wait_for(MANY)
        first = command("backup", target, *places(site), environment={**site.environment, "TMPDIR": str(leftovers)})
        until(lambda: len(list(target.glob("blobs/*/files+*"))) > 5 or first.poll() is not None)
        first.kill()
        first.communicate()
        assert not list(target.glob("blobs/*/backups+*manifest.json")), "it was killed in the middle"
        state.wait_for(MANY)
        before = state.seen()
        said = done("backup", target, *places(site), environment=site.environment)
        assert "the store as it was on" in said
        state.wait_for(MANY)
    assert len(before.files) >= 2 * MANY
    destroy(site)
    with open_site(site.kind, tmp_path / "restored") as new:
        done("restore", target, *places(new), environment=new.environment)
        with new.running() as server:
            check_all_there(server.address, before)


@pytest.mark.stores("embedded")
def test_a_backup_that_is_told_to_end_leaves_nothing_behind(site: Site, tmp_path: Path) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    with site.running() as server, load(server.address) as state:
        state.wait_for(MANY)
    environment = {"TMPDIR": str(folder)}
    first = command("backup", tmp_path / "backups", *places(site), environment=environment)
    until(lambda: bool(list(folder.iterdir())) or first.poll() is not None)
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=PATIENCE_SECONDS)
    assert first.returncode == 128 + signal.SIGTERM
    assert not list(folder.iterdir())
    assert "the store as it was on" in done("backup", tmp_path / "backups", *places(site), environment=environment)


@pytest.mark.stores("fleet")
def test_a_backup_may_lie_in_a_bucket_and_old_ones_go(site: Site, tmp_path: Path) -> None:
    from tests.seaweed import shared_seaweed

    target = shared_seaweed().url_of("tests", f"backups-{uuid.uuid4().hex}")
    with site.running() as server, load(server.address) as state:
        before = Load()
        for _ in range(3):
            state.wait_for(5)
            before = state.seen()
            done("backup", target, *places(site), "--keep", "2", environment=site.environment)
    assert len(done("restore", target, "--list", environment=site.environment).splitlines()) == 2
    with open_site("embedded", tmp_path / "restored") as new:
        done("restore", target, *places(new), environment=site.environment)
        with new.running() as server:
            check_all_there(server.address, before)


@pytest.mark.stores("fleet")
def test_a_folder_moves_to_mongodb_and_s3_while_it_serves_and_back(site: Site, tmp_path: Path) -> None:
    there = ["--to-documents", site.options[1], "--to-blobs", site.options[3]]
    with open_site("embedded", tmp_path / "old") as old:
        with old.running() as server, load(server.address) as state:
            state.wait_for(10)
            running = command("copy-store", "--from-data", old.folder, *there, environment=site.environment)
            said, faults = running.communicate(timeout=PATIENCE_SECONDS)
            assert running.returncode == 0, faults
            assert "stop its servers and run this again" in said
            state.wait_for(10)
        killed = command("copy-store", "--from-data", old.folder, *there, environment=site.environment)
        time.sleep(0.5)  # somewhere; whether it was at its end by then or not, the next run has to see to it
        killed.kill()
        killed.communicate()
        last = command("copy-store", "--from-data", old.folder, *there, environment=site.environment)
        said, faults = last.communicate(timeout=PATIENCE_SECONDS)
        assert "the copy is whole" in said or "name an empty one" in faults
    with site.running() as server:
        check_all_there(server.address, state)
    back = ["--from-documents", site.options[1], "--from-blobs", site.options[3], "--to-data", str(tmp_path / "back")]
    assert "the copy is whole" in done("copy-store", *back, environment=site.environment)
    with open_site("embedded", tmp_path / "back") as new, new.running() as server:
        check_all_there(server.address, state)


@pytest.mark.stores("fleet")
def test_a_fleet_that_is_served_is_seen_by_its_lease(site: Site, tmp_path: Path) -> None:
    with site.running() as server:
        with Client(server.address) as client:
            client.create_catalog("lab")
        until(lambda: "event=leading" in server.log)
        migrating = command("migrate", *places(site), environment=site.environment)
        _, said = migrating.communicate(timeout=PATIENCE_SECONDS)
        assert migrating.returncode == 1 and "a server stands on this store" in said
    assert "the store has format" in done("migrate", *places(site), environment=site.environment)
