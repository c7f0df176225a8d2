from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.core.reader_rooms import ReaderRooms, Weighed, data_of, make_reader_rooms, numbered, sequences_of

from measurand.core.buffers.documents import blob_key
from measurand.core.buffers.groups import Settings
from measurand.core.buffers.heads import State
from measurand.core.buffers.selecting import Selection
from measurand.core.names import BufferName, DatasetName, GroupName
from measurand.core.ports import Blob
from measurand.core.principal import LOCAL_USER
from measurand.core.times import from_microseconds, microseconds
from measurand.wire.errors import (
    DataLoss,
    FilterInvalid,
    HistoryTrimmed,
    InvalidArgument,
    NotFound,
    OutOfRange,
    ResourceDeleted,
)

SECOND = timedelta(seconds=1)
MIB = 1024 * 1024


@pytest.fixture
async def rooms() -> AsyncIterator[ReaderRooms]:
    made = make_reader_rooms()
    async with made.open():
        await made.prepare()
        yield made


# -------------------------------------------------------------------------------------------------------- by sequence


async def test_records_are_read_from_a_sequence_on(rooms: ReaderRooms) -> None:
    await rooms.write(b"one", b"two")
    await rooms.write(b"three", b"", b"five")
    page = await rooms.read(after=1)
    assert data_of(page) == [b"two", b"three", b"", b"five"]
    assert sequences_of(page) == [2, 3, 4, 5]
    assert (page.next_sequence, page.read_sequence, page.state) == (6, 5, State.ACTIVE)
    assert [stored.size for stored in page.records] == [3, 5, 0, 4]


async def test_a_page_is_bounded_by_number_and_by_bytes(rooms: ReaderRooms) -> None:
    await rooms.write_each(numbered(10, 1000))
    assert sequences_of(await rooms.read(most=3)) == [1, 2, 3]
    page = await rooms.read(after=3, most_bytes=2500)
    assert sequences_of(page) == [4, 5] and page.read_sequence == 5
    assert sequences_of(await rooms.read(after=3, most_bytes=1)) == [4]


async def test_headers_say_all_but_the_bytes(rooms: ReaderRooms) -> None:
    weighed = Weighed(rooms.blobs)
    await rooms.write(rooms.record(bytes(MIB), {"gain": 2}, event_time=17), writer="camera")
    other = rooms.restarted(blobs=weighed)
    async with other.open():
        (stored,) = (await other.read(headers_only=True)).records
    assert (stored.size, bytes(stored.record.data), stored.record.metadata) == (MIB, b"", '{"gain":2}')
    assert (stored.record.event_time, stored.writer, stored.window) == (17, "camera", 1)
    assert stored.append_time == microseconds(rooms.clock.time)
    assert weighed.read_bytes < 1000


async def test_the_newest_come_in_the_order_of_their_sequence(rooms: ReaderRooms) -> None:
    await rooms.write(*numbered(5))
    await rooms.write_each(numbered(3))
    assert sequences_of(await rooms.read(newest=True, most=4)) == [5, 6, 7, 8]
    page = await rooms.read(newest=True, most=3, selection=Selection("sequence < 6"))
    assert sequences_of(page) == [3, 4, 5] and page.read_sequence == 8
    with pytest.raises(InvalidArgument):
        await rooms.read(newest=True, after=3)


async def test_older_segments_are_found_in_their_indexes(rooms: ReaderRooms) -> None:
    data = numbered(300)
    await rooms.write_each(data)
    head = (await rooms.board.read(rooms.name)).head
    assert head.segments[0].first > 100
    other = rooms.restarted()
    async with other.open():
        found: list[bytes] = []
        after = 0
        while len(found) < 300:
            page = await other.read(after=after, most=70)
            found += data_of(page)
            after = page.read_sequence
        assert found == data
        assert data_of(await other.read(newest=True, most=250)) == data[50:]
        assert data_of(await other.read(after=40, most=1)) == [data[40]]


async def test_little_more_than_the_record_is_moved(rooms: ReaderRooms) -> None:
    await asyncio.gather(*[rooms.write(*numbered(500, 400)) for _ in range(8)])
    weighed = Weighed(rooms.blobs)
    other = rooms.restarted(blobs=weighed)
    async with other.open():
        assert data_of(await other.read(after=1999, most=1)) == [numbered(500, 400)[499]]
        assert weighed.read_bytes < 400 + 64 * 1024
        before = weighed.read_bytes
        await other.read(after=1899, most=1)
        assert weighed.read_bytes - before == 400


async def test_neighbours_are_read_together(rooms: ReaderRooms) -> None:
    await rooms.write(*numbered(1000, 1000))
    weighed = Weighed(rooms.blobs)
    other = rooms.restarted(blobs=weighed)
    async with other.open():
        assert data_of(await other.read(most=1000)) == numbered(1000, 1000)
    assert weighed.reads == 2  # the table, and the bytes


async def test_what_was_just_stored_is_read_from_memory() -> None:
    rooms = make_reader_rooms()
    weighed = Weighed(rooms.blobs)
    server = rooms.restarted(blobs=weighed)
    async with server.open():
        await server.prepare()
        await server.write(*numbered(100, 1000))
        assert data_of(await server.read()) == numbered(100, 1000)
    assert weighed.reads == 0


async def test_a_large_record_comes_alone_and_in_parts(rooms: ReaderRooms) -> None:
    large = bytes(range(256)) * (5 * MIB // 256 + 7)
    await rooms.write(b"small")
    await rooms.write(large)
    await rooms.write(b"last")
    other = rooms.restarted()
    async with other.open():
        assert data_of(await other.read()) == [b"small"]
        found = b""
        while len(found) < len(large):
            (stored,) = (await other.read(after=1, part_offset=len(found))).records
            assert (stored.size, stored.offset) == (len(large), len(found))
            assert len(stored.record.data) <= 2 * MIB
            found += bytes(stored.record.data)
        assert found == large
        odd = (await other.read(after=1, part_offset=3 * MIB + 17)).records[0]
        assert bytes(odd.record.data) == large[3 * MIB + 17 : 4 * MIB]
        assert data_of(await other.read(after=2)) == [b"last"]
        with pytest.raises(OutOfRange):
            await other.read(after=1, part_offset=len(large) + 1)


async def test_what_was_trimmed_is_said_with_where_to_go_on(rooms: ReaderRooms) -> None:
    await rooms.write_each(numbered(10))
    await rooms.trim(6)
    with pytest.raises(HistoryTrimmed) as raised:
        await rooms.read(after=3)
    assert raised.value.details["first_sequence"] == "6"
    assert sequences_of(await rooms.read(after=3, skip_trimmed=True)) == [6, 7, 8, 9, 10]
    assert sequences_of(await rooms.read()) == [6, 7, 8, 9, 10]
    assert sequences_of(await rooms.read(after=5)) == [6, 7, 8, 9, 10]
    assert sequences_of(await rooms.read(newest=True)) == [6, 7, 8, 9, 10]


async def test_a_blob_that_goes_while_it_is_read_is_trimmed_history(rooms: ReaderRooms) -> None:
    await rooms.write_each(numbered(4))
    other = rooms.restarted()
    async with other.open():
        head = (await other.board.read(rooms.name)).head
        await rooms.trim(3)
        for segment in head.segments[:2]:
            await rooms.blobs.delete(blob_key(head.uid, segment.ulid))
        with pytest.raises(HistoryTrimmed):
            await other.records.page(head, 1, other.records.wanted())
        page = await other.records.page(head, 1, other.records.wanted(), skip_trimmed=True)
        assert sequences_of(page) == [3, 4]


async def test_a_blob_that_is_missing_is_lost_data(rooms: ReaderRooms) -> None:
    await rooms.write_each(numbered(2))
    head = (await rooms.board.read(rooms.name)).head
    await rooms.blobs.delete(blob_key(head.uid, head.segments[0].ulid))
    other = rooms.restarted()
    async with other.open():
        with pytest.raises(DataLoss, match="detector"):
            await other.read()


@pytest.mark.parametrize("size", [100, 100_000, 3 * MIB])
async def test_damage_names_the_record_and_spares_those_before_it(rooms: ReaderRooms, size: int) -> None:
    await rooms.write(b"before")
    await rooms.write(b"good", bytes(size))
    head = (await rooms.board.read(rooms.name)).head
    await _flip(rooms, blob_key(head.uid, head.segments[1].ulid), -7)
    other = rooms.restarted()
    async with other.open():
        page = await other.read()
        assert data_of(page) == [b"before", b"good"] and page.read_sequence == 2
        with pytest.raises(DataLoss) as raised:
            await other.read(after=2)
        assert raised.value.details["sequence"] == "3" and raised.value.details["resource"] == str(rooms.name)


async def test_a_damaged_table_is_lost_data(rooms: ReaderRooms) -> None:
    await rooms.write(b"one")
    head = (await rooms.board.read(rooms.name)).head
    await _flip(rooms, blob_key(head.uid, head.segments[0].ulid), 5)
    other = rooms.restarted()
    async with other.open():
        with pytest.raises(DataLoss) as raised:
            await other.read()
        assert raised.value.details["sequence"] == "1"


async def test_a_reader_waits_for_the_next_record(rooms: ReaderRooms) -> None:
    await rooms.write(b"old")
    reading = asyncio.ensure_future(rooms.read(after=-1, wait=20 * SECOND))
    await asyncio.sleep(0.01)
    await rooms.write(b"new")
    assert data_of(await reading) == [b"new"]


async def test_a_reader_waits_for_what_another_server_stores(rooms: ReaderRooms) -> None:
    other = rooms.restarted()
    async with other.open():
        reading = asyncio.ensure_future(other.read(wait=20 * SECOND))
        await asyncio.sleep(0.01)
        await rooms.write(b"new")
        assert data_of(await reading) == [b"new"]


async def test_a_wait_ends_when_the_buffer_is_finished(rooms: ReaderRooms) -> None:
    await rooms.write(b"old")
    reading = asyncio.ensure_future(rooms.read(after=1, wait=20 * SECOND))
    await asyncio.sleep(0.01)
    await rooms.buffers.finish(LOCAL_USER, rooms.name, "catalogs/lab/buffers/next")
    page = await reading
    assert (page.records, page.state, page.next_buffer) == ([], State.FINISHED, "catalogs/lab/buffers/next")


async def test_what_is_not_there_is_said(rooms: ReaderRooms) -> None:
    with pytest.raises(NotFound):
        await rooms.records.read(LOCAL_USER, BufferName("lab", "other"))
    with pytest.raises(NotFound):
        await rooms.records.read(LOCAL_USER, DatasetName("lab", "other"))
    for wrong in ({"after": -2}, {"most": -1}, {"part_offset": -1}):
        with pytest.raises(InvalidArgument):
            await rooms.read(**wrong)


async def _flip(rooms: ReaderRooms, key: str, place: int) -> None:
    size = (await rooms.blobs.stat(key)).size
    kept = bytearray(b"".join([bytes(chunk) async for chunk in rooms.blobs.open(Blob(key, size))]))
    kept[place] ^= 1
    await rooms.blobs.delete(key)
    await rooms.blobs.put(key, [bytes(kept)])


# --------------------------------------------------------------------------------------------------------- selections


async def test_a_filter_chooses_by_what_goes_with_a_record(rooms: ReaderRooms) -> None:
    await rooms.write(rooms.record(b"a", {"channel": "X", "gain": 1}), rooms.record(b"bb", {"channel": "Y"}))
    await rooms.write(rooms.record(b"ccc", {"channel": "X", "gain": 3}), writer="camera")

    async def chosen(text: str) -> list[int]:
        return sequences_of(await rooms.read(selection=Selection(text)))

    assert await chosen('channel = "X"') == [1, 3]
    assert await chosen("metadata.gain > 1") == [3]
    assert await chosen("size >= 2 AND size < 3") == [2]
    assert await chosen('writer = "camera"') == [3]
    assert await chosen("NOT sequence = 2") == [1, 3]
    assert await chosen("window = 2") == []
    with pytest.raises(FilterInvalid):
        await chosen("size >")


async def test_a_page_tells_where_to_go_on_behind_what_was_not_wanted(rooms: ReaderRooms) -> None:
    await rooms.write(*numbered(10))
    page = await rooms.read(most=2, selection=Selection("sequence < 4"))
    assert sequences_of(page) == [1, 2] and page.read_sequence == 2
    page = await rooms.read(after=2, most=2, selection=Selection("sequence < 4"))
    assert sequences_of(page) == [3] and page.read_sequence == 10


async def test_a_span_of_time_skips_whole_segments(rooms: ReaderRooms) -> None:
    for data in numbered(200):
        await rooms.write(data)
        rooms.clock.move(SECOND)
    start = from_microseconds(microseconds(rooms.clock.time) - 200_000_000)
    weighed = Weighed(rooms.blobs)
    other = rooms.restarted(blobs=weighed)
    async with other.open():
        page = await other.read(selection=Selection(start=start + 100 * SECOND, end=start + 103 * SECOND))
        assert sequences_of(page) == [101, 102, 103] and page.is_last
        assert weighed.reads == 3


async def test_the_last_seconds_are_a_snapshot_while_records_keep_coming(rooms: ReaderRooms) -> None:
    for data in numbered(20):
        await rooms.write(data)
        rooms.clock.move(SECOND)
    page = await rooms.read(newest=True, most=1000, selection=Selection(start=rooms.clock.time - 8 * SECOND))
    assert sequences_of(page) == list(range(13, 21)) and page.state is State.ACTIVE


async def test_times_of_events_choose_records(rooms: ReaderRooms) -> None:
    await rooms.write(rooms.record(b"a", event_time=5_000_000), b"none", rooms.record(b"c", event_time=1_000_000))
    await rooms.write(b"none")
    selection = Selection(start=from_microseconds(1_000_000), end=from_microseconds(5_000_000), by_event_time=True)
    assert sequences_of(await rooms.read(selection=selection)) == [3]


async def test_nothing_comes_behind_the_last_sequence(rooms: ReaderRooms) -> None:
    await rooms.write(*numbered(5))
    await rooms.write(*numbered(5))
    page = await rooms.read(selection=Selection(last_sequence=7))
    assert sequences_of(page) == list(range(1, 8)) and page.is_last
    assert not (await rooms.read(after=7, selection=Selection(last_sequence=7), wait=20 * SECOND)).records


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.lists(st.integers(0, 60), min_size=1, max_size=6), min_size=1, max_size=12),
    most=st.integers(1, 7),
    most_bytes=st.integers(1, 600),
    least=st.integers(0, 60),
    first=st.integers(1, 20),
)
async def test_pages_together_are_what_was_wanted(
    sizes: list[list[int]], most: int, most_bytes: int, least: int, first: int
) -> None:
    rooms = make_reader_rooms()
    async with rooms.open():
        await rooms.prepare()
        for group in sizes:
            await rooms.write(*[bytes([size]) * size for size in group])
        every = [size for group in sizes for size in group]
        await rooms.trim(min(first, len(every)))
        after, found = 0, []
        while after < len(every):
            page = await rooms.read(
                after=after, most=most, most_bytes=most_bytes, selection=Selection(f"size >= {least}")
            )
            assert len(page.records) <= most and page.read_sequence > after
            found += [(stored.sequence, bytes(stored.record.data)) for stored in page.records]
            after = page.read_sequence
        wanted = [
            (sequence, bytes([size]) * size)
            for sequence, size in enumerate(every, start=1)
            if size >= least and sequence >= min(first, len(every))
        ]
        assert found == wanted
        newest = await rooms.read(newest=True, most=most, selection=Selection(f"size >= {least}"))
        assert [(stored.sequence, bytes(stored.record.data)) for stored in newest.records] == wanted[-most:]


async def test_what_is_in_a_deleted_catalog_is_hidden(rooms: ReaderRooms) -> None:
    await rooms.write(b"one")
    await rooms.catalogs.delete(LOCAL_USER, rooms.name.parent)
    with pytest.raises(ResourceDeleted):
        await rooms.read()
    with pytest.raises(ResourceDeleted):
        await anext(rooms.tails.follow(LOCAL_USER, rooms.name))
    group = GroupName("lab", "detector", "train")
    with pytest.raises(ResourceDeleted):
        await rooms.groups.put(LOCAL_USER, group, Settings())
    with pytest.raises(ResourceDeleted):
        await rooms.consuming.fetch(LOCAL_USER, group, "a")
