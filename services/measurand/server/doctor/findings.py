"""What a doctor says: one finding for each thing that was tried."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Literal, cast

from measurand.server.config import ConfigError
from measurand.wire.errors import DataLoss, MeasurandError, PermissionDenied, StoreFull, Unavailable

__all__ = ["Ended", "Finding", "Note", "Report", "Status", "advice_for"]

Status = Literal["ok", "warning", "error"]

PATIENCE_SECONDS = 60.0
"""A store that takes longer for one step does not answer."""

ADVICE: tuple[tuple[type[MeasurandError], str], ...] = (
    (Unavailable, "see that the store runs and that this machine reaches it"),
    (StoreFull, "free some space, or give the store more"),
    (PermissionDenied, "give the account of the servers the right to read, write, list and delete"),
    (DataLoss, "restore it from a backup"),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was tried.

    Parameters
    ----------
    check : str
        Which store and which of its abilities: `blobs: ranges`.
    status : {"ok", "warning", "error"}
        A warning is something that will bite later; an error is something that does not work.
    message : str
        What was tried and what happened.
    advice : str
        What to do about it; empty where nothing is to be done.
    """

    check: str
    status: Status
    message: str
    advice: str = ""


class Ended(Exception):
    """A step has failed and was told of; what builds on it would say the same again."""


@dataclass(slots=True)
class Note:
    """What a step comes to, unless it raises."""

    message: str = ""
    status: Status = "ok"
    advice: str = ""

    def warn(self, message: str, advice: str) -> None:
        """It works, and will bite later."""
        self.message, self.status, self.advice = message, "warning", advice

    def fail(self, message: str, advice: str) -> None:
        """It was answered, and wrongly."""
        self.message, self.status, self.advice = message, "error", advice


class Report:
    """Hands findings on as they are made, and counts them.

    Parameters
    ----------
    tell : callable
        Gets each finding.
    """

    def __init__(self, tell: Callable[[Finding], None]) -> None:
        self._tell = tell
        self.counts: dict[Status, int] = {"error": 0, "warning": 0, "ok": 0}

    def add(self, finding: Finding) -> None:
        """Tell of a finding."""
        self.counts[finding.status] += 1
        self._tell(finding)

    def ok(self, check: str, message: str) -> None:
        """Tell of something that is well."""
        self.add(Finding(check, "ok", message))

    def warn(self, check: str, message: str, advice: str) -> None:
        """Tell of something that will bite later."""
        self.add(Finding(check, "warning", message, advice))

    def fail(self, check: str, message: str, advice: str) -> None:
        """Tell of something that does not work."""
        self.add(Finding(check, "error", message, advice))

    def trying(
        self, check: str, what: str, *, patience_seconds: float | None = PATIENCE_SECONDS
    ) -> AbstractAsyncContextManager[Note, bool]:
        """Try something in the block, and tell what came of it: what the note says, or the error that was raised.

        Parameters
        ----------
        what : str
            What is tried: `to write a document`.
        patience_seconds : float, optional
            What takes longer has failed. None: it may take as long as it likes.
        """

        @asynccontextmanager
        async def manager() -> AsyncIterator[Note]:
            with suppress(Ended):
                async with self.requiring(check, what, patience_seconds=patience_seconds) as note:
                    yield note

        # So that the type checker knows that the block may end early and what is behind it still runs.
        return cast("AbstractAsyncContextManager[Note, bool]", manager())

    @asynccontextmanager
    async def requiring(
        self, check: str, what: str, *, patience_seconds: float | None = PATIENCE_SECONDS
    ) -> AsyncIterator[Note]:
        """Try something that others build on: like `trying`, but raises Ended when it has failed."""
        note = Note()
        try:
            async with asyncio.timeout(patience_seconds):
                yield note
        except TimeoutError as error:
            message = f"tried {what}: no answer within {patience_seconds} seconds"
            self.fail(check, message, advice_for(Unavailable("")))
            raise Ended from error
        except (MeasurandError, ConfigError, OSError) as error:
            message, advice = _split(error)
            self.fail(check, f"tried {what}: {message}", advice)
            raise Ended from error
        message = f"tried {what}: {note.message}" if note.status == "error" else note.message
        self.add(Finding(check, note.status, message, note.advice))
        if note.status == "error":
            raise Ended


def advice_for(error: Exception) -> str:
    """Return what helps against an error whose text does not say."""
    found = (advice for kind, advice in ADVICE if isinstance(error, kind))
    return next(found, "see the log of the store, and the section `doctor` of docs/operations.md")


def _split(error: Exception) -> tuple[str, str]:
    """Return what is wrong and what to do; errors of the product say both, parted by a semicolon."""
    text = str(error) or type(error).__name__
    message, _, advice = text.partition("; ")
    return message, advice or advice_for(error)
