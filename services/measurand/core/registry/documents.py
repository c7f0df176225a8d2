"""Registrations as values, and as documents.

A registration is two documents. The first says what is registered and changes when that does, so watches follow it.
The second, its beat, says until when the lease lives and is all that a renewal writes. A lease of limited time lives
only with a beat of its epoch, and nobody begins, ends or renews one without replacing that beat: so of two who try at
once only one can.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from measurand.core.dataset_edits import Source
from measurand.core.filters.fields import Field
from measurand.core.ports import Document, Json
from measurand.core.registry.names import RegistrationName, parse_registration
from measurand.core.requests import Request
from measurand.core.searchable import entries, text
from measurand.core.times import from_microseconds, microseconds
from measurand.core.view import Entry, Scalar, View, join

__all__ = [
    "BEATS",
    "EXPIRES",
    "GONE",
    "REGISTRATIONS",
    "REGISTRATION_FIELDS",
    "TOLERANCE",
    "Beat",
    "Registration",
    "RegistrationDraft",
    "beat_document",
    "beat_of",
    "registration_document",
    "registration_of",
    "registration_view",
]

REGISTRATIONS = "registrations"
"""The collection: key the registration's name, scope `registry/{kind}`. What is gone stays for some days, marked."""

BEATS = "registration_beats"
"""The collection: key the registration's name, scope as above. Only of registrations with a time to live."""

TOLERANCE = timedelta(seconds=1)
"""A lease ends so much later than it says: the clocks of a fleet's servers may differ by it."""

GONE = "gone"
"""The path at which the view of what is gone has its time; nothing else of it can be found."""

EXPIRES = "expires"
"""The path at which the view of a beat has the end of its lease."""

REGISTRATION_FIELDS: Mapping[str, Field] = {
    "id": Field("text"),
    "kind": Field("text"),
    "endpoint": Field("text"),
    "labels": Field("map"),
    "owner": Field("text"),
    "metadata": Field("document"),
}
"""What a filter may ask of registrations."""

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class RegistrationDraft:
    """What a caller says of a registration.

    Parameters
    ----------
    metadata : Source, optional
        None: the empty document.
    ttl : timedelta, optional
        None: until it is released.
    """

    endpoint: str = ""
    other_endpoints: tuple[str, ...] = ()
    metadata: Source | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    ttl: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Registration:
    """A leased entry.

    Parameters
    ----------
    metadata : str
        As Extended JSON.
    epoch : int
        Of the lease.
    revision : int
        Counts what the lease has said.
    renew_time : datetime
        When the lease was last renewed.
    gone_time : datetime, optional
        When it ended; None: it is not marked as gone, though its time may be over.
    lease_digest : str
        What tells the secret of the lease.
    """

    name: RegistrationName
    endpoint: str
    other_endpoints: tuple[str, ...]
    metadata: str
    labels: Mapping[str, str]
    ttl: timedelta | None
    epoch: int
    revision: int
    owner: str
    create_time: datetime
    renew_time: datetime
    lease_digest: str = ""
    gone_time: datetime | None = None

    @property
    def etag(self) -> str:
        """Changes with everything but renewals."""
        return f"{self.epoch:x}-{self.revision:x}"

    @property
    def expire_time(self) -> datetime | None:
        """When it ends unless renewed."""
        return None if self.ttl is None else self.renew_time + self.ttl


@dataclass(frozen=True, slots=True)
class Beat:
    """Until when a lease lives.

    Parameters
    ----------
    has_ended : bool
        It is over, and the registration is just being marked as gone.
    """

    epoch: int
    renew_time: datetime
    expire_time: datetime
    has_ended: bool = False


def registration_of(document: Document) -> Registration:
    """Return the registration that a document is, as it was when the document was written."""
    body: Mapping[str, Any] = document.body
    return Registration(
        name=parse_registration(document.key),
        endpoint=body["endpoint"],
        other_endpoints=tuple(body["other_endpoints"]),
        metadata=document.text,
        labels=body["labels"],
        ttl=None if body["ttl"] is None else body["ttl"] * _MICROSECOND,
        epoch=body["epoch"],
        revision=body["revision"],
        owner=body["owner"],
        create_time=from_microseconds(body["created"]),
        renew_time=from_microseconds(body["renewed"]),
        lease_digest=body["lease_digest"],
        gone_time=None if body["gone"] is None else from_microseconds(body["gone"]),
    )


def registration_document(
    registration: Registration, metadata: View, *, begun: int, request: Request | Json = None
) -> Document:
    """Return the document of a registration.

    Parameters
    ----------
    metadata : View
        What its metadata can be found by.
    begun : int
        The store's revision of the document in which the lease began.
    request : Request or Json
        What the lease was asked for by, its id as a digest.
    """
    name, gone = registration.name, registration.gone_time
    body: dict[str, Json] = {
        "endpoint": registration.endpoint,
        "other_endpoints": list(registration.other_endpoints),
        "labels": dict(registration.labels),
        "ttl": None if registration.ttl is None else registration.ttl // _MICROSECOND,
        "epoch": registration.epoch,
        "revision": registration.revision,
        "stored": begun,
        "owner": registration.owner,
        "created": microseconds(registration.create_time),
        "renewed": microseconds(registration.renew_time),
        "lease_digest": registration.lease_digest,
        "gone": None if gone is None else microseconds(gone),
        "request": request.to_json() if isinstance(request, Request) else request,
    }
    return Document(str(name), name.scope, body, registration.metadata, registration_view(registration, metadata))


def registration_view(registration: Registration, metadata: View) -> View:
    """Return what a registration can be found by, its metadata's view handed in."""
    if registration.gone_time is not None:
        return [Entry(GONE, Scalar("t", microseconds(registration.gone_time)))]
    return [
        *entries(id=registration.name.id, kind=registration.name.kind, owner=registration.owner),
        *entries(endpoint=registration.endpoint or None),
        Entry("labels", None),
        *(Entry(join("labels", key), text(value)) for key, value in registration.labels.items()),
        *metadata,
    ]


def beat_of(document: Document) -> Beat:
    """Return the beat that a document is."""
    body: Mapping[str, Any] = document.body
    return Beat(
        body["epoch"], from_microseconds(body["renewed"]), from_microseconds(body["expires"]), body["has_ended"]
    )


def beat_document(name: RegistrationName, beat: Beat) -> Document:
    """Return the document of a beat."""
    expires = microseconds(beat.expire_time)
    body: dict[str, Json] = {
        "epoch": beat.epoch,
        "renewed": microseconds(beat.renew_time),
        "expires": expires,
        "has_ended": beat.has_ended,
    }
    return Document(str(name), name.scope, body, view=[Entry(EXPIRES, Scalar("t", expires))])
