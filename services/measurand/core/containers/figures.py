"""What this process has seen of one container: how long its calls take, how many fail, whether to leave it alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from statistics import median

from measurand.core.containers.ports import Direction
from measurand.wire.errors import StoreFull

__all__ = ["Figures"]

REMEMBERED = 100
FAILURES_SECONDS = 600.0
SMALL_BYTES = 256 * 1024
"""Calls of at most so many bytes tell how long a call takes; larger ones tell how fast bytes go."""

AVOIDED_SECONDS = 5.0
LONGEST_AVOIDED_SECONDS = 60.0
"""After failures in a row a container is left alone for longer and longer; then one call finds out."""
FULL_SECONDS = 30.0
"""So long no new parts go to a container that had no room."""


class Figures:
    """The last hundred calls of one container, each way."""

    def __init__(self) -> None:
        self._seconds: dict[Direction, deque[float]] = {way: deque(maxlen=REMEMBERED) for way in ("read", "write")}
        self._small: dict[Direction, deque[float]] = {way: deque(maxlen=REMEMBERED) for way in ("read", "write")}
        self._rates: dict[Direction, deque[float]] = {way: deque(maxlen=REMEMBERED) for way in ("read", "write")}
        self._usual: dict[Direction, float] = {"read": 0.0, "write": 0.0}
        self._outcomes: deque[tuple[float, bool]] = deque()
        self._failed_in_row = 0
        self._avoid_until = 0.0
        self._full_until = 0.0
        self.reads = 0

    def note(self, now: float, direction: Direction, size: int, seconds: float, error: Exception | None) -> None:
        """Take what a call came to; `error` is a TimeoutError for one that was given up as too slow."""
        self._outcomes.append((now, error is None))
        self._forget(now)
        if error is None:
            self._failed_in_row = 0
            self._avoid_until = 0.0
            self.reads += direction == "read"
            self._take(direction, size, seconds)
        elif isinstance(error, StoreFull):
            self._full_until = now + FULL_SECONDS  # it reads as well as ever
        else:
            self._failed_in_row += 1
            pause = min(AVOIDED_SECONDS * 2 ** (self._failed_in_row - 1), LONGEST_AVOIDED_SECONDS)
            self._avoid_until = now + pause

    def usual(self, direction: Direction) -> float:
        """Return how long a call takes in 95 of 100 cases, in seconds; 0: not known yet."""
        return self._usual[direction]

    def quantile(self, direction: Direction, share: float) -> float:
        """Return how long calls took in this share of the last hundred cases, in seconds; 0: not known yet."""
        kept = sorted(self._seconds[direction])
        return kept[min(int(len(kept) * share), len(kept) - 1)] if kept else 0.0

    def is_avoided(self, now: float) -> bool:
        """Tell whether it failed a while ago, and is not to be tried again yet."""
        return now < self._avoid_until

    def is_full(self, now: float) -> bool:
        """Tell whether it had no room a while ago."""
        return now < self._full_until

    def bandwidth(self, direction: Direction) -> float:
        """Return bytes a second, the median; 0: not known."""
        return _median(self._rates[direction])

    def latency(self, direction: Direction) -> float:
        """Return how long a small call takes, the median, in seconds; 0: not known."""
        return _median(self._small[direction])

    def failure_rate(self, now: float) -> float:
        """Return the share of the calls of the last 10 minutes that failed. Any thread may ask."""
        recent = [went_well for time, went_well in tuple(self._outcomes) if now - time <= FAILURES_SECONDS]
        return recent.count(False) / len(recent) if recent else 0.0

    def _take(self, direction: Direction, size: int, seconds: float) -> None:
        kept = self._seconds[direction]
        kept.append(seconds)
        if len(kept) < 20 or len(kept) % 10 == 0:
            self._usual[direction] = sorted(kept)[(len(kept) * 95) // 100]
        if size <= SMALL_BYTES:
            self._small[direction].append(seconds)
        elif seconds > 0:
            self._rates[direction].append(size / seconds)

    def _forget(self, now: float) -> None:
        while self._outcomes and (now - self._outcomes[0][0] > FAILURES_SECONDS or len(self._outcomes) > 10_000):
            self._outcomes.popleft()


def _median(values: Sequence[float]) -> float:
    return median(values) if values else 0.0
