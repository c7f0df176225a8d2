"""Rounds in which containers and servers are hurt while people work. Tests run some, the soak many.

In each round at most as many containers are hurt as every policy of the place bears. What must hold: while they are
hurt, and again when all is mended, everything that was acknowledged reads back with its bits at every server, and
nothing else; a repair makes everything safe again, so that the next round finds the same place; in the end the
containers hold what the placements name and nothing beyond.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.end_to_end.container_boxes import Box, BucketBox, FolderBox, Harm, ServedBox, small_disk
from tests.end_to_end.container_crew import Crew, Ledger, Log, record_of
from tests.end_to_end.fleet import BUCKET, Servant, start_fleet, until
from tests.stores import DURABLE, Site

from measurand.client import Client, Storage
from measurand.client.errors import Cancelled, FailedPrecondition, Unavailable

__all__ = ["Event", "Place", "Shape", "run", "start_place"]

POLICIES: Mapping[str, int] = {
    "replicate:2": 1,
    "erasure:2+1": 1,
    "losses:1": 1,
    "replicate:3": 2,
    "erasure:4+2": 2,
    "losses:2": 2,
    "erasure:2+3": 3,
    "losses:3": 3,
    "erasure:8+4": 4,
}
"""How many containers each bears to be hurt."""
WIDE = "erasure:8+4"
SAFE = "d0"
"""It is never hurt, and holds what is kept once."""
ROUNDS_A_PLACE = 10
LOAD_SECONDS = 5.0
CHECK_SECONDS = 60.0
LEAK_SECONDS = 240.0
"""What is counted is counted the less often the longer it takes."""
LAST_LINES = 120
"""Of the log of each server are told where something was wrong."""
MEND_SECONDS = 180.0
EXPECTED = (Cancelled, FailedPrecondition, Unavailable)
"""What operations may fail with: a drain is undone, containers are away."""
LIMITS = {"BLOB_GRACE": "20s", "UPLOAD_LIFETIME": "1h", "REPAIR_DELAY": "3s"}
SHORT_LIMITS = {"BLOB_GRACE": "0.5s", "UPLOAD_LIFETIME": "0.5s", "REPAIR_DELAY": "0s"}


@dataclass(frozen=True, slots=True)
class Shape:
    """What a place is made of.

    Parameters
    ----------
    losses : int
        So many containers may be hurt at a time.
    folders, served : int
        Number of containers that are folders, and that are processes; a fleet has a bucket beside.
    """

    losses: int
    folders: int = 5
    served: int = 3
    workers: int = 50

    @property
    def policies(self) -> list[str | Storage]:
        """Those that bear as many losses and have room, the one that bears none last."""
        wide = self.folders + self.served >= 13
        fit = [one for one, losses in POLICIES.items() if losses >= self.losses and (wide or one != WIDE)]
        return [*fit, Storage("single", containers=[SAFE])]


@dataclass(frozen=True, slots=True)
class Event:
    """What happens to a container or a server.

    Parameters
    ----------
    harm : str
        What is done to a container, which lasts to the end of the load; `restart`: it is killed (-9) and started.
    at : float
        When, in seconds from the beginning of the round.
    """

    victim: str
    harm: Harm | str
    at: float


@dataclass(slots=True)
class Report:
    """What all rounds of a place came to."""

    rounds: int = 0
    events: Counter[str] = field(default_factory=Counter)
    checks: int = 0
    repaired: int = 0

    def __str__(self) -> str:
        events = ", ".join(f"{count} x {what}" for what, count in sorted(self.events.items()))
        return f"{self.rounds} rounds; {events}; {self.checks} things compared, {self.repaired} parts made anew"


def run(rounds: int, seed: int = 0, *, kinds: Sequence[str] = DURABLE) -> Iterator[str]:
    """Play so many rounds on every set of stores that lasts, and say after each how far it came.

    Raises where something was wrong; the note says which seed brings the place and its rounds back.
    """
    for stores in kinds:
        for first in range(seed, seed + rounds, ROUNDS_A_PLACE):
            shape = shape_of(first, stores)
            numbers = range(first, min(first + ROUNDS_A_PLACE, seed + rounds))
            with (
                tempfile.TemporaryDirectory(prefix="measurand-soak-") as folder,
                start_place(stores, Path(folder), shape) as place,
            ):
                for number in numbers:
                    events = place.plan(random.Random(number))
                    try:
                        place.round(events, number)
                    except BaseException as error:
                        error.add_note(f"containers: {stores}: place of seed {first}: {shape}; {number}: {events}")
                        raise
                    yield f"containers: {stores}: up to seed {number}: {place}"
                try:
                    place.check_leaks()
                except BaseException as error:
                    error.add_note(f"containers: {stores}: place of seed {first}: {shape}; after all rounds")
                    raise


def shape_of(seed: int, stores: str) -> Shape:
    """Return what a place is made of."""
    chance = random.Random(f"{seed} {stores}")
    losses, workers = chance.choice([1, 1, 2, 2, 3, 4]), chance.choice([10, 20, 50])
    if losses < 4:
        return Shape(losses, workers=workers)
    return Shape(losses, folders=9, served=4, workers=workers)


class Place:
    """Servers over containers. Made by `start_place`.

    Parameters
    ----------
    address : str
        Where all work: the server, or what stands before several.
    environment : dict
        That of the servers that are started from now on.
    """

    def __init__(
        self,
        address: str,
        servants: Mapping[str, Servant],
        boxes: Mapping[str, Box],
        shape: Shape,
        environment: dict[str, str],
    ) -> None:
        self.report = Report()
        self.ledger = Ledger()
        self._address = address
        self._servants = servants
        self._boxes = boxes
        self._shape = shape
        self._environment = environment
        self._catalogs = [f"kept-{number}" for number in range(len(shape.policies))]
        with Client(address, timeout=CHECK_SECONDS) as client:
            for box in boxes.values():
                box.join(client)
            self._wait_until_active(client)
            for name, storage in zip(self._catalogs, shape.policies, strict=True):
                client.create_catalog(name, storage=storage)
            for number in range(shape.workers):
                self.ledger.open(client, self._catalogs[number % len(self._catalogs)], number)

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {what}" for what, count in sorted(self.ledger.counts.items()))
        return f"{self._shape.losses} losses; {self.report}; {counts}"

    def plan(self, chance: random.Random) -> list[Event]:
        """Return what happens in a round: as much as can be borne to containers, and at times to servers."""
        names = [name for name in self._boxes if name != SAFE]
        chance.shuffle(names)
        count = chance.randint(1, self._shape.losses)
        hurt, others = names[:count], names[count : self._shape.losses]
        harms = {name: chance.choice(self._boxes[name].harms) for name in hurt}
        restarted = [name for name in [*others, *self._servants] if chance.random() < 0.4 and self._can_restart(name)]
        happens = {**harms, **dict.fromkeys(restarted, "restart")}
        return [Event(name, harm, chance.uniform(0.2, LOAD_SECONDS)) for name, harm in happens.items()]

    def round(self, events: Sequence[Event], seed: int, *, seconds: float = LOAD_SECONDS) -> None:
        """Let everybody work for so long, let it all happen, and look whether everything is as it must be."""
        try:
            self._round(events, seed, seconds)
        except BaseException as error:
            for name, servant in self._servants.items():
                error.add_note(f"{name}: {''.join(servant.log.splitlines(keepends=True)[-LAST_LINES:])}")
            raise

    def _round(self, events: Sequence[Event], seed: int, seconds: float) -> None:
        before = self._pids()
        names = [name for name in self._boxes if name != SAFE]
        with Crew(
            self._address,
            self.ledger,
            self._catalogs,
            seed=seed,
            workers=self._shape.workers,
            drainable=names,
            storages=self._shape.policies[:-1],
        ) as crew:
            begin = time.monotonic()
            with ThreadPoolExecutor(len(events)) as threads:
                for one in [threads.submit(self._happen, event, random.Random(f"{seed} {event}")) for event in events]:
                    one.result()
            crew.stop.wait(max(0.0, begin + seconds - time.monotonic()))
        restarted = {event.victim for event in events if event.harm == "restart"}
        for name, pid in self._pids().items():
            assert name in restarted or pid == before[name], f"{name} has ended by itself"
        with Client(self._address, timeout=CHECK_SECONDS) as client:
            self._calm(client, names)
            self.check(crew.logs, seed)
            for event in events:
                if event.harm != "restart":
                    self._boxes[event.victim].heal(client)
            self._wait_until_active(client)
            self.mend(client)
            for log in crew.logs:
                client.catalog(log.catalog).buffer(log.name).finish()
        self.check(crew.logs, seed)
        for name, servant in self._servants.items():
            assert "event=fault" not in servant.log, f"{name}: {servant.log}"
        self.report.rounds += 1
        self.report.events.update(f"{event.victim.rstrip('0123456789')} {event.harm}" for event in events)

    def check(self, logs: Sequence[Log], seed: int) -> None:
        """Compare everything with what was acknowledged, at every server."""
        for servant in self._servants.values():
            with Client(servant.address, timeout=CHECK_SECONDS) as client, ThreadPoolExecutor(8) as threads:
                list(threads.map(lambda slot, client=client: self.ledger.check(slot, client), self.ledger.slots))
                for log in logs:
                    _check_log(client, log, seed)
            self.report.checks += len(self.ledger.slots) + len(logs)

    def mend(self, client: Client) -> None:
        """Repair until everything is safe."""
        end = time.monotonic() + MEND_SECONDS
        while True:
            done = client.containers.repair(verify=True).result(MEND_SECONDS)
            self.report.repaired += done["repaired_parts"]
            seen = client.containers.check()
            assert not done["lost_blobs"] and not seen["lost_blobs"], (seen, done)
            if seen["safe_blobs"] == seen["checked_blobs"]:
                return
            assert time.monotonic() < end, (seen, done)

    def check_leaks(self) -> None:
        """Compare what lies in the containers with what placements say; servers that take no time find the rest."""
        self._environment |= {f"MEASURAND_LIMITS__{name}": value for name, value in SHORT_LIMITS.items()}
        for servant in self._servants.values():
            assert servant.stop() == 0, servant.log
            servant.start()
        held: dict[str, tuple[int, int]] = {}

        def is_even(client: Client) -> bool:
            named = {one.id: one.stored for one in client.containers.list()}
            held.update({name: (box.held_bytes(), named[name]) for name, box in self._boxes.items()})
            return all(there == said for there, said in held.values())

        try:
            with Client(self._address, timeout=CHECK_SECONDS) as client:
                until(lambda: is_even(client), LEAK_SECONDS)
        except AssertionError as error:
            error.add_note(f"bytes there, and bytes named: {held}")
            raise

    # -------------------------------------------------------------------------------------------------- what happens

    def _happen(self, event: Event, chance: random.Random) -> None:
        time.sleep(event.at)
        if event.harm != "restart":
            self._boxes[event.victim].hurt(event.harm, chance)  # type: ignore[arg-type]
            return
        victim = self._servants.get(event.victim) or self._boxes[event.victim]
        assert isinstance(victim, Servant | ServedBox)
        victim.kill()
        victim.start()

    def _calm(self, client: Client, drained: Sequence[str]) -> None:
        """Undo what the operator has begun."""
        for operation in client.operations.list():
            if not operation.is_done:
                with suppress(FailedPrecondition):
                    operation.cancel()
                with suppress(Cancelled):
                    operation.wait(CHECK_SECONDS)
            problem = operation.problem
            assert problem is None or isinstance(problem, EXPECTED), (operation, problem)
        for name in drained:
            client.containers.undrain(name)

    def _wait_until_active(self, client: Client) -> None:
        def states() -> dict[str, str]:
            return {one.id: one.state for one in client.containers.list()}

        expected = dict.fromkeys(self._boxes, "active")
        try:
            until(lambda: states() == expected, CHECK_SECONDS)
        except AssertionError as error:
            error.add_note(f"{states()}")
            raise

    def _can_restart(self, name: str) -> bool:
        return name in self._servants or isinstance(self._boxes[name], ServedBox)

    def _pids(self) -> dict[str, int]:
        running = {name: servant.process for name, servant in self._servants.items()}
        return {name: server.process.pid for name, server in running.items() if server is not None}


def _check_log(client: Client, log: Log, seed: int) -> None:
    """Compare the records of a buffer: each once, in order, and at most one more than was acknowledged."""
    found = [(record.seq, record.data) for record in client.catalog(log.catalog).buffer(log.name).records(data=True)]
    count = len(log.acknowledged)
    assert count <= len(found) <= count + 1, f"{log.name}: {len(found)} records, {count} were acknowledged"
    assert found == [(number + 1, record_of(seed, number)) for number in range(len(found))], log.name
    assert log.acknowledged == list(range(1, count + 1)), log.name


@contextmanager
def start_place(stores: str, folder: Path, shape: Shape) -> Iterator[Place]:
    """Start servers over empty containers: one for `embedded`, two over MongoDB and a bucket beside for `fleet`."""
    environment = {f"MEASURAND_LIMITS__{name}": value for name, value in LIMITS.items()}
    options = ("--blobs", "containers:")
    with ExitStack() as ending:
        boxes: list[Box] = []
        servants: dict[Any, Servant]
        if stores == "fleet":
            fleet = ending.enter_context(start_fleet(folder / "fleet", *options, environment=environment))
            servants, address = dict(fleet.servants), fleet.address
            environment = fleet.site.environment  # type: ignore[assignment]  # which its servers share
            boxes.append(BucketBox(fleet.seaweed, BUCKET, "containers"))
            ending.callback(fleet.seaweed.resume)
        else:
            servant = Servant(Site(stores, folder / "store", options, environment), program="tests.end_to_end.hasty")
            servants, address = {"a": servant}, servant.address
            ending.callback(servant.stop)
            servant.start()
        is_disk = ending.enter_context(small_disk(folder / "d1", "400m"))
        boxes += [FolderBox(folder / f"d{number}", is_disk=is_disk and number == 1) for number in range(shape.folders)]
        addresses = [servant.address for servant in servants.values()]
        boxes += [ServedBox(folder / f"r{number}", addresses) for number in range(shape.served)]
        for box in boxes:
            ending.callback(box.close)
        yield Place(address, servants, {box.name: box for box in boxes}, shape, environment)
