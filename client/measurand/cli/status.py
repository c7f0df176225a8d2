"""What a failed command says and returns."""

from __future__ import annotations

import json
from typing import IO, Any

import click

from measurand.wire.errors import (
    AlreadyExists,
    Busy,
    Conflict,
    DocumentInvalid,
    FilterInvalid,
    Frozen,
    MeasurandError,
    NameInvalid,
    NotFound,
    PermissionDenied,
    Timeout,
    Unavailable,
)

__all__ = ["NOT_FOUND", "Failure", "failure_of"]

FAILED, USAGE, NOT_FOUND, CONFLICT, PERMISSION, UNAVAILABLE = 1, 2, 3, 4, 5, 6

EXIT_CODES: tuple[tuple[type[MeasurandError], int], ...] = (
    (NotFound, NOT_FOUND),
    (Conflict, CONFLICT),
    (AlreadyExists, CONFLICT),
    (Frozen, CONFLICT),
    (PermissionDenied, PERMISSION),
    (Unavailable, UNAVAILABLE),
    (Timeout, UNAVAILABLE),
    (Busy, UNAVAILABLE),
    (FilterInvalid, USAGE),
    (NameInvalid, USAGE),
    (DocumentInvalid, USAGE),
)
"""The first class that fits decides; everything else has failed."""


class Failure(click.ClickException):
    """A command that did not do what it was asked."""

    def __init__(self, message: str, *, exit_code: int = FAILED, facts: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # click declares it for classes and reads it from instances
        self.facts = facts or {}
        self.as_json = False

    def told(self, as_json: bool) -> Failure:
        """Return the failure itself, which will be told in this way."""
        self.as_json = as_json
        return self

    def show(self, file: IO[Any] | None = None) -> None:
        if self.as_json:
            error = {"reason": "FAILED", "message": self.message, "details": {}, **self.facts}
            click.echo(json.dumps({"error": error}, ensure_ascii=False), err=True)
        else:
            click.echo(f"measurand: {self.message}", err=True)


def failure_of(error: MeasurandError, advice: str = "") -> Failure:
    """Return what an error of the client comes to on the command line, with what can be done about it there."""
    code = next((code for kind, code in EXIT_CODES if isinstance(error, kind)), FAILED)
    message = f"{error.message}; {advice}" if advice else error.message
    return Failure(message, exit_code=code, facts={"reason": error.reason, "details": error.details})
