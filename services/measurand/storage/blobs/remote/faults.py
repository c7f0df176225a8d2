"""What a call of another process ended with, as the error that was raised there."""

from __future__ import annotations

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from measurand.wire.errors import (
    AlreadyExists,
    ChecksumMismatch,
    DataLoss,
    MeasurandError,
    NameInvalid,
    NotFound,
    OffsetGap,
    OutOfRange,
    StoreFull,
    Unavailable,
    from_wire,
)

__all__ = ["RETRY_SECONDS", "Unanswered", "error_of", "port_error", "silent"]

DETAILS_KEY = "grpc-status-details-bin"
DOMAIN = "measurand"
RETRY_SECONDS = 1.0

_OF_THE_PORT = (NotFound, AlreadyExists, OutOfRange, DataLoss, NameInvalid, StoreFull, Unavailable)
_OF_THE_WAY = (ChecksumMismatch, OffsetGap)
"""Of messages, not of blobs."""


class Unanswered(Unavailable):
    """There is no process, or the connection broke: at once, so that it may be tried again."""


def error_of(failure: grpc.aio.AioRpcError, target: str) -> MeasurandError:
    """Return the error that a process raised, or an Unavailable of our own where it has said nothing."""
    for key, value in failure.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            error = _from_details(int(failure.code().value[0]), value)
            if error is not None:
                return error
    if failure.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return silent(target)
    text = failure.details() or failure.code().name
    return Unanswered(f"{target}: nobody answers there ({text})", retry_seconds=RETRY_SECONDS, store=target)


def silent(target: str) -> Unavailable:
    """Return the error of a process that says nothing. Whoever has waited once does not wait again."""
    return Unavailable(f"{target}: it does not answer in time", retry_seconds=RETRY_SECONDS, store=target)


def port_error(error: MeasurandError, target: str) -> MeasurandError:
    """Return an error as a blob store may raise it: what says that the other process is of no use is Unavailable."""
    if isinstance(error, _OF_THE_PORT) and not isinstance(error, _OF_THE_WAY):
        return error
    return Unavailable(f"{target}: {error.message}", retry_seconds=RETRY_SECONDS, store=target)


def _from_details(code: int, details: bytes) -> MeasurandError | None:
    try:
        status = Status.FromString(details)
    except DecodeError:
        return None
    info, retry_seconds = ErrorInfo(), None
    for detail in status.details:
        if detail.Is(ErrorInfo.DESCRIPTOR):
            detail.Unpack(info)
        elif detail.Is(RetryInfo.DESCRIPTOR):
            retry = RetryInfo()
            detail.Unpack(retry)
            retry_seconds = retry.retry_delay.ToTimedelta().total_seconds()
    if info.domain != DOMAIN:
        return None
    return from_wire(code, info.reason, status.message, dict(info.metadata), retry_seconds)
