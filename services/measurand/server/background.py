"""Work that nobody waits for: what is expired goes, counters are made right. A job that fails is tried again later."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

__all__ = ["Background", "Job"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """Something to be done again and again.

    Parameters
    ----------
    name : str
        One word or two, for the log.
    interval_seconds : float
        About how long to wait between the end of a run and the next: half to one and a half times as long, so that
        the servers of a fleet do not all come at once.
    work : callable
        Safe to run in several servers at once.
    """

    name: str
    interval_seconds: float
    work: Callable[[], Awaitable[object]]


class Background:
    """Runs jobs beside the server."""

    def __init__(self, jobs: Sequence[Job], *, chance: Callable[[], float] = random.random) -> None:
        self._jobs = jobs
        self._chance = chance
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin; each job runs for the first time after a wait."""
        self._tasks = [asyncio.create_task(self._repeat(job), name=job.name) for job in self._jobs]

    async def stop(self) -> None:
        """Cancel what is running, and return when it has ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def _repeat(self, job: Job) -> None:
        while True:
            await asyncio.sleep(job.interval_seconds * (0.5 + self._chance()))
            await run_once(job)


async def run_once(job: Job) -> bool:
    """Run a job and tell whether it went well. Whatever it raises is logged and nothing more."""
    started = time.perf_counter()
    try:
        outcome = await job.work()
    except Exception:
        logger.exception("event=job_failed job=%s", job.name.replace(" ", "_"))
        return False
    milliseconds = (time.perf_counter() - started) * 1000
    logger.debug("event=job job=%s outcome=%s ms=%.1f", job.name.replace(" ", "_"), outcome, milliseconds)
    return True
