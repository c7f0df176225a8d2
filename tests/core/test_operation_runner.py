"""A runner does what waits, once across all processes, and leaves nothing behind when it goes, however it goes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import cast

import pytest
from tests.core.operation_rooms import STEPS, OperationRooms, Paused, Work, settle

from measurand.core.operations.deciding import MOST_LOST, begun, given_back, noted
from measurand.core.operations.documents import OperationState
from measurand.core.operations.holding import Holding, LeaseLost
from measurand.core.operations.jobs import Job
from measurand.core.ports import DocumentStore, Json

STEPPED = [0, 1, 2, 3]


async def test_it_is_done_from_its_beginning_to_its_end() -> None:
    rooms, work = OperationRooms(), Work()
    made = await rooms.begin("work", n=7)
    other = await rooms.begin("unknown here")
    runner = rooms.runner(work)
    await runner.look()
    await settle()
    done = await rooms.now(made)
    assert (done.state, done.response, done.attempt) == (OperationState.SUCCEEDED, {"done": STEPS}, 1)
    assert (done.progress.done, done.progress.total, done.progress.unit) == (STEPS, STEPS, "steps")
    assert done.start_time is not None and done.end_time is not None and done.runner == ""
    assert (await rooms.now(other)).state is OperationState.QUEUED
    await runner.close()


async def test_as_many_as_there_is_room_for_are_at_work_and_the_oldest_come_first() -> None:
    rooms = OperationRooms()
    gate = asyncio.Event()
    work = Work({0: gate})
    made = [await rooms.begin() for _ in range(5)]
    runner = rooms.runner(work, at_once=2)
    await runner.look()
    await settle()
    assert runner.running == 2
    assert work.at_work == {made[0].name, made[1].name}
    gate.set()  # the others follow without another look
    await settle()
    assert {one.state for one in await rooms.all()} == {OperationState.SUCCEEDED}
    assert runner.running == 0
    await runner.close()


async def test_no_more_than_there_is_room_for_follow_one_that_has_ended() -> None:
    rooms = OperationRooms()
    gates = {number: asyncio.Event() for number in range(5)}

    async def wait(job: Job) -> Mapping[str, Json]:
        assert isinstance(job.arguments, Mapping)
        await gates[cast("int", job.arguments["number"])].wait()
        return {}

    for number in gates:
        await rooms.begin(number=number)
    runner = rooms.runner(wait, at_once=2)
    await runner.look()
    for gate in gates.values():
        await settle()
        assert sum(one.state is OperationState.RUNNING for one in await rooms.all()) <= 2
        gate.set()
    await settle()
    assert {one.state for one in await rooms.all()} == {OperationState.SUCCEEDED}
    await runner.close()


async def test_one_process_that_takes_it_up_twice_holds_it_once() -> None:
    rooms = OperationRooms()
    made = await rooms.begin()
    documents, means = rooms.rooms.documents, rooms.rooms.means
    older = Holding(documents, means, begun(made, "process", means.now()), 1)
    assert await older.begin()
    back = await older.change(lambda operation: given_back(operation, means.now()))
    newer = Holding(documents, means, begun(back, "process", means.now()), 3)
    assert await newer.begin()
    older = Holding(documents, means, begun(made, "process", means.now()), 2)
    with pytest.raises(LeaseLost):
        await older.change(lambda operation: noted(operation, "late"))
    assert (await rooms.now(made)).checkpoint is None


async def test_two_runners_do_it_once() -> None:
    rooms, work = OperationRooms(), Work()
    made = [await rooms.begin() for _ in range(10)]
    runners = [rooms.runner(work) for _ in range(3)]
    await asyncio.gather(*(runner.look() for runner in runners))
    await settle()
    assert sorted(work.traces) == sorted((one.name, step) for one in made for step in STEPPED)
    assert {one.attempt for one in await rooms.all()} == {1}
    for runner in runners:
        await runner.close()


async def test_a_runner_that_is_stopped_gives_back_at_once_and_another_goes_on() -> None:
    rooms = OperationRooms()
    gate = asyncio.Event()
    first, second = Work({2: gate}), Work()
    made = await rooms.begin()
    one, other = rooms.runner(first), rooms.runner(second)
    await one.look()
    await settle()
    await one.close()
    left = await rooms.now(made)
    assert (left.state, left.runner, left.checkpoint) == (OperationState.QUEUED, "", 2)
    assert not first.at_work
    await one.look()  # it takes nothing any more
    await other.look()
    await settle()
    done = await rooms.now(made)
    assert (done.state, done.attempt) == (OperationState.SUCCEEDED, 2)
    assert second.began == [2]
    assert [step for _, step in first.traces + second.traces] == STEPPED
    await other.close()


async def test_what_takes_its_time_to_stop_is_nobody_elses_meanwhile() -> None:
    rooms, gate = OperationRooms(), asyncio.Event()

    async def stubborn(_: Job) -> Mapping[str, Json]:
        while not gate.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await gate.wait()
        return {}

    second = Work()
    made = await rooms.begin()
    one, other = rooms.runner(stubborn), rooms.runner(second)
    await one.look()
    await settle()
    closing = asyncio.ensure_future(one.close())
    for _ in range(8):
        await rooms.pass_time(10)
        await other.look()
    assert not second.began
    gate.set()
    await closing
    assert (await rooms.now(made)).state is OperationState.QUEUED
    await other.close()


async def test_a_runner_that_died_is_followed_by_another_after_its_lease() -> None:
    rooms = OperationRooms()
    paused = Paused(rooms.rooms.documents)
    first, second = Work({2: asyncio.Event()}), Work()
    made = await rooms.begin()
    one, other = rooms.runner(first, documents=cast("DocumentStore", paused)), rooms.runner(second)
    await one.look()
    await settle()
    for _ in range(10):  # as long as it renews its lease, it keeps it
        await rooms.pass_time(10)
        await other.look()
    assert (await rooms.now(made)).attempt == 1
    paused.gate.clear()
    await other.look()
    await rooms.pass_time(29)
    await other.look()
    await settle()
    assert (await rooms.now(made)).attempt == 1
    await rooms.pass_time(1)
    await other.look()
    await settle()
    done = await rooms.now(made)
    assert (done.state, done.attempt, done.lost) == (OperationState.SUCCEEDED, 2, 0)
    assert second.began == [2]
    paused.gate.set()
    await one.close()
    assert await rooms.now(made) == done
    await other.close()


async def test_a_runner_that_comes_back_too_late_stops_and_writes_nothing_more() -> None:
    rooms = OperationRooms()
    paused = Paused(rooms.rooms.documents)
    first, second = Work({2: asyncio.Event()}), Work({3: asyncio.Event()})
    made = await rooms.begin()
    one, other = rooms.runner(first, documents=cast("DocumentStore", paused)), rooms.runner(second)
    await one.look()
    await settle()
    paused.gate.clear()
    await other.look()
    await rooms.pass_time(31)
    assert not first.at_work  # it could not renew its lease, so it has stopped by itself
    await other.look()
    await settle()
    held = await rooms.now(made)
    assert (held.epoch, held.checkpoint) == (2, 3)
    paused.gate.set()
    await settle()
    assert await rooms.now(made) == held
    second.gates[3].set()
    await settle()
    assert (await rooms.now(made)).state is OperationState.SUCCEEDED
    assert [step for _, step in first.traces + second.traces] == STEPPED
    await one.close()
    await other.close()


async def test_a_checkpoint_of_a_runner_that_was_passed_by_is_refused() -> None:
    rooms = OperationRooms()
    gate = asyncio.Event()
    first, second = Work({2: gate}), Work({3: asyncio.Event()})
    made = await rooms.begin()
    one, other = rooms.runner(first), rooms.runner(second)
    await one.look()
    await settle()
    await other.look()
    rooms.rooms.clock.move(rooms.rooms.limits.heartbeat)  # all at once: the first process slept through it
    await other.look()
    await settle()
    held = await rooms.now(made)
    assert (held.epoch, held.checkpoint) == (2, 3)
    gate.set()
    await settle()
    assert await rooms.now(made) == held
    assert not first.at_work
    assert [step for _, step in first.traces] == [0, 1, 2]  # the third, which it did not know to be another's already
    await one.close()
    await other.close()


async def test_an_operation_that_ends_every_server_is_given_up() -> None:
    rooms = OperationRooms()
    made = await rooms.begin()
    watcher = rooms.runner(Work(), kind="other")
    runners = []
    for _ in range(MOST_LOST):
        paused = Paused(rooms.rooms.documents)
        runner = rooms.runner(Work({0: asyncio.Event()}), documents=cast("DocumentStore", paused))
        runners.append((runner, paused))
        await runner.look()
        await settle()
        paused.gate.clear()
        await watcher.look()
        await rooms.pass_time(31, step=31)
        await watcher.look()
    given_up = await rooms.now(made)
    assert (given_up.state, given_up.attempt) == (OperationState.FAILED, MOST_LOST)
    assert given_up.problem is not None
    assert given_up.problem.reason == "INTERNAL" and "logs" in given_up.problem.message
    for runner, paused in runners:
        paused.gate.set()
        await runner.close()
    assert await rooms.now(made) == given_up


async def test_it_begins_as_soon_as_it_is_asked_for() -> None:
    rooms, work = OperationRooms(), Work()
    runner = rooms.runner(work)
    running = asyncio.ensure_future(runner.run())
    await settle()
    made = await rooms.begin()
    await settle()
    assert (await rooms.now(made)).state is OperationState.SUCCEEDED
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await runner.close()


async def test_the_end_of_the_run_gives_back_what_is_at_work() -> None:
    rooms = OperationRooms()
    work = Work({1: asyncio.Event()})
    made = await rooms.begin()
    runner = rooms.runner(work)
    running = asyncio.ensure_future(runner.run())
    await settle()
    assert work.at_work
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await settle()
    assert (await rooms.now(made)).state is OperationState.QUEUED
    assert not work.at_work
    await runner.close()
