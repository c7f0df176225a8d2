"""Rounds of records in which somebody is killed (-9) at a moment chosen by chance. The tests run some, the soak many.

A round says what must hold: every record that was acknowledged is there, with its bits, once, in the order of its
writer; sequences have no gaps; statistics are those of a full count; a tail saw each record once and in order, and a
group of consumers each of them at least once.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.end_to_end.passing import Proxy, proxy
from tests.end_to_end.recording import BUFFER, CATALOG, record_of
from tests.servers import Server
from tests.stores import DURABLE, Site, open_site

from measurand.client import Buffer, Client

PRODUCERS = 8
TAIL_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a round gave."""

    kills: int
    records: int


def run(rounds: int, seed: int = 0, tell: Callable[[str], None] = print) -> None:
    """Play so many rounds of each kind, on every set of stores that lasts; raises where something was wrong."""
    for stores in DURABLE:
        for name, play in (("server killed", server_round), ("writer killed", client_round)):
            kills = records = 0
            for number in range(seed, seed + rounds):
                with (
                    tempfile.TemporaryDirectory(prefix="measurand-soak-") as folder,
                    open_site(stores, Path(folder) / "store") as site,
                ):
                    try:
                        outcome = play(site, number)
                    except BaseException as error:
                        error.add_note(f"buffers: {stores}: {name}: round of seed {number}")
                        raise
                kills, records = kills + outcome.kills, records + outcome.records
            tell(f"buffers: {stores}: {name}: {rounds} rounds, {kills} kills, {records} records")


def server_round(site: Site, seed: int, *, producers: int = PRODUCERS) -> Outcome:
    """Kill the server while records are appended, followed and consumed, and start it again: all go on."""
    chance = random.Random(seed)
    kills = chance.randint(1, 2)
    with proxy() as passing, running(site, passing) as servers:
        crew = Crew(passing.address, producers)
        with crew:
            for _ in range(kills):
                time.sleep(chance.uniform(0.2, 0.6))
                servers.replace()
            time.sleep(0.2)
            crew.stop.set()
        check(servers, crew)
        return Outcome(kills, sum(crew.counts))


def client_round(site: Site, seed: int, *, count: int = 3000) -> Outcome:
    """Kill a program that writes through a spool, and run it again until it has come to its end."""
    chance = random.Random(seed)
    kills = chance.randint(1, 3)
    with proxy() as passing, running(site, passing) as servers:
        spool = site.folder.parent / "spool"
        command = [
            *(sys.executable, "-m", "tests.end_to_end.recording", passing.address),
            *("--count", str(count), "--spool", str(spool)),
        ]
        ended = 0
        for _ in range(kills):
            until = chance.randrange(1, count // (kills + 1))
            program = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            assert program.stdout is not None
            with program.stdout:
                for line, _ in zip(program.stdout, range(until), strict=False):
                    ended = int(line)
                program.kill()
            program.wait(60)
        done = subprocess.run(command, check=False, timeout=300, stdout=subprocess.DEVNULL)
        assert done.returncode == 0
        assert ended < count
        with Client(servers.current.address) as client:
            records = list(client.catalog(CATALOG).buffer(BUFFER).records(data=True))
            stats = client.catalog(CATALOG).buffer(BUFFER).stats()
        assert [record.data for record in records] == [record_of(0, number) for number in range(count)]
        assert (stats.records, stats.bytes) == (count, sum(record.size for record in records))
        assert not spool.exists()
        return Outcome(kills, count)


def check(servers: Servers, crew: Crew) -> None:
    """Compare what the store has with what was said of it."""
    with Client(servers.current.address) as client:
        buffer = client.catalog(CATALOG).buffer(BUFFER)
        records = list(buffer.records(data=True))
        stats = buffer.stats()
        position = buffer.group("crew").position()
    assert [record.seq for record in records] == list(range(1, len(records) + 1))
    assert (stats.records, stats.bytes) == (len(records), sum(record.size for record in records))
    assert stats.next_sequence == len(records) + 1
    by_producer: dict[int, list[bytes]] = {}
    for record in records:
        by_producer.setdefault(int(record.data.split(b" ", 1)[0]), []).append(record.data)
    for producer, count in enumerate(crew.counts):
        assert by_producer.get(producer, []) == [record_of(producer, number) for number in range(count)], producer
    for sequence, data in crew.acknowledged.items():
        assert records[sequence - 1].data == data
    assert crew.followed == list(range(1, len(records) + 1))
    assert set(crew.consumed) == set(crew.followed)
    assert position == len(records)


@dataclass
class Crew:
    """Who appends, follows and consumes during a round, each with a connection of its own."""

    address: str
    producers: int
    stop: threading.Event = field(default_factory=threading.Event)
    counts: list[int] = field(default_factory=list)
    acknowledged: dict[int, bytes] = field(default_factory=dict)
    followed: list[int] = field(default_factory=list)
    consumed: list[int] = field(default_factory=list)
    faults: list[BaseException] = field(default_factory=list)

    def __enter__(self) -> Crew:
        self.counts = [0] * self.producers
        self._producing = [self._thread(self._produce, producer) for producer in range(self.producers)]
        self._reading = [self._thread(self._follow), self._thread(self._consume)]
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self._producing:
            thread.join(TAIL_SECONDS)
        with Client(self.address) as client:
            client.catalog(CATALOG).buffer(BUFFER).finish()  # the others end with it
        for thread in self._reading:
            thread.join(TAIL_SECONDS)
        for thread in (*self._producing, *self._reading):
            assert not thread.is_alive(), f"{thread.name} does not end"
        assert not self.faults, self.faults

    def _thread(self, work: Callable[..., None], *arguments: int) -> threading.Thread:
        def guarded() -> None:
            try:
                with Client(self.address) as client:
                    work(client.catalog(CATALOG).buffer(BUFFER), *arguments)
            except BaseException as error:
                self.faults.append(error)

        thread = threading.Thread(target=guarded, name=f"{work.__name__} {arguments}")
        thread.start()
        return thread

    def _produce(self, buffer: Buffer, producer: int) -> None:
        """Half of them number their records in a writer, half append one by one."""
        if producer % 2:
            with buffer.writer() as out:
                while not self.stop.wait(0.002):
                    out.write(record_of(producer, self.counts[producer]))
                    self.counts[producer] += 1
            return
        while not self.stop.is_set():
            data = record_of(producer, self.counts[producer])
            self.acknowledged[buffer.append(data)] = data
            self.counts[producer] += 1

    def _follow(self, buffer: Buffer) -> None:
        self.followed += [record.seq for record in buffer.tail()]

    def _consume(self, buffer: Buffer) -> None:
        with buffer.consume("crew", ack_timeout=2, attempts=0) as records:
            for record in records:
                self.consumed.append(record.seq)
                record.ack()


class Servers:
    """The one server there is at a time, over the same stores, behind one address."""

    def __init__(self, site: Site, passing: Proxy) -> None:
        self._site = site
        self._passing = passing
        self.current: Server = site.start()
        passing.lead_to(self.current.address)

    def replace(self) -> None:
        """Kill the server and start the next one."""
        self.current.kill()
        self._passing.cut()
        self.current = self._site.start()
        self._passing.lead_to(self.current.address)


@contextmanager
def running(site: Site, passing: Proxy) -> Iterator[Servers]:
    """Run a server with an empty buffer in it."""
    servers = Servers(site, passing)
    try:
        with Client(servers.current.address) as client:
            client.create_catalog(CATALOG).create_buffer(BUFFER)
        yield servers
    finally:
        servers.current.stop()
