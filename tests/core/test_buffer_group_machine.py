"""Groups against a model, with servers that race, die and stumble."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.crashing import Crash, Fuse, fused
from tests.core.group_members import Members, attempts, sequences
from tests.core.reader_rooms import ReaderRooms, make_reader_rooms, numbered
from tests.core.stumbling import Stumble, persistently, stumbling

from measurand.core.buffers.group_documents import group_document, group_of
from measurand.core.buffers.heads import EventKind

SECOND = timedelta(seconds=1)
DEADLINE = 5
ROOM = 5
CONSUMERS = "abc"


# -------------------------------------------------------------------------------------------------------- the machine


@dataclass
class Model:
    """What a group must do: (consumer, from when on it may be delivered again, attempt) of what is out."""

    most_deliveries: int
    is_ordered: bool
    now: int = 0
    end: int = 1
    next: int = 1
    out: dict[int, tuple[str, int, int]] = field(default_factory=dict)
    settled: set[int] = field(default_factory=set)
    given_up: set[int] = field(default_factory=set)

    def expire(self) -> None:
        for sequence, (_, until, attempt) in list(self.out.items()):
            if until <= self.now and self.most_deliveries and attempt >= self.most_deliveries:
                del self.out[sequence]
                self.given_up.add(sequence)

    def fetch(self, consumer: str, most: int) -> list[tuple[int, int]]:
        self.expire()
        again = sorted(sequence for sequence, (_, until, _) in self.out.items() if until <= self.now)
        if self.is_ordered and len(again) < len(self.out):
            return []
        taken = [(sequence, self.out[sequence][2] + 1) for sequence in again[:most]]
        while len(taken) < most and self.next < self.end and len(self.out) < ROOM:
            taken.append((self.next, 1))
            self.out[self.next] = (consumer, 0, 1)
            self.next += 1
        for sequence, attempt in taken:
            self.out[sequence] = (consumer, self.now + DEADLINE, attempt)
        return taken

    def settle(self, consumer: str, acknowledge: Sequence[int], give_back: Sequence[int], delay: int) -> set[int]:
        mine = {sequence for sequence, (who, _, _) in self.out.items() if who == consumer}
        done = set(acknowledge) & mine
        for sequence in done:
            del self.out[sequence]
        back = (set(give_back) & mine) - done
        for sequence in back:
            attempt = self.out[sequence][2]
            # Nobody has it any more, so nobody may settle it.
            self.out[sequence] = ("", self.now + delay, attempt)
            if self.most_deliveries and attempt >= self.most_deliveries:
                del self.out[sequence]
                self.given_up.add(sequence)
        self.settled |= done
        return done | back


number = st.integers(0, 30)
step = st.one_of(
    st.tuples(st.just("append"), st.integers(1, 5)),
    st.tuples(st.just("fetch"), st.sampled_from(CONSUMERS), st.integers(1, 6), st.booleans()),
    st.tuples(
        st.just("settle"),
        st.sampled_from(CONSUMERS),
        st.lists(number, max_size=8),
        st.lists(number, max_size=3),
        st.integers(0, 3),
        st.booleans(),
    ),
    st.tuples(st.just("move"), st.integers(1, 6)),
)


@settings(max_examples=40, deadline=None)
@given(steps=st.lists(step, max_size=40), most=st.sampled_from((0, 0, 2)), is_ordered=st.booleans())
async def test_a_group_does_what_its_model_does(steps: list[tuple[object, ...]], most: int, is_ordered: bool) -> None:
    rooms = make_reader_rooms()
    async with rooms.open(), rooms.restarted().open() as other:
        await rooms.prepare()
        here, there = Members(rooms), Members(other)
        await here.put(ack_deadline=DEADLINE * SECOND, max_deliveries=most, max_outstanding=ROOM, ordered=is_ordered)
        model = Model(most, is_ordered)
        for made in (*steps, ("append", 1)):
            match made:
                case ("append", int(count)):
                    await rooms.write(*numbered(count))
                    model.end += count
                case ("fetch", str(consumer), int(count), bool(is_here)):
                    fetched = await (here if is_here else there).fetch(consumer, count)
                    assert attempts(fetched) == model.fetch(consumer, count)
                case ("settle", str(consumer), list(acknowledge), list(give_back), int(delay), bool(is_here)):
                    answer = await (here if is_here else there).settle(
                        consumer, acknowledge=acknowledge, give_back=give_back, delay=delay * SECOND
                    )
                    settled = model.settle(consumer, acknowledge, give_back, delay)
                    assert set(answer.settled) == settled
                    assert {*acknowledge, *give_back} - settled <= set(answer.not_held)
                case ("move", int(seconds)):
                    rooms.clock.move(seconds * SECOND)
                    model.now += seconds
        group = await there.get()
        assert group.unsettled == sorted(model.out) and group.lag == model.end - model.next
        await drain(rooms, here)
        model.now = 10_000
        model.expire()
        assert {sequence for sequence, _, _ in await here.given_up()} == model.given_up
        assert (await here.get()).settled_sequence == model.end - 1


async def drain(rooms: ReaderRooms, members: Members) -> list[int]:
    """Acknowledge everything that is left, and return what that was."""
    found: list[int] = []
    rooms.clock.move(1000 * SECOND)
    while taken := await members.take("last", 7):
        found += taken
        assert (await members.settle("last", acknowledge=taken)).not_held == ()
    return found


def test_a_document_keeps_a_group_as_it_is() -> None:
    async def made() -> None:
        rooms = make_reader_rooms()
        async with rooms.open():
            await rooms.prepare()
            await rooms.write(*numbered(100))
            members = Members(rooms)
            await members.put()
            await members.take("a", 100)
            await members.settle("a", acknowledge=range(1, 100, 2), give_back=[4, 6])
            document = await rooms.documents.fetch("buffer_groups", str(members.name))
            assert document is not None
            again = group_document(group_of(document))
            assert again.body == document.body

    asyncio.run(made())


async def test_the_document_stays_small_however_much_is_settled() -> None:
    rooms = make_reader_rooms()
    async with rooms.open():
        await rooms.prepare()
        await rooms.write(*numbered(8000))
        members = Members(rooms)
        await members.put()
        for _ in range(8):
            taken = await members.take("a", 1000)
            await members.settle("a", acknowledge=[sequence for sequence in taken if sequence % 1000])
        document = await rooms.documents.fetch("buffer_groups", str(members.name))
        assert document is not None and len(str(document.body)) < 2000
        assert (await members.get()).unsettled == [1000 * number for number in range(1, 9)]


# -------------------------------------------------------------------------------------------------------------- races


async def test_two_servers_share_the_records_of_one_group() -> None:
    rooms = make_reader_rooms()
    async with rooms.open(), rooms.restarted().open() as other:
        await rooms.prepare()
        await rooms.write(*numbered(1000))
        await Members(rooms).put()
        done: list[int] = []

        async def consume(server: ReaderRooms, consumer: str) -> None:
            members = Members(server)
            while taken := await members.take(consumer, 20):
                done.extend((await members.settle(consumer, acknowledge=taken)).settled)
                await asyncio.sleep(0)

        await asyncio.gather(consume(rooms, "a"), consume(rooms, "b"), consume(other, "c"), consume(other, "d"))
        assert sorted(done) == list(range(1, 1001))
        assert (await Members(other).get()).settled_sequence == 1000


async def test_what_a_killed_member_held_comes_again_to_the_others_over_a_restart() -> None:
    rooms = make_reader_rooms()
    async with rooms.open():
        await rooms.prepare()
        await rooms.write(*numbered(1000))
        members = Members(rooms)
        await members.put(ack_deadline=2 * SECOND)
        held = await members.take("killed", 10)
    done: list[int] = []
    again: list[tuple[int, int]] = []
    async with rooms.restarted().open() as server:
        rooms.clock.move(2 * SECOND)

        async def consume(consumer: str) -> None:
            while (fetched := await Members(server).fetch(consumer, 25)).deliveries:
                again.extend(one for one in attempts(fetched) if one[1] > 1)
                answer = await Members(server).settle(consumer, acknowledge=sequences(fetched))
                done.extend(answer.settled)

        await asyncio.gather(*[consume(consumer) for consumer in "abc"])
    assert sorted(done) == list(range(1, 1001))
    assert again == [(sequence, 2) for sequence in held]


# -------------------------------------------------------------------------------------------------- crashes, stumbling


async def work(members: Members, answered: set[int], chance: random.Random) -> None:
    """Fetch and settle for a while; what was acknowledged with an answer is noted."""
    for _ in range(6):
        taken = await members.take("a", 3)
        done = [sequence for sequence in taken if chance.random() < 0.6]
        await members.settle("a", acknowledge=done, give_back=sorted(set(taken) - set(done)))
        answered.update(done)


@pytest.mark.parametrize("after", [False, True])
async def test_a_server_that_dies_at_any_call_loses_nothing_and_settles_nothing_twice(after: bool) -> None:
    at, has_died = 0, True
    while has_died:
        rooms = make_reader_rooms()
        async with rooms.open():
            await rooms.prepare()
            await rooms.write(*numbered(12))
            await Members(rooms).put(max_deliveries=2)
            fuse = Fuse(at, after)
            documents, blobs = fused(rooms.documents, rooms.blobs, fuse)
            dying = rooms.restarted(documents=documents, blobs=blobs)
            answered: set[int] = set()
            try:
                await work(Members(dying), answered, random.Random(at))
                has_died = False
            except Crash:
                pass
            await dying.close()
            async with rooms.restarted().open() as next_server:
                members = Members(next_server)
                left = await drain(next_server, members)
                gone = await members.given_up()
                await check_all_is_over(next_server, members, answered, left, gone)
        at += 1
    assert at > 20


@pytest.mark.parametrize("after", [False, True])
async def test_a_store_that_does_not_answer_loses_nothing(after: bool) -> None:
    at, has_stumbled = 0, True
    while has_stumbled:
        rooms = make_reader_rooms()
        async with rooms.open():
            await rooms.prepare()
            await rooms.write(*numbered(12))
            await Members(rooms).put(max_deliveries=3)
            stumble = Stumble(at, after, times=1 + at % 3)
            documents, blobs = stumbling(rooms.documents, rooms.blobs, stumble)
            async with rooms.restarted(documents=documents, blobs=blobs).open() as server:
                members, answered = Members(server), set[int]()
                chance = random.Random(at)
                await persistently(lambda m=members, a=answered, c=chance: work(m, a, c))  # type: ignore[misc]
                has_stumbled = stumble.has_happened
                left = await persistently(lambda s=server, m=members: drain(s, m))  # type: ignore[misc]
                gone = await persistently(members.given_up)
                await check_all_is_over(rooms, Members(rooms), answered, left, gone)
        at += 1
    assert at > 20


async def check_all_is_over(
    rooms: ReaderRooms, members: Members, answered: set[int], left: list[int], gone: list[tuple[int, int, str]]
) -> None:
    given_up = {sequence for sequence, _, _ in gone}
    assert not answered & set(left) and not answered & given_up and not set(left) & given_up
    assert len(left) == len(set(left)) and len(gone) == len(given_up)
    group = await members.get()
    assert (group.settled_sequence, group.outstanding, group.returned, group.lag) == (12, 0, 0, 0)
    assert group.given_up == len(gone)
    events = (await rooms.board.read(rooms.name)).head.events
    noted = [event.message for event in events if event.kind is EventKind.RECORD_GIVEN_UP]
    named = [
        int(word) for message in noted for word in message.replace(",", "").split("after")[0].split() if word.isdigit()
    ]
    assert sorted(named) == sorted(given_up)
