"""Those who work on a buffer during a round: they append, hold it still, follow and consume, and note what they saw."""

from __future__ import annotations

import random
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tests.end_to_end.recording import BUFFER, record_of

from measurand.client import Buffer, Client
from measurand.client.errors import Frozen, Timeout, Unavailable

__all__ = ["DETECTOR", "GROUP", "Crew", "Detector", "bytes_of", "made_by"]

DETECTOR = 0
"""The producer that is a program of its own."""
NUMBERED = range(1, 4)
"""They number their records in a writer."""
NAMED = range(4, 8)
"""They append one by one, each record with an id."""
GROUP = "crew"
PAUSE_SECONDS = 0.02
END_SECONDS = 120.0
AWKWARD = struct.pack("<4Q", 0x7FF8DEAD00000001, 0x7FF0000000000001, 1 << 63, 1)
"""As float64: NaN with a payload, quiet and signalling, minus zero, a subnormal."""


def made_by(producer: int, number: int) -> Any:
    """Return what a producer appends: mostly bytes, and each third time an array that no rounding may touch."""
    data = record_of(producer, number)
    if producer == DETECTOR or number % 3:
        return data
    return np.frombuffer(data + bytes(-len(data) % 8) + AWKWARD, "<f8")


def bytes_of(record: Any) -> bytes:
    """Return the bytes that are to be found."""
    return record if isinstance(record, bytes) else bytes(record.tobytes())


class Detector:
    """A program that writes through a spool, and goes on where it was when it is started again."""

    def __init__(self, address: str, catalog: str, spool: Path, count: int) -> None:
        self.count = count
        self.spool = spool
        self._command = [
            *(sys.executable, "-m", "tests.end_to_end.recording", address, "--catalog", catalog),
            *("--count", str(count), "--spool", str(spool), "--pause", str(PAUSE_SECONDS)),
        ]
        self._process: subprocess.Popen[str] | None = None
        self.start()

    def start(self) -> None:
        """Run it, from where it was; it does nothing where it has come to its end."""
        if self._process is not None:
            return
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def kill(self) -> None:
        """Kill -9, unless it has come to its end."""
        if self._process is None or self._process.poll() == 0:
            return
        self._process.kill()
        self._process.communicate(timeout=END_SECONDS)
        self._process = None

    def end(self) -> None:
        """Return when it has written all. It has ended by itself where no server was there when it began."""
        while True:
            assert self._process is not None
            _, said = self._process.communicate(timeout=END_SECONDS)
            if not self._process.returncode:
                break
            assert "no server answers" in said, said
            self._process = None
            self.start()
        assert not self.spool.exists()


@dataclass
class Crew:
    """All of them, each with a connection of its own; they work for the time of the `with` block.

    What they saw is complete when the block has ended, and the buffer is then finished.
    """

    address: str
    catalog: str
    seed: int
    detector: Detector
    stop: threading.Event = field(default_factory=threading.Event)
    counts: dict[int, int] = field(default_factory=dict)
    acknowledged: dict[int, bytes] = field(default_factory=dict)
    followed: list[tuple[int, bytes]] = field(default_factory=list)
    followed_later: list[tuple[int, bytes]] = field(default_factory=list)
    consumed: list[tuple[int, bytes]] = field(default_factory=list)
    sealed: int = 0
    faults: list[BaseException] = field(default_factory=list)

    def __enter__(self) -> Crew:
        self.counts = {**dict.fromkeys([*NUMBERED, *NAMED], 0), DETECTOR: self.detector.count}
        self._producing = [
            *(self._thread(self._number, producer) for producer in NUMBERED),
            *(self._thread(self._name, producer) for producer in NAMED),
            self._thread(self._hold),
        ]
        self._reading = [
            *(self._thread(work) for work in (self._follow, self._follow_later, self._consume)),
            self._thread(self._come_and_go),
        ]
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.stop.set()
        self._join(self._producing)
        if kind is None:
            self.detector.end()
        self.detector.kill()
        with Client(self.address) as client:
            client.catalog(self.catalog).buffer(BUFFER).finish()  # the others end with it
        self._join(self._reading)
        if kind is None and self.faults:
            raise self.faults[0]

    def _thread(self, work: Callable[..., None], *arguments: int) -> threading.Thread:
        client = Client(self.address)
        buffer = client.catalog(self.catalog).buffer(BUFFER)  # before anything happens: a first call is not patient

        def guarded() -> None:
            try:
                with client:
                    work(buffer, *arguments)
            except BaseException as error:
                error.add_note(f"{work.__name__} {arguments}")
                self.faults.append(error)
                self.stop.set()

        thread = threading.Thread(target=guarded, name=f"{work.__name__} {arguments}", daemon=True)
        thread.start()
        return thread

    def _join(self, threads: list[threading.Thread]) -> None:
        for thread in threads:
            thread.join(END_SECONDS)
            assert not thread.is_alive(), f"{thread.name} does not end; {self.faults}"

    # ------------------------------------------------------------------------------------------------------ who writes

    def _number(self, buffer: Buffer, producer: int) -> None:
        written: list[bytes] = []

        def note(number: int, sequence: int | None) -> None:
            if sequence is not None:
                self.acknowledged[sequence] = written[number - 1]

        with buffer.writer() as out:
            out.on_durable(note)
            while not self.stop.wait(PAUSE_SECONDS):
                record = made_by(producer, self.counts[producer])
                written.append(bytes_of(record))
                out.write(record)
                self.counts[producer] += 1

    def _name(self, buffer: Buffer, producer: int) -> None:
        """Append again what was refused or has an unknown outcome: it has the same id."""
        while not self.stop.wait(PAUSE_SECONDS):
            number = self.counts[producer]
            record = made_by(producer, number)
            while True:
                try:
                    sequence = buffer.append(record, id=f"{producer}-{number}")
                except (Frozen, Timeout, Unavailable):
                    continue
                break
            self.acknowledged[sequence] = bytes_of(record)
            self.counts[producer] += 1

    def _hold(self, buffer: Buffer) -> None:
        """Rotate and freeze by chance: nothing gets into a frozen window."""
        chance = random.Random(self.seed)
        while not self.stop.wait(chance.uniform(0.1, 0.8)):
            if chance.random() < 0.5:
                self.sealed += buffer.rotate() is not None
                continue
            with buffer.frozen(force=True) as window:
                self.stop.wait(chance.uniform(0.0, 0.3))
            self.sealed += window.batch is not None
            assert (len(window.batch) if window.batch is not None else 0) == window.freeze.records

    # ------------------------------------------------------------------------------------------------------- who reads

    def _follow(self, buffer: Buffer) -> None:
        for record in buffer.tail():
            self.followed.append((record.seq, record.data))

    def _follow_later(self, buffer: Buffer) -> None:
        """Begin in the middle of it all."""
        self.stop.wait(random.Random(self.seed).uniform(0.5, 3.0))
        for record in buffer.tail(random.Random(self.seed).randint(0, buffer.stats().next_sequence - 1)):
            self.followed_later.append((record.seq, record.data))

    def _consume(self, buffer: Buffer) -> None:
        with buffer.consume(GROUP, ack_timeout=2, attempts=0) as records:
            for record in records:
                self.consumed.append((record.seq, record.data))
                record.ack()

    def _come_and_go(self, buffer: Buffer) -> None:
        """Take some records, do some of them, and leave the rest to the others."""
        chance = random.Random(self.seed)
        while not self.stop.is_set():
            with suppress(Unavailable):  # it cannot say what it has done while everything is away for long
                self._take_some(buffer, chance)

    def _take_some(self, buffer: Buffer, chance: random.Random) -> None:
        most = chance.randint(1, 50)
        with buffer.consume(GROUP, ack_timeout=2, attempts=0, most=most, timeout=0.5) as records:
            for record, _ in zip(records, range(most), strict=False):
                if chance.random() < 0.8:
                    self.consumed.append((record.seq, record.data))
                    record.ack()
