"""Full disks (ME-6): told by their name, nothing half is seen, and there is room again without a restart."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from blake3 import blake3
from tests.end_to_end.healthy import check_healthy, make_run, noise
from tests.seaweed import Seaweed
from tests.servers import running

from measurand.client import Catalog, Client, File
from measurand.client.errors import NotFound, StoreFull, Timeout, Unavailable

KiB = 1024
MiB = 1024 * KiB

pytestmark = pytest.mark.usefixtures("_own_places")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 32 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("to mount a small disk needs root")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(folder)], check=False, capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path, *, leave: int = 0) -> Path:
    """Fill a disk but for some room, and return what fills it."""
    ballast = disk / "ballast"
    with ballast.open("ab") as file:
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        os.posix_fallocate(file.fileno(), 0, max(1, file.seek(0, os.SEEK_END) + free - leave))
    return ballast


def fill_database(lab: Catalog, metadata: dict[str, str]) -> tuple[int, StoreFull]:
    """Make datasets until there is no room, and return how many; the database may have some room of its own left."""
    for made in range(200):
        try:
            lab.create("more", metadata, id=f"more-{made}")
        except StoreFull as error:
            return made, error
    raise AssertionError("200 datasets were made on a full disk")


def test_a_large_file_that_finds_no_room_is_refused_by_name_and_stored_when_there_is(small_disk: Path) -> None:
    data = noise(12 * MiB)
    with running(small_disk / "store") as server, Client(server.address) as client:
        make_run(server)
        run = client.catalog("lab").get("run")
        run.write_bytes("before.bin", b"before")
        ballast = fill(small_disk, leave=4 * MiB)
        stores: list[Callable[[], File]] = [
            lambda: run.upload(data, "frames.bin"),
            lambda: run.write_bytes("frames.bin", data),
        ]
        for store in stores:
            with pytest.raises(StoreFull, match="free some space") as caught:
                store()
            assert caught.value.reason == "STORE_FULL"
            with pytest.raises(NotFound):
                run.stat("frames.bin")
            with pytest.raises(NotFound):
                run.read_bytes("frames.bin")
            assert [file.path for file in run.files()] == ["before.bin"]
            assert run.read_bytes("before.bin") == b"before"
            check_healthy(server)
        ballast.unlink()
        assert run.upload(data, "frames.bin").size == len(data)
        assert run.read_bytes("frames.bin") == data
        check_healthy(server)


def test_an_upload_of_a_file_goes_on_where_the_disk_was_full(small_disk: Path, tmp_path: Path) -> None:
    source = tmp_path / "frames.bin"
    source.write_bytes(noise(20 * MiB))  # twice does not fit
    with running(small_disk / "store") as server, Client(server.address) as client:
        make_run(server)
        run = client.catalog("lab").get("run")
        ballast = fill(small_disk, leave=16 * MiB)
        with pytest.raises(StoreFull):
            run.upload(source)
        with pytest.raises(NotFound):
            run.stat("frames.bin")
        ballast.unlink()
        file = run.upload(source)
        assert file.blake3 == blake3(source.read_bytes()).hexdigest()
        assert run.read_bytes("frames.bin") == source.read_bytes()
        check_healthy(server)


def test_small_files_and_datasets_that_find_no_room_are_refused_by_name_and_made_when_there_is(
    small_disk: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    for number in range(20):
        (folder / f"{number}.log").write_bytes(noise(40 * KiB, number))
    with running(small_disk / "store") as server, Client(server.address) as client:
        make_run(server)
        lab = client.catalog("lab")
        run = lab.get("run")
        ballast = fill(small_disk)
        with pytest.raises(StoreFull) as caught:
            run.write_bytes("small", noise(100 * KiB))
        assert caught.value.reason == "STORE_FULL"
        outcome = run.upload_dir(folder, errors="report")
        assert {type(error) for error in outcome.failed.values()} == {StoreFull} and len(outcome.failed) == 20
        assert run.files() == []
        metadata = {"text": "x" * 300_000}
        made, error = fill_database(lab, metadata)
        assert error.reason == "STORE_FULL"
        with pytest.raises(NotFound):
            lab.get(f"more-{made}")
        assert lab.count() == 1 + made
        assert lab.count('title = "more"') == made
        check_healthy(server)
        ballast.unlink()
        assert lab.create("more", metadata, id=f"more-{made}").metadata == metadata
        assert run.write_bytes("small", noise(100 * KiB)).size == 100 * KiB
        assert not run.upload_dir(folder).failed
        assert {file.path for file in run.files()} == {"small", *(f"{number}.log" for number in range(20))}
        assert all(run.read_bytes(f"{number}.log") == noise(40 * KiB, number) for number in range(20))
        assert lab.count() == 2 + made
        check_healthy(server)


@pytest.mark.stores("fleet")
def test_an_s3_server_without_room_refuses_and_takes_again_when_there_is(
    stores: str, small_disk: Path, tmp_path: Path
) -> None:
    """It does not say why it refuses, so it counts as one that is away."""
    seaweed = Seaweed(small_disk / "seaweed")
    try:
        seaweed.make_bucket("full")
        blobs = ("--blobs", seaweed.url_of("full"))
        with (
            running(tmp_path / "data", *blobs, environment=seaweed.environment) as server,
            Client(server.address, timeout=6.0) as client,
        ):
            make_run(server)
            run = client.catalog("lab").get("run")
            run.write_bytes("before.bin", b"before")
            ballast = fill(small_disk, leave=256 * KiB)
            with pytest.raises((StoreFull, Unavailable, Timeout)):
                run.write_bytes("small", noise(900 * KiB))
            assert [file.path for file in run.files()] == ["before.bin"]
            assert run.read_bytes("before.bin") == b"before"
            ballast.unlink()
            assert run.write_bytes("small", noise(900 * KiB)).size == 900 * KiB
            assert run.read_bytes("small") == noise(900 * KiB)
            check_healthy(server)
    finally:
        seaweed.stop()
