"""How fast those who heal may go, so that those who measure do not notice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from measurand.core.containers.sites import Sites
from measurand.core.means import Means

__all__ = ["Pace", "usual_rate"]

SHARE = 0.2
"""Of what all containers give in a second."""
_BURST_SECONDS = 0.2


class Pace:
    """Lets bytes pass at a rate.

    Parameters
    ----------
    rate : callable
        Bytes a second, asked each time.
    """

    def __init__(
        self,
        rate: Callable[[], float],
        means: Means,
        *,
        sleep: Callable[[float], Coroutine[Any, Any, object]] = asyncio.sleep,
    ) -> None:
        self._rate = rate
        self._means = means
        self._sleep = sleep
        self._free = float("-inf")

    async def take(self, size: int) -> None:
        """Return when so many bytes may be moved."""
        rate = self._rate()
        if rate <= 0 or size <= 0:
            return
        now = self._means.monotonic()
        self._free = max(self._free, now - _BURST_SECONDS) + size / rate
        if self._free > now:
            await self._sleep(self._free - now)


def usual_rate(sites: Sites, fixed: int, *, share: float = SHARE) -> Callable[[], float]:
    """Return what tells the rate: the one that was set, or a share of what the containers that are up give.

    Parameters
    ----------
    fixed : int
        Bytes a second. 0: none was set.
    """

    def rate() -> float:
        return float(fixed) or share * sum(one.read_bandwidth for one in sites.field if one.state != "down")

    return rate
