"""What users were promised about files: every byte, name, mode and time comes back, and what cannot has its reason."""

from __future__ import annotations

import os
import random
from pathlib import Path

import grpc
import pytest
from tests.end_to_end import resting
from tests.stores import DURABLE, Site

from measurand.client import Catalog, Client, errors
from measurand.v1 import files_pb2, files_pb2_grpc

MiB = 1 << 20
ALL_BYTES = bytes(range(256)) * 4099
"""Every value at every place of a word, and no round size."""


# --------------------------------------------------------------------------------------------- trees (ME-26, IN-18)


def make_tree(folder: Path) -> None:
    """Write a thousand files: names in many scripts, base names that repeat, empty files, modes and times."""
    chance = random.Random(26)
    stems = [
        "data",
        "日本",
        "ünï code",
        "Ω",
        "with space",
        "🙂",
        "e\u0301",
        "\u00e9",
        "$dollar",
        "per%cent",
        "a.b.c",
        "-x",
    ]
    for number in range(1000):
        place = folder / f"run {number % 25}" / stems[number % len(stems)] / f"{number % 3}"
        place.mkdir(parents=True, exist_ok=True)
        path = place / ("same.csv" if not (place / "same.csv").exists() else f"{stems[number % 7]}-{number}.bin")
        path.write_bytes(b"" if number % 9 == 0 else chance.randbytes(chance.randrange(2000)))
        path.chmod(chance.choice([0o600, 0o644, 0o755, 0o440]))
        os.utime(path, ns=(0, chance.randrange(10**18, 2 * 10**18)))


def told_of(folder: Path) -> dict[str, tuple[bytes, int, int]]:
    """Return what a tree holds: the bytes, modes and times of its files by path."""
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mode, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_tree_of_a_thousand_files_comes_back_equal(lab: Catalog, tmp_path: Path) -> None:
    make_tree(tmp_path / "in")
    before = told_of(tmp_path / "in")
    assert len(before) == 1000
    run = lab.create("tree")
    run.upload_dir(tmp_path / "in")
    assert {file.path for file in run.files()} == set(before)
    lab.get(run.id).download_dir(tmp_path / "out")
    assert told_of(tmp_path / "out") == before


@pytest.mark.parametrize(
    "path",
    [
        "../x",
        "a/../../x",
        "a/..",
        ".",
        "./x",
        "/etc/passwd",
        "a//b",
        "a/",
        "",
        "nul\0",
        "line\nfeed",
        "del\x7f",
        "x" * 256,
        "/".join(["d" * 200] * 6),
        "\udc80",
    ],
)
def test_a_hostile_name_is_refused_and_nothing_stored(lab: Catalog, path: str) -> None:
    run = lab.create("hostile")
    with pytest.raises(errors.NameInvalid):
        run.write_bytes(path, b"x")
    with pytest.raises(errors.NameInvalid):
        run.upload(b"x" * 9 * MiB, path or "/")
    assert run.files() == []


def test_the_server_opens_no_path_that_a_client_names(site: Site, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("not for the store")
    with site.running() as server, Client(server.address) as client:
        run = client.create_catalog("lab").create("run")
        name = str(secret).lstrip("/")
        with pytest.raises(errors.NotFound):
            run.read_bytes(name)
        run.write_bytes(name, b"of the store")
        assert run.read_bytes(name) == b"of the store"
        assert secret.read_text() == "not for the store"
        assert not [path for path in site.folder.rglob("*") if "secret" in path.name]


# -------------------------------------------------------------------------------------- one file, any bytes (IN-17)


@pytest.mark.parametrize("content", [b"", b"\0", ALL_BYTES, ALL_BYTES * 9], ids=["none", "one", "1 MiB", "9 MiB"])
def test_bytes_of_every_value_come_back_by_every_way(lab: Catalog, tmp_path: Path, content: bytes) -> None:
    run = lab.create("bytes")
    (tmp_path / "in").write_bytes(content)
    file = run.upload(tmp_path / "in", "x")
    assert file.size == len(content)
    assert run.stat("x").blake3 == file.blake3
    assert run.read_bytes("x") == content
    assert run.download("x", tmp_path / "out").read_bytes() == content
    if content:
        assert run.read_bytes("x", offset=len(content) - 1) == content[-1:]
        assert run.read_bytes("x", offset=len(content) - 1, length=1) == content[-1:]
        with run.open("x") as reader:
            reader.seek(-1, os.SEEK_END)
            assert reader.read() == content[-1:]


# ---------------------------------------------------------------------------- a reason for each (IN-19), limits (IN-21)


def damage(site: Site, marked: bytes) -> int:
    """Turn a bit of the stored bytes that hold `marked`; returns in how many blobs."""
    found = resting.holders(site, marked)
    for key, position in found:
        resting.flip(site, key, position)
    return len(found)


def results(address: str, request: files_pb2.ReadFilesRequest) -> tuple[dict[str, str], files_pb2.ReadFilesSummary]:
    """Ask as any gRPC client would; returns the result of each file by the end of its name, and the summary."""
    found: dict[str, str] = {}
    name, summary = "", files_pb2.ReadFilesSummary()
    with grpc.insecure_channel(address) as channel:
        for message in files_pb2_grpc.FileServiceStub(channel).ReadFiles(request):
            for frame in message.frames:
                name = frame.name or name
                if frame.result:
                    word = files_pb2.FileResult.Name(frame.result)
                    assert name not in found
                    found[name.rpartition("/files/")[2]] = word.removeprefix("FILE_RESULT_")
            if message.HasField("summary"):
                summary = message.summary
    return found, summary


@pytest.mark.stores(*DURABLE)
def test_a_damaged_file_has_its_reason_and_those_behind_it_still_come(site: Site, tmp_path: Path) -> None:
    with site.running() as server, Client(server.address) as client:
        run = client.create_catalog("lab").create("run", id="run")
        mark = os.urandom(32)
        (tmp_path / "in").mkdir()
        for name, content in {"a": b"first", "b": mark, "c": b"third", "d": mark[::-1] * 40_000}.items():
            (tmp_path / "in" / name).write_bytes(content)
        run.upload_dir(tmp_path / "in")
        assert damage(site, mark) == 1
        assert damage(site, mark[::-1]) == 1
        folder = "catalogs/lab/datasets/run/files/"
        found, summary = results(server.address, files_pb2.ReadFilesRequest(names=[folder, f"{folder}nope"]))
        assert found == {"a": "OK", "b": "IO_ERROR", "c": "OK", "d": "IO_ERROR", "nope": "NOT_FOUND"}
        assert (summary.ok_count, summary.failed_count) == (2, 3)
        with pytest.raises(errors.DataLoss):
            run.read_bytes("b")
        got = run.download_dir(tmp_path / "out", missing="report")
        assert sorted(got.failed) == ["b", "d"]
        assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == {"a": b"first", "c": b"third"}


def test_what_a_limit_left_out_is_named_and_comes_when_it_is_asked_for_again(shared_run: tuple[str, str]) -> None:
    address, folder = shared_run
    found, summary = results(address, files_pb2.ReadFilesRequest(names=[folder], max_bytes=10 * MiB))
    left = sorted(name for name, result in found.items() if result == "LIMIT_BYTES")
    assert ([*found.values()].count("OK"), len(left), summary.sent_bytes) == (10, 10, 10 * MiB)
    again, _ = results(address, files_pb2.ReadFilesRequest(names=[f"{folder}{name}" for name in left]))
    assert again == dict.fromkeys(left, "OK")
    for limits in ({"max_file_bytes": MiB - 1}, {"max_file_bytes": MiB}):
        found, summary = results(address, files_pb2.ReadFilesRequest(names=[folder], **limits))
        too_large = limits["max_file_bytes"] < MiB
        assert set(found.values()) == {"TOO_LARGE" if too_large else "OK"}
        assert summary.sent_bytes == (0 if too_large else 20 * MiB)  # refused before the first byte
    found, _ = results(address, files_pb2.ReadFilesRequest(names=[folder], max_files=7))
    assert [*found.values()].count("LIMIT_FILES") == 13


@pytest.fixture
def shared_run(lab: Catalog, client: Client) -> tuple[str, str]:
    """An address, and the folder there of a dataset with 20 files of 1 MiB."""
    run = lab.create("limits", id="limits")
    for number in range(20):
        run.write_bytes(f"{number:02}", bytes([number]) * MiB)
    return client.server()["address"], f"catalogs/{lab.id}/datasets/limits/files/"


# ------------------------------------------------------------------------------------------------------ listing (IN-22)


def test_a_listing_is_paged_by_path_and_tells_sizes_times_and_digests(lab: Catalog, tmp_path: Path) -> None:
    run = lab.create("many")
    (tmp_path / "in").mkdir()
    for number in range(2500):
        (tmp_path / "in" / f"{number:04}").write_bytes(b"%d" % number)
    run.upload_dir(tmp_path / "in")
    listed = run.files()
    assert [(file.path, file.size) for file in listed] == [(f"{n:04}", len(str(n))) for n in range(2500)]
    assert all(file.blake3 and file.created and file.attributes["mtime"] for file in listed)
    assert [file.path for file in run.files("07")] == [f"07{n:02}" for n in range(100)]
