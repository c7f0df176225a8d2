"""One call of one container: how long it may take, and what it came to."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from measurand.core.containers.placements import Part
from measurand.core.containers.ports import Direction, Sites
from measurand.core.ports import BlobStore
from measurand.storage.blobs.spread.errands import Errands
from measurand.wire.errors import AlreadyExists, DataLoss, MeasurandError, NotFound, OutOfRange, Unavailable

__all__ = ["Calling", "Patience"]

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long calls of containers may take, in seconds.

    Parameters
    ----------
    soonest, latest : float
        A read is late when it takes longer than usual, but never before `soonest`, and always after `latest`.
    least, times_usual : float
        A call is given up after `times_usual` times what is usual, but never before `least`, if somebody else can take
        its place.
    most : float
        After this it is given up in any case.
    """

    soonest: float = 0.01
    latest: float = 1.0
    least: float = 1.0
    times_usual: float = 10.0
    most: float = 30.0


class Calling:
    """Calls containers, and tells `sites` what came of it.

    Parameters
    ----------
    monotonic : callable
        As in `Means`.
    patience : Patience
        How long to wait.
    """

    def __init__(self, sites: Sites, errands: Errands, *, monotonic: Callable[[], float], patience: Patience) -> None:
        self.sites = sites
        self.errands = errands
        self.most_seconds = patience.most
        self._patience = patience
        self._monotonic = monotonic
        self._reads: Counter[str] = Counter()

    def reads(self, container: str) -> int:
        """Return how many reads of a container are under way."""
        return self._reads[container]

    def patience(self, container: str, direction: Direction) -> float:
        """Return how long a call may go on, in seconds, while somebody else could take its place."""
        limits, usual = self._patience, self.sites.usual(container, direction)
        return min(max(limits.least, limits.times_usual * usual), limits.most)

    def lateness(self, container: str, direction: Direction) -> float:
        """Return after how many seconds a call is later than usual."""
        limits = self._patience
        return min(max(limits.soonest, self.sites.usual(container, direction)), limits.latest)

    async def noted(
        self,
        container: str,
        direction: Direction,
        size: int,
        work: Callable[[BlobStore], Coroutine[Any, Any, Result]],
    ) -> Result:
        """Do something with the store of a container, and note how long it took or how it failed.

        A container that does not find what it is asked for, or finds it damaged, has answered.
        """
        started = self._monotonic()
        error: Exception | None = None
        is_counted = True
        with self.sites.in_flight(container, size) if direction == "write" else self._reading(container):
            try:
                return await work(self.sites.store(container))
            except (NotFound, AlreadyExists, OutOfRange, DataLoss):
                raise
            except MeasurandError as failure:
                error = failure
                raise
            except asyncio.CancelledError:
                # Whoever asked may just have lost interest; only a call that was given up for its slowness counts.
                is_counted = self._monotonic() - started >= 0.99 * self.patience(container, direction)
                error = TimeoutError()
                raise
            finally:
                if is_counted:
                    self.sites.note(container, direction, size, self._monotonic() - started, error)

    def outlast(self, container: str, call: asyncio.Task[Any]) -> None:
        """Let a late read go on until all patience is gone, so that it is seen how slow its container is."""
        self.errands.run(self._outlast(self.patience(container, "read"), call))

    async def in_time(
        self,
        container: str,
        direction: Direction,
        size: int,
        work: Callable[[BlobStore], Coroutine[Any, Any, Result]],
        *,
        can_wait: Callable[[], bool],
    ) -> Result:
        """Do it, and give it up when it is very late; only much later if nobody could take its place.

        Parameters
        ----------
        can_wait : callable
            Asked when the call is late: there is nobody else.

        Raises
        ------
        Unavailable
            It was given up.
        """
        call = asyncio.ensure_future(self.noted(container, direction, size, work))
        try:
            patience = self.patience(container, direction)
            done, _ = await asyncio.wait((call,), timeout=patience)
            if not done and can_wait():
                await asyncio.wait((call,), timeout=self.most_seconds - patience)
            if call.done():
                return call.result()
            raise Unavailable(f"{container}: the container does not answer", retry_seconds=5.0, store=container)
        finally:
            self.errands.give_up((call,))

    async def remove(self, parts: Iterable[Part], *, staged: bool = False) -> None:
        """Remove parts that nobody names, where that goes soon; elsewhere they are garbage.

        Parameters
        ----------
        staged : bool
            They may not be finished.
        """
        reached = [part for part in parts if not self.sites.is_avoided(part.container)]
        await self.errands.all_of(self._remove(part, staged=staged) for part in reached)

    async def _remove(self, part: Part, *, staged: bool) -> None:
        async with asyncio.timeout(self.most_seconds):
            store = self.sites.store(part.container)
            if staged:
                await store.discard(part.key)
            await store.delete(part.key)

    async def _outlast(self, seconds: float, call: asyncio.Task[Any]) -> None:
        try:
            await asyncio.wait((call,), timeout=seconds)
        finally:
            self.errands.give_up((call,))

    @contextmanager
    def _reading(self, container: str) -> Iterator[None]:
        self._reads[container] += 1
        try:
            yield
        finally:
            self._reads[container] -= 1
            if not self._reads[container]:
                del self._reads[container]
