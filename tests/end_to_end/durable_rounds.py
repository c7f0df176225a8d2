"""An acknowledgement is durable (ME-5): a server is killed right after one, or in the middle of what would get one."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol

from tests.end_to_end.fleet import Servant
from tests.stores import Site

from measurand.client import Client, Dataset
from measurand.client.errors import Timeout, Unavailable

__all__ = ["Durable", "Killable", "start_durable"]

MiB = 1024 * 1024
CALL_SECONDS = 20.0
LONGEST_WRITE_SECONDS = 0.15
"""Within it is the moment at which a write is cut off."""


class Killable(Protocol):
    """A server, or a store below it."""

    def kill(self) -> None: ...
    def start(self) -> None: ...


class Durable:
    """A server, and what stands below it, that are killed and started again. Made by `start_durable`.

    Parameters
    ----------
    victims : sequence of Killable
        Killed together, in this order; started again from the last to the first.
    """

    def __init__(self, address: str, victims: Sequence[Killable], seed: int) -> None:
        self._address = address
        self._victims = victims
        self._chance = random.Random(seed)
        self._number = 0
        self._content = self._chance.randbytes(MiB)
        with self._client() as client:
            client.create_catalog("lab").create("run", {"n": 0}, id="run").write_bytes("f", self._content)

    def after_an_acknowledgement(self) -> None:
        """Write, kill at once, start again: what was acknowledged is there."""
        with self._client() as client:
            self._choose(client.catalog("lab").get("run"))()
            self._kill()
        self._start()
        self._check()

    def amid_a_write(self) -> None:
        """Kill at any moment of a write: there is the old or the new, whole, and nothing half made is shown."""
        old = self._content, self._number
        with self._client() as client, ThreadPoolExecutor(1) as threads:
            writing = threads.submit(self._choose(client.catalog("lab").get("run")))
            time.sleep(self._chance.uniform(0.0, LONGEST_WRITE_SECONDS))
            self._kill()
            self._start()
            try:
                writing.result(120)
            except (Unavailable, Timeout):
                run = client.catalog("lab").get("run")
                seen = run.read_bytes("f"), run.metadata["n"]
                assert seen in (old, (self._content, self._number)), "a mix of the old and the new"
                self._content, self._number = seen
        self._check()

    def _choose(self, run: Dataset) -> Callable[[], object]:
        """Choose something to write, note what it makes, and return what writes it."""
        kind = self._chance.choice(["put", "upload", "update"])
        if kind == "update":
            self._number += 1
            number = self._number
            return lambda: run.update({"n": number})
        data = self._content = self._chance.randbytes(MiB if kind == "put" else self._chance.randrange(MiB, 4 * MiB))
        return lambda: run.write_bytes("f", data) if kind == "put" else run.upload(data, "f")

    def _check(self) -> None:
        with self._client() as client:
            lab = client.catalog("lab")
            (run,) = lab.find()
            assert (run.id, run.metadata) == ("run", {"n": self._number})
            assert [file.path for file in run.files()] == ["f"]
            assert run.read_bytes("f") == self._content

    def _kill(self) -> None:
        for victim in self._victims:
            victim.kill()

    def _start(self) -> None:
        for victim in reversed(self._victims):
            victim.start()

    def _client(self) -> Client:
        return Client(self._address, timeout=CALL_SECONDS)


@contextmanager
def start_durable(site: Site, *, seed: int, stores: Sequence[Killable] = ()) -> Iterator[Durable]:
    """Start a server with a dataset and a file in it; `stores` die with it."""
    servant = Servant(site, program="measurand.server.run")
    servant.start()
    try:
        yield Durable(servant.address, [servant, *stores], seed)
    finally:
        servant.stop()
