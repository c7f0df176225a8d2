"""Operations on the command line: listed, shown, watched to their end, cancelled, forgotten."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Desk
from tests.operating import PROGRAM, begin
from tests.servers import Server

Begin = Callable[..., str]


@pytest.fixture(scope="module")
def counter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("operations"), program=PROGRAM)
    try:
        yield server.wait_until_serving()
    finally:
        server.stop()


@pytest.fixture
def begun(counter: Server) -> Begin:
    """Begins to count to 3, and returns the id."""
    [database] = counter.folder.glob("*.sqlite")

    def start(*targets: str, **arguments: Any) -> str:
        return begin(f"sqlite://{database}", targets=targets, **{"steps": 3, **arguments})

    return start


@pytest.fixture
def desk(counter: Server, home: dict[str, str]) -> Desk:
    return Desk({**home, "MEASURAND_URL": counter.address})


def test_one_is_watched_to_its_end_and_shown(desk: Desk, begun: Begin) -> None:
    made = begun("containers/a", lost="containers/b")
    lines = desk.do("operation", "watch", made).splitlines()
    assert lines[-1].split()[2:] == ["succeeded", "3/3", "steps", "counting"]
    facts = desk.ask("operation", "show", made)
    assert (facts["id"], facts["kind"], facts["state"], facts["attempt"]) == (made, "count", "succeeded", 1)
    assert facts["progress"] == {"done": 3, "total": 3, "unit": "steps", "message": "counting"}
    assert facts["response"]["done"] == 3
    assert facts["failed"]["containers/b"]["reason"] == "RESOURCE_NOT_FOUND"
    shown = desk.do("operation", "show", f"operations/{made}")
    assert "succeeded" in shown and "3/3 steps counting" in shown and "containers/b is gone" in shown
    watched = [json.loads(line) for line in desk.do("operation", "watch", made, "--json").splitlines()]
    assert watched == [facts]


def test_one_that_fails_fails_the_watch(desk: Desk, begun: Begin) -> None:
    made = begun(error="no room; free some")
    code, error = desk.fail("operation", "watch", made)
    assert (code, error["reason"], error["message"]) == (1, "STORE_FULL", "no room; free some")
    assert desk.ask("operation", "show", made)["problem"]["details"] == {"needed_bytes": "7"}


def test_one_is_cancelled_and_forgotten(desk: Desk, begun: Begin, tmp_path: Path) -> None:
    made = begun(gate=str(tmp_path / "gate"))
    assert desk.ask("operation", "cancel", made, "--wait")["state"] == "cancelled"
    code, error = desk.fail("operation", "watch", made)
    assert (code, error["reason"]) == (1, "CANCELLED")
    result = desk.run("operation", "rm", made)
    assert (result.exit_code, result.stderr) == (0, f"{made} is forgotten\n")
    code, error = desk.fail("operation", "show", made)
    assert (code, error["reason"]) == (3, "RESOURCE_NOT_FOUND")
    assert desk.run("operation", "show", "nonsense").exit_code == 2


def test_one_that_runs_is_not_forgotten(desk: Desk, begun: Begin, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    made = begun(gate=str(gate))
    code, error = desk.fail("operation", "rm", made)
    assert (code, error["reason"]) == (1, "STATE_WRONG")
    gate.touch()
    desk.do("operation", "watch", made, "-q")


def test_they_are_listed_newest_first(desk: Desk, begun: Begin) -> None:
    made = [begun("containers/listed") for _ in range(3)]
    for one in made:
        desk.do("operation", "watch", one)
    asked = 'targets:"containers/listed" AND state = succeeded'
    assert [one["id"] for one in desk.ask("operation", "ls", asked)] == made[::-1]
    lines = desk.do("operation", "ls", asked, "--limit", "2").splitlines()
    assert lines[0].split() == ["id", "kind", "state", "progress", "targets", "failed", "created", "ended"]
    assert [line.split()[0] for line in lines[1:]] == made[:0:-1]
    assert "3/3 steps counting" in lines[1]
    assert desk.run("operation", "ls", "nonsense = 1").exit_code == 2
