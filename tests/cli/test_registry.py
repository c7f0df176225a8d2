"""Entries of the registry: held while a command runs, shown, listed, followed, ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from tests.cli.conftest import Desk

PYTHON = sys.executable


@pytest.fixture
def kind() -> str:
    return f"gateway-{uuid.uuid4()}"


def test_an_entry_is_there_while_a_command_runs_and_its_exit_code_comes_through(desk: Desk, kind: str) -> None:
    looking = [PYTHON, "-m", "measurand.cli.main", "--url", desk.environment["MEASURAND_URL"], "registry", "get"]
    script = (
        "import os, subprocess, sys\n"
        f"said = subprocess.run({[*looking, f'{kind}/a', '--json']!r}, capture_output=True, text=True)\n"
        "print(os.environ['MEASURAND_EPOCH'], said.stdout)\n"
        "sys.exit(7)"
    )
    words = ["put", f"{kind}/a", "grpc://a:1", "--label", "site=n", "--meta", "cores=8", "--also", "grpc://10.0.0.1:1"]
    done = subprocess.run(
        [*looking[:-1], *words, "--", PYTHON, "-c", script],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **desk.environment},
    )
    assert done.returncode == 7, done.stderr
    epoch, _, said = done.stdout.partition(" ")
    seen = json.loads(said)
    assert (epoch, seen["epoch"], seen["endpoint"], seen["labels"]) == ("1", 1, "grpc://a:1", {"site": "n"})
    assert (seen["metadata"], seen["other_endpoints"], seen["ttl"]) == ({"cores": 8}, ["grpc://10.0.0.1:1"], 30.0)
    code, error = desk.fail("registry", "get", f"{kind}/a")
    assert (code, error["reason"], "last_seen" in error["details"]) == (3, "RESOURCE_NOT_FOUND", True)


def test_without_a_command_it_is_held_until_the_end_is_asked_for(desk: Desk, kind: str) -> None:
    command = [PYTHON, "-m", "measurand.cli.main", "registry", "put", f"{kind}/a", "grpc://a:1", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **desk.environment}) as holder:
        assert holder.stdout is not None
        assert json.loads(holder.stdout.readline())["epoch"] == 1
        second = desk.run("registry", "put", f"{kind}/a", "grpc://b:1", "--", "true")
        there = [found["name"] for found in desk.ask("registry", "ls", kind)]
        holder.send_signal(signal.SIGTERM)
        assert holder.wait(60) == 0
    assert (second.exit_code, "is held by users/local" in second.stderr) == (4, True)
    assert there == ["a"]
    assert desk.ask("registry", "ls", kind) == []


def test_an_entry_that_stays_is_listed_filtered_followed_and_ended(desk: Desk, kind: str, tmp_path: Path) -> None:
    facts = tmp_path / "facts.json"
    facts.write_text('{"cores": 8}')
    for name in ("a", "b"):
        desk.do("registry", "put", f"{kind}/{name}", f"grpc://{name}:1", "--stay", "--meta-file", str(facts))
    made = desk.ask("registry", "put", f"{kind}/b", "grpc://b:2", "--stay", "--meta", "cores=4")
    assert (made["epoch"], made["ttl"], made["expires"]) == (2, None, None)
    assert [one["name"] for one in desk.ask("registry", "ls", kind)] == ["a", "b"]
    assert [one["name"] for one in desk.ask("registry", "ls", kind, "metadata.cores > 4")] == ["a"]
    lines = desk.do("registry", "ls", kind).splitlines()
    assert lines[0].split() == ["kind", "name", "endpoint", "epoch", "owner", "renewed", "expires"]
    assert desk.ask("registry", "get", f"measurand://{kind}/b") == made
    watched = desk.do("registry", "watch", kind, "--existing", "--limit", "2").splitlines()
    assert [line.split()[2:] for line in watched] == [
        ["existing", f"{kind}/a", "grpc://a:1"],
        ["existing", f"{kind}/b", "grpc://b:2"],
    ]
    desk.do("registry", "rm", f"registry/{kind}/registrations/b")
    code, error = desk.fail("registry", "rm", f"{kind}/b")
    assert (code, error["reason"]) == (3, "RESOURCE_NOT_FOUND")


def test_whoever_holds_a_name_is_waited_for_or_taken_over(desk: Desk, kind: str) -> None:
    desk.do("registry", "put", f"{kind}/a", "--stay")
    assert desk.run("registry", "put", f"{kind}/a", "-", "--wait", "0.1", "--", "true").exit_code == 4
    done = desk.run("registry", "put", f"{kind}/a", "-", "--take-over", "--ttl", "5min", "--", "true")
    assert done.exit_code == 0, done.output
    assert desk.ask("registry", "ls", kind) == []


@pytest.mark.parametrize(
    "words",
    [
        ("get", "gateway"),
        ("get", "gateway/a/b"),
        ("put", "gateway/a", "grpc://a:1", "--label", "x", "--stay"),
        ("put", "gateway/a", "grpc://a:1", "--stay", "--", "true"),
        ("ls", "gateway", "cores >"),
    ],
)
def test_mistakes_are_usage_errors(desk: Desk, words: tuple[str, ...]) -> None:
    assert desk.run("registry", *words).exit_code == 2


def test_an_endpoint_with_a_password_is_refused(desk: Desk, kind: str) -> None:
    code, error = desk.fail("registry", "put", f"{kind}/a", "grpc://me:secret@host:1", "--stay")
    assert (code, error["reason"]) == (1, "FIELD_INVALID")
    assert "secret" not in json.dumps(error)
