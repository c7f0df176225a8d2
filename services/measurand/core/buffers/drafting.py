"""What callers say of buffers, checked; and the marks of requests that a head keeps. Functions without I/O."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from measurand.core.buffers.heads import Head, Policy
from measurand.core.dataset_edits import Source
from measurand.core.fields import check_text
from measurand.core.requests import check_request_id, fingerprint
from measurand.wire.errors import Conflict, InvalidArgument, RequestIdReused, TooLarge

__all__ = [
    "EDITABLE",
    "MAX_DESCRIPTION",
    "BufferDraft",
    "bounded",
    "check_etag",
    "checked_policy",
    "mark",
    "marked",
    "repeated",
    "with_last",
]

EDITABLE = ("description", "metadata", "policy")
"""The fields that an update may replace."""

MAX_DESCRIPTION = 10_000
MAX_TITLE = 1000
MAX_METADATA_BYTES = 64 * 1024
_INT64 = 1 << 63


@dataclass(frozen=True, slots=True)
class BufferDraft:
    """What a caller says of a buffer.

    Parameters
    ----------
    buffer_id : str
        The id of a new one.
    metadata : str or mapping, optional
        Extended JSON, or a decoded document, of at most 64 KiB. None: the empty object.
    """

    buffer_id: str = ""
    description: str = ""
    metadata: Source | None = None
    policy: Policy = field(default_factory=Policy)


def bounded(metadata: str) -> str:
    """Return metadata of a buffer as text, or raise TooLarge."""
    size = len(metadata.encode())
    if size > MAX_METADATA_BYTES:
        raise TooLarge(
            f"buffer.metadata: {size} bytes as text; the most is {MAX_METADATA_BYTES}; put what is large into a file",
            limit=MAX_METADATA_BYTES,
            actual=size,
            field="buffer.metadata",
        )
    return metadata


def checked_policy(policy: Policy) -> Policy:
    """Return a policy, or raise InvalidArgument naming the field."""
    numbers = {
        "freeze_after_records": policy.freeze_after_records,
        "freeze_after_bytes": policy.freeze_after_bytes,
        "keep_batches_bytes": policy.keep_batches_bytes,
        "keep_batches": policy.keep_batches,
    }
    spans = {
        "freeze_after_age": policy.freeze_after_age,
        "keep_sealed": policy.keep_sealed,
        "keep_batches_for": policy.keep_batches_for,
    }
    for key, number in numbers.items():
        if not 0 <= number < _INT64:
            raise InvalidArgument(f"buffer.policy.{key}: {number}; use 0 for no limit", field=f"buffer.policy.{key}")
    for key, span in spans.items():
        if span is not None and span <= timedelta():
            raise InvalidArgument(
                f"buffer.policy.{key}: {span.total_seconds():g} seconds; leave it out for no limit",
                field=f"buffer.policy.{key}",
            )
    check_text(policy.batch_title, field="buffer.policy.batch_title", most=MAX_TITLE)
    return policy


def check_etag(head: Head, etag: str) -> None:
    """Raise Conflict unless the buffer is at the etag, where one is given."""
    if etag and etag != head.etag:
        raise Conflict(
            f"{head.name} has changed since it was read; read it again and decide anew",
            resource=head.name,
            etag=head.etag,
        )


# A head keeps two marks, a line each: of the request that made the buffer, and of the newest that changed it.


def mark(request_id: str, number: int, *asked: object) -> str:
    """Return what is kept of a request; `number` is what it came to, where that is not to be seen otherwise."""
    if not request_id:
        return ""
    check_request_id(request_id)
    return f"{fingerprint(*asked)} {number} {request_id}"


def with_last(marks: str, last: str) -> str:
    """Return the marks of a head whose newest change has this one."""
    return f"{marks.partition(chr(10))[0]}\n{last}"


def marked(head: Head, now: datetime, request_id: str, *asked: object) -> Head:
    """Return a changed head with its next version, and the mark of who changed it."""
    request = with_last(head.request, mark(request_id, 0, *asked))
    return replace(head, version=head.version + 1, update_time=now, request=request)


def repeated(kept_mark: str, request_id: str, *asked: object) -> int | None:
    """Return the number of a mark if it is of this very request, else None. Raises RequestIdReused."""
    if not request_id or not kept_mark:
        return None
    kept, number, kept_id = kept_mark.split(" ", 2)
    if kept_id != request_id:
        return None
    if kept != fingerprint(*asked):
        raise RequestIdReused(
            f"request_id: {request_id!r} was used before for another request; make a new one for each change",
            field="request_id",
        )
    return int(number)
