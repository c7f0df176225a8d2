"""Rounds of `lab.save` in which somebody is killed (-9) at a byte chosen by chance (ME-8).

A round says what must hold: whoever looks finds all of the measurement or nothing, and the same call made again with
its request_id, by the same program or by the next, makes the dataset once and whole.
"""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from tests.end_to_end.kill_rounds import Servers
from tests.end_to_end.passing import Proxy, proxy
from tests.stores import Site

from measurand.client import Catalog, Client, DataFile, Dataset
from measurand.client.errors import MeasurandError

__all__ = ["Rounds", "measurement", "start_rounds"]

CATALOG = "lab"
EDGE = 1500
"""Most of the bytes are data; the calls that begin and end a save are within so many from its ends."""


def measurement(seed: int) -> DataFile:
    """Return some measurement: always the same for the same seed."""
    chance = np.random.default_rng(seed)
    return DataFile(
        f"run {seed}",
        {"seed": seed},
        arrays={
            "iq": chance.standard_normal((300, 500)),
            "time": chance.standard_normal(20),
            "none": np.zeros((0, 3), "u2"),
        },
        files={f"small/{number}": chance.bytes(1000) for number in range(5)} | {"large.bin": chance.bytes(2_500_000)},
        tags=[f"seed-{seed}"],
        dims={"iq": ("sweep", "time")},
        attrs={"iq": {"units": "V"}},
    )


class Rounds:
    """Made by `start_rounds`."""

    def __init__(self, servers: Servers, passing: Proxy, seed: int) -> None:
        self._servers = servers
        self._passing = passing
        self._chance = random.Random(seed)
        self._seed = seed * 1000
        self.looks = 0
        before = passing.sent_bytes
        self._save()
        self._size = passing.sent_bytes - before

    def server_round(self) -> None:
        """Kill the server amid a save and start the next: the save ends well, or the same call does that follows."""
        self._seed += 1
        with self._looking():
            self._passing.at(self._position(), self._servers.replace)
            try:
                self._save()
            except MeasurandError:
                self._save()
        self._check()

    def client_round(self) -> None:
        """Kill the program amid a save: the next one that makes the same call ends it."""
        self._seed += 1
        command = [sys.executable, "-m", "tests.end_to_end.saving", self._passing.address, CATALOG, str(self._seed)]
        with self._looking():
            first = subprocess.Popen(command)
            self._passing.at(self._position(), first.kill)
            assert first.wait(timeout=120) in (-9, 0)
            assert subprocess.run(command, check=False, timeout=120).returncode == 0
        self._check()

    def _position(self) -> int:
        """Return the moment to kill at: any, but the beginning and the end more often than their share."""
        kind = self._chance.choice(["beginning", "middle", "end"])
        first, last = (self._size - EDGE, self._size) if kind == "end" else (1, self._size)
        within = self._chance.randrange(first, EDGE if kind == "beginning" else last)
        return self._passing.sent_bytes + within

    def _save(self) -> None:
        with Client(self._passing.address, timeout=20) as client:
            client.catalog(CATALOG).save(measurement(self._seed), request_id=f"save-{self._seed}")

    def _check(self) -> None:
        with Client(self._servers.current.address) as client:
            lab = client.catalog(CATALOG)
            run = lab.find(f'tags:"seed-{self._seed}"').all()
            assert len(run) == 1, f"{len(run)} datasets of one measurement"
            assert fault_of(run[0], self._seed) == ""
            assert lab.count() == self._seed % 1000 + 1
            self._save()
            assert lab.count() == self._seed % 1000 + 1

    @contextmanager
    def _looking(self) -> Iterator[None]:
        """Look for the measurement all the time, past the proxy: it is not there at all, or it is there whole."""
        faults: list[str] = []
        ended = threading.Event()

        def look() -> None:
            while not ended.wait(0.02):
                try:
                    with Client(self._servers.current.address, timeout=5) as client:
                        faults.extend(self._look(client.catalog(CATALOG)))
                except MeasurandError:
                    continue  # the server was killed

        watcher = threading.Thread(target=look)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()
        assert not faults, faults

    def _look(self, lab: Catalog) -> list[str]:
        self.looks += 1
        return [
            fault
            for found in lab.find(f'tags:"seed-{self._seed}"', show_deleted=True)
            if (fault := fault_of(found, self._seed))
        ]


def fault_of(run: Dataset, seed: int) -> str:
    """Return what a dataset lacks of its measurement."""
    wanted = measurement(seed)
    sources = wanted.sources()
    files = {file.path for file in run.files()}
    arrays = {array.name for array in run.arrays()}
    if (run.title, run.metadata, run.revision, files, arrays) != (
        wanted.title,
        wanted.metadata,
        1,
        set(sources),
        set(wanted.arrays),
    ):
        return f"{run!r} has the files {files} and the arrays {arrays}"
    wrong = [path for path, data in sources.items() if run.read_bytes(path) != data]
    wrong += [name for name, value in wanted.arrays.items() if run[name][...].tobytes() != value.tobytes()]
    return f"{run!r} has other bytes in {wrong}" if wrong else ""


@contextmanager
def start_rounds(site: Site, seed: int) -> Iterator[Rounds]:
    """Start a server with an empty catalog."""
    with proxy() as passing:
        servers = Servers(site, passing)
        try:
            with Client(servers.current.address) as client:
                client.create_catalog(CATALOG)
            yield Rounds(servers, passing, seed)
        finally:
            servers.current.stop()
