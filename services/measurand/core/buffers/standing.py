"""Who stands under a buffer's name, and what is said where nobody does or no records are taken.

A removed buffer leaves a small document in its place for a day. So the revisions under a name never begin anew while
somebody may still hold the head of an earlier buffer, and a conditional write with such a head cannot succeed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from measurand.core.buffers.documents import BUFFERS, head_document, head_of
from measurand.core.buffers.heads import Head, State
from measurand.core.names import BufferName
from measurand.core.ports import Document, DocumentStore, Json
from measurand.core.searchable import entries
from measurand.core.times import microseconds
from measurand.wire.errors import FailedPrecondition, Frozen, MeasurandError, NotFound

__all__ = [
    "GONE",
    "Standing",
    "find_standing",
    "gone_document",
    "is_gone",
    "missing",
    "refusal",
    "removed",
    "stored",
]

GONE = "gone"
"""The path in the view of what removed buffers leave behind: when they were removed. Heads have none."""

RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Standing:
    """A head, and the revision of its document."""

    head: Head
    revision: int


async def find_standing(documents: DocumentStore, name: BufferName, uid: str = "") -> Standing | None:
    """Return the head of the buffer with this name, and with this uid where one is given; None if there is none."""
    document = await documents.fetch(BUFFERS, str(name))
    if document is None or is_gone(document) or (uid and document.body["uid"] != uid):
        return None
    return Standing(head_of(document), document.revision)


async def stored(documents: DocumentStore, standing: Standing, head: Head) -> Standing | None:
    """Put a changed head in the place of the one that was found, and return where it stands. None: that has changed."""
    document = await documents.replace(BUFFERS, head_document(head), expected_revision=standing.revision)
    return None if document is None else Standing(head, document.revision)


def gone_document(head: Head, now: datetime) -> Document:
    """Return what takes the place of the head of a removed buffer."""
    body: dict[str, Json] = {"gone": microseconds(now), "uid": head.uid}
    return Document(str(head.name), str(head.name.parent), body, view=entries(gone=now, uid=head.uid))


def is_gone(document: Document) -> bool:
    """Tell whether a document of `BUFFERS` is only what a removed buffer has left behind."""
    return "gone" in document.body


def missing(name: BufferName) -> NotFound:
    """Return the error for a buffer that is not there."""
    return NotFound(
        f"{name}: there is no such buffer; list the buffers of {name.parent}, or look for a slip in the name",
        resource=name,
    )


def removed(name: BufferName) -> NotFound:
    """Return the error for a buffer that went while something was done with it."""
    return NotFound(f"{name} was removed; make a new buffer", resource=name)


def refusal(head: Head) -> MeasurandError | None:
    """Return why a buffer takes no records; None: it takes them."""
    if head.state is State.FROZEN:
        owner = head.freeze.owner if head.freeze is not None else "system"
        return Frozen(
            f"{head.name}: window {head.window} is frozen by {owner}; wait until it is unfrozen, or append with "
            "wait_while_frozen",
            retry_seconds=RETRY_SECONDS,
            resource=head.name,
            window=head.window,
            owner=owner,
        )
    if head.state is State.FINISHED:
        goes_on = f"; the stream goes on in {head.next_buffer}" if head.next_buffer else "; make a new buffer"
        return FailedPrecondition(
            f"{head.name} is finished and takes no more records{goes_on}", resource=head.name, state="finished"
        )
    return None
