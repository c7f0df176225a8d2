"""Those who work on containers during a round: they write, overwrite, read and remove, and note what was acknowledged.

A change that was acknowledged leaves one possibility of what may be read; one whose outcome nobody was told leaves two,
and is settled by what is found when all is quiet again. Nothing else may ever be seen.
"""

from __future__ import annotations

import random
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import numpy as np
from blake3 import blake3

from measurand.client import Client, Storage
from measurand.client.errors import Busy, Frozen, NotFound, StoreFull, Timeout, Unavailable

__all__ = ["BUFFER", "Crew", "Ledger", "Log", "Slot", "record_of"]

KiB, MiB = 1024, 1024 * 1024
ROWS, ROW_BYTES = 4, 96 * KiB
BUFFER = "live"
CALL_SECONDS = 20.0
END_SECONDS = 120.0
ABSENT = ""
"""Stands for the digest of what is not there."""
UNSURE = (Unavailable, Timeout)
REFUSED = (StoreFull, Busy)


class _Unsure(Exception):
    """Nobody was told what became of a change."""


@dataclass(slots=True)
class Slot:
    """One thing that is written again and again by one worker, and read by all.

    Parameters
    ----------
    allowed : set of str
        The digests that it may have.
    offered : set of str
        Those that it may ever have had.
    turns : int
        Counts the changes that began or ended, so that a reader knows whether one did while it read.
    """

    kind: Literal["file", "object", "row"]
    worker: int
    catalog: str
    dataset: str
    path: str
    allowed: set[str] = field(default_factory=lambda: {ABSENT})
    offered: set[str] = field(default_factory=lambda: {ABSENT})
    turns: int = 0

    def __str__(self) -> str:
        return f"{self.kind} {self.path} of {self.catalog}/{self.dataset}"

    def write(self, client: Client, data: bytes) -> None:
        lab = client.catalog(self.catalog)
        match self.kind:
            case "file":
                run = lab.get(self.dataset)
                if len(data) <= MiB:
                    run.write_bytes(self.path, data)
                else:
                    run.upload(data, self.path)
            case "object":
                lab.objects(self.dataset).put(data, self.path)
            case _:
                lab.get(self.dataset).array("rows")[int(self.path)] = np.frombuffer(data, "u1")

    def remove(self, client: Client) -> None:
        lab = client.catalog(self.catalog)
        if self.kind == "object":
            lab.objects(self.dataset).evict(self.path)
        else:
            lab.get(self.dataset).delete_file(self.path)

    def read(self, client: Client) -> str:
        """Return the digest of what is there."""
        lab = client.catalog(self.catalog)
        try:
            match self.kind:
                case "file":
                    data = lab.get(self.dataset).read_bytes(self.path)
                case "object":
                    data = lab.objects(self.dataset).get(self.path)
                case _:
                    data = lab.get(self.dataset).array("rows")[int(self.path)].tobytes()
                    return digest_of(data) if any(data) else ABSENT
        except NotFound:
            return ABSENT
        return digest_of(data)


class Ledger:
    """All slots, kept by those who change them and read by those who look."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.slots: list[Slot] = []
        self.counts: Counter[str] = Counter()

    def open(self, client: Client, catalog: str, worker: int) -> None:
        """Begin what a worker writes: files, objects and rows of an array, none of which is there yet."""
        run = client.catalog(catalog).create(id=f"w{worker}")
        run.create_array("rows", (ROWS, ROW_BYTES), "u1", chunks=(1, None))
        self.slots += [
            *(Slot("file", worker, catalog, run.id, f"f{each}") for each in range(3)),
            *(Slot("object", worker, catalog, f"{run.id}-objects", f"o{each}") for each in range(2)),
            *(Slot("row", worker, catalog, run.id, f"{each}") for each in range(ROWS)),
        ]

    @contextmanager
    def changing(self, slot: Slot, digest: str) -> Iterator[None]:
        """Make a change within the block. A refusal that is sure passes, an unknown outcome is raised as `_Unsure`."""
        with self.lock:
            before = set(slot.allowed)
            slot.allowed.add(digest)
            slot.offered.add(digest)
            slot.turns += 1
        try:
            yield
        except UNSURE as error:
            self._count("unsure")
            raise _Unsure(f"{slot}: {error}") from error
        except REFUSED:
            self._count("refused")
            self._settle(slot, before)
        else:
            self._count(f"{slot.kind}s {'written' if digest else 'removed'}")
            self._settle(slot, {digest})

    def look(self, slot: Slot, client: Client) -> None:
        """Read what anybody may be changing, and compare it."""
        with self.lock:
            turns = slot.turns
        found = slot.read(client)
        with self.lock:
            allowed = slot.allowed if slot.turns == turns else slot.offered
            assert found in allowed, f"{slot} is {found or 'absent'} and not one of {allowed}"
        self._count("reads")

    def check(self, slot: Slot, client: Client) -> None:
        """Read what nobody changes now, compare it, and settle what was unsure."""
        found = slot.read(client)
        assert found in slot.allowed, f"{slot} is {found or 'absent'} and not one of {slot.allowed}"
        self._settle(slot, {found})

    def note(self, what: str) -> None:
        """Count something else."""
        self._count(what)

    def _settle(self, slot: Slot, allowed: set[str]) -> None:
        with self.lock:
            slot.allowed = allowed
            slot.turns += 1

    def _count(self, what: str) -> None:
        with self.lock:
            self.counts[what] += 1


@dataclass
class Log:
    """What was appended to a buffer in one round: the records are to be there once, in this order.

    Parameters
    ----------
    acknowledged : list of int
        The sequences of the records; one more record may be there.
    """

    catalog: str
    name: str
    acknowledged: list[int] = field(default_factory=list)


class Crew:
    """All of them, each with a connection of its own; they work for the time of the `with` block.

    Parameters
    ----------
    drainable : sequence of str
        Containers that may be drained.
    storages : sequence
        Policies that catalogs may change to, but for the last one.
    """

    def __init__(
        self,
        address: str,
        ledger: Ledger,
        catalogs: Sequence[str],
        *,
        seed: int,
        workers: int,
        drainable: Sequence[str],
        storages: Sequence[str | Storage],
    ) -> None:
        self.stop = threading.Event()
        self.faults: list[BaseException] = []
        self.logs = [Log(catalog, f"{BUFFER}-{seed}") for catalog in catalogs[:2]]
        self._address = address
        self._ledger = ledger
        self._catalogs = catalogs
        self._seed = seed
        self._workers = workers
        self._drainable = drainable
        self._storages = storages
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Crew:
        with Client(self._address) as client:
            for log in self.logs:
                client.catalog(log.catalog).create_buffer(log.name, keep_sealed="1d")
        for number in range(self._workers):
            self._begin(f"worker {number}", partial(self._work, number))
        for log in self.logs:
            self._begin(f"appends to {log.catalog}", partial(self._append, log))
        self._begin("operator", self._operate)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        end = time.monotonic() + END_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
            assert not thread.is_alive(), f"{thread.name} does not end; {self.faults}\n{_where(thread)}"
        if self.faults:
            raise self.faults[0]

    def _begin(self, name: str, work: Callable[[Client], None]) -> None:
        def guarded() -> None:
            try:
                with Client(self._address, timeout=CALL_SECONDS) as client:
                    work(client)
            except BaseException as error:
                error.add_note(name)
                self.faults.append(error)
                self.stop.set()

        thread = threading.Thread(target=guarded, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    # --------------------------------------------------------------------------------------------- who writes and reads

    def _work(self, number: int, client: Client) -> None:
        chance = random.Random(f"{self._seed} {number}")
        mine = [slot for slot in self._ledger.slots if slot.worker == number]
        while not self.stop.is_set():
            sure = [slot for slot in mine if len(slot.allowed) == 1]
            try:
                if not sure or chance.random() < 0.4:
                    self._ledger.look(chance.choice(self._ledger.slots), client)
                    continue
                slot = chance.choice(sure)
                if slot.kind != "row" and slot.allowed != {ABSENT} and chance.random() < 0.15:
                    with self._ledger.changing(slot, ABSENT):
                        slot.remove(client)
                else:
                    data = chance.randbytes(ROW_BYTES if slot.kind == "row" else size_of(chance))
                    with self._ledger.changing(slot, digest_of(data)):
                        slot.write(client, data)
            except _Unsure:
                continue
            except UNSURE:
                self._ledger.note("reads refused")

    def _append(self, log: Log, client: Client) -> None:
        """Append records one by one, each again until it is acknowledged, and rotate now and then."""
        chance = random.Random(f"{self._seed} {log.catalog}")
        buffer = client.catalog(log.catalog).buffer(log.name)
        while not self.stop.is_set():
            number = len(log.acknowledged)
            with suppress(Frozen, *UNSURE, *REFUSED):
                if number and chance.random() < 0.05:
                    buffer.rotate()
                log.acknowledged.append(buffer.append(record_of(self._seed, number), id=str(number)))

    # ---------------------------------------------------------------------------------------------------- who operates

    def _operate(self, client: Client) -> None:
        """Repair, drain, even out and recode by chance, and cancel some of it."""
        chance = random.Random(f"operator {self._seed}")
        containers = client.containers
        does: Sequence[Callable[[], object]] = [
            lambda: containers.repair(),
            lambda: containers.repair(verify=True),
            lambda: containers.drain(chance.choice(self._drainable)),
            lambda: [containers.undrain(one) for one in self._drainable],
            lambda: containers.rebalance(),
            lambda: self._recode(client, chance),
        ]
        while not self.stop.wait(chance.uniform(0.2, 1.5)):
            with suppress(*UNSURE):
                operation = chance.choice(does)()
                self._ledger.note("operations begun")
                if chance.random() < 0.2 and not isinstance(operation, list):
                    operation.cancel()  # type: ignore[attr-defined]

    def _recode(self, client: Client, chance: random.Random) -> object:
        lab = client.catalog(chance.choice(self._catalogs[:-1]))  # the last keeps what nobody hurts
        lab.update(storage=chance.choice(self._storages))
        return client.containers.recode(lab)


def _where(thread: threading.Thread) -> str:
    frame = sys._current_frames().get(thread.ident or 0)  # there is no other way to see it
    return "".join(traceback.format_stack(frame))


def size_of(chance: random.Random) -> int:
    """Return the size of a file: mostly small, now and then of several stripes."""
    most = chance.choices([1, 4 * KiB, 300 * KiB, MiB, 3 * MiB, 16 * MiB], [2, 8, 8, 4, 2, 1])[0]
    return chance.randrange(most)


def record_of(seed: int, number: int) -> bytes:
    """Return the bytes of a record, which nobody can guess."""
    chance = random.Random(f"{seed} {number}")
    return b"%d " % number + chance.randbytes(chance.randrange(2 * KiB))


def digest_of(data: bytes) -> str:
    return blake3(data).hexdigest()
