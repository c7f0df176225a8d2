"""Operations are begun once, listed newest first, cancelled, followed to their end, and forgotten."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from tests.core.operation_rooms import OperationRooms, Work, settle

from measurand.core.moving.contents import content_of, portable
from measurand.core.operations.deciding import KEPT
from measurand.core.operations.documents import MAX_TARGETS, OPERATIONS, OperationState
from measurand.core.principal import LOCAL_USER
from measurand.wire.errors import (
    FailedPrecondition,
    FilterInvalid,
    InvalidArgument,
    NotFound,
    PageTokenInvalid,
    RequestIdReused,
)

HOUR = timedelta(hours=1)


async def test_the_same_request_begins_one_operation() -> None:
    rooms = OperationRooms()
    made = [
        await rooms.operations.create(LOCAL_USER, "work", targets=["a"], arguments={"n": 1}, request_id="r")
        for _ in range(3)
    ]
    at_once = await asyncio.gather(
        *(rooms.operations.create(LOCAL_USER, "work", arguments={"n": 2}, request_id="s") for _ in range(8))
    )
    assert len({one.id for one in made}) == len({one.id for one in at_once}) == 1
    assert len(await rooms.all()) == 2
    with pytest.raises(RequestIdReused):
        await rooms.operations.create(LOCAL_USER, "work", targets=["a"], arguments={"n": 3}, request_id="r")


async def test_a_repeated_request_finds_what_became_of_the_first() -> None:
    rooms = OperationRooms()
    await rooms.operations.create(LOCAL_USER, "work", request_id="r")
    runner = rooms.runner(Work())
    await runner.look()
    await settle()
    again = await rooms.operations.create(LOCAL_USER, "work", request_id="r")
    assert (again.state, again.response) == (OperationState.SUCCEEDED, {"done": 4})
    await runner.close()


async def test_a_thousand_targets_are_kept() -> None:
    rooms = OperationRooms()
    made = await rooms.operations.create(LOCAL_USER, "work", targets=[f"t{n}" for n in range(MAX_TARGETS + 5)])
    assert (await rooms.now(made)).targets == tuple(f"t{n}" for n in range(MAX_TARGETS))


async def test_pages_come_newest_first_and_by_filter() -> None:
    rooms = OperationRooms()
    made = [await rooms.begin("work" if n % 2 else "other") for n in range(5)]
    newest = [one.id for one in reversed(made)]
    first = await rooms.operations.page(LOCAL_USER, size=2)
    await rooms.begin("later")
    rest = await rooms.operations.page(LOCAL_USER, size=10, page_token=first.next_page_token)
    assert [one.id for one in (*first.operations, *rest.operations)] == newest
    assert not rest.next_page_token
    await rooms.operations.cancel(LOCAL_USER, made[1].id)
    for asked, expected in [
        ('kind = "work"', {1, 3}),
        ("state = cancelled", {1}),
        ("state = QUEUED AND kind = other", {0, 2, 4}),
        (f'id = "{made[2].id}"', {2}),
        ('creator = "users/nobody"', set[int]()),
    ]:
        page = await rooms.operations.page(LOCAL_USER, filter_text=asked)
        assert {one.id for one in page.operations} == {made[n].id for n in expected}, asked
    with pytest.raises(FilterInvalid):
        await rooms.operations.page(LOCAL_USER, filter_text="arguments = 1")
    with pytest.raises(PageTokenInvalid):
        await rooms.operations.page(LOCAL_USER, page_token=first.next_page_token, filter_text="kind = work")


async def test_what_works_on_a_target_is_found_as_long_as_it_does() -> None:
    rooms = OperationRooms()
    assert await rooms.operations.unfinished("drain", "containers/a") is None
    made = await rooms.operations.create(LOCAL_USER, "drain", targets=["containers/a"])
    found = await rooms.operations.unfinished("drain", "containers/a")
    assert found is not None and found.id == made.id
    assert await rooms.operations.unfinished("drain", "containers/b") is None
    assert await rooms.operations.unfinished("repair", "containers/a") is None
    await rooms.operations.cancel(LOCAL_USER, made.id)
    assert await rooms.operations.unfinished("drain", "containers/a") is None


async def test_what_was_not_begun_is_cancelled_at_once() -> None:
    rooms = OperationRooms()
    made = await rooms.begin()
    cancelled = await rooms.operations.cancel(LOCAL_USER, made.id)
    assert (cancelled.state, cancelled.attempt) == (OperationState.CANCELLED, 0)
    assert cancelled.end_time == rooms.rooms.clock.time
    work = Work()
    runner = rooms.runner(work)
    await runner.look()
    await settle()
    assert not work.began
    rooms.rooms.clock.move(HOUR)
    assert await rooms.operations.cancel(LOCAL_USER, made.id) == cancelled
    with pytest.raises(NotFound):
        await rooms.operations.cancel(LOCAL_USER, "01JD8Y6T4GZQ5N3K7V2B9XWCMF")


async def test_only_what_has_ended_is_deleted() -> None:
    rooms = OperationRooms()
    made = await rooms.begin()
    with pytest.raises(FailedPrecondition, match="queued") as refused:
        await rooms.operations.delete(LOCAL_USER, made.id)
    assert refused.value.details == {"resource": made.name, "state": "queued"}
    await rooms.operations.cancel(LOCAL_USER, made.id)
    await rooms.operations.delete(LOCAL_USER, made.id)
    for call in (rooms.operations.get, rooms.operations.delete):
        with pytest.raises(NotFound):
            await call(LOCAL_USER, made.id)


async def test_it_is_forgotten_thirty_days_after_its_end() -> None:
    rooms = OperationRooms()
    ended = [await rooms.begin() for _ in range(3)]
    waiting = await rooms.begin()
    for one in ended:
        await rooms.operations.cancel(LOCAL_USER, one.id)
    rooms.rooms.clock.move(KEPT - HOUR)
    assert await rooms.operations.expire() == 0
    rooms.rooms.clock.move(HOUR)
    assert await rooms.operations.expire() == 3
    assert [one.id for one in await rooms.all()] == [waiting.id]


async def test_a_backup_has_those_that_have_ended_and_a_copy_all() -> None:
    rooms = OperationRooms()
    ended, waiting = await rooms.begin(), await rooms.begin()
    await rooms.operations.cancel(LOCAL_USER, ended.id)
    found = {item.document.key: item.document for item in await rooms.rooms.documents.find(OPERATIONS)}
    for one, is_kept in ((ended, True), (waiting, False)):
        for is_copy in (True, False):
            moved = portable(content_of(OPERATIONS), found[one.name], with_running=is_copy)
            assert (moved is not None) == (is_kept or is_copy)


async def test_a_follower_sees_it_begin_go_on_and_end() -> None:
    rooms = OperationRooms()
    gates = {step: asyncio.Event() for step in (1, 3)}
    made = await rooms.begin()
    following = rooms.following.follow(LOCAL_USER, made.id, min_interval=timedelta())
    assert (await anext(following)).state is OperationState.QUEUED
    runner = rooms.runner(Work(gates))
    await runner.look()
    await settle()
    seen = await anext(following)
    assert (seen.state, seen.progress.done) == (OperationState.RUNNING, 1)
    gates[1].set()
    await settle()
    assert (await anext(following)).progress.done == 3
    gates[3].set()
    seen = await anext(following)
    while not seen.state.is_final:
        seen = await anext(following)
    assert (seen.state, seen.progress.done) == (OperationState.SUCCEEDED, 4)
    assert [one async for one in following] == []
    await runner.close()


async def test_a_follower_is_told_of_the_end_whatever_the_interval() -> None:
    rooms = OperationRooms()
    made = await rooms.begin()
    following = rooms.following.follow(LOCAL_USER, made.id, min_interval=HOUR)
    await anext(following)
    await rooms.operations.cancel(LOCAL_USER, made.id)
    assert [one.state async for one in following] == [OperationState.CANCELLED]


async def test_a_follower_is_told_nothing_new_after_a_silence() -> None:
    rooms = OperationRooms()
    made = await rooms.begin()
    following = rooms.following.follow(LOCAL_USER, made.id)
    first = await anext(following)
    rooms.rooms.clock.move(rooms.rooms.limits.heartbeat)
    assert await anext(following) == first
    await following.aclose()


async def test_a_follower_learns_that_it_is_gone() -> None:
    rooms = OperationRooms()
    made = await rooms.begin()
    following = rooms.following.follow(LOCAL_USER, made.id, min_interval=timedelta())
    await anext(following)
    await rooms.rooms.documents.remove("operations", made.name)
    with pytest.raises(NotFound):
        await anext(following)
    with pytest.raises(InvalidArgument):
        await anext(rooms.following.follow(LOCAL_USER, made.id, min_interval=timedelta(days=1)))


async def test_a_wait_ends_with_the_operation() -> None:
    rooms = OperationRooms()
    made = await rooms.begin()
    assert (await rooms.following.wait(LOCAL_USER, made.id)).state is OperationState.QUEUED
    waiting = asyncio.ensure_future(rooms.following.wait(LOCAL_USER, made.id, wait=timedelta(seconds=30)))
    await settle()
    runner = rooms.runner(Work())
    await runner.look()
    assert (await waiting).state is OperationState.SUCCEEDED
    with pytest.raises(InvalidArgument):
        await rooms.following.wait(LOCAL_USER, made.id, wait=timedelta(minutes=1))
    await runner.close()
