"""Containers of a real server lose what they hold, are emptied, filled and recoded; the server is killed in between."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.end_to_end.serving import until
from tests.servers import Server
from tests.spreading import noise

from measurand.client import Client, Dataset

pytestmark = pytest.mark.usefixtures("_own_places")

COUNT = 16
SIZE = 200_000
CONTAINERS = ("--containers", "6")


@contextmanager
def served(folder: Path, *options: str, **limits: str) -> Iterator[Server]:
    environment = {f"MEASURAND_LIMITS__{name.upper()}": value for name, value in limits.items()}
    server = Server(folder, *CONTAINERS, *options, environment=environment).wait_until_serving()
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.stop()


def fill(client: Client, storage: str = "erasure:2+2") -> Dataset:
    run = client.create_catalog("lab", storage=storage).create(id="run")
    for index in range(COUNT):
        run.write_bytes(f"{index}.bin", noise(SIZE, index))
    return run


def is_whole(run: Dataset) -> bool:
    return all(run.read_bytes(f"{index}.bin") == noise(SIZE, index) for index in range(COUNT))


def parts(folder: Path, *names: str) -> list[Path]:
    places = names or [path.name for path in (folder / "containers").iterdir()]
    return [path for name in places for path in (folder / "containers" / name / "blobs").glob("*/p+*")]


def wipe(folder: Path, name: str) -> int:
    lost = parts(folder, name)
    for path in lost:
        path.unlink()
    return len(lost)


def command(*words: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MEASURAND_")}
    line = [sys.executable, "-m", "measurand.cli.main", *words]
    return subprocess.run(line, check=False, capture_output=True, text=True, timeout=120, env=clean)


def doctor(folder: Path, *options: str) -> list[dict[str, str]]:
    done = command("--json", "doctor", "--deep", "--data", str(folder), *options)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_what_is_lost_is_made_anew_what_is_drained_goes_elsewhere_and_all_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with served(folder, repair_bytes="1 GB") as server, Client(server.address) as client:
        run = fill(client)
        lost = wipe(folder, "local-2")
        checked = client.containers.check()
        assert (checked["missing_parts"], checked["safe_blobs"]) == (lost, COUNT - lost)
        report: Mapping[str, Any] = client.containers.repair().result()
        assert (report["missing_parts"], report["repaired_parts"]) == (lost, lost)
        assert report["read_bytes"] == 2 * report["repaired_bytes"]
        drained = client.containers.drain("local-1").result()
        assert drained.get("stuck_blobs", 0) == 0
        assert not parts(folder, "local-1")
        assert is_whole(run)
        client.catalog("lab").update(storage="replicate:2")
        recoded = client.containers.recode(run).result()
        assert (recoded["checked_blobs"], recoded["recoded_blobs"]) == (COUNT, COUNT)
        assert len(parts(folder)) == 2 * COUNT
        assert is_whole(run)
        assert client.containers.check()["safe_blobs"] == COUNT


def test_backups_and_the_doctor_see_what_is_in_containers(tmp_path: Path) -> None:
    folder, copy = tmp_path / "data", tmp_path / "copy"
    with served(folder) as server, Client(server.address) as client:
        fill(client)
        done = command("backup", str(tmp_path / "backups"), "--data", str(folder))
        assert done.returncode == 0, done.stderr
        assert f"{COUNT} blobs" in done.stdout
        for path in parts(folder):
            if path.name.endswith((".0", ".1", ".2")):
                path.unlink()
        found = doctor(folder, "--bytes")
        assert sum(finding["check"] == "containers: use" for finding in found) == 6
        bad = [finding["check"] for finding in found if finding["status"] == "error"]
        assert set(bad) == {"deep: damaged"}
        assert len(bad) >= COUNT
    done = command("restore", str(tmp_path / "backups"), "--data", str(copy))
    assert done.returncode == 0, done.stderr
    server = Server(copy).wait_until_serving()
    try:
        with Client(server.address) as client:
            assert is_whole(client.catalog("lab").get("run"))
    finally:
        server.stop()


def test_another_server_goes_on_where_one_was_killed_and_does_nothing_twice(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with served(folder, repair_bytes="1 MB") as server:
        with Client(server.address) as client:
            fill(client)
            lost = wipe(folder, "local-3")
            before = len(parts(folder))
            client.containers.repair()
            until(lambda: len(parts(folder)) >= before + 2)
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
    begun = {path.name for path in parts(folder)}
    with served(folder, repair_bytes="1 GB") as server, Client(server.address) as client:
        report = client.containers.repair().result()
        assert 0 < report.get("repaired_parts", 0) <= lost - 2 + 4
        assert client.containers.check()["safe_blobs"] == COUNT
        assert is_whole(client.catalog("lab").get("run"))
        now = {path.name for path in parts(folder)}
        assert len(begun - now) <= 4  # what the dead one had written and not yet named
        assert len(now) <= 4 * COUNT + 4


def test_a_container_that_is_removed_is_repaired_by_itself(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with served(folder, repair_delay="1s", repair_bytes="1 GB") as server, Client(server.address) as client:
        run = fill(client)
        shutil.rmtree(folder / "containers" / "local-4")
        client.containers.remove("local-4", force=True)
        until(lambda: len(parts(folder)) == 4 * COUNT)
        until(lambda: client.containers.check()["safe_blobs"] == COUNT)
        assert is_whole(run)
