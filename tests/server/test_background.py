"""Jobs beside the server: run again and again, whatever they raise."""

from __future__ import annotations

import asyncio
import logging

import pytest

from measurand.server.background import Background, Job


async def test_a_job_that_fails_is_logged_and_run_again(caplog: pytest.LogCaptureFixture) -> None:
    runs = 0
    often_enough = asyncio.Event()

    async def fail() -> None:
        nonlocal runs
        runs += 1
        if runs == 3:
            often_enough.set()
        raise OSError("the disk is gone")

    background = Background([Job("try hard", 0.001, fail)])
    background.start()
    await asyncio.wait_for(often_enough.wait(), 10)
    await background.stop()
    failures = [record for record in caplog.records if "event=job_failed job=try_hard" in record.getMessage()]
    assert len(failures) >= 3
    assert all(record.levelno == logging.ERROR and record.exc_info for record in failures)


async def test_a_job_that_fails_holds_up_no_other() -> None:
    done = asyncio.Event()

    async def fail() -> None:
        raise RuntimeError

    async def work() -> None:
        done.set()

    background = Background([Job("fail", 0.0, fail), Job("work", 0.001, work)])
    background.start()
    await asyncio.wait_for(done.wait(), 10)
    await background.stop()


async def test_stopping_ends_a_job_in_the_middle_and_waits_for_its_end() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def endless() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.set()

    background = Background([Job("endless", 0.0, endless)])
    background.start()
    await asyncio.wait_for(begun.wait(), 10)
    await background.stop()
    assert ended.is_set()


async def test_the_servers_of_a_fleet_do_not_all_come_at_once() -> None:
    order: list[str] = []
    both = asyncio.Event()

    def job(name: str) -> Job:
        async def work() -> None:
            order.append(name)
            if len(set(order)) == 2:
                both.set()

        return Job(name, 0.02, work)

    late, early = Background([job("late")], chance=lambda: 1.0), Background([job("early")], chance=lambda: 0.0)
    late.start()
    early.start()
    await asyncio.wait_for(both.wait(), 10)
    assert order[0] == "early"
    await asyncio.gather(late.stop(), early.stop())


class Never:
    """A lease that another has, until it is free."""

    seconds = 0.003

    def __init__(self) -> None:
        self.is_free = False
        self.is_held = False
        self.released = 0

    async def try_hold(self) -> bool:
        self.is_held = self.is_free
        return self.is_held

    async def release(self) -> None:
        self.released += 1


async def test_shared_jobs_run_only_while_the_lease_is_held() -> None:
    lease = Never()
    own, shared, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        own.set()

    async def work_for_all() -> None:
        assert lease.is_held
        shared.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    jobs = [Job("own", 0.0, work), Job("for all", 0.0, work_for_all, shared=True)]
    background = Background(jobs, lease=lease)  # type: ignore[arg-type]  # what it uses of one
    background.start()
    await asyncio.wait_for(own.wait(), 10)
    led = [background.is_leading]
    lease.is_free = True
    await asyncio.wait_for(shared.wait(), 10)
    assert [*led, background.is_leading] == [False, True]
    lease.is_free = False
    await asyncio.wait_for(ended.wait(), 10)
    lease.is_free = True
    shared.clear()
    await asyncio.wait_for(shared.wait(), 10)
    await background.stop()
    assert lease.released == 1


async def test_a_job_that_takes_no_notice_of_being_cancelled_is_cancelled_again() -> None:
    started, notices = asyncio.Event(), []

    async def work() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            notices.append("missed")
        await asyncio.Event().wait()

    background = Background([Job("deaf", 0.0, work)])
    background.start()
    await asyncio.wait_for(started.wait(), 10)
    await asyncio.wait_for(background.stop(), 10)
    assert notices == ["missed"]
