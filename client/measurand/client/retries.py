"""What is tried again, when, and for how long: section 3 of the protocol, without any waiting."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from measurand.client.methods import Class
from measurand.wire.errors import (
    ChecksumMismatch,
    Frozen,
    MeasurandError,
    OffsetGap,
    Timeout,
    Unavailable,
)

__all__ = ["Deadlines", "Tries", "is_from_server", "may_reopen", "may_repeat", "pause_seconds"]

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 5.0
TRIES_UNANSWERED = 5
"""So often is a call tried where no server has ever answered: most likely the address is wrong."""
STREAM_PATIENCE = 600.0
"""A resumable stream is reopened for so many seconds without progress."""
SILENCE = 60.0
"""A stream is dead after so many seconds without a message."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How many seconds a call may take in all, by its class."""

    read: float = 30.0
    change: float = 60.0

    def of(self, kind: Class) -> float:
        """Return the seconds for a class of calls."""
        return self.change if kind is Class.CHANGE else self.read


def is_from_server(error: MeasurandError) -> bool:
    """Tell whether the server said so; what came from the transport carries `transport` in its details."""
    return "transport" not in error.details


def may_repeat(error: MeasurandError, kind: Class) -> bool:
    """Tell whether a unary call may be made again after this error."""
    if isinstance(error, Timeout):
        # The change may have been made: the repetition is answered from its request id.
        return kind is Class.CHANGE
    if isinstance(error, Unavailable):
        return True
    if isinstance(error, Frozen):
        return False  # it may last for hours: whoever wants to wait for it says so
    return error.retry_seconds is not None


def may_reopen(error: MeasurandError) -> bool:
    """Tell whether a resumable stream may be opened again after this error.

    The server's word decides; whatever comes from the transport, under any code, only means that the connection went.
    """
    if not is_from_server(error):
        return error.code not in _TRANSPORT_FINAL
    # A chunk that was damaged on its way, or one that a reopened stream left out, is sent again from the right offset.
    return isinstance(error, (Unavailable, ChecksumMismatch, OffsetGap)) or error.retry_seconds is not None


_TRANSPORT_FINAL = {3, 7, 12, 16}
"""INVALID_ARGUMENT, PERMISSION_DENIED, UNIMPLEMENTED, UNAUTHENTICATED: a proxy, or no measurand server at all."""


def pause_seconds(number: int, error: MeasurandError, random: Callable[[], float]) -> float:
    """Return how long to wait before the next try: full jitter, and never sooner than the server asked for.

    Parameters
    ----------
    number : int
        How many tries have failed so far.
    error : MeasurandError
        How the last one failed.
    random : callable
        A number from 0 to 1.
    """
    longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(number - 1, 20))
    return max(random() * longest, (error.retry_seconds or 0.0) * (1.0 + 0.1 * random()))


class Tries:
    """The tries of one call or of one stream.

    Parameters
    ----------
    now, random : callable
        A clock that only goes forward, in seconds; a number from 0 to 1.
    patience : float
        Give up after so many seconds without progress.
    """

    def __init__(self, now: Callable[[], float], random: Callable[[], float], patience: float) -> None:
        self._now = now
        self._random = random
        self._patience = patience
        self._start = now()
        self.failed = 0

    @property
    def left_seconds(self) -> float:
        """How long is left."""
        return self._start + self._patience - self._now()

    def progress(self) -> None:
        """Note that something was achieved: patience begins anew."""
        self._start = self._now()
        self.failed = 0

    def next_pause(self, error: MeasurandError, *, has_answered: bool) -> float | None:
        """Return how long to wait before trying again, or None to give up.

        Parameters
        ----------
        error : MeasurandError
            What went wrong; the caller has made sure that it may be tried again.
        has_answered : bool
            A server has answered on this channel before.
        """
        self.failed += 1
        if not has_answered and not is_from_server(error) and self.failed >= TRIES_UNANSWERED:
            return None
        pause = pause_seconds(self.failed, error, self._random)
        return pause if pause < self.left_seconds else None
