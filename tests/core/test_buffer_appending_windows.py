"""Appending to windows that close: nothing gets into them any more, and nobody who waits loses anything."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import timedelta

import pytest
from tests.core.buffer_rooms import BufferRooms, start_buffers

from measurand.core.buffers.changing import change_head
from measurand.core.buffers.heads import EventKind, Policy, State
from measurand.core.buffers.standing import find_standing
from measurand.core.buffers.standing import stored as replaced
from measurand.core.buffers.submissions import Stored, Stream, Submission
from measurand.core.buffers.windows import closed
from measurand.core.principal import LOCAL_USER
from measurand.wire.errors import (
    FailedPrecondition,
    Frozen,
)


async def test_nothing_gets_into_a_frozen_window_with_a_hundred_appenders_at_it() -> None:
    for seed in range(5):
        buffers = await start_buffers(seed=seed)
        acknowledged: list[int] = []

        async def push(server: BufferRooms, acknowledged: list[int] = acknowledged) -> None:
            outcome: object = None
            while not isinstance(outcome, BaseException):
                [outcome] = await asyncio.gather(server.append(b"x"), return_exceptions=True)
                if isinstance(outcome, Stored):
                    acknowledged.append(outcome.first)
            assert isinstance(outcome, Frozen)
            assert outcome.details["owner"] == "users/trainer"
            assert outcome.retry_seconds

        servers = [buffers, buffers.another(), buffers.another()]
        pushing = [asyncio.create_task(push(servers[number % 3])) for number in range(100)]
        for _ in range(200 + 50 * seed):
            await asyncio.sleep(0)
        head = await buffers.freeze()
        await asyncio.gather(*pushing)
        assert sorted(acknowledged) == list(range(1, head.next_sequence))
        assert (await buffers.head()).next_sequence == head.next_sequence
        assert len(acknowledged) > 100
        await buffers.check()
        for server in servers:
            await server.close()


async def test_refused_writers_are_noted_once_for_a_freeze() -> None:
    buffers = await start_buffers()
    await buffers.freeze()
    for _ in range(3):
        with pytest.raises(Frozen):
            await buffers.append(b"x")
        with pytest.raises(Frozen):
            await buffers.append(b"x", writer="w", first_number=1)
    events = [event for event in (await buffers.head()).events if event.kind is EventKind.REFUSED]
    assert [event.actor for event in events] == [LOCAL_USER.name] * 2
    assert [event.number for event in (await buffers.head()).events] == [1, 2, 3, 4]
    await buffers.close()


async def test_what_was_stored_before_is_acknowledged_by_a_frozen_buffer() -> None:
    buffers = await start_buffers()
    first = await buffers.append(b"1", writer="w", first_number=1)
    await buffers.append(b"2", request_id="r")
    await buffers.freeze()
    assert await buffers.append(b"1", writer="w", first_number=1) == first
    assert await buffers.append(b"2", request_id="r") == Stored(2, 1, 1)
    await buffers.close()


async def test_a_writer_waits_while_the_buffer_is_frozen_and_loses_nothing() -> None:
    for writer_id in ("w", ""):
        buffers = await start_buffers()
        writer = await buffers.open(writer_id, wait_while_frozen=60)
        await writer.take(0, [buffers.record(b"0")])
        await writer.flush()
        await buffers.freeze()
        for number in range(1, 10):
            await writer.take(0, [buffers.record(bytes([48 + number]))])
            for _ in range(number):
                await asyncio.sleep(0)
        standing = await find_standing(buffers.rooms.documents, buffers.name)
        assert standing is not None
        opened = closed(standing.head, buffers.rooms.means.now(), "users/trainer")
        while await replaced(buffers.rooms.documents, standing, opened) is None:
            standing = await find_standing(buffers.rooms.documents, buffers.name)
            assert standing is not None
            opened = closed(standing.head, buffers.rooms.means.now(), "users/trainer")
        await writer.close()
        kept = await buffers.check()
        assert b"".join(record.data for record in kept) == b"0123456789"
        assert [record.window for record in kept] == [1] + [2] * 9
        assert [ack.number for ack in buffers.acks] == sorted(ack.number for ack in buffers.acks)
        assert buffers.acks[-1].number == 10
        await buffers.close()


async def test_what_follows_a_refusal_in_a_stream_is_refused_even_if_the_buffer_is_open_again() -> None:
    buffers = await start_buffers()
    stream = Stream()

    def submit(data: bytes) -> Awaitable[Stored]:
        head = buffers.board.known(buffers.name)
        assert head is not None
        return buffers.commits.submit(
            head.head, Submission([buffers.record(data)], len(data), LOCAL_USER, stream=stream)
        )

    await submit(b"1")
    head = await buffers.freeze()
    with pytest.raises(Frozen):
        await submit(b"2")
    rooms = buffers.rooms
    await change_head(
        rooms.documents, buffers.board, rooms.means, buffers.name, lambda _: closed(head, rooms.means.now(), "users/x")
    )
    with pytest.raises(Frozen):
        await submit(b"3")
    assert (await buffers.append(b"4")).first == 2
    assert [record.data for record in await buffers.check()] == [b"1", b"4"]
    await buffers.close()


async def test_a_writer_that_does_not_wait_is_refused() -> None:
    buffers = await start_buffers()
    writer = await buffers.open(wait_while_frozen=0.01)
    await buffers.freeze()
    await writer.take(1, [buffers.record(b"1")])
    with pytest.raises(Frozen):
        await writer.close()
    assert not await buffers.check()
    await buffers.close()


@pytest.mark.parametrize(
    "policy", [Policy(freeze_after_records=10), Policy(freeze_after_bytes=10)], ids=["records", "bytes"]
)
async def test_the_very_commit_that_reaches_a_limit_freezes(policy: Policy) -> None:
    buffers = await start_buffers(policy)
    outcomes = await asyncio.gather(*(buffers.append(b"x") for _ in range(25)), return_exceptions=True)
    assert sum(isinstance(outcome, Frozen) for outcome in outcomes) == 15
    head = await buffers.head()
    assert (head.state, head.window, head.window_records) == (State.FROZEN, 1, 10)
    assert head.freeze is not None
    assert head.freeze.owner == "system"
    assert EventKind.FROZEN in [event.kind for event in head.events]
    await buffers.check()
    await buffers.close()


async def test_records_of_one_call_go_into_one_window_even_beyond_a_limit() -> None:
    buffers = await start_buffers(Policy(freeze_after_records=3, rotate=True))
    await buffers.append(b"a", b"b")
    await buffers.append(b"c", b"d", b"e")
    await buffers.append(b"f")
    assert [record.window for record in await buffers.check()] == [1, 1, 1, 1, 1, 2]
    await buffers.close()


async def test_a_policy_that_rotates_refuses_nobody() -> None:
    buffers = await start_buffers(Policy(freeze_after_records=7, rotate=True))
    writer = await buffers.open()
    for number in range(1, 51):
        await writer.take(number, [buffers.record(bytes([number]))])
    await asyncio.gather(writer.close(), *(buffers.append(b"x") for _ in range(50)))
    kept = await buffers.check()
    assert len(kept) == 100
    assert [record.data[0] for record in kept if record.writer] == list(range(1, 51))
    head = await buffers.head()
    assert [(one.window, one.records) for one in head.closing] == [(number, 7) for number in range(1, 15)]
    assert [one.first for one in head.closing] == list(range(1, 98, 7))
    assert len({one.dataset for one in head.closing}) == 14
    for segment in await buffers.segments():
        assert (segment.first - 1) // 7 + 1 == segment.window == (segment.end - 2) // 7 + 1
    await buffers.close()


async def test_a_window_that_is_old_enough_is_closed_before_more_gets_in() -> None:
    buffers = await start_buffers(Policy(freeze_after_age=timedelta(seconds=10), rotate=True))
    await buffers.append(b"a")
    buffers.rooms.clock.move(timedelta(seconds=9))
    await buffers.append(b"b")
    buffers.rooms.clock.move(timedelta(seconds=1))
    await buffers.append(b"c")
    assert [record.window for record in await buffers.check()] == [1, 1, 2]
    await buffers.close()


async def test_a_finished_buffer_takes_no_more() -> None:
    buffers = await start_buffers()
    await buffers.append(b"1")
    await buffers.buffers.finish(LOCAL_USER, buffers.name, "catalogs/lab/buffers/next")
    with pytest.raises(FailedPrecondition, match="catalogs/lab/buffers/next"):
        await buffers.append(b"2")
    assert len(await buffers.check()) == 1
    await buffers.close()
