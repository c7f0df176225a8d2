"""Operations as values, and as documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from measurand.core.filters.fields import Field
from measurand.core.ports import Document, Json
from measurand.core.searchable import entries, texts
from measurand.core.times import from_microseconds, microseconds
from measurand.core.view import View
from measurand.wire.errors import MeasurandError, from_wire

__all__ = [
    "MAX_TARGETS",
    "OPERATIONS",
    "OPERATION_FIELDS",
    "UNFINISHED",
    "Operation",
    "OperationState",
    "Problem",
    "Progress",
    "TargetProblem",
    "operation_document",
    "operation_of",
    "operation_view",
]

OPERATIONS = "operations"
"""The collection: key the operation's name, scope empty."""

UNFINISHED = "unfinished"
"""The path that only those operations have which have not ended."""

MAX_TARGETS = 1000
MAX_PROBLEM_TEXT = 500
MAX_PROBLEM_DETAILS = 8


class OperationState(StrEnum):
    """Where an operation is in its life."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Nothing more comes."""
        return self in (OperationState.SUCCEEDED, OperationState.FAILED, OperationState.CANCELLED)


OPERATION_FIELDS: Mapping[str, Field] = {
    "id": Field("text", is_required=True),
    "kind": Field("text", is_required=True),
    "state": Field("word", words=tuple(OperationState), is_required=True),
    "targets": Field("texts"),
    "creator": Field("text", is_required=True),
    "created": Field("time", is_required=True),
    "updated": Field("time", is_required=True),
}
"""What a filter may ask of operations."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an operation is.

    Parameters
    ----------
    total : int
        Units in all. 0: not known yet.
    unit : str
        What the units are: `bytes`, `blobs`, …
    message : str
        What it is doing, in a few words.
    """

    done: int = 0
    total: int = 0
    unit: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as it is kept."""

    code: int
    reason: str
    message: str
    details: Mapping[str, str] = field(default_factory=dict)
    retry_seconds: float | None = None

    @classmethod
    def of(cls, error: MeasurandError) -> Problem:
        """Return an error as it is kept: cut to a few hundred characters, since a document has a thousand of them."""
        details = list(error.details.items())[:MAX_PROBLEM_DETAILS]
        return cls(
            code=error.code,
            reason=error.reason,
            message=_cut(error.message),
            details={_cut(key): _cut(value) for key, value in details},
            retry_seconds=error.retry_seconds,
        )

    def error(self) -> MeasurandError:
        """Return the error anew."""
        return from_wire(self.code, self.reason, self.message, dict(self.details), self.retry_seconds)


@dataclass(frozen=True, slots=True)
class TargetProblem:
    """What went wrong with one target."""

    target: str
    problem: Problem


@dataclass(frozen=True, slots=True)
class Operation:
    """A long job.

    Parameters
    ----------
    id : str
        A ULID.
    kind : str
        What it does.
    arguments : Json
        What its handler is told.
    checkpoint : Json
        What its handler noted last, to go on from there. None: it begins at the beginning.
    response : mapping, optional
        What came of it, once SUCCEEDED.
    attempt : int
        How often a runner began it.
    lost : int
        How often in a row its runner was lost before it came to another safe point.
    runner : str
        Who holds it. Empty: nobody.
    epoch : int
        One more whenever a runner takes it up: what an earlier one writes is refused.
    request : mapping, optional
        The request that made it.
    """

    id: str
    kind: str
    creator: str
    create_time: datetime
    update_time: datetime
    state: OperationState = OperationState.QUEUED
    targets: tuple[str, ...] = ()
    arguments: Json = None
    progress: Progress = field(default_factory=Progress)
    checkpoint: Json = None
    response: Mapping[str, Json] | None = None
    problem: Problem | None = None
    target_problems: tuple[TargetProblem, ...] = ()
    attempt: int = 0
    lost: int = 0
    runner: str = ""
    epoch: int = 0
    start_time: datetime | None = None
    end_time: datetime | None = None
    expire_time: datetime | None = None
    request: Mapping[str, Json] | None = None

    @property
    def name(self) -> str:
        """`operations/{operation}`."""
        return f"operations/{self.id}"

    @property
    def is_free(self) -> bool:
        """A runner may take it up."""
        return not self.state.is_final and not self.runner


def operation_of(document: Document) -> Operation:
    """Return the operation that a document is."""
    body: Mapping[str, Any] = document.body
    problem = body["problem"]
    return Operation(
        id=document.key.removeprefix("operations/"),
        kind=body["kind"],
        creator=body["creator"],
        create_time=from_microseconds(body["created"]),
        update_time=from_microseconds(body["updated"]),
        state=OperationState(body["state"]),
        targets=tuple(body["targets"]),
        arguments=body["arguments"],
        progress=Progress(*body["progress"]),
        checkpoint=body["checkpoint"],
        response=body["response"],
        problem=None if problem is None else Problem(*problem),
        target_problems=tuple(TargetProblem(target, Problem(*rest)) for target, *rest in body["target_problems"]),
        attempt=body["attempt"],
        lost=body["lost"],
        runner=body["runner"],
        epoch=body["epoch"],
        start_time=_time(body["started"]),
        end_time=_time(body["ended"]),
        expire_time=_time(body["expires"]),
        request=body["request"],
    )


def operation_document(operation: Operation) -> Document:
    """Return the document of an operation."""
    progress, problem = operation.progress, operation.problem
    body: dict[str, Json] = {
        "kind": operation.kind,
        "creator": operation.creator,
        "created": microseconds(operation.create_time),
        "updated": microseconds(operation.update_time),
        "state": operation.state.value,
        "targets": list(operation.targets),
        "arguments": operation.arguments,
        "progress": [progress.done, progress.total, progress.unit, progress.message],
        "checkpoint": operation.checkpoint,
        "response": operation.response,
        "problem": None if problem is None else _problem_to_json(problem),
        "target_problems": [[one.target, *_problem_to_json(one.problem)] for one in operation.target_problems],
        "attempt": operation.attempt,
        "lost": operation.lost,
        "runner": operation.runner,
        "epoch": operation.epoch,
        "started": _microseconds(operation.start_time),
        "ended": _microseconds(operation.end_time),
        "expires": _microseconds(operation.expire_time),
        "request": operation.request,
    }
    return Document(operation.name, "", body, view=operation_view(operation))


def operation_view(operation: Operation) -> View:
    """Return what an operation can be found by."""
    return [
        *entries(id=operation.id, kind=operation.kind, state=operation.state.value, creator=operation.creator),
        *entries(created=operation.create_time, updated=operation.update_time, expires=operation.expire_time),
        *entries(unfinished=None if operation.state.is_final else operation.create_time),
        *texts("targets", operation.targets),
    ]


def _cut(text: str) -> str:
    # Lone surrogates in what a caller sent must not keep the error itself from being stored.
    return text[:MAX_PROBLEM_TEXT].encode(errors="backslashreplace").decode()


def _problem_to_json(problem: Problem) -> list[Json]:
    return [problem.code, problem.reason, problem.message, dict(problem.details), problem.retry_seconds]


def _time(value: int | None) -> datetime | None:
    return None if value is None else from_microseconds(value)


def _microseconds(value: datetime | None) -> int | None:
    return None if value is None else microseconds(value)
