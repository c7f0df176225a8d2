"""A process dies, or its store does not answer, at any call that a runner makes; and many runners work in any order."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from tests.core.crashing import Crash, Fuse, fused
from tests.core.operation_rooms import STEPS, OperationRooms, Work, settle
from tests.core.stumbling import Stumble, stumbling

from measurand.core.operations.documents import OperationState
from measurand.core.operations.jobs import Job
from measurand.core.operations.runner import Runner
from measurand.core.ports import DocumentStore, Json
from measurand.core.principal import LOCAL_USER
from measurand.wire.errors import MeasurandError

STEPPED = list(range(STEPS))


@pytest.mark.parametrize("after", [False, True])
async def test_a_process_may_die_at_any_call(after: bool) -> None:
    at = 0
    while True:
        rooms, first, second = OperationRooms(), Work(), Work()
        fuse = Fuse(at, after)
        documents, _ = fused(rooms.rooms.documents, rooms.rooms.blobs, fuse)
        made = await rooms.begin()
        one, other = rooms.runner(first, documents=documents), rooms.runner(second)
        looking = asyncio.ensure_future(one.look())
        await settle()
        await one.close()
        await asyncio.gather(looking, return_exceptions=True)
        await other.look()
        await rooms.pass_time(31, step=31)
        await other.look()
        await settle()
        done = await rooms.now(made)
        assert (done.state, done.response) == (OperationState.SUCCEEDED, {"done": STEPS}), at
        taken = [step for _, step in first.traces + second.traces]
        assert sorted(set(taken)) == STEPPED, at
        assert len(taken) <= STEPS + 1, at  # only the step that it died in is taken twice
        assert done.attempt <= 2, at
        assert all(isinstance(fault, Crash) for fault in rooms.faults), at
        await other.close()
        if not fuse.blown:
            assert fuse.calls > STEPS
            return
        at += 1


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("after", [False, True])
async def test_a_store_may_not_answer_at_any_call(after: bool, times: int) -> None:
    at = 0
    while True:
        rooms, work = OperationRooms(), Work()
        stumble = Stumble(at, after, times)
        documents, _ = stumbling(rooms.rooms.documents, rooms.rooms.blobs, stumble)
        made = await rooms.begin()
        runner = rooms.runner(work, documents=documents)
        done, looks = made, 0
        while not done.state.is_final:
            looks += 1
            assert looks <= times + 3, at  # what was begun and is not known of need not wait for the end of a lease
            with contextlib.suppress(MeasurandError):
                await runner.look()
            await rooms.pass_time(5, step=5)
            done = await rooms.now(made)
        assert (done.state, done.response) == (OperationState.SUCCEEDED, {"done": STEPS}), at
        taken = [step for _, step in work.traces]
        assert sorted(set(taken)) == STEPPED, at
        assert len(taken) <= STEPS + times, at
        assert not rooms.faults, at
        await runner.close()
        if not stumble.has_happened:
            return
        at += 1


class Cancelling:
    """A store that somebody else asks to stop the operation at its n-th call."""

    def __init__(self, rooms: OperationRooms, at: int) -> None:
        self._rooms = rooms
        self._left = at
        self.name = ""

    @property
    def has_happened(self) -> bool:
        return self._left < 0

    def __getattr__(self, verb: str) -> Any:
        method = getattr(self._rooms.rooms.documents, verb)

        async def call(*args: Any, **more: Any) -> Any:
            if self._left == 0:
                await self._rooms.operations.cancel(LOCAL_USER, self.name.removeprefix("operations/"))
            self._left -= 1
            return await method(*args, **more)

        return call


async def test_it_may_be_cancelled_between_any_two_calls() -> None:
    at = 0
    ends: set[OperationState] = set()
    while True:
        rooms, work = OperationRooms(), Work()
        documents = Cancelling(rooms, at)
        documents.name = (made := await rooms.begin()).name
        runner = rooms.runner(work, documents=cast("DocumentStore", documents))
        await runner.look()
        await settle()
        done = await rooms.now(made)
        assert done.state.is_final, at
        taken = [step for _, step in work.traces]
        assert taken == STEPPED[: len(taken)], at
        if done.state is OperationState.SUCCEEDED:
            assert taken == STEPPED, at
        await runner.close()
        if not documents.has_happened:
            assert ends == {OperationState.CANCELLED, OperationState.SUCCEEDED}
            return
        ends.add(done.state)
        at += 1


@dataclass
class Tally:
    """A handler whose steps take their time, and which knows what may never be."""

    chance: random.Random
    traces: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    stopping: set[str] = field(default_factory=set)

    async def __call__(self, job: Job) -> Mapping[str, Json]:
        traces = self.traces.setdefault(job.operation.name, [])
        done = job.state if isinstance(job.state, int) else 0
        for step in range(done, STEPS):
            job.check()
            await self._linger()
            traces.append((job.operation.epoch, step))
            job.progress(step + 1, STEPS, "steps", "working")
            await job.checkpoint(step + 1)
        return {"done": STEPS}

    async def _linger(self) -> None:
        for _ in range(self.chance.choice((0, 0, 1, 5, 30))):
            await asyncio.sleep(0)


class Wandering:
    """A store whose answers take their time, so that all orders come about; its process may be stopped for a while."""

    def __init__(self, inner: DocumentStore, chance: random.Random) -> None:
        self._inner = inner
        self._chance = chance
        self.gate = asyncio.Event()
        self.gate.set()

    def __getattr__(self, verb: str) -> Any:
        method = getattr(self._inner, verb)

        async def call(*args: Any, **more: Any) -> Any:
            await self.gate.wait()
            await self._linger()
            answer = await method(*args, **more)
            await self._linger()
            await self.gate.wait()
            return answer

        return call

    async def _linger(self) -> None:
        for _ in range(self._chance.choice((0, 0, 0, 1, 2, 8))):
            await asyncio.sleep(0)


@dataclass
class Process:
    documents: Wandering
    runner: Runner


@pytest.mark.parametrize("seed", range(12))
async def test_runners_that_come_and_go_in_any_order_do_everything_once(seed: int) -> None:
    chance = random.Random(seed)
    rooms, tally = OperationRooms(), Tally(chance)
    asked: set[str] = set()
    gone: list[Process] = []

    def start() -> Process:
        documents = Wandering(rooms.rooms.documents, chance)
        return Process(documents, rooms.runner(tally, documents=cast("DocumentStore", documents), at_once=2))

    async def look(process: Process) -> None:
        if process.documents.gate.is_set():
            await process.runner.look()

    processes = [start() for _ in range(3)]
    made = [await rooms.begin() for _ in range(3)]
    for _ in range(60):
        victim = chance.randrange(len(processes))
        match chance.choice(["look", "look", "look", "time", "begin", "cancel", "stop", "kill", "sleep", "wake"]):
            case "look":
                await asyncio.gather(*(look(process) for process in processes))
            case "time":
                await rooms.pass_time(chance.choice((1, 12, 31)), step=6)
            case "begin":
                made.append(await rooms.begin())
            case "cancel":
                one = chance.choice(made)
                before = await rooms.now(one)
                after = await rooms.operations.cancel(LOCAL_USER, one.id)
                if not before.state.is_final:
                    asked.add(one.name)
                assert after.state in (OperationState.CANCELLING, OperationState.CANCELLED) or before.state.is_final
            case "stop":
                if processes[victim].documents.gate.is_set():
                    await processes[victim].runner.close()
                    processes[victim] = start()
            case "kill":
                processes[victim].documents.gate.clear()
                gone.append(processes[victim])
                processes[victim] = start()
            case "sleep":
                processes[victim].documents.gate.clear()
            case "wake":
                processes[victim].documents.gate.set()
        for _ in range(chance.randrange(20)):
            await asyncio.sleep(0)
    for process in processes:
        process.documents.gate.set()
    for _ in range(12):
        await asyncio.gather(*(look(process) for process in processes))
        await rooms.pass_time(31, step=10)
    for process in (*processes, *gone):
        process.documents.gate.set()
        await process.runner.close()
    for one in await rooms.all():
        assert one.state.is_final, one
        assert not rooms.faults
        traces = tally.traces.get(one.name, [])
        if one.state is OperationState.CANCELLED:
            assert one.name in asked
        elif one.state is OperationState.SUCCEEDED:
            assert {step for _, step in traces} == set(STEPPED)
            assert one.progress.done == STEPS
        else:
            assert one.problem is not None and "lost" in one.problem.message
        for epoch in {epoch for epoch, _ in traces}:  # each run goes on from where the one before it had got to
            steps = [step for number, step in traces if number == epoch]
            assert steps == list(range(steps[0], steps[0] + len(steps)))
            earlier = [step for number, step in traces if number < epoch]
            assert steps[0] <= max(earlier, default=-1) + 1
        assert one.attempt == one.epoch
