"""What the store has under a name: its two documents, read together, and what they say at some time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from measurand.core.ports import Document, DocumentStore
from measurand.core.registry.documents import (
    BEATS,
    REGISTRATIONS,
    TOLERANCE,
    Registration,
    beat_of,
    registration_of,
)
from measurand.core.registry.names import RegistrationName, parse_registration

__all__ = ["Standing", "look", "look_at_many", "with_beats"]

LOOKS = 2


@dataclass(frozen=True, slots=True)
class Standing:
    """What the store has under a name.

    Parameters
    ----------
    document, beat : Document, optional
        The two documents; None: there is none.
    """

    name: RegistrationName
    document: Document | None = None
    beat: Document | None = None

    @property
    def registration(self) -> Registration | None:
        """What is registered, or last was, with the time of its last renewal."""
        if self.document is None:
            return None
        registration = registration_of(self.document)
        if self.beat is not None and registration.ttl is not None and registration.gone_time is None:
            beat = beat_of(self.beat)
            if beat.epoch == registration.epoch:
                return replace(registration, renew_time=max(registration.renew_time, beat.renew_time))
        return registration

    def live(self, now: datetime) -> Registration | None:
        """Return what is registered; None: nothing is, or its time is over."""
        registration = self.registration
        if registration is None or registration.gone_time is not None:
            return None
        if registration.expire_time is None:
            return registration
        beat = None if self.beat is None else beat_of(self.beat)
        if beat is None or beat.epoch != registration.epoch or beat.has_ended:
            return None
        return registration if now < registration.expire_time + TOLERANCE else None

    @property
    def is_torn(self) -> bool:
        """A lease began or ended between the reading of the one and of the other; or whoever did it was killed."""
        registration = self.registration
        if registration is None or registration.gone_time is not None or registration.ttl is None:
            return False
        return self.beat is None or beat_of(self.beat).epoch != registration.epoch


async def look(documents: DocumentStore, name: RegistrationName) -> Standing:
    """Return what the store has under a name.

    The registration is read first: the beat of a lease is there before the lease is.
    """
    found = await _read(documents, name)
    for _ in range(LOOKS):
        if not found.is_torn:
            break
        found = await _read(documents, name)
    return found


async def look_at_many(documents: DocumentStore, names: Sequence[RegistrationName]) -> list[Standing]:
    """Return what the store has under each of some names."""
    found = await documents.fetch_many(REGISTRATIONS, [str(name) for name in names])
    standings = await with_beats(documents, found)
    return [standings.get(str(name)) or Standing(name) for name in names]


async def with_beats(documents: DocumentStore, found: Mapping[str, Document]) -> dict[str, Standing]:
    """Return registrations that were just read together with their beats."""
    beats = await documents.fetch_many(BEATS, [key for key, one in found.items() if one.body["ttl"] is not None])
    standings = {key: Standing(parse_registration(key), one, beats.get(key)) for key, one in found.items()}
    for key, standing in standings.items():
        if standing.is_torn:
            standings[key] = await look(documents, standing.name)
    return standings


async def _read(documents: DocumentStore, name: RegistrationName) -> Standing:
    document = await documents.fetch(REGISTRATIONS, str(name))
    return Standing(name, document, await documents.fetch(BEATS, str(name)))
