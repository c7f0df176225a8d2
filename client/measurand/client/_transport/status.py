"""gRPC statuses turned into the errors that the server raised: the one place where that happens."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from measurand.client.retries import SILENCE
from measurand.wire.errors import MeasurandError, Timeout, TooLarge, from_wire

__all__ = ["error_of", "silent"]

DETAILS_KEY = "grpc-status-details-bin"
DOMAIN = "measurand"


def error_of(
    code: grpc.StatusCode | None, message: str | None, trailing: Iterable[tuple[str, Any]] | None, *, address: str
) -> MeasurandError:
    """Return the error that a finished call tells of.

    Parameters
    ----------
    code, message, trailing
        The status of the call, its text, and its trailing metadata.
    address : str
        Where the call went, for the message.

    Returns
    -------
    MeasurandError
        The class that the server raised. What no measurand server said carries `transport` in its details, with the
        name of the gRPC code, which then is its reason as well.
    """
    code = code or grpc.StatusCode.UNKNOWN
    number = int(code.value[0])
    text = message or code.name
    for key, value in trailing or ():
        if key == DETAILS_KEY and (error := _from_details(number, text, value)) is not None:
            return error
    details = {"transport": code.name, "address": address}
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in text:
        return TooLarge(f"{address}: {text}; send or ask for less in one call", transport=code.name, address=address)
    return from_wire(number, code.name, _said_plainly(code, text, address), details, None)


def silent(address: str) -> MeasurandError:
    """Return the error of a stream on which nothing has come for too long."""
    return Timeout(
        f"{address} has sent nothing for {SILENCE:.0f} s; the connection is taken for lost",
        transport="DEADLINE_EXCEEDED",
        address=address,
    )


def _from_details(number: int, text: str, value: bytes | str) -> MeasurandError | None:
    """Return the error in `google.rpc.Status`, or None where it has no ErrorInfo of ours."""
    reason, retry_seconds = "", None
    facts: dict[str, str] = {}
    try:
        status = Status.FromString(value if isinstance(value, bytes) else value.encode("latin-1"))
        for detail in status.details:
            if detail.Is(ErrorInfo.DESCRIPTOR):
                info = ErrorInfo.FromString(detail.value)
                if info.domain == DOMAIN:
                    reason, facts = info.reason, {**facts, **info.metadata}
            elif detail.Is(RetryInfo.DESCRIPTOR):
                delay = RetryInfo.FromString(detail.value).retry_delay
                retry_seconds = delay.seconds + delay.nanos / 1e9
            elif detail.Is(BadRequest.DESCRIPTOR):
                for violation in BadRequest.FromString(detail.value).field_violations[:1]:
                    facts = {"field": violation.field, **facts}
    except DecodeError:
        return None
    if not reason:
        return None
    return from_wire(number, reason, status.message or text, facts, retry_seconds)


def _said_plainly(code: grpc.StatusCode, text: str, address: str) -> str:
    """Return a sentence that says what to do."""
    if code is grpc.StatusCode.UNAVAILABLE:
        return (
            f"no server answers at {address} ({text}); start one with `measurand serve`, "
            "or name another in Client(url) or MEASURAND_URL"
        )
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"{address} did not answer in time; try again, or give the client more time with Client(timeout=…)"
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return f"{address} does not know this call ({text}); is it a measurand server, and of the client's release?"
    return f"{address}: {text}"
