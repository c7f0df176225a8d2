"""Containers on the command line: added, listed, explained, checked, emptied."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.conftest import Desk
from tests.servers import Server, running

SIX = [f"local-{number}" for number in range(1, 7)]


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("sites"), "--containers", "6") as server:
        yield server


@pytest.fixture
def desk(sites: Server, home: dict[str, str]) -> Desk:
    return Desk({**home, "MEASURAND_URL": sites.address})


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "trace.bin"
    path.write_bytes(b"x" * 900_000)
    return path


def parts_in(sites: Server, name: str) -> list[Path]:
    return [path for path in (sites.folder / "containers" / name / "blobs").rglob("*") if path.is_file()]


def test_one_is_added_listed_changed_and_taken_out(desk: Desk, tmp_path: Path) -> None:
    added = desk.run("container", "add", "nas", (tmp_path / "nas").as_uri(), "--zone", "north", "--label", "disk=ssd")
    assert (added.exit_code, added.stdout) == (0, "")
    assert "nas is active" in added.stderr
    listed = desk.run("container", "ls")
    head, *lines = listed.stdout.splitlines()
    assert head.split() == ["id", "state", "kind", "zone", "parts", "stored", "free", "capacity", "uri"]
    [line] = [line for line in lines if line.startswith("nas ")]
    assert line.split()[:5] == ["nas", "active", "directory", "north", "0"]
    assert line.split()[6] == "B" and line.split()[8].endswith("B") and line.split()[10].endswith("B")
    assert "7 containers in 2 zones" in listed.stderr
    assert [one["id"] for one in desk.ask("container", "ls", 'labels.disk = "ssd"')] == ["nas"]
    edited = desk.ask("container", "edit", "nas", "--title", "a NAS", "--read-only", "--max-bytes", "1000")
    assert (edited["title"], edited["state"], edited["max_bytes"]) == ("a NAS", "read_only", 1000)
    assert desk.fail("container", "edit", "nas", "--zone", "south", "--etag", "old")[0] == 4
    assert desk.run("container", "edit", "nas").exit_code == 2
    assert desk.ask("container", "edit", "nas", "--writable")["state"] == "active"
    assert "a NAS" in desk.do("container", "show", "nas")
    probed = desk.ask("container", "probe", "nas")
    assert [one["what"] for one in probed if one["ok"]] == ["put", "get", "get_range", "list", "staged_write", "delete"]
    desk.do("container", "rm", "nas")
    assert desk.fail("container", "show", "nas")[0] == 3
    assert desk.fail("container", "rm", "nas")[0] == 3


def test_mistakes_have_their_exit_codes_and_say_what_to_do(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "cat.jpg").write_text("x")
    code, error = desk.fail("container", "add", "nas", tmp_path.as_uri())
    assert (code, error["reason"]) == (1, "STATE_WRONG") and "empty folder" in error["message"]
    code, error = desk.fail("container", "add", "nas", "ftp://host/x")
    assert (code, error["reason"]) == (1, "FIELD_INVALID") and "file:///FOLDER" in error["message"]
    code, error = desk.fail("container", "add", "local-1", (tmp_path / "new").as_uri())
    assert (code, error["reason"]) == (4, "RESOURCE_EXISTS")
    code, error = desk.fail("container", "rm", "nobody")
    assert code == 3
    assert desk.run("container", "explain").exit_code == 2
    assert desk.run("container", "add", "nas", tmp_path.as_uri(), "--label", "disk").exit_code == 2


def test_a_policy_is_said_where_something_is_made_and_can_be_changed(desk: Desk, catalog: str, trace: Path) -> None:
    desk.do("put", str(trace), f"{catalog}/run", "--create", "--storage", "replicate:4")
    assert desk.ask("show", f"{catalog}/run")["storage"] == "replicate:4"
    assert len(desk.ask("container", "explain", f"{catalog}/run/files/trace.bin")["parts"]) == 4
    desk.do("edit", f"{catalog}/run", "--storage", "erasure:3+2")
    assert desk.ask("show", f"{catalog}/run")["storage"] == "erasure:3+2"
    (trace.parent / "other").mkdir()
    (trace.parent / "other" / "one.bin").write_bytes(b"1")
    desk.do("put", str(trace.parent / "other"), f"{catalog}/run", "--storage", "replicate:5")
    assert len(desk.ask("container", "explain", f"{catalog}/run/files/one.bin")["parts"]) == 5
    for command in (["edit", f"{catalog}/run"], ["put", str(trace), f"{catalog}/other", "--create"]):
        code, error = desk.fail(*command, "--storage", "raid5")
        assert (code, error["reason"]) == (1, "FIELD_INVALID") and "erasure:4+2" in error["message"]
    assert not [one for one in desk.ask("ls", catalog) if one["id"] == "other"]


def test_where_something_lies_or_would_go_fits_a_terminal(
    desk: Desk, catalog: str, trace: Path, tmp_path: Path
) -> None:
    long = "a-machine-in-the-third-basement-behind-the-cryostat-with-a-long-name"
    zone = "a-zone-with-a-long-name-" + "x" * 70
    desk.do("container", "add", long, (tmp_path / "long").as_uri(), "--zone", zone, "--read-only")
    try:
        for options in (
            ["--storage", "erasure:3+2"],
            ["--storage", "replicate:2", "--size", "100"],
            ["--storage", "losses:1", "--size", "1000000000"],
        ):
            lines = desk.do("container", "explain", *options).splitlines()
            assert max(map(len, lines)) <= 80
            assert lines[0].split() == ["container", "score", "why"]
            assert [one for one in lines if one.startswith("a-machine-i…")]
            for name in SIX:
                [line] = [line for line in lines if line.startswith(f"{name} ")]
                assert len(line.split()) > 2
        desk.do("put", str(trace), f"{catalog}/run", "--create", "--storage", "erasure:3+2")
        where = desk.run("container", "explain", f"{catalog}/run/files/trace.bin")
        assert max(map(len, where.stdout.splitlines())) <= 80
        assert where.stdout.count("part ") == 5 and "300.1 kB" in where.stdout
        assert "erasure:3+2: 3 data and 2 parity parts" in where.stderr
        nowhere = desk.run("container", "explain", "--storage", "replicate:9")
        assert nowhere.exit_code == 6 and "9 containers are needed" in nowhere.stderr
        assert nowhere.stdout.count("could take a part; too few can") == 6
    finally:
        desk.do("container", "rm", long)


def test_a_check_says_how_all_blobs_are_and_fails_when_some_are_at_risk(
    desk: Desk, catalog: str, sites: Server, trace: Path
) -> None:
    desk.do("put", str(trace), f"{catalog}/run", "--create", "--storage", "replicate:2")
    found = desk.ask("container", "check")
    assert found["checked_blobs"] == found["safe_blobs"] >= 1
    said = desk.do("container", "check")
    assert said.splitlines()[0].endswith(" safe, 0 degraded, 0 at risk, 0 lost")
    where = desk.ask("container", "explain", f"{catalog}/run/files/trace.bin")
    first, second = [part["container"] for part in where["parts"]]
    lost = [path for path in parts_in(sites, first) if path.stat().st_size == where["parts"][0]["size"]]
    for path in lost:
        path.unlink()
    result = desk.run("container", "check")
    assert result.exit_code == 1
    assert "1 at risk, 0 lost" in result.stdout.splitlines()[0]
    assert "1 blob can lose 0 more parts" in result.stdout and "measurand container repair" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80
    told = desk.run("container", "check", "--json")
    assert (told.exit_code, json.loads(told.stdout)["at_risk_blobs"]) == (1, 1)
    assert desk.ask("container", "repair", first)["repaired_parts"] >= 1
    assert desk.run("container", "check").exit_code == 0
    assert second in SIX


def test_one_is_emptied_evened_out_and_stored_anew(desk: Desk, catalog: str, sites: Server, trace: Path) -> None:
    for number in range(3):
        desk.do("put", str(trace), f"{catalog}/{number}", "--create", "--storage", "replicate:5")
    only = desk.ask("container", "drain", "local-6", "--dry-run")
    assert only["moved_blobs"] >= 1
    drained = desk.ask("container", "drain", "local-6")
    assert drained["stuck_blobs"] == 0 and parts_in(sites, "local-6") == []
    desk.do("container", "undrain", "local-6")
    assert desk.ask("container", "show", "local-6")["state"] == "active"
    assert "moved_parts" in desk.ask("container", "rebalance", "--dry-run")
    desk.do("edit", f"{catalog}/0", "--storage", "replicate:2")
    assert desk.ask("container", "recode", f"{catalog}/0")["recoded_blobs"] == 1
    assert len(desk.ask("container", "explain", f"{catalog}/0/files/trace.bin")["parts"]) == 2
    begun = desk.ask("container", "repair", "--no-wait")
    assert begun["kind"] == "repair"
    assert desk.do("operation", "watch", begun["id"]).splitlines()[-1].split()[2] == "succeeded"
