"""Operations go on at another server when the one that works on them is killed or stopped, and are done once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.operating import PROGRAM, begin
from tests.servers import Server
from tests.stores import Site

from measurand.client import Client, Operation

SECONDS = 60.0
Start = Callable[[], Server]


@pytest.fixture
def start(site: Site) -> Iterator[Start]:
    """Starts one more server over the same stores."""
    with ExitStack() as started:

        def one_more() -> Server:
            server = Server(site.folder, *site.options, environment=site.environment, program=PROGRAM)
            started.callback(server.stop)
            return server.wait_until_serving()

        yield one_more


def documents_of(site: Site) -> str:
    if site.kind == "embedded":
        [database] = site.folder.glob("*.sqlite")
        return f"sqlite://{database}"
    return site.options[site.options.index("--documents") + 1]


class Traces:
    """Which process took which step."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "traces"

    def read(self) -> list[tuple[int, int]]:
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        return [(int(process), int(step)) for process, step in map(str.split, lines)]


def until(operation: Operation, holds: Callable[[Operation], bool]) -> None:
    watch = operation.watch()
    assert any(holds(seen) for seen in watch)
    watch.close()


@pytest.mark.stores("fleet")
def test_two_servers_do_each_once_and_when_one_is_killed_the_other_goes_on(
    site: Site, start: Start, tmp_path: Path
) -> None:
    servers, traces, gate = [start(), start()], Traces(tmp_path), tmp_path / "gate"
    many = [begin(documents_of(site), steps=2, traces=str(traces.path)) for _ in range(4)]
    with ExitStack() as clients:
        each = [clients.enter_context(Client(server.address)) for server in servers]
        assert [each[0].operations.wait(one, SECONDS).attempt for one in many] == [1] * 4
        assert sorted(step for _, step in traces.read()) == [0] * 4 + [1] * 4

        traces.path.unlink()
        made = begin(documents_of(site), steps=3, gate=str(gate), traces=str(traces.path))
        until(each[0].operations.get(made), lambda seen: seen.progress.done == 1)
        [(process, _)] = traces.read()
        [worker] = [number for number, server in enumerate(servers) if server.process.pid == process]
        servers[worker].kill()
        gate.touch()
        done = each[1 - worker].operations.wait(made, SECONDS)
        assert (done.state, done.attempt, done.result()["done"]) == ("succeeded", 2, 3)
    other = servers[1 - worker].process.pid
    assert traces.read() == [(process, 0), (other, 1), (other, 2)]


@pytest.mark.stores("embedded")
def test_a_server_that_is_started_again_goes_on_whether_it_was_killed_or_stopped(
    site: Site, start: Start, tmp_path: Path
) -> None:
    traces, gate = Traces(tmp_path), tmp_path / "gate"

    def ask() -> str:
        return begin(documents_of(site), steps=3, gate=str(gate), traces=str(traces.path), request_id="once")

    server = start()
    made = ask()
    with Client(server.address) as client:
        until(client.operations.get(made), lambda seen: seen.progress.done == 1)
    server.kill()
    server = start()
    assert ask() == made
    with Client(server.address) as client:
        until(client.operations.get(made), lambda seen: seen.attempt == 2 and seen.state == "running")
        server.signal()
        server.wait()
        server = start()
    with Client(server.address) as client:
        gate.touch()
        done = client.operations.wait(made, SECONDS)
        assert [one.id for one in client.operations.list()] == [made]
    assert (done.state, done.attempt) == ("succeeded", 3)
    server.stop()
    assert f"event=operation_begun operation={made} kind=count attempt=3" in server.log
    assert f"event=operation_left operation={made} kind=count outcome=done" in server.log
    assert [step for _, step in traces.read()] == [0, 1, 2]
