"""The command: what it finds around embedded stores, what it says, what it leaves alone."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.servers import free_config, in_process

from measurand.core.ports import Document
from measurand.server.doctor import command, folders
from measurand.server.doctor.embedded import check_database, check_database_deeply
from measurand.server.doctor.findings import Finding, Report
from measurand.server.patterns import compile_pattern
from measurand.storage.documents.sqlite import Sqlite

# ----------------------------------------------------------------------------------------------------------- database


async def filled(path: Path) -> None:
    """Make a database of a few hundred pages."""
    store = await Sqlite.open(path, compile_pattern=compile_pattern)
    try:
        await store.insert_many("datasets", [Document(f"d{i}", "s", {}, "x" * 9000) for i in range(200)])
    finally:
        await store.close()


async def test_a_database_that_may_forget_commits_is_told(tmp_path: Path) -> None:
    path = tmp_path / "documents.sqlite"
    await filled(path)
    findings: list[Finding] = []
    await check_database(Report(findings.append), path)
    assert (findings[0].status, "journal wal, synchronous 2" in findings[0].message) == ("ok", True)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()
    await check_database(Report(findings.append), path)
    assert (findings[1].status, "may not survive" in findings[1].message) == ("error", True)


async def test_damaged_pages_are_found(tmp_path: Path) -> None:
    path = tmp_path / "documents.sqlite"
    await filled(path)
    findings: list[Finding] = []
    await check_database_deeply(Report(findings.append), path)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 8 * 4096] = bytes(8 * 4096)
    path.write_bytes(content)
    await check_database_deeply(Report(findings.append), path)
    assert [finding.status for finding in findings] == ["ok", "error"]
    assert "restore" in findings[1].advice


# ------------------------------------------------------------------------------------------------------- the command


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The data folder of a server that has ended."""

    async def serve() -> None:
        async with in_process(free_config(data=tmp_path / "store")):
            pass

    asyncio.run(serve())
    return tmp_path / "store"


def doctor(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def json_of(*arguments: object) -> tuple[list[dict[str, str]], int]:
    result = doctor(*arguments, "--json")
    return [json.loads(line) for line in result.stdout.splitlines()], result.exit_code


def test_it_ends_with_0_where_all_is_well_and_says_so_line_by_line(folder: Path) -> None:
    result = doctor("--data", folder, "--deep", "--bytes")
    assert result.exit_code == 0, result.output
    *lines, last = result.stdout.splitlines()
    assert all(line.startswith(("ok ", "warning ")) for line in lines)
    assert last.startswith("0 errors")
    said = " ".join(result.stdout.split())
    for check in (
        "versions",
        "folder",
        "server",
        "documents: deployment",
        "blobs: ranges",
        "blobs: owner",
        "deep: orphans",
    ):
        assert f"ok {check}" in said
    assert "0 blobs older than 1 h that nothing names" in said


def test_json_has_one_object_a_finding(folder: Path) -> None:
    findings, exit_code = json_of("--data", folder)
    assert exit_code == 0
    assert all(finding.keys() == {"check", "status", "message", "advice"} for finding in findings)
    assert {finding["status"] for finding in findings} <= {"ok", "warning"}


def test_it_leaves_no_trace(folder: Path) -> None:
    def content() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.parent != folder}

    before = content()
    assert (doctor("--data", folder)).exit_code == 0
    assert content() == before
    with sqlite3.connect(folder / "documents.sqlite") as connection:
        found = connection.execute("SELECT count(*) FROM docs WHERE key LIKE 'doctor%'").fetchone()
    connection.close()
    assert found == (0,)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--documents", "memory:"], "--documents memory: ends with its process"),
        (["--blobs", "memory:"], "--blobs memory: ends with its process"),
        (["--bytes"], "--bytes goes with --deep"),
        (["--documents", "postgres://x"], "--documents: 'postgres://x' is not of the form"),
    ],
)
def test_a_wrong_question_is_told_so(tmp_path: Path, arguments: list[str], says: str) -> None:
    result = doctor("--data", tmp_path, *arguments)
    assert (result.exit_code, says in result.output) == (2, True), result.output


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    findings, exit_code = json_of("--data", tmp_path / "typo")
    assert exit_code == 1
    assert (findings[-1]["check"], findings[-1]["status"]) == ("folder", "error")
    assert "measurand serve" in findings[-1]["advice"]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_no_server_has_made_is_left_alone(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    findings, exit_code = json_of("--data", tmp_path)
    assert (exit_code, findings[-1]["check"]) == (1, "format")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_a_newer_release_is_left_alone(folder: Path) -> None:
    (folder / "format").write_text("99\n")
    findings, exit_code = json_of("--data", folder)
    assert (exit_code, findings[-1]["check"]) == (1, "format")
    assert "'99'" in findings[-1]["message"]


def test_it_writes_nothing_as_somebody_else(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that are made by root cannot be written by the server's own user."""
    monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
    findings, exit_code = json_of("--data", folder)
    assert (exit_code, findings[-1]["check"]) == (1, "folder")
    assert "belongs to" in findings[-1]["message"] and findings[-1]["advice"].startswith("run it as")


def test_a_folder_that_others_can_enter_is_a_warning(folder: Path) -> None:
    folder.chmod(0o755)
    findings, exit_code = json_of("--data", folder)
    (found,) = [finding for finding in findings if finding["check"] == "folder"]
    assert (exit_code, found["status"], found["advice"]) == (0, "warning", f"`chmod go-rwx {folder}`")


def test_a_folder_on_a_network_file_system_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "_mounts", lambda: iter([("/", "ext4"), (str(folder.parent.resolve()), "nfs4")]))
    findings, exit_code = json_of("--data", folder)
    assert (exit_code, findings[-1]["check"]) == (1, "folder")
    assert "network file system (nfs4)" in findings[-1]["message"]


def test_a_full_disk_is_a_warning(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10**8))
    findings, _ = json_of("--data", folder)
    room = [finding for finding in findings if finding["check"].endswith(": room")]
    assert [(finding["status"], "0.1 GB of" in finding["message"]) for finding in room] == [("warning", True)] * 2


def test_what_a_killed_server_left_is_no_server(folder: Path) -> None:
    (folder / "server.json").write_text(json.dumps({"address": "127.0.0.1:1", "pid": 1, "instance_id": "x"}))
    findings, exit_code = json_of("--data", folder)
    (found,) = [finding for finding in findings if finding["check"] == "server"]
    assert (exit_code, found["status"]) == (0, "ok")
    assert "was killed" in found["message"]


def test_a_server_that_does_not_answer_is_told(folder: Path) -> None:
    (folder / "server.json").write_text(json.dumps({"address": "127.0.0.1:1", "pid": 7, "instance_id": "x"}))
    with (folder / "server.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        findings, exit_code = json_of("--data", folder)
    (found,) = [finding for finding in findings if finding["check"] == "server"]
    assert (exit_code, found["status"]) == (1, "error")
    assert "127.0.0.1:1" in found["message"] and "process 7" in found["advice"]


def test_a_database_that_is_not_there_is_not_made_and_the_blobs_are_looked_at(folder: Path) -> None:
    (folder / "documents.sqlite").unlink()
    findings, exit_code = json_of("--data", folder)
    bad = [finding for finding in findings if finding["status"] == "error"]
    assert (exit_code, [finding["check"] for finding in bad]) == (1, ["documents: open"])
    assert "there is no such file" in bad[0]["message"]
    assert "blobs: ranges" in [finding["check"] for finding in findings]
    assert not (folder / "documents.sqlite").exists()


def test_the_blobs_of_another_deployment_are_told_and_not_called_lost(folder: Path) -> None:
    (folder / "deployment").write_text("01HZZZZZZZZZZZZZZZZZZZZZZZ\n")
    findings, exit_code = json_of("--data", folder, "--deep")
    assert (exit_code, findings[-1]["check"], findings[-1]["status"]) == (1, "blobs: owner", "error")
    assert "01HZZZZZZZZZZZZZZZZZZZZZZZ" in findings[-1]["message"]


def test_blobs_that_nobody_owns_yet_are_a_warning_and_stay_so(folder: Path) -> None:
    (folder / "deployment").unlink()
    findings, exit_code = json_of("--data", folder, "--deep")
    assert (exit_code, findings[-1]["check"], findings[-1]["status"]) == (0, "blobs: owner", "warning")
    assert not (folder / "deployment").exists()


def test_a_file_that_is_no_database_is_told(folder: Path) -> None:
    (folder / "documents.sqlite").write_bytes(b"SQLite format 2" + bytes(10_000))
    findings, exit_code = json_of("--data", folder)
    bad = [finding for finding in findings if finding["status"] == "error"]
    assert (exit_code, bad[0]["check"]) == (1, "documents: open")
    assert "damaged" in bad[0]["message"]
