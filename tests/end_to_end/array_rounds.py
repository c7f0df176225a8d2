"""Rounds of streams of frames in which servers and measurements are killed (-9). The tests run some, the soak many.

A round says what must hold: all frames are there, once, bit by bit; nobody ever sees a part of one; the array never
shrinks.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from tests.end_to_end.kill_rounds import CATALOG, DATASET, Servers, running
from tests.end_to_end.passing import proxy
from tests.end_to_end.streaming import frame_of
from tests.stores import DURABLE, Site, open_site

from measurand.client import Client, Dataset
from measurand.client.errors import MeasurandError, NotFound

__all__ = ["killed_round", "run", "spooled_round"]

NAME = f"{CATALOG}/{DATASET}"
FRAME_BYTES = 8192


def killed_round(site: Site, frames: int, seed: int, *, server_kills: int = 3) -> None:
    """Kill the server some times and the measurement once: it goes on with the first frame that was not durable."""
    chance = random.Random(seed)
    size = frames * FRAME_BYTES
    kills = sorted(chance.randrange(1, size) for _ in range(server_kills))
    end = chance.randrange(1, size)
    with proxy() as passing, running(site, passing) as servers, watcher(passing.address):
        for position in kills:
            passing.at(position, servers.replace)
        first = begun(passing.address, frames, mark=1)
        passing.at(end, first.process.kill)
        assert first.process.wait(120) == -9
        first.finish_reading()
        second = begun(passing.address, frames, mark=2)
        assert second.process.wait(120) == 0
        second.finish_reading()
        assert second.start <= first.taken
        assert servers.count == 1 + server_kills
        check_frames(servers, frames, second.start)


def spooled_round(site: Site, frames: int, seed: int, *, rate: float, away_seconds: float) -> None:
    """Take the server away and kill the measurement meanwhile: whatever was handed over arrives, nothing is missing."""
    chance = random.Random(seed)
    spool = site.folder.parent / "spool"
    gone, killed = sorted(chance.sample(range(frames // 10, frames * 6 // 10), 2))
    with proxy() as passing, running(site, passing) as servers, watcher(passing.address):
        first = Measurement(passing.address, frames, mark=1, rate=rate, spool=spool)
        first.wait_for(gone)
        servers.current.kill()
        passing.cut()
        away = time.monotonic()
        first.wait_for(killed)
        first.process.kill()
        first.process.wait(120)
        first.finish_reading()
        second = Measurement(passing.address, frames, mark=2, rate=rate, spool=spool)
        second.wait_for(min(frames - 1, first.taken + frames // 10))
        time.sleep(max(0.0, away + away_seconds - time.monotonic()))
        servers.bring_back()
        assert second.process.wait(120) == 0, "the measurement did not end"
        second.finish_reading()
        assert second.start in (first.taken, first.taken + 1), "a frame was taken, and only its line was not printed"
        check_frames(servers, frames, second.start)
        assert not spool.exists(), "all was sent"


def run(rounds: int, *, frames: int = 2000, away_seconds: float = 60.0, seed: int = 0) -> Iterator[str]:
    """Play so many rounds of each kind on each set of stores; yields what was done."""
    for stores in DURABLE:
        for number in range(rounds):
            with tempfile.TemporaryDirectory(prefix="measurand-soak-") as folder:
                with open_site(stores, Path(folder) / "killed" / "store") as site:
                    site.folder.parent.mkdir(exist_ok=True)
                    killed_round(site, frames, seed + number)
                yield f"{stores}: frames, server and client killed: round {number + 1}"
                with open_site(stores, Path(folder) / "spooled" / "store") as site:
                    site.folder.parent.mkdir(exist_ok=True)
                    spooled_round(site, frames, seed + number, rate=frames / 30, away_seconds=away_seconds)
                yield f"{stores}: frames, server away and client killed: round {number + 1}"


class Measurement:
    """A program that streams frames, and how far it has come."""

    def __init__(self, address: str, count: int, *, mark: int, rate: float = 0.0, spool: Path | None = None) -> None:
        options = ["--count", str(count), "--mark", str(mark), "--rate", str(rate)]
        options += ["--spool", str(spool)] if spool is not None else []
        command = [sys.executable, "-m", "tests.end_to_end.streaming", address, NAME, *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.start = -1
        self.taken = 0
        """So many frames were handed over, as far as it has said."""
        self._is_over = False
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def wait_for(self, taken: int) -> None:
        """Return when so many frames were handed over."""
        with self._news:
            assert self._news.wait_for(lambda: self.taken >= taken or self._is_over, 120)
        assert self.taken >= taken, "the measurement ended early"

    def has_begun(self) -> bool:
        """Return as soon as it has said where it begins. False: it has ended instead."""
        with self._news:
            assert self._news.wait_for(lambda: self.start >= 0 or self._is_over, 120)
        return self.start >= 0

    def finish_reading(self) -> None:
        """Return when all that it has said was read."""
        self._reader.join()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                if not line.endswith("\n"):  # killed while it wrote
                    break
                with self._news:
                    if line.startswith("begins at"):
                        self.start = self.taken = int(line.split()[-1])
                    else:
                        self.taken = int(line) + 1
                    self._news.notify_all()
        with self._news:
            self._is_over = True
            self._news.notify_all()


def begun(address: str, count: int, *, mark: int) -> Measurement:
    """Return a measurement that has begun; one that met no server at its very first call has ended, and is replaced."""
    while True:
        measurement = Measurement(address, count, mark=mark)
        if measurement.has_begun():
            return measurement
        assert measurement.process.wait(120) == 1


@contextmanager
def watcher(address: str) -> Iterator[None]:
    """Look at the array all the time: every frame in it is whole, and it never becomes shorter."""
    faults: list[str] = []
    ended = threading.Event()

    def look() -> None:
        rows = 0
        with Client(address) as client:
            dataset = client.dataset(NAME)
            while not ended.wait(0.02):
                try:
                    array = dataset["frames"]
                    length = array.shape[0]
                    if length < rows:
                        faults.append(f"{length} rows after {rows}")
                    rows = max(rows, length)
                    if rows:
                        row = int(np.random.default_rng().integers(rows))
                        faults.extend(faults_of(array[row], row))
                except NotFound:
                    continue
                except MeasurandError as error:
                    if not ended.is_set():
                        faults.append(f"a reader got {error!r}")
                    return

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    assert not faults, faults


def faults_of(frame: np.ndarray[tuple[int], np.dtype[np.uint32]], row: int) -> list[str]:
    """Return what is wrong with the frame of a row, whichever run has measured it."""
    is_right = (frame == frame_of(row, int(frame[1]))).all() and frame[1] in (1, 2)
    return [] if is_right else [f"row {row} is not its frame: it begins with {frame[:4].tolist()}"]


def check_frames(servers: Servers, frames: int, second_start: int) -> None:
    """Compare all frames with what was measured: up to a row by the first run, from there on by the second."""
    with Client(servers.current.address) as client:
        dataset: Dataset = client.catalog(CATALOG).get(DATASET)
        array = dataset["frames"]
        found = array[...]
    assert found.shape[0] == frames
    for row in range(frames):
        expected = frame_of(row, 1 if row < second_start else 2)
        assert found[row].tobytes() == expected.tobytes(), f"row {row} is {found[row][:4]} and not {expected[:4]}"
