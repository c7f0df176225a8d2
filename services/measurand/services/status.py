"""Errors as they leave the server: a gRPC status with `google.rpc` details, and a `Problem` inside an answer.

The only place that knows how an error is written; `measurand.wire.errors.from_wire` is its inverse.
"""

from __future__ import annotations

from urllib.parse import quote

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from measurand.v1 import common_pb2
from measurand.wire.errors import InvalidArgument, MeasurandError, from_wire

__all__ = ["DETAILS_KEY", "code_of", "error_of", "problem_of", "status_of"]

DETAILS_KEY = "grpc-status-details-bin"
DOMAIN = "measurand"

# gRPC peers refuse trailers above 8 KiB. The message travels twice, once percent-encoded and once, like the details,
# in base 64; with these bounds the sum stays below.
MAX_MESSAGE_BYTES = 1800
MAX_DETAILS_BYTES = 1500

_CODES = {code.value[0]: code for code in grpc.StatusCode}


def code_of(error: MeasurandError) -> grpc.StatusCode:
    """Return the status code of an error."""
    return _CODES[error.code]


def status_of(error: MeasurandError) -> Status:
    """Return an error as a status with ErrorInfo, with RetryInfo when waiting helps and BadRequest for field faults.

    What a caller sent may stand in an error, so message and details are cut to what trailers can carry.
    """
    status = Status(code=error.code, message=_cut_message(error.message))
    _attach(status, ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=_cut_details(error.details)))
    if error.retry_seconds is not None:
        _attach(status, RetryInfo(retry_delay=_duration(error.retry_seconds)))
    if isinstance(error, InvalidArgument) and "field" in error.details:
        fault = BadRequest.FieldViolation(field=error.details["field"][:100], description=error.reason)
        _attach(status, BadRequest(field_violations=[fault]))
    return status


def problem_of(error: MeasurandError) -> common_pb2.Problem:
    """Return an error as it stands inside an answer of which only a part failed."""
    return common_pb2.Problem(
        code=error.code,
        reason=error.reason,
        message=_cut_message(error.message),
        details=_cut_details(error.details),
        retry_delay=None if error.retry_seconds is None else _duration(error.retry_seconds),
    )


def error_of(problem: common_pb2.Problem) -> MeasurandError:
    """Return the error that a problem tells of: the inverse of `problem_of`."""
    retry = problem.retry_delay.ToTimedelta().total_seconds() if problem.HasField("retry_delay") else None
    return from_wire(problem.code, problem.reason, problem.message, dict(problem.details), retry)


def _attach(status: Status, detail: ErrorInfo | RetryInfo | BadRequest) -> None:
    packed = Any()
    packed.Pack(detail)
    status.details.append(packed)


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromMilliseconds(round(seconds * 1000))
    return duration


def _cut_message(message: str) -> str:
    message = _valid(message)
    if len(message) * 3 <= MAX_MESSAGE_BYTES or len(quote(message, safe=_UNQUOTED)) <= MAX_MESSAGE_BYTES:
        return message
    size, kept = 3, 0
    for character in message:
        size += len(quote(character, safe=_UNQUOTED))
        if size > MAX_MESSAGE_BYTES - 6:
            break
        kept += 1
    return f"{message[:kept]}…"


def _cut_details(details: dict[str, str]) -> dict[str, str]:
    room, kept = MAX_DETAILS_BYTES, dict[str, str]()
    for key, value in sorted(details.items(), key=lambda item: len(item[1])):
        fitting = _valid(value).encode()[: max(room - len(key), 0)].decode(errors="ignore")
        kept[key] = fitting
        room -= len(key) + len(fitting.encode())
    return kept


def _valid(text: str) -> str:
    """A lone surrogate in what a caller sent must not make the error itself fail."""
    return text.encode(errors="backslashreplace").decode()


_UNQUOTED = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")
"""What gRPC leaves as it is in a status message."""
