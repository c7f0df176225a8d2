"""Rounds of records in which servers, stores and a writer are killed (-9) and frozen. Tests run some, the soak many.

A round says what must hold: every record that was acknowledged is there, with its bits, once, in the order of its
writer; sequences have no gaps; statistics are those of a full count, of the window and of every batch; tails saw each
record once and in order, and a group of consumers each of them at least once; whoever was not killed runs on.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tests.end_to_end.buffer_crew import GROUP, Crew, Detector, bytes_of, made_by
from tests.end_to_end.chaos import LOAD_SECONDS, Event, plan
from tests.end_to_end.fleet import Servant, Victim, start_fleet
from tests.end_to_end.recording import BUFFER
from tests.mongod import Mongod
from tests.seaweed import Seaweed
from tests.stores import DURABLE, Site

from measurand.client import Buffer, Client, Record
from measurand.client.buffer_facts import Stats

__all__ = ["Place", "run", "start_place"]

RECORDS_A_SECOND = 40
"""Of the program that writes through a spool."""


def run(rounds: int, seed: int = 0) -> Iterator[str]:
    """Play so many rounds on every set of stores that lasts, and say after each how far it came.

    Raises where something was wrong; the note says which seed brings the round back.
    """
    for stores in DURABLE if rounds else ():
        with (
            tempfile.TemporaryDirectory(prefix="measurand-soak-") as folder,
            start_place(stores, Path(folder)) as place,
        ):
            for number in range(seed, seed + rounds):
                events = plan(random.Random(number), place.victims)
                try:
                    place.round(events, number)
                except BaseException as error:
                    error.add_note(f"buffers: {stores}: round of seed {number}: {events}")
                    raise
                yield f"buffers: {stores}: up to seed {number}: {place.report}"


@dataclass(slots=True)
class Report:
    """What all rounds of a place came to."""

    rounds: int = 0
    records: int = 0
    sealed: int = 0
    delivered_again: int = 0
    events: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        events = ", ".join(f"{count} x {what}" for what, count in sorted(self.events.items()))
        return (
            f"{self.rounds} rounds; {events}; {self.records:,} records, {self.sealed} windows sealed, "
            f"{self.delivered_again} deliveries again"
        )


class Place:
    """Servers over stores, each of which can be killed. Made by `start_place`.

    Parameters
    ----------
    address : str
        Where all work: the server, or what stands before several.
    servants : mapping
        The servers.
    stores : mapping
        What is below them and is a process.
    """

    def __init__(
        self,
        folder: Path,
        address: str,
        servants: Mapping[Victim, Servant],
        stores: Mapping[Victim, Mongod | Seaweed],
    ) -> None:
        self.report = Report()
        self._folder = folder
        self._address = address
        self._servants = servants
        self._stores = stores

    @property
    def victims(self) -> list[Victim | Literal["client"]]:
        """Who can be killed, in an order that is always the same; the client is the program with the spool."""
        return [*self._stores, *self._servants, "client"]

    def round(self, events: Sequence[Event], seed: int, *, seconds: float = LOAD_SECONDS) -> None:
        """Let everybody work for so long, let it all happen, and look whether everything is as it must be."""
        before, name = self._pids(), f"round-{seed}"
        with Client(self._address) as client:
            client.create_catalog(name).create_buffer(BUFFER, keep_sealed="1d")  # tails go on over a seal
        detector = Detector(self._address, name, self._folder / name, int(RECORDS_A_SECOND * seconds))
        with Crew(self._address, name, seed, detector) as crew:
            with ThreadPoolExecutor(len(events)) as threads:
                begin = time.monotonic()
                for one in [threads.submit(self._happen, event, detector) for event in events]:
                    one.result()
            crew.stop.wait(max(0.0, begin + seconds - time.monotonic()))
        self._check_servers(before, {event.victim for event in events if event.kind == "kill"})
        self._note(events, crew)
        for servant in self._servants.values():
            with Client(servant.address) as client:
                check(client.catalog(name).buffer(BUFFER), crew)

    def _happen(self, event: Event, detector: Detector) -> None:
        time.sleep(event.at)
        if event.victim == "client":
            detector.kill()
            time.sleep(event.away)
            detector.start()
            return
        victim = {**self._stores, **self._servants}[event.victim]
        if event.kind == "pause":
            victim.pause()
            time.sleep(event.away)
            victim.resume()
        else:
            victim.kill()
            time.sleep(event.away)
            victim.start()

    def _pids(self) -> dict[Victim, int]:
        running = {name: servant.process for name, servant in self._servants.items()}
        return {name: server.process.pid for name, server in running.items() if server is not None}

    def _check_servers(self, before: Mapping[Victim, int], killed: Container[str]) -> None:
        for name, pid in self._pids().items():
            assert name in killed or pid == before[name], f"{name} has ended by itself"
            assert "event=fault" not in self._servants[name].log, f"{name}: {self._servants[name].log}"

    def _note(self, events: Sequence[Event], crew: Crew) -> None:
        self.report.rounds += 1
        self.report.records += len(crew.followed)
        self.report.sealed += crew.sealed
        self.report.delivered_again += len(crew.consumed) - len(crew.followed)
        self.report.events.update(f"{one.victim} {'killed' if one.kind == 'kill' else 'frozen'}" for one in events)


def check(buffer: Buffer, crew: Crew) -> None:
    """Compare what a buffer has with what was said of it."""
    records, stats = list(buffer.records(data=True)), buffer.stats()
    everything = [(record.seq, record.data) for record in records]
    assert [sequence for sequence, _ in everything] == list(range(1, len(records) + 1))
    assert stats.next_sequence == len(records) + 1
    _check_counts(buffer, records, stats)

    by_producer: dict[int, list[bytes]] = {}
    for record in records:
        by_producer.setdefault(int(record.data.split(b" ", 1)[0]), []).append(record.data)
    for producer, count in crew.counts.items():
        made, found = [bytes_of(made_by(producer, number)) for number in range(count)], by_producer.get(producer, [])
        assert found == made, f"producer {producer}: {[data.split(b' ')[1] for data in found]} and not {count}"
    for sequence, data in crew.acknowledged.items():
        assert records[sequence - 1].data == data

    assert crew.followed == everything
    assert crew.followed_later == everything[len(records) - len(crew.followed_later) :]
    assert set(crew.consumed) == set(everything)
    assert buffer.group(GROUP).position() == len(records)


def _check_counts(buffer: Buffer, records: Sequence[Record], stats: Stats) -> None:
    """Compare the figures of the newest window and of each batch with a full count."""
    newest = [record for record in records if record.window == stats.window]
    assert (stats.records, stats.bytes) == (len(newest), sum(record.size for record in newest))
    batches = buffer.batches()[::-1]
    assert stats.batches == len(batches)
    for batch in batches:
        sealed = [record for record in records if record.window == batch.window]
        assert batch.counts == {"records": len(sealed), "bytes": sum(record.size for record in sealed)}
        found = batch.read(batch.sequences)
        assert [(record.seq, record.data) for record in found] == [(record.seq, record.data) for record in sealed]
    assert sum(map(len, batches)) + len(newest) == len(records)


@contextmanager
def start_place(stores: str, folder: Path) -> Iterator[Place]:
    """Start servers over empty stores: one for `embedded`, two over MongoDB and S3 for `fleet`."""
    if stores == "fleet":
        with start_fleet(folder / "fleet") as fleet:
            yield Place(folder, fleet.address, fleet.servants, {"mongod": fleet.mongod, "s3": fleet.seaweed})
        return
    servant = Servant(Site(stores, folder / "store"), program="tests.end_to_end.hasty")
    servant.start()
    try:
        yield Place(folder, servant.address, {"a": servant}, {})
    finally:
        servant.stop()
