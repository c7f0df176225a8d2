"""What every blob store says and refuses in the same way: keys, ranges, and the errors of the port."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from measurand.core.ports import Blob
from measurand.wire.errors import AlreadyExists, DataLoss, NameInvalid, NotFound, OutOfRange

__all__ = ["check_key", "check_range", "closing", "missing", "short", "taken"]

Item = TypeVar("Item")

_KEY = re.compile(r"[a-z0-9][a-z0-9_-]*(/[a-z0-9][a-z0-9_.-]*)*")
_LONGEST_KEY = 200


def check_key(key: str) -> None:
    """Raise NameInvalid unless `key` is one that the port allows."""
    if len(key) > _LONGEST_KEY or not _KEY.fullmatch(key):
        raise NameInvalid(f"{key[:_LONGEST_KEY]!r} is no key of a blob", field="key", name=key[:_LONGEST_KEY])


def check_range(blob: Blob, offset: int, length: int | None) -> int:
    """Return how many bytes the range has, or raise OutOfRange when it does not lie within the blob."""
    count = blob.size - offset if length is None else length
    if offset < 0 or count < 0 or offset + count > blob.size:
        raise OutOfRange(
            f"{blob.key} has {blob.size} bytes; {count} from {offset} do not lie within them", size=blob.size
        )
    return count


def missing(key: str) -> NotFound:
    """Return the error that says that there is no such blob."""
    return NotFound(f"{key}: there is no such blob", resource=key)


def taken(key: str) -> AlreadyExists:
    """Return the error that says that the key is in use."""
    return AlreadyExists(f"{key}: there is a blob with this key; keys are never used again", resource=key)


def short(key: str, wanted: int, there: int) -> DataLoss:
    """Return the error that says that bytes are gone from the end of a blob."""
    return DataLoss(
        f"{key}: {wanted} bytes were stored and {there} are there; restore it from a copy", resource=key, size=there
    )


@asynccontextmanager
async def closing(chunks: AsyncIterator[Item]) -> AsyncIterator[AsyncIterator[Item]]:
    """Let go of what is behind `chunks` at the end of the block, even when not all of them were taken."""
    try:
        yield chunks
    finally:
        close = getattr(chunks, "aclose", None)
        if close is not None:
            await close()
