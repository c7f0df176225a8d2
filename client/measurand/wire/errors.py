"""Every error that the product can raise, once, for both ends.

A class names its gRPC status code and its reason in its class line and so registers itself. Core and storage raise
them, the server's edge turns them into a status with details, the client's transport turns that back into the same
class, and `tests/shape` holds them to the enum in `common.proto`.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "REASONS",
    "AlreadyExists",
    "Busy",
    "Cancelled",
    "ChecksumMismatch",
    "Conflict",
    "ContainersUnavailable",
    "Contention",
    "DataLoss",
    "DigestMismatch",
    "DocumentInvalid",
    "FailedPrecondition",
    "FeatureDisabled",
    "FilterInvalid",
    "Frozen",
    "GenerationMismatch",
    "HistoryTrimmed",
    "Internal",
    "InvalidArgument",
    "LeaseHeld",
    "LeaseLost",
    "MeasurandError",
    "NameInvalid",
    "NotFound",
    "NotFrozen",
    "OffsetGap",
    "OutOfRange",
    "PageTokenInvalid",
    "PermissionDenied",
    "RequestIdReused",
    "ResourceDeleted",
    "ResourceInUse",
    "Sealed",
    "SelectionInvalid",
    "ShuttingDown",
    "SizeMismatch",
    "StoreFull",
    "Timeout",
    "TooLarge",
    "Unavailable",
    "UploadIncomplete",
    "WriterFenced",
    "WriterSequenceGap",
    "from_wire",
]

REASONS: dict[str, type[MeasurandError]] = {}
"""The class of each reason word."""


class MeasurandError(Exception):
    """What every error of the product is.

    Parameters
    ----------
    message : str
        What is wrong with which resource, then what to do about it.
    retry_seconds : float, optional
        When it is worth trying again. None: trying again will not help.
    **details : object
        Facts that a program can use, by the keys that `ErrorReason` in `common.proto` lists; kept as text.
    """

    reason: ClassVar[str] = "INTERNAL"
    code: ClassVar[int] = 13

    def __init_subclass__(cls, *, reason: str = "", code: int | None = None) -> None:
        super().__init_subclass__()
        if code is not None:
            cls.code = code
        if reason:
            cls.reason = reason
            REASONS[reason] = cls

    def __init__(self, message: str, *, retry_seconds: float | None = None, **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.retry_seconds = retry_seconds
        self.details: dict[str, str] = {key: str(value) for key, value in details.items()}


class InvalidArgument(MeasurandError, code=3, reason="FIELD_INVALID"):
    """A value is never right. Details: `field`."""


class NameInvalid(InvalidArgument, reason="NAME_INVALID"):
    """A resource name or id is malformed. Details: `field`, `name`."""


class FilterInvalid(InvalidArgument, reason="FILTER_INVALID"):
    """A filter or an order does not parse. Details: `position`, `expected`."""


class PageTokenInvalid(InvalidArgument, reason="PAGE_TOKEN_INVALID"):
    """A page token is malformed or from another request."""


class DocumentInvalid(InvalidArgument, reason="DOCUMENT_INVALID"):
    """A document is no object, too deep, or holds an unknown wrapper. Details: `path`."""


class DigestMismatch(InvalidArgument, reason="DIGEST_MISMATCH"):
    """The bytes as a whole have another digest than was promised. Details: `algorithm`, `expected`, `actual`."""


class SizeMismatch(DigestMismatch, reason="SIZE_MISMATCH"):
    """The bytes as a whole have another size than was promised. Details: `expected`, `actual`."""


class SelectionInvalid(InvalidArgument, reason="SELECTION_INVALID"):
    """A selection or chunk index does not fit the array. Details: `axis`."""


class TooLarge(InvalidArgument, reason="TOO_LARGE"):
    """More bytes or items than one call may carry. Details: `limit`, `actual`."""


class RequestIdReused(InvalidArgument, reason="REQUEST_ID_REUSED"):
    """A request id was used before for another request."""


class NotFound(MeasurandError, code=5, reason="RESOURCE_NOT_FOUND"):
    """No such resource. Details: `resource`."""


class ResourceDeleted(NotFound, reason="RESOURCE_DELETED"):
    """The resource is deleted and can still be undeleted. Details: `resource`, `purge_time`."""


class LeaseLost(NotFound, reason="LEASE_LOST"):
    """The lease ran out, was released or was taken over. Details: `resource`."""


class AlreadyExists(MeasurandError, code=6, reason="RESOURCE_EXISTS"):
    """The id is taken. Details: `resource`."""


class LeaseHeld(AlreadyExists, reason="LEASE_HELD"):
    """Another lease on the name is alive. Details: `resource`, `owner`, `epoch`, `expire_time`."""


class Conflict(MeasurandError, code=10, reason="ETAG_MISMATCH"):
    """The resource changed since its etag was read. Details: `resource`, `etag`."""


class GenerationMismatch(Conflict, reason="GENERATION_MISMATCH"):
    """The file is not at the wanted generation. Details: `resource`, `generation`."""


class WriterFenced(Conflict, reason="WRITER_FENCED"):
    """A newer writer has taken over. Details: `resource`, `epoch`; of an appender `rows`, those that it left behind."""


class Contention(Conflict, reason="CONTENTION"):
    """Too many changes at once. Always with `retry_seconds`."""


class FailedPrecondition(MeasurandError, code=9, reason="STATE_WRONG"):
    """The resource is in the wrong state for the call. Details: `resource`, `state`."""


class Frozen(FailedPrecondition, reason="BUFFER_FROZEN"):
    """The buffer is frozen. Always with `retry_seconds`. Details: `resource`, `window`, `owner`."""


class NotFrozen(FailedPrecondition, reason="BUFFER_NOT_FROZEN"):
    """The call needs a frozen buffer. Details: `resource`."""


class Sealed(FailedPrecondition, reason="DATASET_SEALED"):
    """The dataset is sealed and takes no more changes of this sort. Details: `resource`."""


class ResourceInUse(FailedPrecondition, reason="RESOURCE_IN_USE"):
    """The resource still holds others. Details: `resource`."""


class UploadIncomplete(FailedPrecondition, reason="UPLOAD_INCOMPLETE"):
    """More bytes were promised than have been persisted. Details: `expected`, `persisted_size`."""


class OutOfRange(MeasurandError, code=11, reason="BEYOND_END"):
    """The read starts behind the end. Details: `size`."""


class OffsetGap(OutOfRange, reason="OFFSET_GAP"):
    """A chunk starts behind the bytes received so far. Details: `expected_offset`, `offset`."""


class HistoryTrimmed(OutOfRange, reason="HISTORY_TRIMMED"):
    """A resume token is older than the kept history."""


class WriterSequenceGap(OutOfRange, reason="WRITER_SEQUENCE_GAP"):
    """A writer skipped a number. Details: `expected_writer_sequence`."""


class DataLoss(MeasurandError, code=15, reason="STORED_DATA_CORRUPT"):
    """Stored bytes are damaged or gone, and no good copy was left. Details: `resource`."""


class ChecksumMismatch(DataLoss, reason="CHECKSUM_MISMATCH"):
    """Bytes arrived damaged: send them again. Details: `offset` or `index`, `expected`, `actual`."""


class PermissionDenied(MeasurandError, code=7, reason="PERMISSION_DENIED"):
    """The caller may see the resource and may not do this. Details: `resource`, `permission`."""


class Busy(MeasurandError, code=8, reason="SERVER_BUSY"):
    """Too much work at once. Always with `retry_seconds`."""


class StoreFull(MeasurandError, code=8, reason="STORE_FULL"):
    """The store has no room for the bytes. Details: `needed_bytes` where known."""


class Unavailable(MeasurandError, code=14, reason="STORE_UNAVAILABLE"):
    """A store behind the server does not answer. Details: `store`."""


class ContainersUnavailable(Unavailable, reason="CONTAINERS_UNAVAILABLE"):
    """Fewer containers are up than the policy needs. Details: `needed`, `available`, or the `container` at fault."""


class ShuttingDown(Unavailable, reason="SHUTTING_DOWN"):
    """The server is going away; another will answer."""


class FeatureDisabled(MeasurandError, code=12, reason="FEATURE_DISABLED"):
    """The feature is switched off or not built in. Details: `feature`."""


class Internal(MeasurandError, code=13, reason="INTERNAL"):
    """A fault of the server. Details: `incident`, the id under which its log has more."""


class Timeout(MeasurandError, code=4, reason="DEADLINE_EXCEEDED"):
    """The deadline passed first. Made by the transport, not by the server."""


class Cancelled(MeasurandError, code=1, reason="CANCELLED"):
    """The call was cancelled. Made by the transport, not by the server."""


def from_wire(
    code: int, reason: str, message: str, details: dict[str, str], retry_seconds: float | None
) -> MeasurandError:
    """Return the error that a status and its details tell of.

    A reason that this release does not know becomes the class of its code, and keeps its word in `reason`.
    """
    kind = REASONS.get(reason) or next((known for known in REASONS.values() if known.code == code), Internal)
    error = kind(message, retry_seconds=retry_seconds, **details)
    if reason and kind.reason != reason:
        error.reason = reason  # type: ignore[misc]  # an instance may name a reason that is newer than its class
    return error
