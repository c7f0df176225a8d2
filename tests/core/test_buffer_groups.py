from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from tests.core.group_members import Members, attempts, sequences
from tests.core.reader_rooms import ReaderRooms, make_reader_rooms, numbered

from measurand.core.buffers.consuming import Settlement
from measurand.core.buffers.documents import blob_key
from measurand.core.buffers.groups import Settings
from measurand.core.buffers.heads import EventKind
from measurand.core.names import GroupName
from measurand.core.ports import Blob
from measurand.core.principal import LOCAL_USER
from measurand.wire.errors import (
    Conflict,
    DataLoss,
    HistoryTrimmed,
    InvalidArgument,
    NotFound,
    OutOfRange,
)

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


# ------------------------------------------------------------------------------------------------- fetching, settling


async def test_each_record_goes_to_one_consumer(rooms: ReaderRooms, members: Members) -> None:
    await rooms.write(*numbered(10))
    await members.put()
    first = await members.fetch("a", 4)
    assert sequences(first) == [1, 2, 3, 4]
    assert [bytes(one.stored.record.data) for one in first.deliveries] == numbered(10)[:4]
    assert {one.attempt for one in first.deliveries} == {1}
    assert await members.take("b", 4) == [5, 6, 7, 8]
    assert await members.take("a", 4) == [9, 10]
    assert await members.take("b") == []
    group = await members.get()
    assert (group.settled_sequence, group.outstanding, group.returned, group.lag) == (0, 10, 0, 0)


async def test_groups_are_independent(rooms: ReaderRooms) -> None:
    await rooms.write(*numbered(5))
    one, two = Members(rooms, "one"), Members(rooms, "two")
    await one.put()
    await two.put(after_sequence=2)
    assert await one.take() == [1, 2, 3, 4, 5]
    assert await two.take() == [3, 4, 5]


async def test_what_is_settled_never_comes_again(rooms: ReaderRooms, members: Members) -> None:
    await rooms.write(*numbered(10))
    await members.put()
    await members.take()
    answer = await members.settle(acknowledge=[1, 2, 4, 6, 8, 9, 10])
    assert (answer.settled, answer.not_held, answer.settled_sequence) == ((1, 2, 4, 6, 8, 9, 10), (), 2)
    assert (await members.get()).unsettled == [3, 5, 7]
    again = await members.settle(acknowledge=[1, 3])
    assert (again.settled, again.not_held, again.settled_sequence) == ((3,), (1,), 4)
    rooms.clock.move(61 * SECOND)
    assert attempts(await members.fetch("b")) == [(5, 2), (7, 2)]


async def test_what_is_not_settled_in_time_comes_again_first(rooms: ReaderRooms, members: Members) -> None:
    await rooms.write(*numbered(6))
    await members.put(ack_deadline=2 * SECOND)
    assert await members.take("a", 3) == [1, 2, 3]
    rooms.clock.move(1.9 * SECOND)
    assert await members.take("b", 1) == [4]
    rooms.clock.move(0.1 * SECOND)
    assert attempts(await members.fetch("b", 4)) == [(1, 2), (2, 2), (3, 2), (5, 1)]
    answer = await members.settle("a", acknowledge=[1, 2])
    assert answer.not_held == (1, 2) and answer.settled == ()


async def test_a_late_settlement_counts_while_nobody_else_has_the_record(rooms: ReaderRooms, members: Members) -> None:
    await rooms.write(b"one")
    await members.put(ack_deadline=SECOND)
    await members.take()
    rooms.clock.move(5 * SECOND)
    assert (await members.get()).returned == 1
    assert (await members.settle(acknowledge=[1])).settled == (1,)
    assert await members.take("b") == []


async def test_a_deadline_can_be_extended(rooms: ReaderRooms, members: Members) -> None:
    await rooms.write(b"one")
    await members.put(ack_deadline=2 * SECOND)
    await members.take()
    for _ in range(4):
        rooms.clock.move(1.5 * SECOND)
        assert (await members.settle(extend=[1])).settled == (1,)
        assert await members.take("b") == []
    rooms.clock.move(2 * SECOND)
    assert await members.take("b") == [1]


async def test_what_is_given_back_comes_after_its_delay_and_others_pass_it(
    rooms: ReaderRooms, members: Members
) -> None:
    await rooms.write(*numbered(4))
    await members.put()
    await members.take("a", 2)
    await members.settle("a", give_back=[1], delay=2 * SECOND)
    await members.settle("a", give_back=[2])
    assert attempts(await members.fetch("b")) == [(2, 2), (3, 1), (4, 1)]
    rooms.clock.move(1.9 * SECOND)
    assert await members.take("b") == []
    rooms.clock.move(0.1 * SECOND)
    assert attempts(await members.fetch("b")) == [(1, 2)]


async def test_a_fetch_can_settle_first(rooms: ReaderRooms, members: Members) -> None:
    await rooms.write(*numbered(3))
    await members.put(max_outstanding=1)
    assert await members.take() == [1]
    assert await members.take() == []
    fetched = await members.fetch(settlement=Settlement(acknowledge=[1, 3]))
    assert (sequences(fetched), fetched.settled, fetched.not_held) == ([2], (1,), (3,))


async def test_no_more_is_out_than_may_be(rooms: ReaderRooms, members: Members) -> None:
    await rooms.write(*numbered(10))
    await members.put(max_outstanding=3)
    assert await members.take("a") == [1, 2, 3]
    await members.settle("a", give_back=[2], delay=SECOND)
    assert await members.take("b") == []
    await members.settle("a", acknowledge=[1])
    assert await members.take("b") == [4]


async def test_an_ordered_group_gives_one_batch_at_a_time(rooms: ReaderRooms, members: Members) -> None:
    await rooms.write(*numbered(6))
    await members.put(ordered=True, ack_deadline=2 * SECOND)
    assert await members.take("a", 3) == [1, 2, 3]
    assert await members.take("b", 3) == []
    await members.settle("a", acknowledge=[1], give_back=[2], delay=SECOND)
    assert await members.take("b", 3) == []
    await members.settle("a", acknowledge=[3])
    assert await members.take("b", 3) == []  # 2 is not due, and nothing passes it
    rooms.clock.move(SECOND)
    assert attempts(await members.fetch("b", 2)) == [(2, 2), (4, 1)]


async def test_the_newest_is_given_once_and_what_lies_before_is_passed_over(
    rooms: ReaderRooms, members: Members
) -> None:
    await rooms.write(*numbered(5))
    await members.put()
    assert await members.take("display", newest=True) == [5]
    assert await members.take("display", newest=True) == []
    await rooms.write(*numbered(2))
    assert await members.take("display", newest=True) == [7]
    await members.settle("display", acknowledge=[5, 7])
    assert (await members.get()).settled_sequence == 7


async def test_a_page_stays_within_a_message_and_a_large_record_comes_alone(
    rooms: ReaderRooms, members: Members
) -> None:
    await rooms.write(bytes(MIB), bytes(MIB // 2), bytes(MIB))
    await rooms.write(bytes(3 * MIB))
    await rooms.write(b"last")
    await members.put()
    assert await members.take() == [1, 2]
    assert await members.take() == [3]
    (large,) = (await members.fetch()).deliveries
    assert (large.stored.sequence, large.stored.size, bytes(large.stored.record.data)) == (4, 3 * MIB, b"")
    assert await members.take() == [5]


# ----------------------------------------------------------------------------------------------------------- given up


async def test_a_record_that_fails_too_often_is_given_up_and_holds_up_nobody(
    rooms: ReaderRooms, members: Members
) -> None:
    await rooms.write(*numbered(3))
    await members.put(max_deliveries=3)
    for _ in range(3):
        fetched = await members.take("a", 1)
        assert fetched == [1]
        await members.settle("a", give_back=[1])
    assert await members.take("b") == [2, 3]
    assert await members.given_up() == [(1, 3, "a")]
    group = await members.get()
    assert (group.given_up, group.settled_sequence, group.unsettled) == (1, 1, [2, 3])
    events = (await rooms.board.read(rooms.name)).head.events
    noted = [event for event in events if event.kind is EventKind.RECORD_GIVEN_UP]
    assert len(noted) == 1 and "record 1 after 3 deliveries" in noted[0].message


async def test_deadlines_that_pass_too_often_give_a_record_up(rooms: ReaderRooms, members: Members) -> None:
    await rooms.write(b"one")
    await members.put(max_deliveries=2, ack_deadline=SECOND)
    for consumer in ("a", "b"):
        assert await members.take(consumer) == [1]
        rooms.clock.move(SECOND)
    assert await members.given_up() == [(1, 2, "b")]
    assert await members.take("c") == []


async def test_what_was_given_up_is_kept_for_thirty_days(rooms: ReaderRooms, members: Members) -> None:
    await rooms.write(*numbered(3))
    await members.put(max_deliveries=1)
    await members.take()
    await members.settle(give_back=[1, 2, 3])
    page = await rooms.groups.given_up(LOCAL_USER, members.name, size=2)
    rest = await rooms.groups.given_up(LOCAL_USER, members.name, size=2, page_token=page.next_page_token)
    assert [one.sequence for one in (*page.records, *rest.records)] == [1, 2, 3]
    rooms.clock.move(timedelta(days=29))
    assert await rooms.groups.sweep() == 0
    rooms.clock.move(timedelta(days=1))
    assert await members.given_up() == []
    assert await rooms.groups.sweep() == 3


# -------------------------------------------------------------------------------------------------- making and moving


async def test_a_group_is_made_once_and_its_settings_change(rooms: ReaderRooms, members: Members) -> None:
    await rooms.write(*numbered(3))
    made = await members.put(after_sequence=-1)
    assert (made.settled_sequence, made.lag) == (3, 0)
    same = await members.put(after_sequence=0)
    assert same == made
    changed = await members.put(max_deliveries=4)
    assert changed.settings.max_deliveries == 4 and changed.etag != made.etag and changed.settled_sequence == 3
    names = [GroupName("lab", "detector", group) for group in ("a", "b", "train")]
    for name in names[:2]:
        await rooms.groups.put(LOCAL_USER, name, Settings())
    page = await rooms.groups.page(LOCAL_USER, rooms.name, size=2)
    rest = await rooms.groups.page(LOCAL_USER, rooms.name, size=2, page_token=page.next_page_token)
    assert [group.name for group in (*page.groups, *rest.groups)] == names


async def test_a_seek_delivers_again_and_forgets_what_is_out(rooms: ReaderRooms, members: Members) -> None:
    for data in numbered(10):
        await rooms.write(data)
        rooms.clock.move(SECOND)
    await members.put()
    await members.take()
    await members.settle(acknowledge=list(range(1, 8)))
    moved = await members.seek(after_sequence=0)
    assert (moved.settled_sequence, moved.outstanding, moved.lag) == (0, 0, 10)
    assert attempts(await members.fetch("b", 2)) == [(1, 1), (2, 1)]
    assert (await members.settle("a", acknowledge=[8])).not_held == (8,)
    assert (await members.seek(after_sequence=-1)).lag == 0
    assert (await members.seek(time=rooms.clock.time - 3 * SECOND)).settled_sequence == 7
    assert await members.take() == [8, 9, 10]
    etag = (await members.get()).etag
    await members.seek(after_sequence=5, etag=etag)
    with pytest.raises(Conflict):
        await members.seek(after_sequence=5, etag=etag)
    with pytest.raises(OutOfRange):
        await members.seek(after_sequence=11)


async def test_trimming_behind_a_group_is_said_until_it_seeks(rooms: ReaderRooms, members: Members) -> None:
    await rooms.write_each(numbered(10))
    await members.put()
    assert await members.take("a", 2) == [1, 2]
    await rooms.trim(6)
    with pytest.raises(HistoryTrimmed) as raised:
        await members.take()
    assert raised.value.details["first_sequence"] == "6"
    with pytest.raises(HistoryTrimmed):
        await members.seek(after_sequence=3)
    await members.seek()
    assert await members.take() == [6, 7, 8, 9, 10]


async def test_a_removed_group_is_gone_and_a_new_one_begins_anew(rooms: ReaderRooms, members: Members) -> None:
    await rooms.write(*numbered(3))
    await members.put(max_deliveries=1)
    await members.take()
    await members.settle(give_back=[1])
    other = rooms.restarted()
    async with other.open():
        await Members(other).settle(acknowledge=[2])
        await rooms.groups.delete(LOCAL_USER, members.name)
        await rooms.groups.delete(LOCAL_USER, members.name)
        for gone in (members.get, members.take, members.given_up, Members(other).take, Members(other).settle):
            with pytest.raises(NotFound):
                await gone()
        assert not (await rooms.groups.page(LOCAL_USER, rooms.name)).groups
        await members.put()
        assert await members.given_up() == []
        assert await Members(other).take() == [1, 2, 3]
    rooms.clock.move(timedelta(days=2))
    assert await rooms.groups.sweep() == 0
    await rooms.groups.delete(LOCAL_USER, members.name)
    rooms.clock.move(timedelta(days=2))
    assert await rooms.groups.sweep() == 1


async def test_what_is_wrong_is_said(rooms: ReaderRooms, members: Members) -> None:
    with pytest.raises(NotFound):
        await members.take()
    with pytest.raises(NotFound):
        await rooms.groups.put(LOCAL_USER, GroupName("lab", "other", "train"), Settings())
    wrong: Sequence[dict[str, Any]] = (
        {"ack_deadline": timedelta()},
        {"ack_deadline": timedelta(hours=2)},
        {"max_deliveries": -1},
        {"max_outstanding": 10_001},
        {"part_timeout": timedelta()},
        {"ordered": True, "whole_sets": True},
    )
    for settings in wrong:
        with pytest.raises(InvalidArgument):
            await members.put(**settings)
    await members.put()
    for consumer in ("", "x" * 65, "é", "a\n"):
        with pytest.raises(InvalidArgument):
            await members.take(consumer)
    with pytest.raises(InvalidArgument):
        await members.settle(give_back=[1], delay=-SECOND)


@pytest.mark.parametrize("whole_sets", [False, True])
@pytest.mark.parametrize("place", [-1, 7])
async def test_a_damaged_record_holds_up_only_itself(rooms: ReaderRooms, place: int, whole_sets: bool) -> None:
    await rooms.write_each(numbered(3))
    head = (await rooms.board.read(rooms.name)).head
    key = blob_key(head.uid, head.segments[1].ulid)
    blob = Blob(key, (await rooms.blobs.stat(key)).size)
    kept = bytearray(b"".join([bytes(chunk) async for chunk in rooms.blobs.open(blob)]))
    kept[place] ^= 1  # of its bytes, or of the table
    await rooms.blobs.delete(key)
    await rooms.blobs.put(key, [bytes(kept)])
    other = Members(rooms.restarted())
    async with other.rooms.open():
        await other.put(max_deliveries=2, whole_sets=whole_sets)
        done: list[int] = []
        failures: list[str] = []
        for _ in range(8):
            try:
                taken = await other.take()
            except DataLoss as error:
                failures.append(error.details["sequence"])
            else:
                done += taken
                await other.settle(acknowledge=taken)
            other.rooms.clock.move(61 * SECOND)
        assert done == [1, 3] and set(failures) == {"2"}
        assert [sequence for sequence, _, _ in await other.given_up()] == [2]
