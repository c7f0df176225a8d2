"""Stores that cannot be used: `measurand serve` ends with one sentence that says what to do, and tells no secret."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.end_to_end.serving import until
from tests.guarded import Secured, guarded_mongod
from tests.mongod import Mongod, free_port, shared_mongod
from tests.seaweed import shared_seaweed
from tests.servers import running
from tests.stores import BUCKET, Site, open_site

from measurand.client import Client

USER, PASSWORD, SECRET = "ann", "s3cret/Pass", "wrong-secret-key"

pytestmark = pytest.mark.usefixtures("_own_places")


@dataclass(frozen=True, slots=True)
class Mistake:
    """What somebody has set, and what they are told.

    Parameters
    ----------
    options : sequence of str
        What differs from stores that are well.
    code : int
        2 where the command line itself is wrong, 1 where the stores are.
    said : sequence of str
        Each must stand in what is said.
    """

    options: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    code: int = 1
    said: tuple[str, ...] = ()


def serve(site: Site, mistake: Mistake) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    stores = dict(zip(site.options[::2], site.options[1::2], strict=True)) | dict(mistake.options)
    command = [sys.executable, "-m", "measurand.cli.main", "serve", "--data", str(site.folder)]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MEASURAND_", "AWS_"))}
    return subprocess.run(
        [*command, "--listen", "127.0.0.1:0", "--http", "off", *(word for pair in stores.items() for word in pair)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={**clean, **site.environment, **mistake.environment},
    )


def check_told(site: Site, mistake: Mistake) -> None:
    """It ends soon, with one sentence that names the store and says what to do."""
    done = serve(site, mistake)
    assert done.returncode == mistake.code, done
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    for word in mistake.said:
        assert word in line, line
    for secret in (
        PASSWORD,
        "s3cret",
        SECRET,
        *(value for name, value in site.environment.items() if "SECRET" in name),
    ):
        assert secret not in done.stderr


@pytest.fixture(scope="module")
def well(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Stores with which nothing is wrong."""
    with open_site("fleet", tmp_path_factory.mktemp("mistakes") / "store") as site:
        yield site


S3: dict[str, Callable[[], Mistake]] = {
    "a wrong secret": lambda: Mistake(
        environment={"AWS_SECRET_ACCESS_KEY": SECRET}, said=(f"s3://{BUCKET}", "AWS_SECRET_ACCESS_KEY")
    ),
    "an unknown key": lambda: Mistake(
        environment={"AWS_ACCESS_KEY_ID": "nobody"}, said=(f"s3://{BUCKET}", "AWS_ACCESS_KEY_ID")
    ),
    "a bucket that is not there": lambda: Mistake(
        {"--blobs": shared_seaweed().url_of("no-bucket")}, said=("no-bucket", "bucket")
    ),
    "a bucket that may only be read": lambda: Mistake(
        environment=shared_seaweed().reader_environment, said=(f"s3://{BUCKET}", "may not write", "s3:PutObject")
    ),
    "nobody at the address": lambda: Mistake(
        {"--blobs": f"s3://{BUCKET}/x?endpoint=http://127.0.0.1:{free_port()}"}, said=(f"s3://{BUCKET}", "127.0.0.1")
    ),
    "a word that is no setting": lambda: Mistake(
        {"--blobs": f"s3://{BUCKET}/x?endpoints=http://127.0.0.1"}, said=("endpoints",)
    ),
    "a URL without a bucket": lambda: Mistake({"--blobs": "s3://"}, code=2, said=("--blobs", "s3://BUCKET")),
    "a URL of something else": lambda: Mistake({"--blobs": "ftp://x"}, code=2, said=("--blobs", "file:///FOLDER")),
}


@pytest.mark.parametrize("mistake", S3)
def test_an_s3_store_that_cannot_be_used_is_told(well: Site, mistake: str) -> None:
    check_told(well, S3[mistake]())


MONGO: dict[str, Callable[[], Mistake]] = {
    "nobody at the address": lambda: Mistake(
        {"--documents": f"mongodb://{USER}:{PASSWORD.replace('/', '%2F')}@127.0.0.1:{free_port()}/lab"},
        said=("127.0.0.1", "see that MongoDB runs"),
    ),
    "a password that is not encoded": lambda: Mistake(
        {"--documents": f"mongodb://{USER}:{PASSWORD}@127.0.0.1/lab"}, said=("percent-encoded",)
    ),
    "another replica set": lambda: Mistake(
        {"--documents": shared_mongod().url_of("lab").replace("rs0", "rs7")}, said=("rs7",)
    ),
    "writes that may be lost": lambda: Mistake({"--documents": shared_mongod().url_of("lab") + "&w=1"}, said=("w=1",)),
    "a certificate that is not there": lambda: Mistake(
        {"--documents": shared_mongod().url_of("lab") + "&tls=true&tlsCertificateKeyFile=/no/such.pem"},
        said=("/no/such.pem",),
    ),
    "a URL without a host": lambda: Mistake({"--documents": "mongodb://"}, code=2, said=("--documents", "mongodb://")),
}


@pytest.mark.parametrize("mistake", MONGO)
def test_a_mongodb_that_cannot_be_used_is_told(well: Site, mistake: str) -> None:
    check_told(well, MONGO[mistake]())


@contextmanager
def ended(mongod: Mongod) -> Iterator[Mongod]:
    try:
        yield mongod
    finally:
        mongod.stop()


def test_a_standalone_mongodb_is_told(well: Site, tmp_path: Path) -> None:
    with ended(Mongod(tmp_path, replica_set=False)) as mongod:
        check_told(well, Mistake({"--documents": mongod.url}, said=("standalone", "--replSet", "rs.initiate()")))


def test_wrong_users_and_passwords_of_mongodb_are_told(well: Site, tmp_path: Path) -> None:
    with ended(guarded_mongod(tmp_path, USER, PASSWORD)) as mongod:
        url, password = mongod.url_of("lab"), PASSWORD.replace("/", "%2F")
        for said, place in {
            "authSource": url.replace("//", f"//{USER}:wrong{password}@") + "&authSource=admin",
            "user": url,
            "readWrite": url.replace("//", f"//{USER}:{password}@").replace("/lab", "/other") + "&authSource=admin",
        }.items():
            check_told(well, Mistake({"--documents": place}, said=(said,)))


# ------------------------------------------------------------------------------------------------ certificates (ME-27)


def test_a_server_is_let_in_by_certificate_and_takes_up_a_renewed_one_when_it_is_told_to(
    well: Site, tmp_path: Path
) -> None:
    secured = Secured(tmp_path / "mongod")
    with ended(secured.mongod):
        mine = tmp_path / "mine.pem"
        mine.write_bytes(secured.user.read_bytes())
        check_told(well, Mistake({"--documents": secured.url(None)}, said=("tlsCertificateKeyFile",)))
        blobs = well.options[well.options.index("--blobs") + 1]
        options = ("--documents", secured.url(mine), "--blobs", f"{blobs.replace('?', '/secured?', 1)}")
        with (
            running(tmp_path / "data", *options, environment=well.environment) as server,
            Client(server.address) as client,
        ):
            run = client.create_catalog("lab").create("run", {"n": 1})
            run.write_bytes("a", b"kept")
            changes = client.catalog("lab").watch()
            assert secured.users() == {"CN=measurand,O=lab"}

            mine.write_text("no certificate")
            server.signal(signal.SIGHUP)
            until(lambda: "event=not_renewed" in server.log)
            assert client.catalog("lab").get(run.id).metadata == {"n": 1}

            secured.authority.issue(mine, "/O=lab/CN=successor")
            server.signal(signal.SIGHUP)
            until(lambda: "event=renewed" in server.log)
            run.update({"n": 2})
            assert next(changes).dataset.metadata == {"n": 2}
            changes.close()
            assert client.catalog("lab").get(run.id).read_bytes("a") == b"kept"
            until(lambda: secured.users() == {"CN=successor,O=lab"})
            assert server.process.poll() is None
