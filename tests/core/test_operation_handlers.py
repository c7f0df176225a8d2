"""What a handler says is written down, what it raises is told, and it stops where nothing is half done."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import pytest
from tests.core.operation_rooms import OperationRooms, Paused, Work, settle

from measurand.core.operations.documents import MAX_TARGETS, OperationState
from measurand.core.operations.jobs import MAX_CHECKPOINT_BYTES, Job
from measurand.core.operations.working import MOST_TRIES
from measurand.core.ports import DocumentStore, Json
from measurand.core.principal import LOCAL_USER
from measurand.wire.errors import NotFound, StoreFull, Unavailable


async def test_a_cancelled_one_stops_where_nothing_is_half_done() -> None:
    rooms = OperationRooms()
    gate = asyncio.Event()
    work = Work({2: gate})
    made = await rooms.begin()
    runner = rooms.runner(work)
    await runner.look()
    await settle()
    assert (await rooms.operations.cancel(LOCAL_USER, made.id)).state is OperationState.CANCELLING
    await settle()
    assert work.at_work  # in the middle of a step
    gate.set()
    await settle()
    stopped = await rooms.now(made)
    assert (stopped.state, stopped.response, stopped.progress.done) == (OperationState.CANCELLED, None, 3)
    assert [step for _, step in work.traces] == [0, 1, 2]
    await runner.close()


async def test_a_running_handler_learns_soon_that_it_is_to_stop() -> None:
    rooms, seen = OperationRooms(), asyncio.Event()

    async def wait(job: Job) -> Mapping[str, Json]:
        while not job.is_cancelling:  # noqa: ASYNC110  # what a handler that cannot be interrupted does
            await asyncio.sleep(0)
        seen.set()
        job.check()
        return {}

    made = await rooms.begin()
    runner = rooms.runner(wait)
    running = asyncio.ensure_future(runner.run())
    await settle()
    await rooms.operations.cancel(LOCAL_USER, made.id)
    await asyncio.wait_for(seen.wait(), 60)
    await settle()
    assert (await rooms.now(made)).state is OperationState.CANCELLED
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await runner.close()


async def test_one_that_ends_before_it_can_stop_has_ended_well() -> None:
    rooms = OperationRooms()
    gate = asyncio.Event()

    async def finish(job: Job) -> Mapping[str, Json]:
        await gate.wait()
        job.progress(1, 1)
        return {"done": 1}

    made = await rooms.begin()
    runner = rooms.runner(finish)
    await runner.look()
    await settle()
    await rooms.operations.cancel(LOCAL_USER, made.id)
    gate.set()
    await settle()
    done = await rooms.now(made)
    assert (done.state, done.response) == (OperationState.SUCCEEDED, {"done": 1})
    assert (done.progress.done, done.progress.total) == (1, 1)
    await runner.close()


@pytest.mark.parametrize("stopped", [True, False])
async def test_a_cancelled_one_whose_runner_goes_is_undone_by_another(stopped: bool) -> None:
    rooms = OperationRooms()
    paused = Paused(rooms.rooms.documents)
    made = await rooms.begin()
    one = rooms.runner(Work({2: asyncio.Event()}), documents=cast("DocumentStore", paused))
    second = Work()
    other = rooms.runner(second)
    await one.look()
    await settle()
    await rooms.operations.cancel(LOCAL_USER, made.id)
    if stopped:
        await one.close()
    else:
        paused.gate.clear()
        await other.look()
        await rooms.pass_time(31, step=31)
    await other.look()
    await settle()
    assert (await rooms.now(made)).state is OperationState.CANCELLED
    assert second.began == [2] and not second.traces
    paused.gate.set()
    await one.close()
    await other.close()


async def test_one_that_waits_again_is_cancelled_through_its_handler() -> None:
    rooms = OperationRooms()
    made = await rooms.begin()
    one = rooms.runner(Work({2: asyncio.Event()}))
    await one.look()
    await settle()
    await one.close()
    assert (await rooms.operations.cancel(LOCAL_USER, made.id)).state is OperationState.CANCELLING
    second = Work()
    other = rooms.runner(second)
    await other.look()
    await settle()
    assert second.began == [2] and not second.traces
    assert (await rooms.now(made)).state is OperationState.CANCELLED
    await other.close()


async def test_an_error_becomes_the_problem() -> None:
    rooms = OperationRooms()
    made = await rooms.begin()
    runner = rooms.runner(Work(errors=[NotFound("containers/a: there is none; add it", resource="containers/a")]))
    await runner.look()
    await settle()
    failed = await rooms.now(made)
    assert failed.state is OperationState.FAILED and failed.problem is not None
    error = failed.problem.error()
    assert (type(error), error.message) == (NotFound, "containers/a: there is none; add it")
    assert error.details == {"resource": "containers/a"}
    assert not rooms.faults
    await runner.close()


async def test_a_fault_of_a_handler_is_logged_and_told_by_its_incident_only() -> None:
    rooms = OperationRooms()
    made = await rooms.begin()
    runner = rooms.runner(Work(errors=[ZeroDivisionError("secret")]))
    await runner.look()
    await settle()
    failed = await rooms.now(made)
    assert failed.state is OperationState.FAILED and failed.problem is not None
    assert (failed.problem.reason, failed.problem.details) == ("INTERNAL", {"incident": "incident 1"})
    assert "secret" not in failed.problem.message
    assert [type(fault) for fault in rooms.faults] == [ZeroDivisionError]
    await runner.close()


async def test_what_does_not_answer_for_a_while_is_asked_again_from_the_last_safe_point() -> None:
    rooms = OperationRooms()
    work = Work(gates={2: asyncio.Event()})
    work.gates[2].set()
    made = await rooms.begin()
    runner = rooms.runner(work)
    work.errors = [Unavailable("away", store="x") for _ in range(MOST_TRIES - 1)]
    await runner.look()
    await rooms.pass_time(300)
    done = await rooms.now(made)
    assert (done.state, done.attempt) == (OperationState.SUCCEEDED, 1)
    assert len(work.began) == MOST_TRIES
    await runner.close()


async def test_what_gets_on_is_asked_again_as_often_as_it_takes() -> None:
    rooms = OperationRooms()
    made = await rooms.begin()
    away = [Unavailable("away", store="x") for _ in range(MOST_TRIES - 1)]
    runner = rooms.runner(Work(errors=[*away, None, *away, None, *away]))
    await runner.look()
    await rooms.pass_time(600, step=5)
    assert (await rooms.now(made)).state is OperationState.SUCCEEDED
    await runner.close()


async def test_what_never_answers_fails_in_the_end() -> None:
    rooms = OperationRooms()
    made = await rooms.begin()
    runner = rooms.runner(Work(errors=[Unavailable("away", store="x") for _ in range(MOST_TRIES)]))
    await runner.look()
    await rooms.pass_time(300)
    failed = await rooms.now(made)
    assert failed.state is OperationState.FAILED and failed.problem is not None
    assert failed.problem.reason == "STORE_UNAVAILABLE"
    await runner.close()


async def test_progress_is_written_at_most_five_times_a_second() -> None:
    rooms = OperationRooms()
    go = asyncio.Event()

    async def count(job: Job) -> Mapping[str, Json]:
        for number in range(1000):
            job.progress(number, 1000, "blobs")
            await asyncio.sleep(0)
        job.progress(message="waiting")
        await go.wait()
        return {}

    writes = 0

    class Counting:
        def __getattr__(self, verb: str) -> Any:
            nonlocal writes
            writes += verb == "replace"
            return getattr(rooms.rooms.documents, verb)

    made = await rooms.begin()
    runner = rooms.runner(count, documents=cast("DocumentStore", Counting()))
    await runner.look()
    for _ in range(10):
        await settle()
    assert writes == 2  # begun, and the first of what was said
    await rooms.pass_time(0.1)
    assert writes == 2
    await rooms.pass_time(0.1)
    assert writes == 3
    said = (await rooms.now(made)).progress
    assert (said.done, said.total, said.unit, said.message) == (999, 1000, "blobs", "waiting")
    go.set()
    await settle()
    await runner.close()


async def test_targets_that_fail_are_told_of_and_the_others_go_on() -> None:
    rooms = OperationRooms()

    async def check(job: Job) -> Mapping[str, Json]:
        for number in range(MAX_TARGETS + 10):
            job.fail_target(f"t{number}", StoreFull("no room"))
        job.fail_target("t0", NotFound("gone"))
        await job.checkpoint("x")
        return {"done": len(job.targets)}

    made = await rooms.operations.create(LOCAL_USER, "work", targets=["t0", "t1"])
    runner = rooms.runner(check)
    await runner.look()
    await settle()
    done = await rooms.now(made)
    assert (done.state, done.response) == (OperationState.SUCCEEDED, {"done": 2})
    assert [one.target for one in done.target_problems] == [f"t{number}" for number in range(MAX_TARGETS)]
    assert [one.problem.message for one in done.target_problems[:2]] == ["gone", "no room"]
    await runner.close()


@pytest.mark.parametrize("response", [{"n": float("nan")}, {"n": {1, 2}}])
async def test_a_response_that_cannot_be_kept_is_a_fault(response: Any) -> None:
    rooms = OperationRooms()

    async def answer(_: Job) -> Mapping[str, Json]:
        return cast("Mapping[str, Json]", response)

    made = await rooms.begin()
    runner = rooms.runner(answer)
    await runner.look()
    await settle()
    assert (await rooms.now(made)).state is OperationState.FAILED
    assert len(rooms.faults) == 1
    await runner.close()


@pytest.mark.parametrize("state", ["x" * MAX_CHECKPOINT_BYTES, float("nan"), {1, 2}])
async def test_a_state_that_cannot_be_kept_is_a_fault(state: Any) -> None:
    rooms = OperationRooms()

    async def note(job: Job) -> Mapping[str, Json]:
        await job.checkpoint(state)
        return {}

    made = await rooms.begin()
    runner = rooms.runner(note)
    await runner.look()
    await settle()
    assert (await rooms.now(made)).state is OperationState.FAILED
    assert len(rooms.faults) == 1
    await runner.close()
