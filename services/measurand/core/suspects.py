"""What looked like garbage once: it goes when it does so again, a grace time of this process's running time later."""

from __future__ import annotations

from collections.abc import Callable, Mapping

__all__ = ["Suspects"]


class Suspects:
    """Suspects of one pass after another.

    Parameters
    ----------
    monotonic : callable
        As in `Means`.
    """

    def __init__(self, grace_seconds: float, *, monotonic: Callable[[], float]) -> None:
        self._grace_seconds = grace_seconds
        self._monotonic = monotonic
        self._before: Mapping[str, float] = {}
        self._now: dict[str, float] = {}

    def begin_pass(self) -> None:
        """Begin anew, also after a pass that did not come to its end."""
        self._now = {}

    def may_go(self, key: str) -> bool:
        """Take that something looks like garbage in this pass, and tell whether it has for long enough."""
        now = self._monotonic()
        seen = self._before.get(key)
        if seen is not None and now - seen >= self._grace_seconds:
            return True
        self._now[key] = now if seen is None else seen
        return False

    def end_pass(self) -> None:
        """Forget those that did not look so in this pass."""
        self._before, self._now = self._now, {}
