"""Operations over a memory store, runners of several processes, and a time that the test lets pass."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from tests.core.rooms import Rooms, make_rooms

from measurand.core.operations.documents import OPERATIONS, Operation, operation_of
from measurand.core.operations.following import Following
from measurand.core.operations.jobs import Handler, Job
from measurand.core.operations.operations import Operations
from measurand.core.operations.runner import Runner
from measurand.core.ports import DocumentStore, Json
from measurand.core.principal import LOCAL_USER
from measurand.server.patterns import compile_pattern

__all__ = ["STEPS", "OperationRooms", "Paused", "Work", "settle"]

STEPS = 4


async def settle() -> None:
    """Let everything go on that waits for nothing but its turn."""
    for _ in range(200):
        await asyncio.sleep(0)


@dataclass
class Work:
    """A handler that takes steps, each of which leaves a trace that it may leave twice.

    Parameters
    ----------
    gates : mapping
        Before a step with a gate the handler waits for it.
    errors : list
        Raised, one after the other, before the next steps; None: that step goes well.
    """

    gates: Mapping[int, asyncio.Event] = field(default_factory=dict)
    errors: list[Exception | None] = field(default_factory=list)
    traces: list[tuple[str, int]] = field(default_factory=list)
    at_work: set[str] = field(default_factory=set)
    began: list[Json] = field(default_factory=list)

    async def __call__(self, job: Job) -> Mapping[str, Json]:
        name = job.operation.name
        self.began.append(job.state)
        self.at_work.add(name)
        try:
            job.check()
            done = job.state if isinstance(job.state, int) else 0
            for step in range(done, STEPS):
                if (gate := self.gates.get(step)) is not None:
                    await gate.wait()
                if self.errors and (error := self.errors.pop(0)) is not None:
                    raise error
                self.traces.append((name, step))
                job.progress(step + 1, STEPS, "steps")
                await job.checkpoint(step + 1)
            return {"done": STEPS}
        finally:
            self.at_work.discard(name)


class Paused:
    """A store that a process does not reach while `gate` is closed, like one that was stopped for a while."""

    def __init__(self, inner: DocumentStore) -> None:
        self._inner = inner
        self.gate = asyncio.Event()
        self.gate.set()

    def __getattr__(self, verb: str) -> Any:
        method = getattr(self._inner, verb)

        async def call(*args: Any, **more: Any) -> Any:
            await self.gate.wait()
            return await method(*args, **more)

        return call


@dataclass
class _Sleeper:
    due: float
    woken: asyncio.Event


class OperationRooms:
    """One store, and what stands on it. `runner` is another process each time."""

    def __init__(self, rooms: Rooms | None = None) -> None:
        self.rooms = rooms or make_rooms()
        documents, means, limits = self.rooms.documents, self.rooms.means, self.rooms.limits
        self.operations = Operations(documents, means, limits, compile_pattern=compile_pattern)
        self.following = Following(documents, self.operations, means, limits)
        self.faults: list[Exception] = []
        self._sleepers: list[_Sleeper] = []
        self._runners = 0

    def runner(
        self, handler: Handler, *, documents: DocumentStore | None = None, at_once: int = 4, kind: str = "work"
    ) -> Runner:
        """Return the runner of another process."""
        self._runners += 1
        return Runner(
            documents or self.rooms.documents,
            self.rooms.means,
            owner=f"process {self._runners}",
            handlers={kind: handler},
            report=self._report,
            at_once=at_once,
            sleep=self.sleep,
        )

    async def begin(self, kind: str = "work", **more: Json) -> Operation:
        """Begin an operation."""
        self.rooms.clock.move(timedelta(milliseconds=1))
        return await self.operations.create(LOCAL_USER, kind, arguments=more)

    async def now(self, operation: Operation) -> Operation:
        """Return an operation as it is in the store."""
        document = await self.rooms.documents.fetch(OPERATIONS, operation.name)
        assert document is not None
        return operation_of(document)

    async def all(self) -> Sequence[Operation]:
        found = await self.rooms.documents.find(OPERATIONS, limit=1000)
        return [operation_of(item.document) for item in found]

    async def sleep(self, seconds: float) -> None:
        """Sleep by the clock of the test."""
        sleeper = _Sleeper(self.rooms.clock.running + seconds, asyncio.Event())
        self._sleepers.append(sleeper)
        try:
            await sleeper.woken.wait()
        finally:
            self._sleepers.remove(sleeper)

    async def pass_time(self, seconds: float, *, step: float = 1.0) -> None:
        """Let time pass, and whoever sleeps do what they do meanwhile."""
        await settle()
        left = seconds
        while left > 0:
            self.rooms.clock.move(timedelta(seconds=min(step, left)))
            left -= step
            for sleeper in self._sleepers:
                if sleeper.due <= self.rooms.clock.running:
                    sleeper.woken.set()
            await settle()

    def _report(self, operation: Operation, error: Exception) -> str:
        self.faults.append(error)
        return f"incident {len(self.faults)}"
