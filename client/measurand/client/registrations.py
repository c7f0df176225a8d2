"""What is registered, as a client sees it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from measurand.client import values
from measurand.client.buffer_settings import Span, duration, span_of
from measurand.client.results import time_of
from measurand.v1 import registry_pb2
from measurand.wire.errors import InvalidArgument, NameInvalid

__all__ = ["Registration", "RegistrationChange", "draft_message", "registration_name"]


@dataclass(frozen=True, slots=True)
class Registration:
    """Who serves what, where, and until when.

    Parameters
    ----------
    kind, name : str
        Together they name it.
    endpoint : str
        Where it is served; empty where nothing is.
    other_endpoints : tuple of str
        Other ways to the same.
    metadata, labels : dict
        What it tells of itself.
    ttl : float, optional
        How long it lives after each renewal, in seconds. None: until it is released.
    expires : datetime, optional
        When it ends unless renewed, by the server's clock.
    epoch : int
        Goes up with every new lease on the name: a fencing token.
    etag : str
        Changes with everything but renewals.
    owner : str
        Who holds it.
    created, renewed : datetime
        When the lease began, and when it was last renewed. None where only the name is known.
    time_left : float, optional
        How long its end was away when the server answered, in seconds. Of no account when two are compared.
    """

    kind: str
    name: str
    endpoint: str
    other_endpoints: tuple[str, ...]
    metadata: dict[str, Any]
    labels: dict[str, str]
    ttl: float | None
    expires: datetime | None
    epoch: int
    etag: str
    owner: str
    created: datetime | None
    renewed: datetime | None
    time_left: float | None = field(default=None, compare=False)

    @classmethod
    def of(cls, message: registry_pb2.Registration) -> Registration:
        """Return what a message says."""
        _, kind, _, name = message.name.split("/")
        return cls(
            kind=kind,
            name=name,
            endpoint=message.endpoint,
            other_endpoints=tuple(message.other_endpoints),
            metadata=values.from_text(message.metadata.json),
            labels=dict(message.labels),
            ttl=message.ttl.ToTimedelta().total_seconds() if message.HasField("ttl") else None,
            expires=time_of(message, "expire_time"),
            time_left=message.time_left.ToTimedelta().total_seconds() if message.HasField("time_left") else None,
            epoch=message.epoch,
            etag=message.etag,
            owner=message.owner,
            created=time_of(message, "create_time"),
            renewed=time_of(message, "renew_time"),
        )

    @property
    def endpoints(self) -> tuple[str, ...]:
        """All ways to it, the best first."""
        return (self.endpoint, *self.other_endpoints) if self.endpoint else self.other_endpoints


@dataclass(frozen=True, slots=True)
class RegistrationChange:
    """A change of a registration.

    Parameters
    ----------
    kind : str
        `existing`, `created`, `updated` or `deleted` (which is released, taken over and expired).
    registration : Registration
        After the change; of one that went as it last was, or its name alone.
    resume_token : str
        `watch(resume=…)` goes on after this change.
    """

    kind: str
    registration: Registration
    resume_token: str


def registration_name(kind: str, name: str) -> str:
    """Return the resource name. The server judges its parts; only what would lead elsewhere stops here."""
    for part in (kind, name):
        if not part or "/" in part:
            raise NameInvalid(
                f"{kind!r}, {name!r}: give the kind and the name, as in 'gateway', 'site-a'", field="name"
            )
    return f"registry/{kind}/registrations/{name}"


def draft_message(
    kind: str,
    name: str,
    endpoint: str,
    *,
    ttl: Span | None,
    metadata: Mapping[str, Any] | None,
    labels: Mapping[str, str] | None,
    other_endpoints: Iterable[str],
) -> registry_pb2.Registration:
    """Return what is to be registered, as a message. Raises InvalidArgument."""
    try:
        message = registry_pb2.Registration(
            name=registration_name(kind, name), endpoint=endpoint, labels=labels, other_endpoints=other_endpoints
        )
    except TypeError as error:
        raise InvalidArgument(f"{kind}/{name}: {error}", field="registration") from None
    if metadata is not None:
        message.metadata.json = values.to_text(metadata)
    if ttl is not None:
        message.ttl.CopyFrom(duration(span_of(ttl, "ttl")))
    return message
