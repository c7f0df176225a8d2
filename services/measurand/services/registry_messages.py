"""Registrations and their changes as messages, and back."""

from __future__ import annotations

from datetime import datetime, timedelta

from measurand.core.dataset_edits import Source
from measurand.core.registry.documents import Registration, RegistrationDraft
from measurand.core.registry.feed import ChangeKind, RegistrationChange
from measurand.services.messages import check_fits, span_of, time_message
from measurand.v1 import common_pb2, registry_pb2
from measurand.wire.structs import from_message, to_message

__all__ = ["Packing", "draft_of", "source_of"]

_KINDS: dict[ChangeKind, common_pb2.ChangeKind.ValueType] = {
    "existing": common_pb2.CHANGE_KIND_EXISTING,
    "created": common_pb2.CHANGE_KIND_CREATED,
    "updated": common_pb2.CHANGE_KIND_UPDATED,
    "deleted": common_pb2.CHANGE_KIND_DELETED,
    "heartbeat": common_pb2.CHANGE_KIND_HEARTBEAT,
}


def draft_of(message: registry_pb2.Registration) -> RegistrationDraft:
    """Return what a caller says of a registration."""
    return RegistrationDraft(
        endpoint=message.endpoint,
        other_endpoints=tuple(message.other_endpoints),
        metadata=source_of(message.metadata) if message.HasField("metadata") else None,
        labels=dict(message.labels),
        ttl=span_of(message, "ttl", "registration.ttl"),
    )


def source_of(message: common_pb2.Document) -> Source:
    """Return a document as core reads it."""
    return message.json if message.WhichOneof("form") == "json" else from_message(message)


class Packing:
    """How one request wants its answer.

    Parameters
    ----------
    most_bytes : int
        Largest message.
    """

    def __init__(self, form: common_pb2.DocumentForm.ValueType, *, most_bytes: int) -> None:
        self._form = form
        self._most_bytes = most_bytes

    def one(self, registration: Registration, now: datetime) -> registry_pb2.Registration:
        """Return a registration as it is told at a time. Its secret is no part of it."""
        message = registry_pb2.Registration(
            name=str(registration.name),
            endpoint=registration.endpoint,
            metadata=to_message(registration.metadata, self._form),
            labels=registration.labels,
            expire_time=time_message(registration.expire_time),
            epoch=registration.epoch,
            etag=registration.etag,
            owner=registration.owner,
            create_time=time_message(registration.create_time),
            renew_time=time_message(registration.renew_time),
            other_endpoints=registration.other_endpoints,
        )
        if registration.ttl is not None:
            message.ttl.FromTimedelta(registration.ttl)
        if registration.expire_time is not None:
            message.time_left.FromTimedelta(max(registration.expire_time - now, timedelta()))
        check_fits(message, self._most_bytes)
        return message

    def registration(self, registration: Registration, now: datetime) -> tuple[registry_pb2.Registration, int]:
        """Return a registration, and its share of a message in bytes."""
        message = self.one(registration, now)
        return message, message.ByteSize() + 8

    def change(self, change: RegistrationChange) -> tuple[registry_pb2.RegistrationChange, int]:
        """Return a change, and its share of a message in bytes."""
        registration = None
        if change.registration is not None:
            registration = self.one(change.registration, change.time)
        elif change.name is not None:
            registration = registry_pb2.Registration(name=str(change.name))
        message = registry_pb2.RegistrationChange(
            kind=_KINDS[change.kind], registration=registration, resume_token=change.token
        )
        return message, message.ByteSize() + 8
