"""Work that nobody waits for: what is expired goes, counters are made right. A job that fails is tried again later."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from measurand.core.leases import Lease
from measurand.wire.errors import Unavailable

__all__ = ["Background", "Job"]

logger = logging.getLogger(__name__)

_CANCEL_SECONDS = 0.2


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
        Safe to run in several servers at once, for a lease can be lost without noticing.
    shared : bool
        One server of a fleet does it for all: the one that holds the lease.
    """

    name: str
    interval_seconds: float
    work: Callable[[], Awaitable[object]]
    shared: bool = False


class Background:
    """Runs jobs beside the server.

    Parameters
    ----------
    lease : Lease, optional
        Held while the shared jobs run here. None: there are no other servers, so they always do.
    """

    def __init__(
        self, jobs: Sequence[Job], *, lease: Lease | None = None, chance: Callable[[], float] = random.random
    ) -> None:
        self._own = [job for job in jobs if not job.shared or lease is None]
        self._shared = [job for job in jobs if job.shared and lease is not None]
        self._lease = lease
        self._chance = chance
        self._tasks: list[asyncio.Task[None]] = []
        self._leading: list[asyncio.Task[None]] = []

    @property
    def is_leading(self) -> bool:
        """The shared jobs run here."""
        return bool(self._leading) or self._lease is None

    def start(self) -> None:
        """Begin; each job runs for the first time after a wait."""
        self._tasks = self._started(self._own)
        if self._lease is not None:
            self._tasks.append(asyncio.create_task(self._lead(self._lease), name="lease"))

    async def stop(self) -> None:
        """Cancel what is running, give the lease back, and return when all has ended."""
        await _ended(self._tasks)
        self._tasks = []
        if self._leading:
            await self._step_down()
            assert self._lease is not None
            with suppress(Exception):  # then it runs out by itself
                await asyncio.wait_for(self._lease.release(), 5.0)

    async def _lead(self, lease: Lease) -> None:
        """Hold the lease whenever nobody else does, and run the shared jobs for as long."""
        while True:
            try:
                await lease.try_hold()
            except Unavailable as error:
                logger.warning("event=lease_unsure message=%s", error)
            except Exception:
                logger.exception("event=lease_unsure")
            if lease.is_held and not self._leading:
                logger.info("event=leading jobs=%d", len(self._shared))
                self._leading = self._started(self._shared)
            elif self._leading and not lease.is_held:
                logger.warning("event=lease_lost")
                await self._step_down()
            await asyncio.sleep(lease.seconds / 3 * (0.5 + self._chance() / 2))

    async def _step_down(self) -> None:
        await _ended(self._leading)
        self._leading = []

    def _started(self, jobs: Sequence[Job]) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(self._repeat(job), name=job.name) for job in jobs]

    async def _repeat(self, job: Job) -> None:
        while True:
            await asyncio.sleep(job.interval_seconds * (0.5 + self._chance()))
            await run_once(job)


async def run_once(job: Job) -> bool:
    """Run a job and tell whether it went well. Whatever it raises is logged and nothing more."""
    started = time.perf_counter()
    try:
        outcome = await job.work()
    except Unavailable as error:  # it comes again
        logger.warning("event=job_failed job=%s message=%s", job.name.replace(" ", "_"), error)
        return False
    except Exception:
        logger.exception("event=job_failed job=%s", job.name.replace(" ", "_"))
        return False
    milliseconds = (time.perf_counter() - started) * 1000
    logger.debug("event=job job=%s outcome=%s ms=%.1f", job.name.replace(" ", "_"), outcome, milliseconds)
    return True


async def _ended(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel tasks until they have ended. Once may not do: before Python 3.12 `asyncio.wait_for`, which the driver of
    MongoDB uses, takes no notice when what it waited for is done at the same moment.
    """
    running = set(tasks)
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=_CANCEL_SECONDS)
    await asyncio.gather(*tasks, return_exceptions=True)
