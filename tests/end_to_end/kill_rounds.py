"""Rounds of uploads in which somebody is killed (-9) at a byte chosen by chance. The tests run some, the soak many.

A round says what must hold: the file comes out whole, nobody ever sees a part of it, and no more is sent twice than the
window allows.
"""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3
from tests.end_to_end.passing import Proxy, proxy
from tests.servers import Server
from tests.stores import Site

from measurand.client import Client
from measurand.client.errors import NotFound

MiB = 1024 * 1024
WINDOW = 16 * MiB
CATALOG, DATASET, PATH = "lab", "killed", "frames.bin"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a round gave.

    Parameters
    ----------
    sent_twice : int
        Bytes that the client sent beyond the size of the file, headers included.
    looks : int
        How often a reader looked for the file before it was there.
    """

    kills: int
    sent_twice: int
    looks: int


def server_round(site: Site, size: int, seed: int) -> Outcome:
    """Kill the server in the middle of an upload and start it again: the same call of the client completes."""
    chance = random.Random(seed)
    source = make_source(site.folder.parent, size, seed)
    kills = sorted(chance.randrange(1, size) for _ in range(chance.randint(1, 3)))
    with proxy() as passing, running(site, passing) as servers:
        for position in kills:
            passing.at(position, servers.replace)
        with reader(passing.address, source) as looks, Client(passing.address) as client:
            dataset = client.catalog(CATALOG).get(DATASET)
            file = dataset.upload(source, PATH)
            assert file.size == size
        assert servers.count == 1 + len(kills)
        check_whole(servers, source)
        return Outcome(len(kills), passing.sent_bytes - size, len(looks))


def client_round(site: Site, size: int, seed: int) -> Outcome:
    """Kill the client in the middle of an upload and run it again: it goes on where it was acknowledged."""
    chance = random.Random(seed)
    source = make_source(site.folder.parent, size, seed)
    position = chance.randrange(1, size)
    with proxy() as passing, running(site, passing) as servers:
        command = [
            sys.executable,
            "-m",
            "tests.end_to_end.uploading",
            passing.address,
            CATALOG,
            DATASET,
            str(source),
            PATH,
        ]
        with reader(passing.address, source) as looks:
            first = subprocess.Popen(command)
            passing.at(position, first.kill)
            assert first.wait(timeout=120) == -9
            second = subprocess.run(command, check=False, timeout=120)
            assert second.returncode == 0
        check_whole(servers, source)
        return Outcome(1, passing.sent_bytes - size, len(looks))


def check(outcome: Outcome, size: int) -> None:
    """Raise where a round sent more twice than its kills allow: a window for each, and the headers around the bytes.

    HTTP/2 puts 9 bytes before 16 KiB, a message has some twenty more; the reader's own calls count as well.
    """
    allowed = outcome.kills * WINDOW + size // 500 + 256 * 1024
    assert outcome.sent_twice <= allowed, f"{outcome.sent_twice:,} bytes sent twice, {allowed:,} allowed"
    assert outcome.looks > 0


class Servers:
    """The one server there is at a time, over the same stores, behind one address."""

    def __init__(self, site: Site, passing: Proxy) -> None:
        self._site = site
        self._passing = passing
        self.current: Server = site.start()
        self.count = 1
        passing.lead_to(self.current.address)

    def replace(self) -> None:
        """Kill the server and start the next one; called by the proxy, so nothing is passed on meanwhile."""
        self.current.kill()
        self._passing.cut()
        self.bring_back()

    def bring_back(self) -> None:
        """Start the next server after one that was killed."""
        self.current = self._site.start()
        self.count += 1
        self._passing.lead_to(self.current.address)


@contextmanager
def running(site: Site, passing: Proxy) -> Iterator[Servers]:
    """Run a server with an empty dataset in it."""
    servers = Servers(site, passing)
    try:
        with Client(servers.current.address) as client:
            client.create_catalog(CATALOG).create("killed", id=DATASET)
        yield servers
    finally:
        servers.current.stop()


@contextmanager
def reader(address: str, source: Path) -> Iterator[list[None]]:
    """Look for the file all the time: it is not there at all, or it is there whole."""
    looks: list[None] = []
    faults: list[str] = []
    ended = threading.Event()

    def look() -> None:
        with Client(address) as client:
            dataset = client.catalog(CATALOG).get(DATASET)
            while not ended.wait(0.01):
                try:
                    data = dataset.read_bytes(PATH)
                except NotFound:
                    looks.append(None)
                    continue
                if data != source.read_bytes():
                    faults.append(f"a reader saw {len(data):,} bytes that are not the file")
                return

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield looks
    finally:
        ended.set()
        watcher.join()
    assert not faults, faults


def check_whole(servers: Servers, source: Path) -> None:
    """Compare what the store has with what was to be uploaded."""
    with Client(servers.current.address) as client:
        dataset = client.catalog(CATALOG).get(DATASET)
        (file,) = dataset.files()
        assert (file.path, file.size) == (PATH, source.stat().st_size)
        expected = blake3(source.read_bytes()).hexdigest()
        assert file.blake3 == expected
        assert blake3(dataset.read_bytes(PATH)).hexdigest() == expected


def make_source(folder: Path, size: int, seed: int) -> Path:
    """Write a file of random bytes."""
    source = folder / "source.bin"
    source.write_bytes(random.Random(seed).randbytes(size))
    return source
