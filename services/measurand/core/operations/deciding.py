"""What becomes of an operation when something happens to it: from one value to the next, without any store.

QUEUED → RUNNING → SUCCEEDED or FAILED; asked to stop, RUNNING → CANCELLING → CANCELLED. A runner that is lost leaves it
QUEUED again, or CANCELLING and held by nobody: another runner then takes it up, if only to undo what is half done.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from measurand.core.operations.documents import Operation, OperationState, Problem, Progress, TargetProblem
from measurand.core.ports import Json
from measurand.wire.errors import Internal

__all__ = [
    "KEPT",
    "MOST_LOST",
    "begun",
    "cancelled",
    "failed",
    "given_back",
    "lost",
    "noted",
    "stopped",
    "succeeded",
    "told",
]

KEPT = timedelta(days=30)
"""How long an operation is remembered after its end."""
MOST_LOST = 5
"""When a runner was lost so often between two safe points, it is the operation that ends its servers."""


def begun(operation: Operation, runner: str, now: datetime) -> Operation:
    """Return a free operation as a runner takes it up."""
    assert operation.is_free
    is_asked_to_stop = operation.state is OperationState.CANCELLING
    return replace(
        operation,
        state=OperationState.CANCELLING if is_asked_to_stop else OperationState.RUNNING,
        runner=runner,
        epoch=operation.epoch + 1,
        attempt=operation.attempt + 1,
        start_time=operation.start_time or now,
        update_time=_later(operation, now),
    )


def told(
    operation: Operation, progress: Progress, target_problems: tuple[TargetProblem, ...], now: datetime
) -> Operation:
    """Return an operation with what its runner says of it; as it was if that is nothing new."""
    if (progress, target_problems) == (operation.progress, operation.target_problems):
        return operation
    return replace(operation, progress=progress, target_problems=target_problems, update_time=_later(operation, now))


def noted(operation: Operation, checkpoint: Json) -> Operation:
    """Return an operation that has come to a safe point."""
    return replace(operation, checkpoint=checkpoint, lost=0)


def given_back(operation: Operation, now: datetime) -> Operation:
    """Return an operation whose runner has stopped working on it; it goes on from its last safe point."""
    is_asked_to_stop = operation.state is OperationState.CANCELLING
    return replace(
        operation,
        state=OperationState.CANCELLING if is_asked_to_stop else OperationState.QUEUED,
        runner="",
        update_time=_later(operation, now),
    )


def lost(operation: Operation, now: datetime) -> Operation:
    """Return an operation whose runner is gone, without a word."""
    times = operation.lost + 1
    if times < MOST_LOST:
        return replace(given_back(operation, now), lost=times)
    error = Internal(
        f"{operation.name}: its server was lost {times} times at the same point; look into the servers' logs, "
        "and begin it anew"
    )
    return replace(failed(operation, Problem.of(error), now), lost=times)


def cancelled(operation: Operation, now: datetime) -> Operation:
    """Return an operation that is asked to stop; as it was if it has ended or is being cancelled."""
    if operation.state.is_final or operation.state is OperationState.CANCELLING:
        return operation
    if not operation.attempt:  # nothing has been done that could be half done
        return stopped(operation, now)
    return replace(operation, state=OperationState.CANCELLING, update_time=_later(operation, now))


def succeeded(operation: Operation, response: Mapping[str, Json], now: datetime) -> Operation:
    """Return an operation that ended well."""
    return replace(_ended(operation, OperationState.SUCCEEDED, now), response=response)


def failed(operation: Operation, problem: Problem, now: datetime) -> Operation:
    """Return an operation that ended badly."""
    return replace(_ended(operation, OperationState.FAILED, now), problem=problem)


def stopped(operation: Operation, now: datetime) -> Operation:
    """Return an operation that stopped because it was asked to."""
    return _ended(operation, OperationState.CANCELLED, now)


def _ended(operation: Operation, state: OperationState, now: datetime) -> Operation:
    end = _later(operation, now)
    return replace(
        operation,
        state=state,
        runner="",
        checkpoint=None,
        start_time=operation.start_time,
        update_time=end,
        end_time=end,
        expire_time=end + KEPT,
    )


def _later(operation: Operation, now: datetime) -> datetime:
    return max(now, operation.update_time)
