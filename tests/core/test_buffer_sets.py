from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from tests.core.group_members import Members, sequences
from tests.core.reader_rooms import ReaderRooms, make_reader_rooms

from measurand.core.buffers.consuming import Fetched
from measurand.core.buffers.records import Part

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


# --------------------------------------------------------------------------------------------------------- whole sets


def parts_of(fetched: Fetched) -> list[tuple[str, list[int], tuple[int, ...]]]:
    found: dict[str, tuple[list[int], tuple[int, ...]]] = {}
    for one in fetched.deliveries:
        part = one.stored.record.part
        assert part is not None
        found.setdefault(part.set, ([], one.missing_parts))[0].append(part.index)
    return [(name, indices, missing) for name, (indices, missing) in found.items()]


async def write_parts(rooms: ReaderRooms, *parts: tuple[str, int]) -> None:
    for name, index in parts:
        await rooms.write(rooms.record(f"{name}{index}".encode(), part=Part(name, index, 3)))


async def test_the_parts_of_a_set_come_together_to_one_consumer(rooms: ReaderRooms, members: Members) -> None:
    await members.put(whole_sets=True)
    await write_parts(rooms, ("x", 0), ("y", 2), ("x", 1))
    assert await members.take("a") == []
    await rooms.write(b"alone")
    assert await members.take("a", 1) == [4]
    await write_parts(rooms, ("x", 2), ("y", 0), ("y", 1))
    assert parts_of(await members.fetch("a", 1)) == [("x", [0, 1, 2], ())]
    assert parts_of(await members.fetch("b", 1)) == [("y", [0, 1, 2], ())]
    assert (await members.get()).lag == 0


async def test_a_set_that_is_not_complete_in_time_says_what_is_missing(rooms: ReaderRooms, members: Members) -> None:
    await members.put(whole_sets=True, part_timeout=5 * SECOND)
    await write_parts(rooms, ("x", 1))
    rooms.clock.move(4 * SECOND)
    await write_parts(rooms, ("y", 0), ("y", 2))
    assert await members.take() == []
    assert (await members.get()).settled_sequence == 0
    rooms.clock.move(SECOND)
    assert parts_of(await members.fetch()) == [("x", [1], (0, 2))]
    rooms.clock.move(4 * SECOND)
    assert parts_of(await members.fetch()) == [("y", [0, 2], (1,))]
    await write_parts(rooms, ("y", 1))  # too late for its set, but not lost
    assert parts_of(await members.fetch()) == [("y", [1], ())]


async def test_the_same_part_twice_is_one(rooms: ReaderRooms, members: Members) -> None:
    await members.put(whole_sets=True)
    await write_parts(rooms, ("x", 0), ("x", 0), ("x", 1), ("x", 2))
    assert await members.take() == [1, 3, 4]
    await write_parts(rooms, ("x", 1))
    assert await members.take() == []
    await members.settle(acknowledge=[1, 3, 4])
    assert (await members.get()).settled_sequence == 5


async def test_a_set_comes_again_together(rooms: ReaderRooms, members: Members) -> None:
    await members.put(whole_sets=True, ack_deadline=2 * SECOND)
    await write_parts(rooms, ("x", 0), ("y", 0), ("x", 1), ("y", 1), ("x", 2), ("y", 2))
    assert parts_of(await members.fetch("a", 6)) == [("x", [0, 1, 2], ()), ("y", [0, 1, 2], ())]
    rooms.clock.move(2 * SECOND)
    again = await members.fetch("b", 1)
    assert parts_of(again) == [("x", [0, 1, 2], ())] and {one.attempt for one in again.deliveries} == {2}


async def test_two_hundred_events_of_three_producers(rooms: ReaderRooms, members: Members) -> None:
    missing = {("e7", 0), ("e31", 1), ("e90", 2), ("e91", 0), ("e150", 1)}
    await members.put(whole_sets=True, max_outstanding=1000)
    for begin in range(0, 200, 20):
        rows = [
            [rooms.record(b"x", part=Part(f"e{event}", index, 3))]
            for index in range(3)
            for event in range(begin, begin + 20)
            if (f"e{event}", index) not in missing
        ]
        await rooms.write(*[record for row in rows for record in row])
    found: list[tuple[str, list[int], tuple[int, ...]]] = []

    async def consume(consumer: str) -> None:
        while (fetched := await members.fetch(consumer, 30)).deliveries:
            found.extend(parts_of(fetched))
            await members.settle(consumer, acknowledge=sequences(fetched))

    await asyncio.gather(*[consume(consumer) for consumer in "abc"])
    assert len(found) == 195 and all(indices == [0, 1, 2] for _, indices, _ in found)
    rooms.clock.move(10 * SECOND)
    await consume("a")
    partial = {(name, index) for name, _, lacking in found for index in lacking}
    assert len(found) == 200 and partial == missing
    assert (await members.get()).settled_sequence == 595
