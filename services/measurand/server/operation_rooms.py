"""What of a server has to do with operations, put together."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from google.protobuf import json_format

from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.operations.documents import Operation
from measurand.core.operations.following import Following
from measurand.core.operations.jobs import Handler, Stopped
from measurand.core.operations.jobs import Job as OperationJob
from measurand.core.operations.operations import Operations
from measurand.core.operations.runner import Runner
from measurand.core.ports import DocumentStore, Json
from measurand.server.background import Job
from measurand.server.metrics import Figure
from measurand.services.operation_messages import RESPONSES
from measurand.services.operations import OperationService
from measurand.wire.errors import MeasurandError

__all__ = ["OperationParts", "make_operation_parts"]

logger = logging.getLogger(__name__)

HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class OperationParts:
    """The rules of operations, and who does them.

    Parameters
    ----------
    runner : Runner
        To be closed before the stores and the rooms that its handlers need: what is at work is then given back.
    """

    service: OperationService
    runner: Runner
    jobs: Sequence[Job]
    figures: Sequence[Figure]


def make_operation_parts(
    documents: DocumentStore,
    operations: Operations,
    means: Means,
    limits: Limits,
    *,
    owner: str,
    handlers: Mapping[str, Handler],
) -> OperationParts:
    """Return what serves and does operations.

    Parameters
    ----------
    owner : str
        Who this process is; no other has the name.
    handlers : mapping
        What does the operations of each kind.
    """
    watched = {kind: _watched(kind, handler) for kind, handler in handlers.items()}
    runner = Runner(documents, means, owner=owner, handlers=watched, report=_report)
    return OperationParts(
        service=OperationService(operations, Following(documents, operations, means, limits), limits),
        runner=runner,
        jobs=[
            Job("operations", 1.0, runner.run),
            Job("expire operations", HOUR, operations.expire, shared=True),
        ],
        figures=[
            Figure("measurand_operations_running", "Operations at work in this server.", lambda: float(runner.running))
        ],
    )


def _watched(kind: str, handler: Handler) -> Handler:
    """Return a handler that says in the log what it does, and whose response is looked at before it is kept.

    A response that nobody could read is a fault of ours, and to be known at once.
    """
    response = RESPONSES[kind]

    async def run(job: OperationJob) -> Mapping[str, Json]:
        operation, started = job.operation, time.monotonic()
        logger.info("event=operation_begun operation=%s kind=%s attempt=%d", operation.id, kind, operation.attempt)
        outcome = "broken_off"
        try:
            answer = await handler(job)
            json_format.ParseDict(dict(answer), response())
            outcome = "done"
        except Stopped:
            outcome = "stopped"
            raise
        except MeasurandError as error:
            outcome = error.reason
            raise
        finally:
            seconds = time.monotonic() - started
            text = "event=operation_left operation=%s kind=%s outcome=%s seconds=%.1f"
            logger.info(text, operation.id, kind, outcome, seconds)
        return answer

    return run


def _report(operation: Operation, error: Exception) -> str:
    incident = secrets.token_hex(6)
    logger.error(
        "event=operation_fault operation=%s kind=%s attempt=%d incident=%s",
        operation.id,
        operation.kind,
        operation.attempt,
        incident,
        exc_info=error,
    )
    return incident
