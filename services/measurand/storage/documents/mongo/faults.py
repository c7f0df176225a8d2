"""MongoDB's errors, turned into ours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    DocumentTooLarge,
    ExecutionTimeout,
    InvalidOperation,
    NetworkTimeout,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WriteConcernError,
)

from measurand.wire.errors import Busy, Internal, MeasurandError, PermissionDenied, StoreFull, TooLarge, Unavailable

__all__ = ["brief", "translate", "translating"]

_SOON = 0.5
_LATER = 2.0

_NOT_ALLOWED = {11, 13, 18, 8000}
"""UserNotFound, Unauthorized, AuthenticationFailed, and what Atlas says for it."""
_NO_ROOM = {14031, 12501}
"""OutOfDiskSpace, and a quota that is used up."""
_TOO_LARGE = {10334, 17419, 17420}
_TOO_LONG = {50, 262}
"""MaxTimeMSExpired, ExceededTimeLimit."""
_PASSING = {6, 7, 24, 43, 89, 91, 112, 134, 175, 189, 237, 246, 9001, 10107, 11600, 11602, 13388, 13435, 13436}
"""A member is away, ends, or is no longer primary, and took its cursors along; or a lock was not to be had."""


@contextmanager
def translating(name: str) -> Iterator[None]:
    """Turn what the driver raises in the block into our errors; `name` is that of the store."""
    try:
        yield
    except PyMongoError as error:
        raise translate(error, name) from error


def translate(error: PyMongoError, name: str) -> MeasurandError:
    """Return what to raise for an error of the store `name`."""
    match error:
        case ServerSelectionTimeoutError():
            return Unavailable(
                f"{name}: no primary answers ({brief(error)}); see that MongoDB runs, is reached from here, and has a "
                "majority of its members",
                retry_seconds=_LATER,
                store=name,
            )
        case ExecutionTimeout():
            return _too_long(name)
        case NetworkTimeout():
            return Unavailable(f"{name}: MongoDB gave no answer in time; try again", retry_seconds=_LATER, store=name)
        case AutoReconnect():
            return Unavailable(
                f"{name}: the connection to MongoDB was lost ({brief(error)}); try again",
                retry_seconds=_SOON,
                store=name,
            )
        case WriteConcernError():
            return Unavailable(
                f"{name}: no majority of the members of MongoDB has confirmed the write in time ({brief(error)}); it "
                "may be stored or not: look, then try again",
                retry_seconds=_LATER,
                store=name,
            )
        case BulkWriteError():
            return _of_bulk(error, name)
        case OperationFailure():
            return _of_code(error.code or 0, brief(error), name)
        case DocumentTooLarge():
            return TooLarge(f"{name}: {brief(error)}")
        case InvalidOperation():
            return Unavailable(f"{name}: the store is closed", store=name)
    if error.timeout:
        return Unavailable(f"{name}: MongoDB gave no answer in time; try again", retry_seconds=_LATER, store=name)
    return Internal(f"{name}: {brief(error)}")


def _of_code(code: int, text: str, name: str) -> MeasurandError:
    if code in _NOT_ALLOWED:
        return PermissionDenied(
            f"{name}: MongoDB does not let this user in, or not do that ({text}); see user, password and authSource in "
            "the URL, and that the user has the role readWrite on the database",
            store=name,
        )
    if code in _NO_ROOM:
        return StoreFull(f"{name}: MongoDB has no room for more documents; free some space there, then try again")
    if code in _TOO_LARGE:
        return TooLarge(f"{name}: {text}")
    if code in _TOO_LONG:
        return _too_long(name)
    if code in _PASSING:
        return Unavailable(f"{name}: {text}; try again", retry_seconds=_SOON, store=name)
    return Internal(f"{name}: {text}")


def _of_bulk(error: BulkWriteError, name: str) -> MeasurandError:
    details = error.details or {}
    for fault in details.get("writeErrors", ()):
        found = _of_code(fault.get("code", 0), fault.get("errmsg", ""), name)
        if not isinstance(found, Internal):
            return found
    if details.get("writeConcernErrors"):
        return translate(WriteConcernError(str(details["writeConcernErrors"][0].get("errmsg", ""))), name)
    return Internal(f"{name}: {brief(error)}")


def _too_long(name: str) -> Busy:
    return Busy(
        f"{name}: MongoDB did not get through with this in time; ask for less at once, such as by a narrower filter, "
        "or try again when it has less to do",
        retry_seconds=_LATER,
        store=name,
    )


def brief(error: Exception) -> str:
    """Return what an error says, without the topology, the reply or the command that follow, which may hold data."""
    return _REST.split(str(error), maxsplit=1)[0]


_REST = re.compile(r", full error:|, Timeout:| \(configured timeouts:| to execute command|, batch op errors")
