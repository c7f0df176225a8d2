"""Buffers at the command line while they run: the log, groups, `top`, and how one stops looking."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys

import click
import pytest
from tests.cli.conftest import Desk

from measurand.client import Client


@pytest.fixture
def buffer(desk: Desk, catalog: str) -> str:
    """A buffer without limits, named as it is typed."""
    desk.do("buffer", "create", f"{catalog}/live")
    return f"{catalog}/live"


def test_the_log_tells_what_happened(desk: Desk, buffer: str) -> None:
    desk.do("buffer", "log", buffer, "--note", "injection test")
    desk.do("buffer", "append", buffer, "a")
    desk.do("buffer", "rotate", buffer)
    events = [json.loads(line) for line in desk.do("buffer", "log", buffer, "--json").splitlines()]
    kinds = [event["kind"] for event in events]
    assert kinds[:2] == ["created", "note"]
    assert {"sealed", "opened"} <= set(kinds)
    assert [event["number"] for event in events] == list(range(1, len(events) + 1))
    lines = desk.do("buffer", "log", buffer, "--after", "1", "--limit", "1").splitlines()
    assert len(lines) == 1
    assert lines[0].endswith("injection test")


def test_groups_and_their_lag_are_shown_by_groups_and_top(desk: Desk, buffer: str) -> None:
    catalog, name = buffer.split("/")
    desk.do("buffer", "append", buffer, "a", "b", "c")
    with (
        Client(desk.environment["MEASURAND_URL"]) as client,
        client.catalog(catalog).buffer(name).consume("train", most=1) as taken,
    ):
        next(iter(taken)).ack()
        taken.flush()
    (group,) = desk.ask("buffer", "groups", buffer)
    assert (group["id"], group["settled"], group["lag"], group["given_up"]) == ("train", 1, 2, 0)
    desk.do("buffer", "create", f"{catalog}/quiet")
    looks = [json.loads(line) for line in desk.do("buffer", "top", catalog, "--json").splitlines()]
    assert [(facts["id"], facts["next_sequence"], len(facts["groups"])) for facts in looks[0]] == [
        ("live", 4, 1),
        ("quiet", 1, 0),
    ]
    lines = desk.do("buffer", "top", catalog, "--interval", "0.1", "--count", "2").splitlines()
    assert len(lines) == 8, "a headline, two buffers and a group, twice"
    assert lines[0].split()[:3] == ["buffer", "state", "window"]
    assert lines[2].split()[:2] == ["train", "2"]
    assert lines[3].split()[-1] == "never"


def test_a_group_tells_what_it_has_given_up_and_is_moved(desk: Desk, buffer: str) -> None:
    catalog, name = buffer.split("/")
    desk.do("buffer", "append", buffer, "a", "b", "c")
    with (
        Client(desk.environment["MEASURAND_URL"]) as client,
        client.catalog(catalog).buffer(name).consume("train", attempts=1) as taken,
    ):
        for _, record in zip(range(3), taken, strict=False):
            if record.seq == 2:
                record.nack()
            else:
                record.ack()
        taken.flush()
    facts = desk.ask("buffer", "groups", buffer, "train")
    assert ([record["seq"] for record in facts["dead"]], facts["unacknowledged"], facts["lag"]) == ([2], [], 0)
    text = desk.do("buffer", "groups", buffer, "train", "--seek", "2").splitlines()
    assert [line.split() for line in text if line.startswith(("lag", "dead"))] == [["lag", "2"], ["dead", "2"]]
    assert desk.ask("buffer", "groups", buffer, "train", "--seek", "begin")["lag"] == 3
    assert desk.run("buffer", "groups", buffer, "train", "--seek", "somewhere").exit_code == 2
    assert desk.run("buffer", "groups", buffer, "--seek", "1").exit_code == 2
    assert desk.fail("buffer", "groups", buffer, "others")[0] == 3


def test_top_draws_what_is_there(desk: Desk, buffer: str) -> None:
    from rich.console import Console

    from measurand.cli.buffers_top import drawn, look

    desk.do("buffer", "append", buffer, "a")
    desk.do("buffer", "freeze", buffer)
    with Client(desk.environment["MEASURAND_URL"]) as client:
        before, after = look(client.catalog(buffer.partition("/")[0]), 0.1, 2)
    assert before[0]["records"] == after[0]["records"] == 1
    assert after[0]["records_per_second"] == 0, "nothing came between the two looks"
    console = Console(width=160, file=io.StringIO(), force_terminal=True)
    console.print(drawn("lab", after))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "FROZEN by local" in text
    assert "given up" in text


def test_buffers_are_completed(desk: Desk, buffer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from measurand.cli.buffers_places import BUFFER

    monkeypatch.setenv("MEASURAND_URL", desk.environment["MEASURAND_URL"])
    context, argument = click.Context(click.Command("stat")), click.Argument(["place"])
    catalog = buffer.partition("/")[0]
    assert [item.value for item in BUFFER.shell_complete(context, argument, f"{catalog}/l")] == [buffer]
    assert f"{catalog}/" in [item.value for item in BUFFER.shell_complete(context, argument, catalog[:3])]


def test_ctrl_c_ends_what_goes_on_for_ever(desk: Desk, buffer: str) -> None:
    catalog = buffer.partition("/")[0]
    desk.do("buffer", "append", buffer, "a")
    commands = (["tail", buffer, "-f"], ["log", buffer, "-f"], ["top", catalog, "--count", "1000"])
    environment = {**os.environ, **desk.environment}
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "measurand.cli.main", "buffer", *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        )
        for command in commands
    ]
    for process in running:
        with process:
            assert process.stdout is not None and process.stderr is not None
            assert process.stdout.readline(), "it runs"
            process.send_signal(signal.SIGINT)
            process.stdout.read()
            assert (process.wait(30), process.stderr.read()) == (0, b"")
