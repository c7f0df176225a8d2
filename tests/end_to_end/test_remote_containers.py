"""Containers that processes of their own serve: they come and go, and the servers notice."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import pytest
from tests.end_to_end.serving import until
from tests.mongod import free_port
from tests.servers import Server, start

from measurand.client import Client, Dataset

MiB = 1 << 20


class Keeper(Server):
    """A `measurand container serve` process."""

    def __init__(self, folder: Path, of: str, *options: str) -> None:
        super().__init__(folder, "--of", of, *options, program="measurand.server.container.run")

    def end(self) -> None:
        """End it, whatever state it is in."""
        if self.process.poll() is None:
            self.kill()

    def _read(self, stream: IO[str], lines: list[str]) -> None:
        with stream:
            for line in stream:
                lines.append(line)
                if line.startswith("containers/"):
                    self._greeted.set()
        if lines is self._printed:
            self._greeted.set()


class Site:
    """A server on a port that stays, and its containers."""

    def __init__(self, folder: Path, opening: ExitStack) -> None:
        self.folder = folder
        self.address = f"127.0.0.1:{free_port()}"
        self.keepers: dict[str, Keeper] = {}
        self._opening = opening
        self._server: Server | None = None

    def serve(self) -> Client:
        """Start the server, and return a client of it."""
        self._server = start(self.folder / "server", "--listen", self.address)
        self._opening.callback(self._server.stop)
        return self._opening.enter_context(Client(self.address))

    def kill_server(self) -> None:
        assert self._server is not None
        self._server.kill()

    def keep(self, name: str) -> Keeper:
        """Start a container."""
        keeper = self.keepers[name] = Keeper(self.folder / name, self.address, "--zone", f"zone-{name}")
        self._opening.callback(keeper.end)
        keeper.wait_until_serving()
        return keeper


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as opening:
        yield Site(tmp_path, opening)


def states(client: Client) -> dict[str, str]:
    return {one.id: one.state for one in client.containers.list() if one.kind == "remote"}


def put(run: Dataset, folder: Path, name: str, seed: int) -> bytes:
    data = random.Random(seed).randbytes(3 * MiB + seed)
    (folder / name).write_bytes(data)
    run.upload(folder / name)
    return data


def content(run: Dataset, name: str) -> bytes:
    with run.open(name) as file:
        return bytes(file.read())


def test_containers_that_are_killed_and_hang_are_done_without_and_come_back(site: Site, tmp_path: Path) -> None:
    everyone = {"c1": "active", "c2": "active", "c3": "active"}
    for name in everyone:  # before there is a server
        site.keep(name)
    client = site.serve()
    until(lambda: states(client) == everyone, 60)
    run = client.create_catalog("vault", storage="replicate:2").create("run")
    kept = {"before": put(run, tmp_path, "before", 1)}

    site.keepers["c1"].kill()
    assert content(run, "before") == kept["before"]
    kept["without c1"] = put(run, tmp_path, "without c1", 2)
    site.keepers["c2"].signal(signal.SIGSTOP)
    kept["without c2"] = put(run, tmp_path, "without c2", 3)
    until(lambda: states(client) == {"c1": "down", "c2": "down", "c3": "active"}, 60)

    site.kill_server()
    client = site.serve()
    run = client.catalog("vault").get(run.id)
    assert states(client)["c3"] == "active"
    site.keep("c1")
    site.keepers["c2"].signal(signal.SIGCONT)
    until(lambda: states(client) == everyone, 60)
    assert {name: content(run, name) for name in kept} == kept
    for keeper in site.keepers.values():
        assert keeper.stop() == 0
