"""Calls that carry many things at once: cut into batches, and what failed in one of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from measurand.v1 import common_pb2
from measurand.wire.errors import FailedPrecondition, MeasurandError, from_wire

__all__ = ["batches", "error_of", "said_of"]

M = TypeVar("M", bound=Any)


def batches(messages: Iterable[M], *, most_items: int, most_bytes: int) -> Iterator[list[M]]:
    """Yield the messages in lists of so many items and bytes at most; a larger message comes alone."""
    batch: list[M] = []
    size = 0
    for message in messages:
        own = message.ByteSize()
        if batch and (len(batch) == most_items or size + own > most_bytes):
            yield batch
            batch, size = [], 0
        batch.append(message)
        size += own
    if batch:
        yield batch


def error_of(problem: common_pb2.Problem) -> MeasurandError:
    """Return the error that a part of an answer tells of."""
    delay = problem.retry_delay
    seconds = delay.seconds + delay.nanos / 1e9 if problem.HasField("retry_delay") else None
    return from_wire(problem.code, problem.reason, problem.message, dict(problem.details), seconds)


def said_of(path: str, error: MeasurandError | OSError) -> MeasurandError:
    """Return the error of one file among many; what the system said becomes one of ours."""
    if isinstance(error, MeasurandError):
        return error
    return FailedPrecondition(f"{path} cannot be read: {error}", resource=path, state="unreadable")
