"""What is over: leases whose time has run out are ended, and what is long gone is forgotten."""

from __future__ import annotations

from datetime import timedelta

from measurand.core.filters.tree import Compare, Exists, Not
from measurand.core.means import Means
from measurand.core.ports import Document, DocumentStore, Position
from measurand.core.registry.documents import (
    BEATS,
    EXPIRES,
    GONE,
    REGISTRATIONS,
    TOLERANCE,
    Registration,
    beat_of,
    registration_of,
)
from measurand.core.registry.floor import raise_epoch_floor
from measurand.core.registry.lease_writes import LeaseWrites
from measurand.core.registry.names import parse_registration
from measurand.core.registry.standing import look, with_beats
from measurand.core.times import microseconds
from measurand.core.view import Scalar

__all__ = ["REMEMBERED", "Ending"]

REMEMBERED = timedelta(days=7)
"""For so long it is told when something was last seen."""

_PAGE = 500


class Ending:
    """Ends what nobody renews. Safe to run in several servers at once."""

    def __init__(self, documents: DocumentStore, writes: LeaseWrites, means: Means) -> None:
        self._documents = documents
        self._writes = writes
        self._means = means

    async def sweep(self) -> int:
        """End the leases whose time is over, and return how many there were."""
        over = Scalar("t", microseconds(self._means.now() - TOLERANCE))
        ended = 0
        while True:
            found = await self._documents.find(BEATS, where=Compare(EXPIRES, "<=", over), limit=_PAGE)
            moved = 0
            for item in found:
                beat = item.document
                standing = await look(self._documents, parse_registration(beat.key))
                if standing.beat is None or standing.beat.revision != beat.revision:
                    continue  # it was renewed meanwhile
                if _is_of_another(beat, standing.registration):
                    moved += await self._documents.remove(BEATS, beat.key, expected_revision=beat.revision)
                elif standing.live(self._means.now()) is None and await self._writes.end(standing) is not None:
                    ended += 1
            moved += ended
            if len(found) < _PAGE or not moved:
                return ended

    async def forget(self) -> int:
        """Forget what is long gone, end what a killed server left half begun, and return how many went."""
        await self._end_torn()
        before = Scalar("t", microseconds(self._means.now() - REMEMBERED))
        forgotten = 0
        while True:
            found = await self._documents.find(REGISTRATIONS, where=Compare(GONE, "<=", before), limit=_PAGE)
            if found:
                await raise_epoch_floor(self._documents, max(registration_of(item.document).epoch for item in found))
            for item in found:
                key, revision = item.document.key, item.document.revision
                forgotten += await self._documents.remove(REGISTRATIONS, key, expected_revision=revision)
            if len(found) < _PAGE:
                return forgotten

    async def _end_torn(self) -> None:
        after: Position | None = None
        while True:
            found = await self._documents.find(
                REGISTRATIONS, where=Not(Exists(GONE)), after=after, limit=_PAGE, with_text=False
            )
            standings = await with_beats(self._documents, {item.document.key: item.document for item in found})
            for standing in standings.values():
                if standing.is_torn:  # it was looked at several times already
                    await self._writes.end(standing)
            if len(found) < _PAGE:
                return
            after = found[-1].position


def _is_of_another(beat: Document, registration: Registration | None) -> bool:
    """Tell whether a beat is that of no lease: it never came to be, has gone, or lives without end now."""
    return (
        registration is None
        or registration.gone_time is not None
        or registration.ttl is None
        or registration.epoch != beat_of(beat).epoch
    )
