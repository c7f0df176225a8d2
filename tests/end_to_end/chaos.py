"""Rounds in which servers and their stores are killed and frozen while people work. The soak runs many, the tests some.

After each round everything that was acknowledged is there, nothing else than what was offered is to be seen, whoever
was not killed runs on and says that it is well, and nothing hangs.
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Literal

from tests.end_to_end.acting import CALL_SECONDS, CATALOG, Actor, digest_of
from tests.end_to_end.fleet import SERVERS, VICTIMS, Fleet, Victim, start_fleet
from tests.end_to_end.ledger import ABSENT, Account, Ledger
from tests.end_to_end.looking import Reader, Watcher, examine

from measurand.client import Catalog, Client, Dataset
from measurand.client.errors import NotFound, ResourceDeleted

__all__ = ["Chaos", "Event", "Report", "plan", "start_chaos"]

Kind = Literal["kill", "pause"]

LOAD_SECONDS = 4.0
PURGE_SECONDS = 60.0
"""How much longer than it can be brought back something deleted may be there."""
END_SECONDS = 90.0
"""How long those who work may take to come to an end once everything is back."""
WATCH_SECONDS = 30.0
QUIET_SECONDS = 60.0
"""How long a server may work on for a client that has gone."""
ENDLESS = ("Watch", "Poll", "KeepOpen", "Health")


@dataclass(frozen=True, slots=True)
class Event:
    """What happens to one of the four, or to a client that uploads.

    Parameters
    ----------
    at, away : float
        When, in seconds from the beginning of the round, and for how long.
    """

    victim: Victim | Literal["client"]
    kind: Kind
    at: float
    away: float


@dataclass(slots=True)
class Report:
    """What all rounds came to."""

    rounds: int = 0
    events: Counter[str] = field(default_factory=Counter)
    acknowledged: dict[str, int] = field(default_factory=dict)
    unknown: dict[str, int] = field(default_factory=dict)
    refused: int = 0
    looks: int = 0
    checked_files: int = 0
    longest: tuple[float, str] = (0.0, "")

    def __str__(self) -> str:
        events = ", ".join(f"{count} x {what}" for what, count in sorted(self.events.items()))
        done = ", ".join(f"{count} x {what}" for what, count in sorted(self.acknowledged.items()))
        unsure = ", ".join(f"{count} x {what}" for what, count in sorted(self.unknown.items())) or "none"
        return (
            f"{self.rounds} rounds; {events}\n"
            f"acknowledged: {done}\noutcome unknown: {unsure}; reads refused: {self.refused}\n"
            f"looks of readers: {self.looks}; files compared: {self.checked_files}; "
            f"longest call: {self.longest[1]}, {self.longest[0]:.1f} s"
        )


def plan(chance: random.Random, victims: Sequence[Victim | Literal["client"]] = (*VICTIMS, "client")) -> list[Event]:
    """Return what happens in a round: one to three things, each to somebody else.

    Most are over soon; a few last longer than a call may take.
    """
    events = []
    for victim in chance.sample(victims, min(len(victims), chance.choice([1, 1, 2, 3]))):
        kind: Kind = "pause" if victim != "client" and chance.random() < 0.25 else "kill"
        away = chance.uniform(0.0, 3.0) if chance.random() < 0.95 else chance.uniform(0.7, 1.4) * CALL_SECONDS
        events.append(Event(victim, kind, chance.uniform(0.2, LOAD_SECONDS), away))
    return events


class Chaos:
    """A fleet, those who work on it, and the account of what they did. Made by `start_chaos`.

    Parameters
    ----------
    window_seconds, grace_seconds : float
        After how long what is deleted is purged, and what nobody names is garbage.
    """

    def __init__(
        self, fleet: Fleet, folder: Path, *, seed: int, actors: int, window_seconds: float, grace_seconds: float
    ) -> None:
        self.fleet = fleet
        self.ledger = Ledger()
        self.report = Report()
        self._chance = random.Random(seed)
        self._client = Client(fleet.address, timeout=CALL_SECONDS)
        self._window_seconds, self._grace_seconds = window_seconds, grace_seconds
        self._client.create_catalog(CATALOG, undelete_window=timedelta(seconds=window_seconds))
        self._actors = [
            Actor(name, fleet.address, self.ledger, folder / name, seed=seed, window_seconds=window_seconds)
            for name in (f"u{number}" for number in range(actors))
        ]
        self._reader = Reader(fleet.address, self.ledger, seed)
        self._watcher = Watcher(fleet.address)

    def close(self) -> None:
        for actor in self._actors:
            actor.close()
        self._reader.close()
        self._watcher.close()
        self._client.close()

    def round(self, events: Sequence[Event]) -> None:
        """Let everybody work, let it all happen, and look whether everything is as it must be."""
        before, turns = self.fleet.pids(), {id_: account.turns for id_, account in self.ledger.accounts.items()}
        ended = threading.Event()
        with ThreadPoolExecutor(len(self._actors) + len(events) + 1) as threads:
            working = [threads.submit(actor.act, ended) for actor in self._actors]
            reading = threads.submit(self._reader.look, ended)
            happening = [threads.submit(self._happen, event) for event in events]
            try:
                for one in happening:
                    one.result()
                time.sleep(max(0.0, LOAD_SECONDS - max((event.at + event.away for event in events), default=0.0)))
            finally:
                ended.set()
            begin = time.monotonic()
            for one in [*working, reading]:
                one.result(max(0.0, begin + END_SECONDS - time.monotonic()))
        killed = {event.victim for event in events if event.kind == "kill"}
        assert {name: pid for name, pid in self.fleet.pids().items() if name not in killed} == {
            name: pid for name, pid in before.items() if name not in killed
        }, "a server has ended by itself"
        self.fleet.wait_until_well()
        self._wait_until_quiet()
        changed = [account for id_, account in self.ledger.accounts.items() if account.turns != turns.get(id_)]
        self._check(changed)
        for account in changed:
            if account.is_surely("open") and account.revision is not None:
                self._watcher.wait_for(account.id, account.revision, WATCH_SECONDS)
        self._note(events)

    def check_all(self) -> None:
        """Compare everything that there is with the account, and wait until all garbage is collected."""
        self._check(list(self.ledger.accounts.values()))
        end = time.monotonic() + self._window_seconds + PURGE_SECONDS + 4 * self._grace_seconds
        while not (said := examine(self.fleet.site, grace_seconds=1.0))["deep: orphans"].startswith("0 "):
            assert time.monotonic() < end, said
            time.sleep(2.0)

    # -------------------------------------------------------------------------------------------------- what happens

    def _happen(self, event: Event) -> None:
        time.sleep(event.at)
        if event.victim == "client":
            for actor in self._actors:
                if (process := actor.uploading) is not None:
                    process.kill()
            return
        victim = self.fleet.of(event.victim)
        if event.kind == "pause":
            victim.pause()
            time.sleep(event.away)
            victim.resume()
        else:
            victim.kill()
            time.sleep(event.away)
            victim.start()

    # ------------------------------------------------------------------------------------------------ what must hold

    def _wait_until_quiet(self) -> None:
        """Return when no server works on anything any longer: what was given up must end there, too."""
        end = time.monotonic() + QUIET_SECONDS
        for name, servant in self.fleet.servants.items():
            assert servant.process is not None
            while running := running_calls(servant.process.page("/metrics")):
                assert time.monotonic() < end, f"{name} still works on {running}"
                time.sleep(0.1)

    def _check(self, accounts: Sequence[Account]) -> None:
        servant = self.fleet.servants[self._chance.choice(SERVERS)]
        with Client(servant.address, timeout=CALL_SECONDS) as client, ThreadPoolExecutor(4) as threads:
            lab = client.catalog(CATALOG)
            self.report.checked_files += sum(
                threads.map(lambda account: check_account(lab, account, self._window_seconds), accounts)
            )
            open_ = {account.id for account in self.ledger.accounts.values() if account.is_surely("open")}
            assert {run.id for run in lab.find(page_size=1000, fields=["id"])} == open_
            assert lab.count() == len(open_)
        for name, servant in self.fleet.servants.items():
            assert "event=fault" not in servant.log, f"{name}: {servant.log}"

    def _note(self, events: Sequence[Event]) -> None:
        report = self.report
        report.rounds += 1
        report.events.update(f"{event.victim} {'killed' if event.kind == 'kill' else 'frozen'}" for event in events)
        report.acknowledged, report.unknown = dict(self.ledger.acknowledged), dict(self.ledger.unknown)
        report.longest = max(report.longest, *(actor.longest for actor in self._actors))
        report.refused = self._reader.refused + sum(actor.refused for actor in self._actors)
        report.looks = self._reader.looks


def check_account(lab: Catalog, account: Account, window_seconds: float) -> int:
    """Compare a dataset with its account, and settle what was unsure by what it has become; returns how many files."""
    run: Dataset | None = None
    state = "open"
    asked, allowed = account.deleted_seconds, set(account.states)
    if asked > window_seconds - 5.0:
        allowed.add("purged")
    try:
        run = lab.get(account.id)
    except ResourceDeleted:
        state = "deleted"
    except NotFound:
        state = "purged" if "purged" in allowed else "absent"
    assert state in allowed, f"{account} is {state}"
    assert state != "deleted" or asked < window_seconds + PURGE_SECONDS, f"{account} was not purged"
    account.states = {state}
    account.is_settled = True
    if run is None:
        return 0
    assert run.metadata["n"] in account.numbers, f"{account} has {run.metadata}"
    assert frozenset(run.tags) in account.tags, f"{account} has {run.tags}"
    assert account.revision in (None, run.revision), f"{account} is at revision {run.revision}"
    account.numbers, account.tags, account.revision = {run.metadata["n"]}, {frozenset(run.tags)}, run.revision
    assert [revision.number for revision in run.history()] == list(range(run.revision, 0, -1))
    listed = {file.path: file.blake3 for file in run.files()}
    for path in account.files.keys() | listed.keys():
        digest = listed.get(path, ABSENT)
        assert digest in account.files.get(path, {ABSENT}), f"{path} of {account} is {digest}"
        account.files[path] = {digest}
        if digest != ABSENT:
            assert digest_of(run.read_bytes(path)) == digest, f"{path} of {account} has other bytes than it says"
    return len(listed)


def running_calls(page: str) -> dict[str, float]:
    """Return how many calls a server answers by method, but for those that only wait."""
    found = re.findall(r'^measurand_calls_running\{method="([^"]*)"\} (\S+)$', page, re.MULTILINE)
    counts = {method: float(count) for method, count in found if not any(word in method for word in ENDLESS)}
    return {method: count for method, count in counts.items() if count}


@contextmanager
def start_chaos(
    folder: Path, *, seed: int, actors: int = 3, window_seconds: float = 60.0, grace_seconds: float = 20.0
) -> Iterator[Chaos]:
    """Start a fleet and those who work on it.

    Garbage goes after twice the grace time, which must be longer than any call takes to name what it has stored.
    """
    settings = {"MEASURAND_LIMITS__BLOB_GRACE": f"{grace_seconds:g}s"}
    with ExitStack() as ending:
        fleet = ending.enter_context(start_fleet(folder / "fleet", environment=settings))
        times = {"window_seconds": window_seconds, "grace_seconds": grace_seconds}
        chaos = Chaos(fleet, folder, seed=seed, actors=actors, **times)
        ending.callback(chaos.close)
        yield chaos
