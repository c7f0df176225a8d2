"""Servers far from their stores, in simulated time: a second of theirs takes as long as its work, not its waits."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

__all__ = ["Distant", "simulate"]

Result = TypeVar("Result")


class Distant:
    """A store of which each answer takes a while, half of it on the way there.

    Parameters
    ----------
    seconds : float
        Of verbs that are not in `more`.
    """

    def __init__(self, store: Any, seconds: float, **more: float) -> None:
        self._store = store
        self._seconds = seconds
        self._more = more

    def __getattr__(self, verb: str) -> Callable[..., Awaitable[Any]]:
        call = getattr(self._store, verb)
        half = self._more.get(verb, self._seconds) / 2

        async def far(*arguments: Any, **named: Any) -> Any:
            await asyncio.sleep(half)
            answer = await call(*arguments, **named)
            await asyncio.sleep(half)
            return answer

        return far


def simulate(work: Coroutine[Any, Any, Result]) -> Result:
    """Run work on a loop whose clock moves only when everybody waits, and then to whatever comes next."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(work)


class _Selector(selectors.DefaultSelector):
    """Never waits; tells how long it should have."""

    skipped = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.skipped += timeout or 0.0
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._skipping = _Selector()
        super().__init__(self._skipping)

    def time(self) -> float:
        return self._skipping.skipped
