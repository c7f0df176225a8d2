"""Working on one operation that a runner holds: calling its handler, keeping the lease, and writing how it ended."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

from measurand.core.means import Means
from measurand.core.operations.deciding import failed, given_back, stopped, succeeded
from measurand.core.operations.documents import Operation, Problem
from measurand.core.operations.holding import Holding, LeaseLost
from measurand.core.operations.jobs import Handler, Job, Stopped
from measurand.wire.errors import Internal, MeasurandError, Unavailable

__all__ = ["Report", "Sleep", "Working", "ended"]

RENEW_SECONDS = 10.0
WATCH_SECONDS = 1.0
AGAIN_SECONDS = 1.0
WRITE_SECONDS = 0.2
"""Progress is written at most so often."""
MOST_TRIES = 8
"""So often in a row is a handler called, without another checkpoint, when something does not answer."""
LONGEST_PAUSE_SECONDS = 30.0
_CANCEL_SECONDS = 0.2

Report = Callable[[Operation, Exception], str]
"""Writes a fault into the log, and returns under which id."""
Sleep = Callable[[float], Coroutine[Any, Any, object]]
Outcome = Callable[[Operation], Operation]


class Working:
    """Works on operations.

    Parameters
    ----------
    report : callable
        Writes faults of handlers into the log.
    sleep : callable
        Waits so many seconds of `means.monotonic`.
    """

    def __init__(self, means: Means, report: Report, sleep: Sleep) -> None:
        self._means = means
        self._report = report
        self._sleep = sleep

    async def do(self, handler: Handler, holding: Holding, leaving: asyncio.Event) -> None:
        """Call the handler, and write what came of it.

        Parameters
        ----------
        leaving : asyncio.Event
            When it is set, the handler is cancelled and the operation given back.

        Raises
        ------
        LeaseLost
            Somebody else may have the operation; nothing more was written.
        Unavailable
            The store does not answer.
        """
        job = Job(holding, self._means)
        handling = asyncio.create_task(self._handled(handler, job), name=f"handler of {holding.operation.name}")
        keeping = asyncio.create_task(self._keep(job, holding), name=f"lease of {holding.operation.name}")
        watching = asyncio.create_task(self._watch(holding))
        going = asyncio.create_task(leaving.wait())
        tasks = (handling, keeping, watching, going)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            has_come_to_an_end = handling.done() and not handling.cancelled()
            await ended((handling,))  # nobody else may have it before its handler has ended here
            if keeping.done():
                keeping.result()
            if keeping.done() or watching.done():
                raise LeaseLost
        finally:
            await ended(tasks)
        outcome = handling.result() if has_come_to_an_end else self._given_back
        await self._write(holding, lambda operation: outcome(job.said(operation)), leaving)

    async def _handled(self, handler: Handler, job: Job) -> Outcome:
        """Call the handler until there is an outcome, and return what becomes of the operation."""
        now = self._means.now
        tries = 0
        while True:
            state = job.state
            try:
                response = await handler(job)
                json.dumps(response, allow_nan=False)
            except Stopped:
                return lambda operation: stopped(operation, now())
            except LeaseLost:
                raise
            except MeasurandError as error:
                tries = tries + 1 if job.state == state else 1
                problem = Problem.of(error)
                if tries == MOST_TRIES or not (isinstance(error, Unavailable) or error.retry_seconds is not None):
                    return lambda operation: failed(operation, problem, now())
            except Exception as error:
                fault = Problem.of(self._fault(job.operation, error))
                return lambda operation: failed(operation, fault, now())
            else:
                return lambda operation: succeeded(operation, response, now())
            await self._sleep(min(2.0 ** (tries - 1), LONGEST_PAUSE_SECONDS))

    async def _keep(self, job: Job, holding: Holding) -> None:
        """Write down what the handler says, and renew the lease; return when it is lost."""
        while True:
            await _first(job.has_news.wait(), self._sleep(RENEW_SECONDS))
            job.has_news.clear()
            try:
                await holding.change(job.said)
            except LeaseLost:
                return
            except MeasurandError:  # soon again
                job.has_news.set()
            await self._sleep(WRITE_SECONDS)

    async def _watch(self, holding: Holding) -> None:
        """Return when the lease could not be renewed for so long that somebody else may have it soon.

        Also where the store neither answers nor fails.
        """
        while holding.is_safe:
            await self._sleep(WATCH_SECONDS)

    async def _write(self, holding: Holding, decide: Outcome, leaving: asyncio.Event) -> None:
        """Write the end of it, for as long as nobody else can have taken it."""
        while True:
            try:
                await holding.change(decide)
            except MeasurandError:
                if not holding.is_safe or leaving.is_set():
                    raise
            else:
                return
            await _first(leaving.wait(), self._sleep(AGAIN_SECONDS))

    def _given_back(self, operation: Operation) -> Operation:
        return given_back(operation, self._means.now())

    def _fault(self, operation: Operation, error: Exception) -> Internal:
        incident = self._report(operation, error)
        return Internal(
            f"{operation.name}: the server failed; its log tells more under incident {incident}. Beginning it anew "
            "may help; if not, report it",
            incident=incident,
        )


async def _first(*reasons: Awaitable[object]) -> None:
    """Return when one of them is done."""
    tasks = [asyncio.ensure_future(reason) for reason in reasons]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await ended(tasks)


async def ended(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancel tasks until they have ended. Once may not do: see `measurand.server.background`."""
    running = {task for task in tasks if not task.done()}
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=_CANCEL_SECONDS)
