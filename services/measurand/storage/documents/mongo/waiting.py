"""A wait of the driver that can be cancelled.

Calls are cancelled all the time: callers go away, deadlines pass. Before Python 3.12 `asyncio.wait_for` runs what it
waits for in a task of its own, and when the caller is cancelled at the moment at which the time is over, that task is
left behind: it takes the lock of the driver's condition for nobody, or the lock is given back twice. From then on no
call of the client ever ends. A client that has no primary waits so twice a second in every call.
"""

from __future__ import annotations

import asyncio
import sys
from types import ModuleType
from typing import Any

from pymongo.asynchronous import pool, topology

__all__ = ["make_waits_cancellable"]

_WAIT = "_async_cond_wait"
_USERS: tuple[ModuleType, ...] = (pool, topology)


def make_waits_cancellable() -> None:
    """Put a wait that stays in the caller's task into the place of the driver's, where Python needs it."""
    if sys.version_info < (3, 12):
        for module in _USERS:
            if _WAIT in vars(module):
                vars(module)[_WAIT] = _wait


async def _wait(condition: Any, seconds: float | None) -> bool:
    """Wait to be notified, with the condition's lock held before and afterwards. False: the time was over first."""
    try:
        async with asyncio.timeout(seconds):
            return bool(await condition.wait())
    except TimeoutError:
        return False
