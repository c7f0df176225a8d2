"""What keeps a store in trouble from being asked too often: a budget of retries, and a circuit that lets it rest.

Both are told the time and decide; neither waits. They are those of one process: its calls share them.
"""

from __future__ import annotations

from collections import deque
from typing import Literal

__all__ = ["Budget", "Circuit", "Pass"]

Pass = Literal["call", "probe"]


class Budget:
    """Lets only a share of the calls be retries. Some are there at the start, and again after a minute of peace.

    Parameters
    ----------
    share : float
        What each call adds to the retries that may be made.
    most : float
        How many can be saved up.
    refill_seconds : float
        How long it takes to save them up without any call: where there are few calls they all may be retried.
    """

    def __init__(self, *, share: float, most: float = 100.0, refill_seconds: float = 60.0) -> None:
        self._share = share
        self._most = most
        self._per_second = most / refill_seconds
        self._left = most
        self._time: float | None = None

    def earn(self, now: float) -> None:
        """Take note of a call."""
        idle = 0.0 if self._time is None else now - self._time
        self._time = now
        self._left = min(self._most, self._left + self._share + idle * self._per_second)

    def spend(self) -> bool:
        """Take one retry out, if one is there."""
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class Circuit:
    """Closed while the store answers; open, so that calls fail at once, after some calls in a row had no answer.

    While it is open one call at a time is let through as a probe, every few seconds; its answer closes the circuit.

    Parameters
    ----------
    failures : int
        So many calls in a row, all of whose tries failed, open it
    within_seconds : float
        if no more time than this lies between the first and the last of them.
    pause_seconds : float
        How long an open circuit waits for the next probe.
    """

    def __init__(self, *, failures: int = 5, within_seconds: float = 60.0, pause_seconds: float = 2.0) -> None:
        self._failed: deque[float] = deque(maxlen=failures)
        self._within = within_seconds
        self._pause = pause_seconds
        self._opens_until: float | None = None
        self._is_probing = False

    @property
    def is_open(self) -> bool:
        return self._opens_until is not None

    def wait_seconds(self, now: float) -> float:
        """Return how long no call is let through, 0 if one is."""
        if self._opens_until is None:
            return 0.0
        return self._pause if self._is_probing else max(0.0, self._opens_until - now)

    def enter(self, now: float) -> Pass | None:
        """Let a call through if it may, which then must tell by `answered`, `failed` or `left` how it ended."""
        if self.wait_seconds(now) > 0.0:
            return None
        if self._opens_until is None:
            return "call"
        self._is_probing = True
        return "probe"

    def answered(self) -> None:
        """Close: the store has answered somebody, if only to refuse."""
        self._failed.clear()
        self._opens_until = None
        self._is_probing = False

    def failed(self, entry: Pass, now: float) -> None:
        """Take note of a call that had no answer."""
        if self._opens_until is None:
            self._failed.append(now)
            if len(self._failed) == self._failed.maxlen and now - self._failed[0] <= self._within:
                self._opens_until = now + self._pause
        elif entry == "probe":
            self._is_probing = False
            self._opens_until = now + self._pause

    def left(self, entry: Pass) -> None:
        """Take note of a call that ended without having found anything out, as when it was cancelled."""
        if entry == "probe":
            self._is_probing = False
