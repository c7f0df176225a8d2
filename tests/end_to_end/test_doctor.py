"""The operator's command over real stores: says nothing where all is well, and names what is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.end_to_end.resting import flip, holders, remove
from tests.mongod import Mongod, free_port, shared_mongod
from tests.seaweed import shared_seaweed
from tests.servers import Server
from tests.stores import DURABLE, Site

from measurand.client import Client

pytestmark = [pytest.mark.stores(*DURABLE), pytest.mark.usefixtures("_own_places")]

LARGE = 2 * 1024 * 1024
SHORT_GRACE = {"MEASURAND_LIMITS__BLOB_GRACE": "0.001s"}


@dataclass(frozen=True, slots=True)
class Findings:
    """What one run of the command has said."""

    exit_code: int
    all: list[dict[str, str]]

    @property
    def bad(self) -> list[str]:
        return [finding["check"] for finding in self.all if finding["status"] == "error"]

    def one(self, check: str) -> dict[str, str]:
        (found,) = [finding for finding in self.all if finding["check"] == check]
        return found


def doctor(site: Site, *options: str, environment: Mapping[str, str] | None = None) -> Findings:
    command = [sys.executable, "-m", "measurand.cli.main", "--json", "doctor", "--data", str(site.folder)]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MEASURAND_", "AWS_"))}
    done = subprocess.run(
        [*command, *site.options, *options],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env={**clean, **site.environment, **(environment or {})},
    )
    assert done.stderr == ""
    return Findings(done.returncode, [json.loads(line) for line in done.stdout.splitlines()])


def fill(server: Server, folder: Path) -> dict[str, bytes]:
    """Upload a large file and two small ones; return what they hold."""
    contents = {"large.bin": os.urandom(LARGE), "a.bin": os.urandom(5000), "b.bin": os.urandom(5000)}
    folder.mkdir()
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    with Client(server.address) as client:
        client.create_catalog("lab").create("run", {"temperature": 0.012}, id="run").upload_dir(folder)
    return contents


def test_it_finds_nothing_wrong_beside_a_server_at_work(site: Site, tmp_path: Path) -> None:
    with site.running() as server:
        fill(server, tmp_path / "first")
        is_done = threading.Event()

        def work() -> None:
            with Client(server.address) as client:
                run = client.catalog("lab").get("run")
                while not is_done.is_set():
                    run.upload(os.urandom(LARGE), "large.bin")
                    run.upload(os.urandom(5000), "a.bin")

        worker = threading.Thread(target=work)
        worker.start()
        try:
            found = doctor(site, "--deep", "--bytes", environment=SHORT_GRACE)
        finally:
            is_done.set()
            worker.join()
    assert (found.exit_code, found.bad) == (0, [])
    assert found.one("deep: missing")["message"].startswith("0 ")
    if site.kind == "embedded":
        assert "takes calls" in found.one("server")["message"]
    assert found.one("documents: watch")["status"] == "ok"
    assert found.one("blobs: taking over")["status"] == "ok"


def test_what_is_lost_and_what_is_damaged_is_named_by_its_file(site: Site, tmp_path: Path) -> None:
    with site.running() as server:
        contents = fill(server, tmp_path / "first")
    assert doctor(site, "--deep", "--bytes").exit_code == 0
    ((pack, position),) = holders(site, contents["b.bin"])
    flip(site, pack, position + 7)
    ((large, _),) = holders(site, contents["large.bin"][:1000])
    remove(site, large)
    found = doctor(site, "--deep", "--bytes")
    assert found.exit_code == 1
    assert sorted(found.bad) == ["deep: damaged", "deep: missing"]
    assert "catalogs/lab/datasets/run/files/b.bin" in found.one("deep: damaged")["message"]
    assert "catalogs/lab/datasets/run/files/large.bin" in found.one("deep: missing")["message"]


def test_what_is_left_over_is_counted_and_not_called_an_error(site: Site, tmp_path: Path) -> None:
    with site.running() as server:
        fill(server, tmp_path / "first")
        assert doctor(site, "--deep", environment=SHORT_GRACE).one("deep: orphans")["message"].startswith("0 blobs")
        with Client(server.address) as client:
            client.catalog("lab").get("run").purge(force=True)
    found = doctor(site, "--deep", environment=SHORT_GRACE)
    orphans = found.one("deep: orphans")
    assert (found.exit_code, orphans["status"]) == (0, "warning")
    assert orphans["message"].startswith("2 blobs"), "the large file's, and the one of the small files"
    assert doctor(site, "--deep").one("deep: orphans")["message"].startswith("0 blobs"), "they are young yet"


def told(site: Site, check: str, *options: str) -> dict[str, str]:
    """Return the one error that the command finds."""
    found = doctor(site, *options)
    assert (found.exit_code, found.bad) == (1, [check])
    return found.one(check)


def with_places(site: Site, *, documents: str = "", blobs: str = "") -> Site:
    _, own_documents, _, own_blobs = site.options
    return replace(site, options=("--documents", documents or own_documents, "--blobs", blobs or own_blobs))


@pytest.mark.stores("fleet")
def test_new_stores_are_tried_before_any_server_and_stay_new(site: Site) -> None:
    first = doctor(site, "--deep")
    assert (first.exit_code, first.bad) == (0, [])
    assert "no server has used" in first.one("documents: deployment")["message"]
    assert "no server has used" in first.one("blobs: owner")["message"]
    assert "lists of parts: yes" in first.one("blobs: features")["message"]
    assert holders(site, b"") == []
    again = doctor(site)
    assert "no server has used" in again.one("documents: deployment")["message"]
    assert "no server has used" in again.one("blobs: owner")["message"]


@pytest.mark.stores("fleet")
def test_a_bucket_that_is_not_there_is_told(site: Site) -> None:
    wrong = with_places(site, blobs=site.options[3].replace("s3://tests/", "s3://elsewhere/"))
    found = told(wrong, "blobs: open")
    assert "the bucket does not exist" in found["message"]
    assert found["advice"] == "create it or name another"


@pytest.mark.stores("fleet")
def test_a_bucket_that_is_read_only_is_told(site: Site) -> None:
    found = told(replace(site, environment=shared_seaweed().reader_environment), "blobs: open")
    assert "these credentials may not write" in found["message"]


@pytest.mark.stores("fleet")
@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_wrong_credentials_of_the_bucket_are_told_and_not_shown(site: Site, name: str) -> None:
    found = told(replace(site, environment={**site.environment, name: "not-the-right-one"}), "blobs: open")
    assert "credentials" in found["message"] and "not-the-right-one" not in str(found)


@pytest.mark.stores("fleet")
def test_a_store_that_nobody_answers_for_is_told_and_the_other_is_looked_at(site: Site) -> None:
    away = with_places(
        site,
        documents=f"mongodb://127.0.0.1:{free_port()}/lab?replicaSet=rs0",
        blobs=f"s3://tests/{site.folder.name}?endpoint=http://127.0.0.1:{free_port()}",
    )
    found = doctor(away)
    assert (found.exit_code, found.bad) == (1, ["documents: open", "blobs: open"])
    assert "no primary answers" in found.one("documents: open")["message"]
    assert "cannot be reached" in found.one("blobs: open")["message"]


@pytest.mark.stores("fleet")
def test_a_user_that_mongodb_does_not_know_is_told_and_the_password_is_not_shown(site: Site) -> None:
    wrong = with_places(site, documents=site.options[1].replace("mongodb://", "mongodb://anna:secret-word@"))
    found = told(wrong, "documents: open")
    assert "does not let this user in" in found["message"]
    assert "secret-word" not in str(found)


@pytest.mark.stores("fleet")
def test_a_standalone_mongod_is_told_with_what_to_do(site: Site, tmp_path: Path) -> None:
    mongod = Mongod(tmp_path / "mongod", replica_set=False)
    try:
        found = told(with_places(site, documents=mongod.url_of("lab")), "documents: open")
    finally:
        mongod.stop()
    assert "standalone" in found["message"]
    assert "--replSet" in found["advice"]


@pytest.mark.stores("fleet")
def test_an_index_that_was_dropped_is_told(site: Site, tmp_path: Path) -> None:
    with site.running() as server:
        fill(server, tmp_path / "first")
    assert doctor(site).bad == []
    with shared_mongod().client() as client:
        client[urlsplit(site.options[1]).path.strip("/")]["files"].drop_index("scope")
    found = told(site, "documents: indexes")
    assert 'files: there is no index "scope"' in found["message"]
    with site.running() as server, Client(server.address) as client:
        assert len(client.catalog("lab").find_files("a.bin")) == 1  # the first use in a process
    assert doctor(site).bad == []
