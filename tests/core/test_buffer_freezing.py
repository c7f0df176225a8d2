"""Freezing: one fact that holds everywhere, held by a token, ended by its holder, by force or by time."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from tests.core.batch_rooms import BatchRooms, start_batches

from measurand.core.buffers.heads import EventKind, Policy, State
from measurand.core.principal import LOCAL_USER
from measurand.wire.errors import (
    Conflict,
    FailedPrecondition,
    Frozen,
    InvalidArgument,
    MeasurandError,
    NotFrozen,
    PermissionDenied,
    RequestIdReused,
)

WRITERS = 100


async def kinds(rooms: BatchRooms) -> list[EventKind]:
    return [event.kind for event in await rooms.log()]


async def test_freezing_races_a_hundred_appenders_over_two_servers() -> None:
    one = await start_batches()
    other = one.another()
    acknowledged: list[bytes] = []
    refused: list[MeasurandError] = []

    async def append(rooms: BatchRooms, writer: int) -> None:
        for number in range(1000):
            data = f"{writer}/{number}".encode()
            try:
                await rooms.append(data)
            except Frozen as error:
                refused.append(error)
                return
            acknowledged.append(data)

    writers = [asyncio.create_task(append((one, other)[writer % 2], writer)) for writer in range(WRITERS)]
    while len(acknowledged) < 300:  # noqa: ASYNC110  # no store tells
        await asyncio.sleep(0)
    answer = await other.freeze_window(force=True)
    await asyncio.gather(*writers)
    kept = await one.check()
    assert len(refused) == WRITERS
    assert all(error.details["owner"] == LOCAL_USER.name and error.retry_seconds for error in refused)
    assert sorted(record.data for record in kept) == sorted(acknowledged)
    head = await one.head()
    assert (head.window_records, head.window_counted) == (answer.head.window_records, answer.head.window_counted)
    assert answer.head.window_records == len(acknowledged)
    await one.close()
    await other.close()


async def test_below_the_limits_it_waits_and_changes_nothing_but_the_log() -> None:
    rooms = await start_batches(Policy(freeze_after_bytes=2000))
    for _ in range(5):
        await rooms.append(bytes(399))
    answer = await rooms.freeze_window()
    assert answer.is_waiting and not answer.token
    assert (answer.head.state, answer.head.window_records, answer.head.window_counted) == (State.ACTIVE, 5, 1995)
    before = await rooms.head()
    again = await rooms.freeze_window()
    assert again.is_waiting
    assert await rooms.head() == before
    assert (await kinds(rooms)) == [EventKind.CREATED, EventKind.WAITING]
    await rooms.append(bytes(5))
    answer = await rooms.freeze_window()
    assert not answer.is_waiting and answer.token
    assert (answer.head.state, answer.head.window_records, answer.head.window_counted) == (State.FROZEN, 6, 2000)
    assert answer.head.freeze is not None and answer.head.freeze.owner == LOCAL_USER.name
    await rooms.close()


async def test_force_freezes_below_the_limits() -> None:
    rooms = await start_batches(Policy(freeze_after_records=100))
    await rooms.append(b"one")
    assert (await rooms.freeze_window(force=True)).head.state is State.FROZEN
    await rooms.close()


async def test_without_limits_there_is_nothing_to_wait_for() -> None:
    rooms = await start_batches()
    assert (await rooms.freeze_window()).head.state is State.FROZEN
    await rooms.close()


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_waiting_ends_by_the_append_that_meets_the_limit(elsewhere: bool) -> None:
    rooms = await start_batches(Policy(freeze_after_records=3))
    other = rooms.another() if elsewhere else rooms
    await rooms.append(b"one")
    waiting = asyncio.create_task(rooms.freeze_window(wait_seconds=30))
    while not rooms.board._waiting:  # noqa: ASYNC110  # nobody tells
        await asyncio.sleep(0)
    await other.append(b"two")
    assert not waiting.done()
    await other.append(b"three")
    answer = await waiting
    assert answer.head.state is State.FROZEN and answer.head.window_records == 3
    assert answer.token
    with pytest.raises(Frozen):
        await other.append(b"four")
    assert len(await rooms.check()) == 3
    await rooms.close()
    await other.close()


async def test_waiting_in_vain_is_noted_and_answered() -> None:
    rooms = await start_batches(Policy(freeze_after_records=3))
    answer = await rooms.freeze_window(wait_seconds=0.05)
    assert answer.is_waiting
    assert (await kinds(rooms))[-1] is EventKind.WAITING
    await rooms.close()


async def test_of_two_freezers_one_is_refused_and_told_of_the_other() -> None:
    rooms = await start_batches()
    ended = await asyncio.gather(*(rooms.freeze_window() for _ in range(2)), return_exceptions=True)
    [refused] = [one for one in ended if isinstance(one, BaseException)]
    assert isinstance(refused, Frozen)
    assert refused.details["owner"] == LOCAL_USER.name
    assert (await rooms.head()).freezes == 1
    await rooms.close()


async def test_a_request_that_is_repeated_gets_the_same_token() -> None:
    rooms = await start_batches()
    first = await rooms.freeze_window(request_id="one")
    again = await rooms.another().freeze_window(request_id="one")
    assert first.token == again.token
    assert (await kinds(rooms)).count(EventKind.FROZEN) == 1
    with pytest.raises(RequestIdReused):
        await rooms.freeze_window(request_id="one", comment="another")
    await rooms.close()


async def test_only_the_token_or_force_unfreezes() -> None:
    rooms = await start_batches()
    await rooms.append(b"one")
    answer = await rooms.freeze_window()
    before = await rooms.head()
    for token in ("", "wrong", answer.token[:-1]):
        with pytest.raises(PermissionDenied):
            await rooms.unfreeze(token=token)
    assert await rooms.head() == before
    assert (await rooms.unfreeze(token=answer.token)).head.state is State.ACTIVE
    await rooms.append(b"two")
    second = await rooms.freeze_window()
    assert second.token != answer.token
    with pytest.raises(PermissionDenied):
        await rooms.unfreeze(token=answer.token)
    assert (await rooms.unfreeze(force=True)).head.state is State.ACTIVE
    await rooms.close()


async def test_a_window_that_a_policy_froze_needs_no_token_and_can_be_taken_over() -> None:
    rooms = await start_batches(Policy(freeze_after_records=1))
    await rooms.append(b"one")
    assert (await rooms.unfreeze()).batch is not None
    await rooms.append(b"two")
    answer = await rooms.freeze_window()
    assert answer.token
    with pytest.raises(PermissionDenied):
        await rooms.unfreeze()
    with pytest.raises(Frozen):
        await rooms.freeze_window()
    assert (await rooms.unfreeze(token=answer.token)).batch is not None
    await rooms.close()


async def test_what_is_not_frozen_is_not_unfrozen() -> None:
    rooms = await start_batches()
    with pytest.raises(NotFrozen):
        await rooms.unfreeze()
    with pytest.raises(Conflict):
        await rooms.unfreeze(window=2)
    with pytest.raises(NotFrozen):
        await rooms.freeze_window(token="0" * 64)
    await rooms.close()


async def test_only_the_newest_window_is_frozen() -> None:
    rooms = await start_batches()
    await rooms.cycle(b"one")
    for window in (1, 3):
        with pytest.raises(FailedPrecondition) as told:
            await rooms.freeze_window(window=window)
        assert told.value.reason == "STATE_WRONG"
    assert (await rooms.freeze_window(window=2)).head.window == 2
    await rooms.close()


@pytest.mark.parametrize(
    ("field", "more"),
    [
        ("lease", {"lease": timedelta(seconds=59)}),
        ("lease", {"lease": timedelta(hours=25)}),
        ("wait", {"wait_seconds": 31}),
        ("wait", {"wait_seconds": -1}),
        ("comment", {"comment": "c" * 1001}),
    ],
)
async def test_a_bad_request_names_its_field_and_changes_nothing(field: str, more: dict[str, object]) -> None:
    rooms = await start_batches()
    before = await rooms.head()
    with pytest.raises(InvalidArgument) as told:
        await rooms.freeze_window(**more)
    assert told.value.details["field"] == field
    assert await rooms.head() == before
    await rooms.close()


async def test_a_lease_that_has_run_out_is_an_unfreeze_by_the_system() -> None:
    rooms = await start_batches()
    await rooms.append(b"one")
    await rooms.freeze_window(lease=timedelta(minutes=1))
    assert await rooms.closings.settle() == 0
    rooms.rooms.clock.move(timedelta(minutes=1))
    assert await rooms.closings.settle() == 1
    head = await rooms.head()
    assert (head.state, head.window, head.window_records, head.batch_count) == (State.ACTIVE, 2, 0, 1)
    log = await rooms.log()
    assert [(event.kind, event.actor) for event in log[2:]] == [
        (EventKind.FREEZE_EXPIRED, "system"),
        (EventKind.OPENED, "system"),
        (EventKind.SEALED, LOCAL_USER.name),
    ]
    await rooms.close()


async def test_whoever_meets_a_lease_that_has_run_out_ends_it() -> None:
    rooms = await start_batches()
    await rooms.append(b"one")
    await rooms.freeze_window(lease=timedelta(minutes=1))
    rooms.rooms.clock.move(timedelta(minutes=2))
    assert (await rooms.append(b"two")).window == 2
    await rooms.freeze_window(lease=timedelta(minutes=1))
    rooms.rooms.clock.move(timedelta(minutes=2))
    assert (await rooms.freeze_window()).head.window == 3
    assert len(await rooms.windows()) == 2
    await rooms.close()


async def test_a_freeze_is_prolonged_with_its_token() -> None:
    rooms = await start_batches()
    answer = await rooms.freeze_window(lease=timedelta(minutes=1))
    rooms.rooms.clock.move(timedelta(seconds=50))
    again = await rooms.freeze_window(token=answer.token, lease=timedelta(minutes=1))
    assert again.token == answer.token
    rooms.rooms.clock.move(timedelta(seconds=50))
    await rooms.closings.settle()
    assert (await rooms.head()).state is State.FROZEN
    with pytest.raises(Frozen):
        await rooms.freeze_window(token="0" * 64, lease=timedelta(minutes=1))
    rooms.rooms.clock.move(timedelta(seconds=11))
    await rooms.closings.settle()
    assert (await rooms.head()).state is State.ACTIVE
    with pytest.raises(NotFrozen):
        await rooms.freeze_window(token=answer.token, lease=timedelta(minutes=1))
    await rooms.close()


@pytest.mark.parametrize("rotate", [False, True])
async def test_a_window_that_is_too_old_freezes_or_rotates_without_an_append(rotate: bool) -> None:
    rooms = await start_batches(Policy(freeze_after_age=timedelta(seconds=10), rotate=rotate))
    await rooms.append(b"one")
    rooms.rooms.clock.move(timedelta(seconds=9))
    await rooms.closings.settle()
    assert (await rooms.head()).state is State.ACTIVE
    rooms.rooms.clock.move(timedelta(seconds=1))
    await rooms.closings.settle()
    head = await rooms.head()
    assert (head.state, head.window) == ((State.ACTIVE, 2) if rotate else (State.FROZEN, 1))
    await rooms.close()


async def test_a_frozen_buffer_is_frozen_for_another_server_too() -> None:
    rooms = await start_batches()
    await rooms.append(b"one")
    answer = await rooms.freeze_window(comment="training")
    other = rooms.another()
    with pytest.raises(Frozen):
        await other.append(b"two")
    head = await other.head()
    assert head.freeze is not None
    assert (head.freeze.owner, head.freeze.comment, head.window_records) == (LOCAL_USER.name, "training", 1)
    assert (await other.unfreeze(token=answer.token)).batch is not None
    await rooms.close()
    await other.close()


async def test_a_finished_buffer_is_not_frozen_but_its_last_window_is_sealed() -> None:
    rooms = await start_batches()
    await rooms.append(b"one")
    await rooms.buffers.finish(LOCAL_USER, rooms.name)
    with pytest.raises(FailedPrecondition):
        await rooms.freeze_window(force=True)
    answer = await rooms.rotate()
    assert answer.batch is not None
    assert answer.head.state is State.FINISHED
    await rooms.close()
