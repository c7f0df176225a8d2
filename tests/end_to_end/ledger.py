"""An account of what was acknowledged, and so of what must be there and of what may be.

A change that was acknowledged leaves one possibility. One that is on its way, or whose outcome nobody was told, leaves
two: what was before, and what it makes. Nothing else may ever be seen.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from measurand.client.errors import MeasurandError, Timeout, Unavailable

__all__ = ["ABSENT", "Account", "Change", "Ledger", "Unknown"]

ABSENT = ""
"""Stands for the digest of a file that is not there."""


class Unknown(Exception):
    """Nobody was told what became of a change."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a call makes of a dataset; None and no entry: as it was.

    Parameters
    ----------
    files : mapping
        The digest of each file that it makes; `ABSENT` for one that it removes.
    revisions : int
        How many revisions it makes. None: nobody says.
    """

    state: str | None = None
    number: int | None = None
    tags: frozenset[str] | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    revisions: int | None = 0


@dataclass(slots=True)
class Account:
    """What may be true of one dataset.

    Parameters
    ----------
    states : set of str
        Of `absent`, `open`, `deleted`, `purged`.
    files : mapping
        The digests that each file may have.
    offered : mapping
        All digests that each file was ever to have.
    revision : int, optional
        None: not known for sure.
    turns : int
        Counts the changes that began or ended, so that a reader knows whether one did while it read.
    deleted_at : float, optional
        When it was first to be deleted, of late, in seconds of a clock that only goes forward.
    """

    id: str
    states: set[str] = field(default_factory=lambda: {"absent"})
    numbers: set[int] = field(default_factory=set)
    tags: set[frozenset[str]] = field(default_factory=lambda: {frozenset[str]()})
    files: dict[str, set[str]] = field(default_factory=dict)
    offered: dict[str, set[str]] = field(default_factory=dict)
    revision: int | None = 0
    turns: int = 0
    is_settled: bool = True
    deleted_at: float | None = None

    @property
    def deleted_seconds(self) -> float:
        """For how long it may have been deleted by now; 0 if it surely is not."""
        if "deleted" not in self.states or self.deleted_at is None:
            return 0.0
        return time.monotonic() - self.deleted_at

    def is_surely(self, state: str) -> bool:
        """Tell whether it can be in no other state."""
        return self.states == {state}

    @property
    def digests(self) -> dict[str, str]:
        """The files that are surely there."""
        return {path: one for path, (one, *more) in self.files.items() if not more and one != ABSENT}

    def widen(self, change: Change) -> None:
        """Allow what a change makes, beside what was."""
        self.turns += 1
        if change.state is not None:
            self.states.add(change.state)
            self.deleted_at = time.monotonic() if change.state == "deleted" else self.deleted_at
        if change.number is not None:
            self.numbers.add(change.number)
        if change.tags is not None:
            self.tags.add(change.tags)
        for path, digest in change.files.items():
            self.files.setdefault(path, {ABSENT}).add(digest)
            self.offered.setdefault(path, set()).add(digest)

    def narrow(self, change: Change) -> None:
        """Allow nothing else than what a change has made."""
        self.turns += 1
        if change.state is not None:
            self.states = {change.state}
        if change.number is not None:
            self.numbers = {change.number}
        if change.tags is not None:
            self.tags = {change.tags}
        for path, digest in change.files.items():
            self.files[path] = {digest}
        if self.revision is not None:
            self.revision = None if change.revisions is None else self.revision + change.revisions


class Ledger:
    """The accounts of all datasets, kept by those who change them and read by those who look."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.accounts: dict[str, Account] = {}
        self.acknowledged: dict[str, int] = {}
        self.unknown: dict[str, int] = {}

    def open(self, id_: str) -> Account:
        """Begin the account of a dataset that is not there yet."""
        with self.lock:
            return self.accounts.setdefault(id_, Account(id_))

    @contextmanager
    def changing(self, account: Account, what: str, change: Change) -> Iterator[None]:
        """Make a change within the block. What the block raises passes through; an unknown outcome as `Unknown`."""
        with self.lock:
            account.widen(change)
        try:
            yield
        except (Unavailable, Timeout) as error:
            with self.lock:
                account.is_settled = False
                account.revision = None
                self.unknown[what] = self.unknown.get(what, 0) + 1
            raise Unknown(f"{what} of {account.id}: {error}") from error
        except MeasurandError as error:
            error.add_note(f"{what} of {account}")
            raise
        with self.lock:
            account.narrow(change)
            self.acknowledged[what] = self.acknowledged.get(what, 0) + 1
