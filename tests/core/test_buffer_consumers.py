from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from tests.core.group_members import Members
from tests.core.reader_rooms import ReaderRooms, make_reader_rooms

from measurand.core.principal import LOCAL_USER

SECOND = timedelta(seconds=1)
MIB = 1024 * 1024


@pytest.fixture
async def rooms() -> AsyncIterator[ReaderRooms]:
    made = make_reader_rooms()
    async with made.open():
        await made.prepare()
        yield made


@pytest.fixture
def members(rooms: ReaderRooms) -> Members:
    return Members(rooms)


# ------------------------------------------------------------------------------------------------------------ waiting


async def test_a_consumer_waits_for_a_record(rooms: ReaderRooms, members: Members) -> None:
    await members.put()
    fetching = asyncio.ensure_future(members.take(wait=20 * SECOND))
    await asyncio.sleep(0.01)
    await rooms.write(b"one")
    assert await fetching == [1]


async def test_a_consumer_waits_for_what_is_given_back(rooms: ReaderRooms, members: Members) -> None:
    await rooms.write(b"one")
    await members.put()
    await members.take("a")
    other = rooms.restarted()
    async with other.open():
        here = asyncio.ensure_future(members.take("b", wait=20 * SECOND))
        await asyncio.sleep(0.01)
        await members.settle("a", give_back=[1])
        assert await here == [1]
        there = asyncio.ensure_future(Members(other).take("c", wait=20 * SECOND))
        await asyncio.sleep(0.01)
        await members.settle("b", give_back=[1])
        assert await there == [1]


async def test_a_consumer_waits_for_a_deadline_to_pass(rooms: ReaderRooms, members: Members) -> None:
    await rooms.write(b"one")
    await members.put(ack_deadline=SECOND)
    await members.take("a")
    fetching = asyncio.ensure_future(members.take("b", wait=20 * SECOND))
    await asyncio.sleep(0.01)
    rooms.clock.move(SECOND)
    assert await fetching == [1]


async def test_a_finished_buffer_ends_a_group_when_all_is_settled(rooms: ReaderRooms, members: Members) -> None:
    await rooms.write(b"one")
    await members.put()
    await rooms.buffers.finish(LOCAL_USER, rooms.name, "catalogs/lab/buffers/v2")
    assert not (await members.fetch()).has_ended
    ended = asyncio.ensure_future(members.fetch(wait=20 * SECOND, until_end=True))
    await asyncio.sleep(0.01)
    await members.settle(acknowledge=[1])
    fetched = await ended
    assert fetched.has_ended and fetched.head.next_buffer == "catalogs/lab/buffers/v2"
