from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from tests.core.reader_rooms import ReaderRooms, Weighed, data_of, make_reader_rooms, numbered, sequences_of

from measurand.core.buffers.documents import blob_key
from measurand.core.buffers.heads import State
from measurand.core.buffers.pages import Page
from measurand.core.buffers.selecting import Selection
from measurand.core.buffers.tailing import SlowReader
from measurand.core.limits import Limits
from measurand.core.principal import LOCAL_USER
from measurand.wire.errors import DataLoss, HistoryTrimmed, NotFound

SECOND = timedelta(seconds=1)
MIB = 1024 * 1024


@pytest.fixture
async def rooms() -> AsyncIterator[ReaderRooms]:
    made = make_reader_rooms()
    async with made.open():
        await made.prepare()
        yield made


@asynccontextmanager
async def tail(rooms: ReaderRooms, **wanted: Any) -> AsyncIterator[AsyncGenerator[Page, None]]:
    async with aclosing(rooms.tails.follow(LOCAL_USER, rooms.name, **wanted)) as pages:
        yield pages


async def taken(pages: AsyncGenerator[Page, None], count: int) -> list[int]:
    """Return the next sequences, so many at least."""
    found: list[int] = []
    while len(found) < count:
        found += sequences_of(await anext(pages))
    return found


async def whole(rooms: ReaderRooms, **wanted: Any) -> list[Page]:
    async with tail(rooms, **wanted) as pages:
        return [page async for page in pages]


async def test_a_tail_gives_what_is_stored_and_then_what_comes(rooms: ReaderRooms) -> None:
    await rooms.write(*numbered(3))
    async with tail(rooms) as pages:
        assert await taken(pages, 3) == [1, 2, 3]
        following = asyncio.ensure_future(taken(pages, 2))
        await asyncio.sleep(0)
        await rooms.write(b"four", b"five")
        assert await following == [4, 5]


async def test_a_tail_from_now_on_says_where_it_stands(rooms: ReaderRooms) -> None:
    await rooms.write(*numbered(3))
    async with tail(rooms, after=-1) as pages:
        first = await anext(pages)
        assert (sequences_of(first), first.read_sequence, first.next_sequence) == ([], 3, 4)
        await rooms.write(b"four")
        assert data_of(await anext(pages)) == [b"four"]


async def test_what_this_process_stores_is_read_from_memory() -> None:
    made = make_reader_rooms()
    weighed = Weighed(made.blobs)
    rooms = made.restarted(blobs=weighed)
    async with rooms.open():
        await rooms.prepare()
        async with tail(rooms) as pages:
            await anext(pages)
            for number in range(1, 200):
                await rooms.write(bytes(1000))
                assert await taken(pages, 1) == [number]
    assert weighed.reads == 0


async def test_a_tail_hears_of_what_another_server_stores(rooms: ReaderRooms) -> None:
    other = rooms.restarted()
    async with other.open(), tail(other) as pages:
        await anext(pages)
        for number in range(1, 20):
            await rooms.write(b"x")
            assert await taken(pages, 1) == [number]


async def test_a_tail_goes_on_over_rotations_and_freezes_and_ends_with_the_next_buffer(rooms: ReaderRooms) -> None:
    async with tail(rooms) as pages:
        await rooms.write(b"one")
        assert await taken(pages, 1) == [1]
        await rooms.rotate()
        await rooms.write(b"two")
        page = await anext(pages)
        while not page.records:
            page = await anext(pages)
        assert [(stored.sequence, stored.window) for stored in page.records] == [(2, 2)]
        await rooms.rotate(then="frozen")
        await rooms.rotate()
        await rooms.write(b"three")
        assert await taken(pages, 1) == [3]
        await rooms.buffers.finish(LOCAL_USER, rooms.name, "catalogs/lab/buffers/v2")
        last = [page async for page in pages][-1]
        assert (last.state, last.next_buffer, last.read_sequence) == (State.FINISHED, "catalogs/lab/buffers/v2", 3)


async def test_a_finished_buffer_is_read_to_its_end(rooms: ReaderRooms) -> None:
    await rooms.write_each(numbered(100))
    await rooms.buffers.finish(LOCAL_USER, rooms.name, "")
    pages = await whole(rooms, after=30)
    assert [sequence for page in pages for sequence in sequences_of(page)] == list(range(31, 101))
    assert pages[-1].state is State.FINISHED


async def test_silence_is_broken_by_heartbeats() -> None:
    rooms = make_reader_rooms(Limits(heartbeat=timedelta(milliseconds=20)))
    async with rooms.open():
        await rooms.prepare()
        async with tail(rooms, selection=Selection("size > 100")) as pages:
            for _ in range(3):
                assert not (await anext(pages)).records
            await rooms.write(b"small")
            while (page := await anext(pages)).read_sequence < 1:
                pass
            assert not page.records and page.next_sequence == 2


async def test_a_tail_stops_after_so_many_records_or_at_the_end_of_what_was_there(rooms: ReaderRooms) -> None:
    await rooms.write_each(numbered(20))
    pages = await whole(rooms, after=3, most=5)
    assert [sequence for page in pages for sequence in sequences_of(page)] == [4, 5, 6, 7, 8]
    async with tail(rooms, stop_at_end=True) as following:
        found = await taken(following, 1)
        await rooms.write(b"later")
        async for page in following:
            found += sequences_of(page)
    assert found == list(range(1, 21))
    assert not [page for page in await whole(rooms, after=-1, stop_at_end=True) if page.records]


async def test_a_selection_ends_a_tail_when_nothing_later_is_wanted(rooms: ReaderRooms) -> None:
    await rooms.write(*numbered(10))
    pages = await whole(rooms, selection=Selection("sequence > 2", last_sequence=4))
    assert [sequence for page in pages for sequence in sequences_of(page)] == [3, 4]


async def test_a_large_record_comes_in_parts(rooms: ReaderRooms) -> None:
    large = bytes(range(256)) * (5 * MIB // 256 + 3)
    await rooms.write(b"small")
    await rooms.write(large)
    await rooms.write(b"last")
    pages = await whole(rooms, stop_at_end=True)
    parts = [page.records[0] for page in pages if sequences_of(page) == [2]]
    assert [part.offset for part in parts] == [0, 2 * MIB, 4 * MIB]
    assert b"".join(bytes(part.record.data) for part in parts) == large
    assert data_of(pages[0]) == [b"small"] and data_of(pages[-1]) == [b"last"]
    headers = await whole(rooms, stop_at_end=True, headers_only=True)
    assert [stored.size for page in headers for stored in page.records] == [5, len(large), 4]


async def test_a_tail_of_what_was_trimmed_fails_or_skips(rooms: ReaderRooms) -> None:
    await rooms.write_each(numbered(10))
    await rooms.trim(6)
    with pytest.raises(HistoryTrimmed) as raised:
        await whole(rooms, after=2, stop_at_end=True)
    assert raised.value.details["first_sequence"] == "6"
    pages = await whole(rooms, after=2, stop_at_end=True, skip_trimmed=True)
    assert [sequence for page in pages for sequence in sequences_of(page)] == [6, 7, 8, 9, 10]


async def test_a_tail_that_is_overtaken_by_trimming_is_told(rooms: ReaderRooms) -> None:
    await rooms.write(bytes(900_000))
    await rooms.write_each([bytes(900_000)] * 4)
    other = rooms.restarted()
    async with other.open(), tail(other) as pages:
        assert await taken(pages, 1) == [1]
        head = (await rooms.board.read(rooms.name)).head
        await rooms.trim(4)
        for segment in head.segments[:3]:
            await rooms.blobs.delete(blob_key(head.uid, segment.ulid))
        with pytest.raises(HistoryTrimmed) as raised:
            await anext(pages)
        assert raised.value.details["first_sequence"] == "4"


async def test_a_slow_reader_gets_every_record_unless_it_says_otherwise(rooms: ReaderRooms) -> None:
    async with tail(rooms) as pages:
        await anext(pages)
        for data in numbered(50):
            await rooms.write(data)
            rooms.clock.move(SECOND)
        assert await taken(pages, 50) == list(range(1, 51))


async def test_a_reader_that_skips_gets_nothing_older_than_a_second(rooms: ReaderRooms) -> None:
    await rooms.write(b"before")
    async with tail(rooms, slow_reader=SlowReader.SKIP) as pages:
        rooms.clock.move(60 * SECOND)
        assert await taken(pages, 1) == [1]  # it was there before: history comes whole
        for data in numbered(50):
            await rooms.write(data)
            rooms.clock.move(SECOND / 4)
        page = await anext(pages)
        assert sequences_of(page) == [48, 49, 50, 51] and page.skipped_to == 47
        await rooms.write(b"fresh")
        page = await anext(pages)
        assert sequences_of(page) == [52] and page.skipped_to == 0


async def test_a_reader_that_may_not_be_slow_is_ended(rooms: ReaderRooms) -> None:
    async with tail(rooms, slow_reader=SlowReader.FAIL) as pages:
        await anext(pages)
        await rooms.write(b"one")
        assert await taken(pages, 1) == [1]
        await rooms.write(b"two")
        rooms.clock.move(2 * SECOND)
        with pytest.raises(HistoryTrimmed):
            await anext(pages)


async def test_a_slow_reader_holds_up_nobody(rooms: ReaderRooms) -> None:
    async with tail(rooms) as slow, tail(rooms) as quick:
        await anext(slow)
        await anext(quick)
        for number in range(1, 101):
            await rooms.write(bytes(10_000))
            assert await taken(quick, 1) == [number]
        found = await taken(slow, 1)
        assert found == list(range(1, len(found) + 1))


async def test_tails_from_many_points_see_every_record_once_over_a_restart(rooms: ReaderRooms) -> None:
    data = numbered(160)

    async def follow(server: ReaderRooms, after: int, end: int) -> list[bytes]:
        found: list[bytes] = []
        async with tail(server, after=after) as pages:
            while len(found) < end - after:
                found += data_of(await anext(pages))
        return found

    await rooms.write_each(data[:70])
    other = rooms.restarted()
    async with other.open():
        points = (0, 1, 17, 64, 69)
        tails = [asyncio.ensure_future(follow(server, point, 160)) for point in points for server in (rooms, other)]
        for piece in data[70:]:
            await other.write(piece)
            await asyncio.sleep(0)
        assert await asyncio.gather(*tails) == [data[point:] for point in points for _ in range(2)]


async def test_damage_ends_a_tail_after_what_is_sound(rooms: ReaderRooms) -> None:
    await rooms.write_each([b"one", b"two"])
    head = (await rooms.board.read(rooms.name)).head
    segment = head.segments[1]
    key = blob_key(head.uid, segment.ulid)
    await rooms.blobs.delete(key)
    await rooms.blobs.put(key, [bytes(segment.size)])
    other = rooms.restarted()
    async with other.open(), tail(other) as pages:
        with pytest.raises(DataLoss) as raised:
            await taken(pages, 2)
        assert raised.value.details["sequence"] == "2"


async def test_a_tail_of_a_removed_buffer_ends(rooms: ReaderRooms) -> None:
    async with tail(rooms) as pages:
        await anext(pages)
        following = asyncio.ensure_future(anext(pages))
        await asyncio.sleep(0.01)
        await rooms.buffers.delete(LOCAL_USER, rooms.name, force=True)
        with pytest.raises(NotFound):
            await following
    with pytest.raises(NotFound):
        await whole(rooms)
