"""Groups of consumers: each record to one of them, until it is acknowledged."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from tests.end_to_end.passing import proxy

from measurand.client import AsyncBuffer, AsyncCatalog, AsyncClient, errors


@pytest.fixture
async def buffer(lab: AsyncCatalog) -> AsyncBuffer:
    return await lab.create_buffer("v1")


async def filled(buffer: AsyncBuffer, count: int) -> AsyncBuffer:
    async with buffer.writer() as out:
        for i in range(count):
            await out.write(bytes([i % 256]), {"i": i})
    return buffer


async def acknowledged(buffer: AsyncBuffer, group: str) -> list[int]:
    """Take all there is for a group, and return the sequences."""
    seen = []
    async with buffer.consume(group, timeout=0.3) as records:
        async for record in records:
            seen.append(record.seq)
            await record.ack()
    return seen


async def test_the_members_of_a_group_share_the_records_and_groups_are_independent(buffer: AsyncBuffer) -> None:
    await filled(buffer, 300)
    seen: list[int] = []
    async with buffer.consume("a", timeout=0.3, most=20) as first, buffer.consume("a", timeout=0.3, most=20) as second:
        async for record in first:
            seen.append(record.seq)
            assert record.metadata["i"] == record.seq - 1
            assert record.delivery == 1
            await record.ack()
        async for record in second:
            seen.append(record.seq)
            await record.ack()
    assert sorted(seen) == list(range(1, 301))
    assert (await buffer.group("a").position(), await buffer.group("a").lag()) == (300, 0)
    assert await acknowledged(buffer, "b") == list(range(1, 301))
    assert await buffer.groups() == ["a", "b"]


async def test_what_was_not_acknowledged_comes_again_to_the_next(buffer: AsyncBuffer) -> None:
    await filled(buffer, 10)
    async with buffer.consume("g", timeout=0.3) as records:
        async for record in records:
            if record.seq not in (3, 5, 7):
                await record.ack()
                await record.ack()  # twice is harmless
        await records.flush()
        assert await buffer.group("g").unacknowledged() == [3, 5, 7]
        assert await buffer.group("g").position() == 2
        assert await buffer.group("g").lag() == 3
    async with buffer.consume("g", timeout=0.3) as records:
        again = [(record.seq, record.delivery) async for record in records]
    assert again == [(3, 2), (5, 2), (7, 2)]


async def test_a_record_that_is_given_back_comes_after_its_delay_and_others_pass_it(buffer: AsyncBuffer) -> None:
    await filled(buffer, 5)
    order, given, back = [], 0.0, 0.0
    async with buffer.consume("g", timeout=3) as records:
        async for record in records:
            order.append(record.seq)
            if record.seq == 2 and record.delivery == 1:
                given = time.monotonic()
                await record.nack(delay=0.5)
                continue
            if record.seq == 2:
                back = time.monotonic() - given
            await record.ack()
            if len(order) == 6:
                break
    assert order == [1, 2, 3, 4, 5, 2]
    assert back >= 0.5


async def test_a_record_that_always_fails_is_set_aside(buffer: AsyncBuffer) -> None:
    await filled(buffer, 3)
    tries = 0
    async with buffer.consume("g", attempts=3, timeout=0.5) as records:
        async for record in records:
            if record.seq == 2:
                tries += 1
                await record.nack()
            else:
                await record.ack()
    (dead,) = await buffer.group("g").dead()
    assert (tries, dead.seq, dead.attempts, dead.consumer) == (3, 2, 3, records.id)
    assert (await buffer.group("g").get(2)).data == b"\1"
    assert "given_up" in [entry.kind.removeprefix("record_") async for entry in buffer.log()]


async def test_a_record_beyond_its_time_is_delivered_again_unless_it_is_prolonged(buffer: AsyncBuffer) -> None:
    await filled(buffer, 2)
    async with buffer.consume("g", ack_timeout=1, timeout=6) as records:
        seen, held = [], []
        async for record in records:
            seen.append((record.seq, record.delivery))
            if record.seq == 2:
                assert record.deadline is not None
                held.append(record)
                break
            await record.ack()
        async for record in records:
            assert (record.seq, record.delivery) == (2, 2)
            await record.extend()
            await record.ack()
            break
        await held[0].ack()
        await records.flush()
    assert seen == [(1, 1), (2, 1)]
    assert await buffer.group("g").position() == 2


async def test_large_records_and_arrays_come_whole(buffer: AsyncBuffer) -> None:
    sent = [b"a", bytes(range(256)) * 20_000, b"z"]
    for data in sent:
        await buffer.append(data)
    async with buffer.consume("g", timeout=0.5) as records:
        assert [record.data async for record in records] == sent


async def test_a_new_group_begins_where_it_is_told_to(buffer: AsyncBuffer) -> None:
    await filled(buffer, 5)
    async with buffer.consume("after", after=3, timeout=0.3) as records:
        assert [record.seq async for record in records] == [4, 5]
    async with buffer.consume("end", after="end", timeout=0.5) as records:
        await buffer.append(b"new")
        assert [record.seq async for record in records] == [6]
    with pytest.raises(errors.InvalidArgument):
        buffer.consume("x", after="now")


async def test_a_group_can_be_moved(buffer: AsyncBuffer) -> None:
    await filled(buffer, 5)
    group = buffer.group("g")
    with pytest.raises(errors.NotFound):
        await group.position()
    assert await acknowledged(buffer, "g") == [1, 2, 3, 4, 5]
    await group.seek(1)
    assert await acknowledged(buffer, "g") == [1, 2, 3, 4, 5]
    await group.seek(4)
    assert (await group.lag(), await acknowledged(buffer, "g")) == (2, [4, 5])
    await group.seek("begin")
    assert await acknowledged(buffer, "g") == [1, 2, 3, 4, 5]
    await group.seek("begin")
    await group.seek("end")
    assert await acknowledged(buffer, "g") == []
    now = datetime.now(UTC)
    await group.seek(now.replace(year=now.year - 1))
    assert await acknowledged(buffer, "g") == [1, 2, 3, 4, 5]
    with pytest.raises(errors.InvalidArgument):
        await group.seek("middle")
    await group.delete()
    await group.delete()
    assert await buffer.groups() == []


async def test_the_newest_record_comes_once_for_a_group(buffer: AsyncBuffer) -> None:
    group = buffer.group("display")
    await filled(buffer, 5)
    first = await group.last()
    assert first is not None and first.seq == 5
    assert await group.last() is None
    again = await group.last(once=False)
    assert again is not None and again.seq == 5
    await buffer.append(b"new")
    newest = await group.last()
    assert newest is not None and newest.data == b"new"


async def test_the_loop_ends_when_the_buffer_is_finished_and_all_is_acknowledged(buffer: AsyncBuffer) -> None:
    await filled(buffer, 5)
    await buffer.finish()
    seen = []
    async with buffer.consume("g", timeout=30) as records:
        async for record in records:
            seen.append(record.seq)
            await record.ack()
    assert seen == [1, 2, 3, 4, 5]


async def test_sets_come_whole_and_say_what_is_missing(buffer: AsyncBuffer) -> None:
    for event in range(4):
        for index in range(3):
            if (event, index) not in ((1, 2), (3, 0)):
                await buffer.append(b"", part=(f"event-{event}", index, 3))
    await buffer.append(b"", id="again", part=("event-0", 1, 3))
    sets: dict[str, set[int]] = {}
    missing = {}
    async with buffer.consume("g", whole_sets=True, part_timeout=0.5, timeout=2) as records:
        async for record in records:
            assert record.part is not None
            sets.setdefault(record.part.set, set()).add(record.part.index)
            if record.missing_parts:
                missing[record.part.set] = record.missing_parts
            await record.ack()
    assert sets == {"event-0": {0, 1, 2}, "event-1": {0, 1}, "event-2": {0, 1, 2}, "event-3": {1, 2}}
    assert missing == {"event-1": (2,), "event-3": (0,)}


async def test_a_consumer_goes_on_over_a_cut_connection(address: str, buffer: AsyncBuffer, lab: AsyncCatalog) -> None:
    await filled(buffer, 200)
    seen = []
    with proxy() as passing:
        passing.lead_to(address)
        async with AsyncClient(passing.address) as client:
            there = await (await client.catalog(lab.id)).buffer("v1")
            async with there.consume("g", most=30, ack_timeout=2, timeout=10) as records:
                async for record in records:
                    seen.append(record.seq)
                    await record.ack()
                    if len(seen) in (50, 120):
                        passing.cut()
                    if len(set(seen)) == 200:
                        break
    assert sorted(set(seen)) == list(range(1, 201))
    assert await buffer.group("g").position() == 200


async def test_a_group_that_is_removed_ends_the_loop_with_what_happened(buffer: AsyncBuffer) -> None:
    await filled(buffer, 1)
    with pytest.raises(errors.NotFound):  # noqa: PT012  # the block is the case
        async with buffer.consume("g", timeout=20) as records:
            async for record in records:
                await record.ack()
                await records.flush()
                await buffer.group("g").delete()
