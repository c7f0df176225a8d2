"""The writes by which leases begin, go on and end. Each is done only if the store is still as it was found."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

from measurand.core.means import Means
from measurand.core.metadata import MetadataReader
from measurand.core.ports import Document, DocumentStore
from measurand.core.registry.documents import (
    BEATS,
    REGISTRATIONS,
    Beat,
    Registration,
    beat_document,
    beat_of,
    registration_document,
)
from measurand.core.registry.names import RegistrationName
from measurand.core.registry.standing import Standing
from measurand.core.requests import Request
from measurand.core.view import View

__all__ = ["LeaseWrites", "number_in"]

_MOST_KNOWN = 10_000


class LeaseWrites:
    """Begins, prolongs and ends leases."""

    def __init__(self, documents: DocumentStore, reader: MetadataReader, means: Means) -> None:
        self._documents = documents
        self._reader = reader
        self._means = means
        self.known: OrderedDict[RegistrationName, Standing] = OrderedDict()
        """What was written here last. No lease ends or changes without a new beat, so whoever replaces the beat that is
        remembered has found everything else as it is remembered too.
        """

    async def begin(
        self,
        found: Standing,
        before: Document | None,
        new: Registration,
        metadata: View,
        request: Request | None,
    ) -> bool:
        """Begin a lease where none is. False: it is no longer as found.

        Parameters
        ----------
        before : Document, optional
            What was registered before, marked as gone.
        metadata : View
            What the metadata can be found by.
        """
        # The beat first: one of an epoch that nobody has means nothing, and a lease without one is over.
        beat = await self._beat(found, new) if new.ttl is not None else None
        if new.ttl is not None and beat is None:
            return False
        begun = 1 if before is None else before.revision + 1
        stored = await self._store(registration_document(new, metadata, begun=begun, request=request), before)
        if stored is not None and beat is not None:
            self._remember(Standing(new.name, stored, beat))
        return stored is not None

    async def go_on(
        self, found: Standing, present: Registration, new: Registration, request: Request | None = None
    ) -> Registration | None:
        """Renew a lease that is alive, with what is new. None: it is no longer as found."""
        document, now = found.document, self._means.now()
        assert document is not None
        if new != present or request is not None:
            # Before its beat, so that nobody who has replaced the beat remembers what was registered before.
            new = replace(new, revision=present.revision + (new != present), renew_time=now)
            view = await self._reader.view(new.metadata)
            changed = registration_document(
                new,
                view,
                begun=number_in(document, "stored"),
                request=document.body["request"] if request is None else request,
            )
            stored = await self._documents.replace(REGISTRATIONS, changed, expected_revision=document.revision)
            if stored is None:
                return None
            document = stored
        new = replace(new, renew_time=max(now, present.renew_time))
        beat = None
        if new.ttl is not None:
            beat = await self._beat(found, new)
            if beat is None:
                return None
            self._remember(Standing(found.name, document, beat))
        return new

    async def end(self, found: Standing) -> Document | None:
        """Mark what is registered as gone, and return the document that says so. None: it is no longer as found."""
        registration, document, beat = found.registration, found.document, found.beat
        assert registration is not None and document is not None
        self.known.pop(found.name, None)
        if beat is not None and beat_of(beat).epoch == registration.epoch and not beat_of(beat).has_ended:
            ended = beat_document(found.name, replace(beat_of(beat), has_ended=True))
            beat = await self._documents.replace(BEATS, ended, expected_revision=beat.revision)
            if beat is None:
                return None
        gone = replace(registration, gone_time=self._means.now())
        gone_document = registration_document(
            gone, (), begun=number_in(document, "stored"), request=document.body["request"]
        )
        stored = await self._documents.replace(REGISTRATIONS, gone_document, expected_revision=document.revision)
        if stored is not None and beat is not None:
            await self._documents.remove(BEATS, beat.key, expected_revision=beat.revision)
        return stored

    async def _beat(self, found: Standing, registration: Registration) -> Document | None:
        """Store until when a lease lives. None: the beat is no longer the one that was found."""
        assert registration.expire_time is not None
        beat = Beat(registration.epoch, registration.renew_time, registration.expire_time)
        document = beat_document(registration.name, beat)
        if found.beat is not None:
            return await self._documents.replace(BEATS, document, expected_revision=found.beat.revision)
        is_stored = (await self._documents.insert_many(BEATS, [document]))[0]
        return replace(document, revision=1) if is_stored else None

    async def _store(self, document: Document, before: Document | None) -> Document | None:
        if before is not None:
            return await self._documents.replace(REGISTRATIONS, document, expected_revision=before.revision)
        is_stored = (await self._documents.insert_many(REGISTRATIONS, [document]))[0]
        return replace(document, revision=1) if is_stored else None

    def _remember(self, standing: Standing) -> None:
        self.known[standing.name] = standing
        self.known.move_to_end(standing.name)
        if len(self.known) > _MOST_KNOWN:
            self.known.popitem(last=False)


def number_in(document: Document, field: str) -> int:
    """Return an integer of a document."""
    value = document.body[field]
    assert isinstance(value, int)
    return value
