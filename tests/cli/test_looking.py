"""What is there, and changes to it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import Desk


@pytest.fixture
def runs(desk: Desk, catalog: str, tmp_path: Path) -> str:
    """A catalog with three datasets of one file each: cold, warm and hot."""
    source = tmp_path / "trace.csv"
    source.write_text("1\n")
    for name, kelvin in (("cold", "0.012"), ("warm", "4"), ("hot", "300.0")):
        place = f"{catalog}/{name}"
        desk.do(
            "put", str(source), place, "--create", "--title", name, "--meta", f"temperature={kelvin}", "--tag", "t1"
        )
    return catalog


def test_catalogs_datasets_and_files_are_listed(desk: Desk, runs: str) -> None:
    assert runs in [found["id"] for found in desk.ask("ls")]
    assert [found["id"] for found in desk.ask("ls", runs)] == ["hot", "warm", "cold"], "newest first"
    assert [found["path"] for found in desk.ask("ls", f"{runs}/hot")] == ["trace.csv"]
    lines = desk.do("ls", runs).splitlines()
    assert lines[0].split() == ["id", "title", "kind", "tags", "files", "bytes", "created"]
    assert lines[1].split()[:2] == ["hot", "hot"]


def test_datasets_are_found_by_what_was_measured(desk: Desk, runs: str) -> None:
    found = desk.ask("find", runs, 'metadata.temperature < 10 AND tags:"t1"', "--order-by", "-metadata.temperature")
    assert [dataset["id"] for dataset in found] == ["warm", "cold"]
    assert [dataset["metadata"]["temperature"] for dataset in found] == [4, 0.012]
    assert [dataset["id"] for dataset in desk.ask("find", runs, "--limit", "2", "--order-by", "title")] == [
        "cold",
        "hot",
    ]
    assert desk.do("find", runs, "metadata.temperature > 1", "--count") == "2\n"
    shown = desk.do("find", runs, "title = cold", "--show", "temperature", "--show", "missing").splitlines()
    assert shown[0].split()[-2:] == ["temperature", "missing"]
    assert shown[1].split()[-1] == "0.012"


def test_a_filter_that_does_not_parse_is_a_usage_error_with_its_position(desk: Desk, runs: str) -> None:
    code, error = desk.fail("find", runs, "temperature <")
    assert (code, error["reason"]) == (2, "FILTER_INVALID")
    assert int(error["details"]["position"]) >= 11


def test_everything_about_one_thing_is_shown(desk: Desk, runs: str) -> None:
    assert desk.ask("show", runs)["id"] == runs
    dataset = desk.ask("show", f"{runs}/cold")
    assert (dataset["title"], dataset["state"], dataset["revision"]) == ("cold", "open", 1)
    file = desk.ask("show", f"{runs}/cold/files/trace.csv")
    assert (file["size"], len(file["blake3"])) == (2, 64)
    text = desk.do("show", f"catalogs/{runs}/datasets/cold")
    assert "title       cold\n" in text
    assert "metadata:\n  temperature: 0.012\n" in text


def test_a_dataset_is_edited_and_its_history_tells(desk: Desk, runs: str) -> None:
    place = f"{runs}/cold"
    desk.do("edit", place, "--set", "temperature=0.013", "--set", 'device={"wafer": "W1"}', "--comment", "calibrated")
    edited = desk.ask("edit", place, "--unset", "device.wafer", "--tag", "good", "--untag", "t1", "--title", "colder")
    assert edited["metadata"] == {"temperature": 0.013, "device": {}}
    assert (edited["tags"], edited["title"]) == (["good"], "colder")
    history = desk.ask("history", place)
    assert [entry["revision"] for entry in history] == sorted((e["revision"] for e in history), reverse=True)
    assert ("calibrated", ["metadata.temperature", "metadata.device"]) in [
        (e["comment"], e["changed"]) for e in history
    ]
    assert desk.ask("show", place, "--revision", "1")["metadata"] == {"temperature": 0.012}


def test_an_edit_with_an_old_etag_is_a_conflict(desk: Desk, runs: str) -> None:
    etag = desk.ask("show", f"{runs}/cold")["etag"]
    desk.do("edit", f"{runs}/cold", "--set", "a=1", "--etag", etag)
    code, error = desk.fail("edit", f"{runs}/cold", "--set", "a=2", "--etag", etag)
    assert (code, error["reason"]) == (4, "ETAG_MISMATCH")


@pytest.mark.parametrize("options", [[], ["--set", "a=null"], ["--set", 'a={"b": null}'], ["--set", "a"]], ids=" ".join)
def test_an_edit_of_nothing_or_to_null_is_a_usage_error(desk: Desk, options: list[str]) -> None:
    assert desk.run("edit", "lab/run", *options).exit_code == 2


def test_what_is_deleted_can_be_brought_back_until_it_is_purged(desk: Desk, runs: str) -> None:
    place = f"{runs}/cold"
    desk.do("rm", place, f"{runs}/warm")
    assert [found["id"] for found in desk.ask("ls", runs)] == ["hot"]
    assert {found["id"] for found in desk.ask("ls", runs, "--all")} == {"hot", "warm", "cold"}
    assert desk.ask("show", place)["state"] == "deleted"
    desk.do("undelete", place)
    assert desk.ask("show", place)["state"] == "open"
    desk.do("rm", place, "--purge")
    assert desk.fail("undelete", place)[0] == 3


def test_one_file_is_removed(desk: Desk, runs: str) -> None:
    desk.do("rm", f"{runs}/cold/files/trace.csv")
    assert desk.ask("ls", f"{runs}/cold") == []
    for place in (runs, f"{runs}/cold/files/", f"{runs}/cold/files/raw/"):
        assert desk.run("rm", place).exit_code == 2


def test_catalogs_are_made_and_deleted(desk: Desk, runs: str) -> None:
    assert desk.fail("catalog", "create", runs)[0] == 4
    desk.do("catalog", "create", runs, "--exist-ok")
    code, error = desk.fail("catalog", "rm", runs)
    assert (code, error["reason"]) == (1, "RESOURCE_IN_USE")
    desk.do("catalog", "rm", runs, "--force")
    assert runs not in [found["id"] for found in desk.ask("catalog", "ls")]
    assert runs in [found["id"] for found in desk.ask("catalog", "ls", "--all")]
    assert desk.ask("catalog", "undelete", runs)["id"] == runs
    assert len(desk.ask("ls", runs)) == 3
    assert desk.run("catalog", "create", "UPPER").exit_code == 2


def test_what_is_there_and_what_changes_is_watched(desk: Desk, runs: str) -> None:
    first = desk.do("watch", runs, "title = cold", "--existing", "--limit", "1")
    assert first.split()[2:] == ["existing", f"{runs}/cold", "cold"]
    command = [sys.executable, "-m", "measurand.cli.main", "watch", runs, "--json", "--existing"]
    environment = {**os.environ, **desk.environment}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        existing = [json.loads(process.stdout.readline()) for _ in range(3)]
        assert {(change["kind"], change["dataset"]["id"]) for change in existing} == {
            ("existing", "cold"),
            ("existing", "warm"),
            ("existing", "hot"),
        }
        desk.do("edit", f"{runs}/cold", "--set", "a=1")
        seen = json.loads(process.stdout.readline())
        assert (seen["kind"], seen["dataset"]["id"], seen["dataset"]["metadata"]["a"]) == ("updated", "cold", 1)
        process.terminate()
    desk.do("rm", f"{runs}/cold")
    resumed = desk.ask("watch", runs, "--resume", seen["resume_token"], "--limit", "1")
    assert (resumed["kind"], resumed["dataset"]["id"]) == ("deleted", "cold")


def test_control_characters_do_not_reach_the_terminal(desk: Desk, runs: str) -> None:
    desk.do("edit", f"{runs}/cold", "--title", "red\x1b[31m", "--set", 'note="\\u001b[2J"')
    assert "red\\x1b[31m" in desk.do("ls", runs)
    assert "\x1b" not in desk.do("show", f"{runs}/cold")


def test_it_is_told_whether_something_exists(desk: Desk, runs: str, tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text("1\n")
    desk.do("put", str(tmp_path / "b.csv"), f"{runs}/hot/files/raw/deep/")
    desk.do("rm", f"{runs}/cold")
    there = [runs, f"{runs}/hot", f"{runs}/hot/files/trace.csv", f"{runs}/hot/files/raw/", f"{runs}/hot/files/"]
    missing = ["nobody", f"{runs}/cold", f"{runs}/lukewarm", f"{runs}/hot/files/trace", f"{runs}/hot/files/other/"]
    missing += [f"{runs}/hot/arrays/iq", f"{runs}/hot/arrays/", f"{runs}/hot/files/raw"]
    for place in there:
        result = desk.run("exists", place)
        assert (result.exit_code, result.stdout, result.stderr) == (0, "true\n", ""), place
    for place in missing:
        for options in ((), ("--json",)):
            result = desk.run("exists", place, *options)
            assert (result.exit_code, result.stdout, result.stderr) == (3, "false\n", ""), place
    result = desk.run("exists", f"{runs}/hot", "--url", "127.0.0.1:1")
    assert (result.exit_code, result.stdout) == (6, "")
