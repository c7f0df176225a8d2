"""What is known about operations, in the words of the client, and following one until it has ended."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import click

from measurand.cli.output import cell, print_json, printable
from measurand.cli.session import Session
from measurand.cli.status import Failure, failure_of

__all__ = ["facts_of_operation", "far", "follow"]


def facts_of_operation(operation: Any) -> dict[str, Any]:
    """Return what an operation's handle knows."""
    return {
        "id": operation.id,
        "kind": operation.kind,
        "state": operation.state,
        "progress": asdict(operation.progress),
        "targets": list(operation.targets),
        "response": None if operation.response is None else plain(operation.response),
        "problem": None if operation.problem is None else facts_of_error(operation.problem),
        "failed": {target: facts_of_error(error) for target, error in operation.failed.items()},
        "attempt": operation.attempt,
        "creator": operation.creator,
        "created": operation.created,
        "started": operation.started,
        "updated": operation.updated,
        "ended": operation.ended,
        "expires": operation.expires,
    }


def follow(session: Session, operation: Any) -> None:
    """Show an operation until it has ended, and fail as it did.

    A bar where somebody watches; else a line for each change, which with JSON has all that is known.
    """
    if session.shows_progress:
        operation.wait(progress=True)
    else:
        for now in operation.watch():
            if session.as_json:
                print_json(facts_of_operation(now))
            elif not session.is_quiet:
                click.echo(printable("  ".join(filter(None, (cell(now.updated), now.state, far(now))))))
                sys.stdout.flush()
    if (problem := operation.problem) is not None:
        raise failure_of(problem)
    if operation.state == "cancelled":
        raise Failure(f"{operation.id} was cancelled", facts={"reason": "CANCELLED"})
    session.remark(f"{operation.kind} {operation.id} has ended well")


def far(operation: Any) -> str:
    """Return how far an operation is, in a few words."""
    said = operation.progress
    count = f"{said.done}/{said.total}" if said.total else str(said.done or "")
    return " ".join(filter(None, (count, said.unit, said.message)))


def facts_of_error(error: Any) -> dict[str, Any]:
    return {"reason": error.reason, "message": error.message, "details": dict(error.details)}


def plain(value: Any) -> Any:
    """Return what came of an operation as JSON knows it."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [plain(one) for one in value]
    return value.total_seconds() if isinstance(value, timedelta) else value
