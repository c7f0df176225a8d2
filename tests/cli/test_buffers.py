"""Buffers at the command line: records in and out, freeze and unfreeze, groups, what runs."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from tests.cli.conftest import Desk

from measurand.cli.main import main
from measurand.client import Client


@pytest.fixture
def buffer(desk: Desk, catalog: str) -> str:
    """A buffer without limits, named as it is typed."""
    desk.do("buffer", "create", f"{catalog}/live", "--meta", "detector=H1")
    return f"{catalog}/live"


@pytest.fixture
def piped(desk: Desk) -> Callable[..., str]:
    """Runs a command that succeeds with something on its standard input, and returns what it wrote."""

    def run(given: bytes, *arguments: str) -> str:
        done = CliRunner().invoke(main, list(arguments), env=desk.environment, input=io.BytesIO(given))
        assert done.exit_code == 0, done.output
        return done.stdout

    return run


def test_buffers_are_made_listed_shown_and_dropped(desk: Desk, catalog: str) -> None:
    place = f"{catalog}/strain"
    made = desk.ask(
        *("buffer", "create", place, "--description", "H1", "--meta", "gain=2.5", "--freeze-after", "bytes=2GiB"),
        *("--freeze-after", "seconds=10m", "--keep", "batches=3", "--keep-sealed", "1d"),
    )
    assert (made["id"], made["state"], made["records"], made["next_sequence"]) == ("strain", "ACTIVE", 0, 1)
    assert made["metadata"] == {"gain": 2.5}
    assert made["policy"] == {
        "freeze_after": {"bytes": 2 << 30, "seconds": 600},
        "retention": {"batches": 3},
        "keep_sealed": 86400,
    }
    assert desk.ask("buffer", "stat", place) == made
    assert [found["id"] for found in desk.ask("buffer", "ls", catalog)] == ["strain"]
    assert desk.do("buffer", "ls", catalog).splitlines()[1].split()[:4] == ["strain", "ACTIVE", "1", "0"]
    assert desk.fail("buffer", "create", place)[0] == 4
    desk.do("buffer", "create", place, "--exist-ok")
    desk.do("buffer", "drop", place)
    assert desk.ask("buffer", "ls", catalog) == []
    assert desk.fail("buffer", "stat", place)[0] == 3


@pytest.mark.parametrize(
    "options",
    [
        ["--freeze-after", "byte=5"],
        ["--freeze-after", "bytes=5 parsec"],
        ["--freeze-after", "records=many"],
        ["--freeze-after", "records=5", "--freeze-after", "records=6"],
        ["--keep", "age"],
        ["--keep-sealed", "soon"],
        ["--rotate"],
    ],
    ids=" ".join,
)
def test_a_limit_that_is_none_is_a_usage_error(desk: Desk, catalog: str, options: list[str]) -> None:
    assert desk.run("buffer", "create", f"{catalog}/strain", *options).exit_code == 2
    assert desk.ask("buffer", "ls", catalog) == []


@pytest.mark.parametrize("place", ["lab", "lab/a/b", "/a", "catalogs/lab/datasets/a"])
def test_what_names_no_buffer_is_a_usage_error(desk: Desk, place: str) -> None:
    done = desk.run("buffer", "stat", place)
    assert done.exit_code == 2
    assert "CATALOG/BUFFER" in done.stderr


def records(desk: Desk, buffer: str, *options: str) -> list[dict[str, Any]]:
    """Return what `tail --json` tells, from the beginning unless it is told otherwise."""
    begin = () if {"--from", "--window"} & set(options) else ("--from", "begin")
    return [json.loads(line) for line in desk.do("buffer", "tail", buffer, *begin, *options, "--json").splitlines()]


def test_texts_files_and_lines_become_records(
    desk: Desk, buffer: str, piped: Callable[..., str], tmp_path: Path
) -> None:
    block = struct.pack("<3d", 1.0, float("nan"), -0.0)
    (tmp_path / "block.bin").write_bytes(block)
    assert desk.do("buffer", "append", buffer, "beam on", "--meta", "operator=ann") == "record 1\n"
    desk.do("buffer", "append", buffer, "--file", str(tmp_path / "block.bin"), "--gps", "1126259462.5")
    assert piped(b"one\ntwo\r\nthree", "buffer", "append", buffer, "-") == "3 records, 3 to 5\n"
    assert piped(bytes(10), "buffer", "append", buffer, "-", "--size", "4B") == "3 records, 6 to 8\n"
    stored = records(desk, buffer)
    data = [base64.b64decode(record["data"]) for record in stored]
    assert data == [b"beam on", block, b"one", b"two", b"three", bytes(4), bytes(4), bytes(2)]
    assert [record["sequence"] for record in stored] == list(range(1, 9))
    assert stored[0]["metadata"] == {"operator": "ann"}
    assert [bool(record["writer"]) for record in stored[:3]] == [False, False, True], "one record needs no writer"
    assert stored[1]["event_time"] == "2015-09-14T09:50:45.500000Z"


def test_a_record_with_an_id_is_appended_once(desk: Desk, buffer: str) -> None:
    first = desk.ask("buffer", "append", buffer, "a", "--id", "x17")
    assert (first["records"], first["first_sequence"]) == (1, 1)
    desk.do("buffer", "append", buffer, "a", "--id", "x17")
    assert desk.ask("buffer", "stat", buffer)["records"] == 1
    assert desk.fail("buffer", "append", buffer, "b", "--id", "x17")[1]["reason"] == "REQUEST_ID_REUSED"


@pytest.mark.parametrize(
    "options",
    [[], ["a", "b", "--id", "x"], ["-", "--id", "x"], ["-", "--size", "0"], ["-", "--size", "4 parsec"]],
    ids=" ".join,
)
def test_what_cannot_be_appended_is_a_usage_error(desk: Desk, buffer: str, options: list[str]) -> None:
    assert desk.run("buffer", "append", buffer, *options).exit_code == 2
    assert desk.ask("buffer", "stat", buffer)["records"] == 0


def test_appending_nothing_or_to_nothing_stores_nothing(desk: Desk, buffer: str, piped: Callable[..., str]) -> None:
    assert json.loads(piped(b"", "buffer", "append", buffer, "-", "--json"))["records"] == 0
    assert desk.fail("buffer", "append", f"{buffer}-other", "a")[0] == 3


def test_a_tail_begins_where_it_is_told(desk: Desk, buffer: str, piped: Callable[..., str]) -> None:
    piped(b"".join(b"%d\n" % number for number in range(1, 13)), "buffer", "append", buffer, "-", "--meta", "gain=2")
    desk.do("buffer", "append", buffer, "last", "--meta", "gain=3")
    assert [record["sequence"] for record in records(desk, buffer, "--from", "12")] == [12, 13]
    assert records(desk, buffer, "--from", "now") == []
    newest = desk.do("buffer", "tail", buffer).splitlines()
    assert [int(line.split()[0]) for line in newest] == list(range(4, 14)), "the newest ten"
    assert newest[-1].split()[-3:] == ['{"gain":', "3}", "last"]
    assert [record["sequence"] for record in records(desk, buffer, "--filter", "gain = 3")] == [13]
    assert [record["sequence"] for record in records(desk, buffer, "--limit", "2")] == [1, 2]
    assert "data" not in records(desk, buffer, "--headers")[0]
    for options in (["--from", "yesterday"], ["--from", "0"], ["--headers", "--raw"], ["--timeout", "1"]):
        assert desk.run("buffer", "tail", buffer, *options).exit_code == 2
    assert desk.fail("buffer", "tail", buffer, "--filter", "gain =")[0] == 2


def test_a_tail_writes_the_bytes_alone(desk: Desk, buffer: str, piped: Callable[..., str]) -> None:
    block = bytes(range(256)) * 10
    piped(block, "buffer", "append", buffer, "-", "--size", "1kB")
    assert desk.run("buffer", "tail", buffer, "--from", "begin", "--raw").stdout_bytes == block
    lines = desk.run("buffer", "tail", buffer, "--from", "begin", "--lines").stdout_bytes
    assert lines == block[:1000] + b"\n" + block[1000:2000] + b"\n" + block[2000:] + b"\n"


def test_a_tail_follows_what_is_appended_meanwhile(desk: Desk, buffer: str) -> None:
    desk.do("buffer", "append", buffer, "before")
    command = [sys.executable, "-m", "measurand.cli.main", "buffer", "tail", buffer, "--follow", "--lines"]
    with subprocess.Popen(
        [*command, "--limit", "2"], stdout=subprocess.PIPE, env={**os.environ, **desk.environment}
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"before\n"
        desk.do("buffer", "append", buffer, "while it looks")
        assert process.stdout.read() == b"while it looks\n"
        assert process.wait(30) == 0


def test_an_array_is_shown_by_its_type_and_shape(desk: Desk, buffer: str) -> None:
    catalog, name = buffer.split("/")
    with Client(desk.environment["MEASURAND_URL"]) as client:
        client.catalog(catalog).buffer(name).append(np.zeros((2, 3), ">f4"))
    assert desk.do("buffer", "tail", buffer).rstrip().endswith("float32[2, 3]")
    assert records(desk, buffer)[0]["array"] == {"dtype": "<f4", "shape": [2, 3]}


def test_control_characters_of_records_and_notes_are_spelled_out(desk: Desk, buffer: str) -> None:
    desk.do("buffer", "append", buffer, "\x1b[31mred\nnot so", "--meta", "note=\x1b[2J")
    desk.do("buffer", "log", buffer, "--note", "\x1b[31mred")
    assert "\x1b" not in desk.do("buffer", "tail", buffer) + desk.do("buffer", "log", buffer)


def test_below_its_limits_a_buffer_waits_and_the_exit_code_is_4(desk: Desk, catalog: str) -> None:
    place = f"{catalog}/strain"
    desk.do("buffer", "create", place, "--freeze-after", "bytes=2000")
    for _ in range(5):
        desk.do("buffer", "append", place, "x" * 399)
    done = desk.run("buffer", "freeze", place, "--json")
    answer = json.loads(done.stdout)
    assert done.exit_code == 4
    assert (answer["state"], answer["records"], answer["bytes"], answer["token"]) == ("WAITING", 5, 1995, "")
    assert answer["missing"] == {"bytes": 5}
    assert desk.run("buffer", "freeze", place, "--wait", "0.2").exit_code == 4
    assert desk.ask("buffer", "stat", place)["state"] == "ACTIVE"
    desk.do("buffer", "append", place, "x" * 5)
    assert desk.ask("buffer", "stat", place)["owner"] == "system"
    answer = desk.ask("buffer", "freeze", place)
    assert (answer["state"], answer["records"], answer["bytes"]) == ("FROZEN", 6, 2000)


def test_a_frozen_buffer_is_unfrozen_by_its_token_only(desk: Desk, buffer: str) -> None:
    catalog = buffer.partition("/")[0]
    desk.do("buffer", "append", buffer, "a", "b", "c")
    text = desk.do("buffer", "freeze", buffer, "--lease", "15m", "--comment", "training")
    token = re.search(r"^token +([0-9a-f]{64})$", text, re.MULTILINE)
    assert token is not None
    shown = desk.ask("buffer", "stat", buffer)
    assert (shown["state"], shown["records"], token[1] in json.dumps(shown)) == ("FROZEN", 3, False)
    for command in (["append", buffer, "d"], ["freeze", buffer], ["rotate", buffer]):
        code, error = desk.fail("buffer", *command)
        assert (code, error["reason"], error["details"]["owner"]) == (4, "BUFFER_FROZEN", "users/local")
    assert desk.fail("buffer", "unfreeze", buffer)[0] == 5
    assert desk.fail("buffer", "unfreeze", buffer, "--token", "0" * 64)[0] == 5
    batch = desk.do(
        *("buffer", "unfreeze", buffer, "--token", token[1]),
        *("--title", "November", "--tag", "good", "--meta", "run=7"),
    ).strip()
    assert re.fullmatch(rf"{catalog}/live-[0-9]{{8}}t[0-9]{{6}}\.[0-9]{{6}}z-1", batch)
    dataset = desk.ask("show", batch)
    assert (dataset["kind"], dataset["title"], dataset["tags"]) == ("batch", "November", ["good"])
    assert dataset["metadata"] | {"detector": "H1", "run": 7, "records": 3} == dataset["metadata"]
    assert desk.ask("buffer", "append", buffer, "d")["first_sequence"] == 4
    assert desk.fail("buffer", "unfreeze", buffer)[1]["reason"] == "BUFFER_NOT_FROZEN"


def test_an_append_waits_for_a_frozen_buffer_if_it_says_so(desk: Desk, buffer: str) -> None:
    catalog, name = buffer.split("/")
    token = desk.ask("buffer", "freeze", buffer)["token"]
    command = [sys.executable, "-m", "measurand.cli.main", "buffer", "append", buffer, "a", "--wait-while-frozen", "60"]
    environment = {**os.environ, **desk.environment}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        with Client(desk.environment["MEASURAND_URL"]) as client:
            with closing(client.catalog(catalog).buffer(name).log(follow=True)) as events:
                assert any(event.kind == "refused" for event in events), "it has come and waits"
            assert process.poll() is None
        desk.do("buffer", "unfreeze", buffer, "--token", token)
        assert process.stdout is not None
        assert process.stdout.read() == b"record 1\n"
        assert process.wait(30) == 0


def test_a_freeze_that_somebody_left_is_ended_by_force_or_its_variable(desk: Desk, buffer: str) -> None:
    token = desk.ask("buffer", "freeze", buffer)["token"]
    by_variable = Desk({**desk.environment, "MEASURAND_FREEZE_TOKEN": token})
    assert by_variable.ask("buffer", "unfreeze", buffer)["batch"] is None, "the window was empty"
    desk.do("buffer", "append", buffer, "a")
    desk.do("buffer", "freeze", buffer)
    assert desk.ask("buffer", "unfreeze", buffer, "--force", "--discard")["batch"] is None
    assert desk.ask("buffer", "batches", buffer) == []
    for options in (["--lease", "soon"], ["--lease", "1s"], ["--wait", "soon"]):
        assert desk.run("buffer", "freeze", buffer, *options).exit_code == 2
    assert desk.ask("buffer", "stat", buffer)["state"] == "ACTIVE"


def test_windows_become_batches_and_are_read_from_them(desk: Desk, buffer: str) -> None:
    desk.do("buffer", "append", buffer, "a", "b")
    first = desk.do("buffer", "rotate", buffer, "--title", "first").strip()
    desk.do("buffer", "append", buffer, "c")
    second = desk.ask("buffer", "rotate", buffer)["batch"]
    found = desk.ask("buffer", "batches", buffer)
    assert [batch["id"] for batch in found] == [second["id"], first.partition("/")[2]], "newest first"
    assert [(batch["records"], batch["first_sequence"], batch["last_sequence"]) for batch in found] == [
        (1, 3, 3),
        (2, 1, 2),
    ]
    assert [record["sequence"] for record in records(desk, buffer, "--window", "1")] == [1, 2]
    assert desk.fail("buffer", "tail", buffer, "--window", "3")[0] == 3
    assert desk.run("buffer", "tail", buffer, "--window", "1", "--follow").exit_code == 2
    lines = desk.do("buffer", "batches", buffer).splitlines()
    assert lines[0].split()[:4] == ["id", "window", "records", "bytes"]
    assert lines[2].split()[-1] == "first"


def test_a_finished_buffer_takes_no_more_and_says_what_follows(desk: Desk, buffer: str) -> None:
    desk.do("buffer", "append", buffer, "a")
    assert desk.fail("buffer", "drop", buffer)[1]["reason"] == "RESOURCE_IN_USE"
    desk.do("buffer", "create", f"{buffer}-v2")
    desk.do("buffer", "finish", buffer, "--next", "live-v2")
    shown = desk.ask("buffer", "stat", buffer)
    assert (shown["state"], shown["next"]) == ("FINISHED", f"catalogs/{buffer.replace('/', '/buffers/')}-v2")
    assert desk.fail("buffer", "append", buffer, "b")[1]["reason"] == "STATE_WRONG"
    assert desk.run("buffer", "tail", buffer, "--follow", "--lines").stdout_bytes == b"a\n", "the end is the end"
    desk.do("buffer", "drop", buffer, "--force")
