"""The event log: one entry for each thing that happened, in order, wherever it lies, found by pages or followed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest
from tests.core.batch_rooms import BatchRooms, start_batches

from measurand.core.buffers.heads import Event, EventKind, Policy
from measurand.core.buffers.remembering import EVENTS
from measurand.core.limits import Limits
from measurand.core.principal import LOCAL_USER
from measurand.wire.errors import Frozen, InvalidArgument, NotFound, PageTokenInvalid


async def noted(rooms: BatchRooms, count: int) -> None:
    """Leave notes, and let most of them move out of the head."""
    for number in range(count):
        await rooms.buffers.note(LOCAL_USER, rooms.name, f"note {number}")
        if number % 10 == 0:
            await rooms.append(b"record")
            await asyncio.sleep(0)
            await asyncio.sleep(0)


async def test_a_cycle_is_told_in_order() -> None:
    rooms = await start_batches()
    await rooms.append(b"one")
    token = (await rooms.freeze_window(comment="to train")).token
    with pytest.raises(Frozen):
        await rooms.append(b"two")
    with pytest.raises(Frozen):
        await rooms.append(b"three")
    batch = (await rooms.unfreeze(token=token)).batch
    assert batch is not None
    log = await rooms.log()
    assert [(event.number, event.kind, event.window) for event in log] == [
        (1, EventKind.CREATED, 1),
        (2, EventKind.FROZEN, 1),
        (3, EventKind.REFUSED, 1),
        (4, EventKind.OPENED, 2),
        (5, EventKind.SEALED, 1),
    ]
    assert (log[1].actor, log[1].message, log[1].next_sequence) == (LOCAL_USER.name, "to train", 2)
    assert (log[4].dataset, log[4].message) == (str(batch.dataset.name), "to train: 1 records, 3 bytes")
    await rooms.close()


async def test_the_log_is_listed_newest_first_by_pages() -> None:
    rooms = await start_batches()
    await noted(rooms, 100)
    assert await rooms.rooms.documents.count(EVENTS) > 20
    assert len((await rooms.head()).events) < 80
    numbers, token = [], ""
    while True:
        page = await rooms.events.page(LOCAL_USER, rooms.name, size=7, page_token=token)
        numbers += [event.number for event in page.events]
        token = page.next_page_token
        if not token:
            break
    assert numbers == list(range(101, 0, -1))
    await rooms.close()


async def test_what_is_only_noted_does_not_gather_in_the_head() -> None:
    rooms = await start_batches()
    for number in range(200):
        await rooms.buffers.note(LOCAL_USER, rooms.name, f"note {number}")
        assert len((await rooms.head()).events) <= 33
    assert [event.number for event in await rooms.log()] == list(range(1, 202))
    assert len({event.message for event in await rooms.log()}) == 201
    await rooms.close()


@pytest.mark.parametrize("after", [0, 1, 37, 100, 101, 500])
async def test_the_log_is_listed_from_a_number_on(after: int) -> None:
    rooms = await start_batches()
    await noted(rooms, 100)
    numbers, token = [], ""
    while True:
        page = await rooms.events.page(LOCAL_USER, rooms.name, size=7, page_token=token, after_number=after)
        numbers += [event.number for event in page.events]
        token = page.next_page_token
        if not token:
            break
    assert numbers == list(range(after + 1, 102))
    await rooms.close()


async def test_a_page_waits_for_an_event_that_another_server_makes() -> None:
    rooms = await start_batches()
    other = rooms.another()
    waiting = asyncio.create_task(rooms.events.page(LOCAL_USER, rooms.name, after_number=1, wait_seconds=30))
    while not rooms.board._waiting:  # noqa: ASYNC110  # nobody tells
        await asyncio.sleep(0)
    await other.freeze_window()
    assert [event.kind for event in (await waiting).events] == [EventKind.FROZEN]
    nothing = await rooms.events.page(LOCAL_USER, rooms.name, after_number=2, wait_seconds=0.01)
    assert (nothing.events, nothing.next_page_token) == ([], "")
    await rooms.close()
    await other.close()


async def test_following_tells_of_what_was_and_of_what_comes() -> None:
    rooms = await start_batches()
    other = rooms.another()
    found: list[Event] = []

    async def follow() -> None:
        async for events in rooms.events.follow(LOCAL_USER, rooms.name):
            found.extend(events)
            if found[-1].kind is EventKind.SEALED:
                return

    following = asyncio.create_task(follow())
    await other.cycle(b"one")
    await following
    assert [event.number for event in found] == [1, 2, 3, 4]
    await rooms.close()
    await other.close()


async def test_an_empty_heartbeat_comes_where_nothing_happens() -> None:
    rooms = await start_batches(limits=Limits(heartbeat=timedelta(milliseconds=10)))
    found: list[Sequence[Event]] = []
    async for events in rooms.events.follow(LOCAL_USER, rooms.name, after_number=1):
        found.append(events)
        if len(found) == 2:
            break
    assert found == [[], []]
    await rooms.close()


async def test_the_log_outlives_the_events_move_out_of_the_head() -> None:
    """Without any append: windows that are opened and closed again and again leave a head that stays small."""
    rooms = await start_batches(Policy())
    for _ in range(30):
        await rooms.freeze_window()
        await rooms.unfreeze(force=True)
    assert len((await rooms.head()).events) < 40
    assert [event.number for event in await rooms.log()] == list(range(1, 92))
    await rooms.close()


async def test_a_bad_request_names_its_field() -> None:
    rooms = await start_batches()
    with pytest.raises(InvalidArgument):
        await rooms.events.page(LOCAL_USER, rooms.name, after_number=-1)
    with pytest.raises(InvalidArgument):
        await rooms.events.page(LOCAL_USER, rooms.name, after_number=0, wait_seconds=31)
    page = await rooms.events.page(LOCAL_USER, rooms.name, size=1, after_number=0)
    assert not page.next_page_token
    with pytest.raises(PageTokenInvalid):
        await rooms.events.page(LOCAL_USER, rooms.name, page_token="nonsense")
    await rooms.buffers.delete(LOCAL_USER, rooms.name)
    with pytest.raises(NotFound):
        await rooms.events.page(LOCAL_USER, rooms.name)
    await rooms.close()
