"""Leases: of all the processes over one document store, one at a time has the right to something.

A holder renews its lease by changing the document. Whoever wants it watches the document; when that has stood still for
the whole time of the lease by the watcher's own running time, its holder is gone. So no two clocks are compared. A
holder that was paused may still believe for a moment: what is done under a lease must be safe to do twice.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from measurand.core.means import Means
from measurand.core.ports import Document, DocumentStore

__all__ = ["LEASES", "LEASE_SECONDS", "Lease"]

LEASES = "leases"
"""The collection: key the name of the lease; the holder's name is empty when it was given back."""

LEASE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class _Seen:
    revision: int
    since: float


class Lease:
    """One process's share in a lease.

    Parameters
    ----------
    name : str
        What it is a right to.
    owner : str
        Who this process is; no other has the name.
    seconds : float
        For how long others believe that it is held after it was last renewed. Renew it every third of that.
    """

    def __init__(
        self, documents: DocumentStore, means: Means, *, name: str, owner: str, seconds: float = LEASE_SECONDS
    ) -> None:
        self._documents = documents
        self._means = means
        self._name = name
        self._owner = owner
        self._seconds = seconds
        self._seen: _Seen | None = None
        self._renewed: float | None = None
        self._turn = asyncio.Lock()

    @property
    def seconds(self) -> float:
        """For how long others believe that it is held after it was last renewed."""
        return self._seconds

    @property
    def is_held(self) -> bool:
        """Nobody else can have it yet: a third of its time is kept as a margin."""
        return self._renewed is not None and self._means.monotonic() - self._renewed < self._seconds * 2 / 3

    async def try_hold(self) -> bool:
        """Take or renew the lease if that is possible, and tell whether it is held. Raises what the store raises."""
        async with self._turn:  # two renewals of ours at once would take each other for another process
            return await self._try_hold()

    async def _try_hold(self) -> bool:
        now = self._means.monotonic()
        mine = Document(self._name, "", {"owner": self._owner})
        current = await self._documents.fetch(LEASES, self._name)
        if current is None:
            is_stored = (await self._documents.insert_many(LEASES, [mine]))[0]
        elif self._may_take(current, now):
            is_stored = await self._documents.replace(LEASES, mine, expected_revision=current.revision) is not None
        else:
            is_stored = False
        self._renewed = now if is_stored else None
        return is_stored

    async def release(self) -> None:
        """Give it back, so that another need not wait. Does nothing when it is not held."""
        current = await self._documents.fetch(LEASES, self._name)
        if current is not None and current.body["owner"] == self._owner:
            free = Document(self._name, "", {"owner": ""})
            await self._documents.replace(LEASES, free, expected_revision=current.revision)
        self._renewed = None

    def _may_take(self, current: Document, now: float) -> bool:
        if current.body["owner"] in ("", self._owner):
            return True
        if self._seen is None or self._seen.revision != current.revision:
            self._seen = _Seen(current.revision, now)
        return now - self._seen.since >= self._seconds
