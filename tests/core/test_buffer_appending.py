"""Appending: every record once, in one order, in one window, and nothing of what was refused."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.core.buffer_rooms import start_buffers

from measurand.core.buffers.deciding import Stored
from measurand.core.buffers.documents import BUFFERS, head_document
from measurand.core.buffers.heads import Run
from measurand.core.limits import Limits
from measurand.core.names import BufferName
from measurand.core.placement.policies import Policy
from measurand.core.principal import LOCAL_USER
from measurand.wire.errors import (
    InvalidArgument,
    NotFound,
    RequestIdReused,
    TooLarge,
    WriterFenced,
    WriterSequenceGap,
)


async def test_a_thousand_appends_at_once_are_a_thousand_records() -> None:
    buffers = await start_buffers()
    stored = await asyncio.gather(*(buffers.append(f"record {number}".encode()) for number in range(1000)))
    assert sorted(one.first for one in stored) == list(range(1, 1001))
    kept = await buffers.check()
    assert {one.first: f"record {number}".encode() for number, one in enumerate(stored)} == {
        record.sequence: record.data for record in kept
    }
    assert len(await buffers.segments()) < 10  # they have shared blobs and writes of the head
    await buffers.close()


async def test_records_of_one_call_lie_next_to_each_other_with_all_that_was_said_of_them() -> None:
    buffers = await start_buffers()
    record = buffers.record(b"a", event_time=5, metadata='{"x":1}', array=("uint8", (1,)), id="x1")
    first, second = await asyncio.gather(
        buffers.appending.append(LOCAL_USER, buffers.name, [record, buffers.record(b"")]), buffers.append(b"c", b"d")
    )
    assert (first.count, second.count) == (2, 2)
    assert {first.first, second.first} == {1, 3}
    kept = {one.sequence: one.record for one in await buffers.check()}
    assert kept[first.first] == record
    assert (await buffers.head()).segments[0].first_event == 5
    await buffers.close()


async def test_a_repeated_request_is_answered_again_and_another_with_its_id_is_refused() -> None:
    buffers = await start_buffers()
    await buffers.append(b"a", b"b", request_id="once")
    assert await buffers.append(b"a", b"b", request_id="once") == Stored(1, 2, 1)
    assert await buffers.another().append(b"a", b"b", request_id="once") == Stored(1, 2, 1)
    with pytest.raises(RequestIdReused):
        await buffers.append(b"a", b"c", request_id="once")
    assert len(await buffers.check()) == 2
    await buffers.close()


async def test_a_record_with_a_known_id_is_stored_once() -> None:
    buffers = await start_buffers()

    async def append(*records: tuple[str, bytes]) -> tuple[int, ...]:
        batch = [buffers.record(data, id=key) for key, data in records]
        answer = await buffers.appending.append(LOCAL_USER, buffers.name, batch)
        return tuple(sequence for run in answer.runs for sequence in range(run.first, run.first + run.count))

    assert await append(("x1", b"1"), ("x2", b"2")) == (1, 2)
    assert await append(("x3", b"3"), ("x1", b"1"), ("x4", b"4"), ("x4", b"4")) == (3, 1, 4, 4)
    assert list(await asyncio.gather(append(("x5", b"5")), append(("x5", b"5")))) == [(5,)] * 2
    with pytest.raises(RequestIdReused):
        await append(("x6", b"6"), ("x2", b"other"))
    assert [record.data for record in await buffers.check()] == [b"1", b"2", b"3", b"4", b"5"]
    await buffers.close()


async def test_numbers_of_a_writer_are_stored_once_and_none_is_left_out() -> None:
    buffers = await start_buffers()
    first = await buffers.append(b"1", b"2", writer="w", first_number=1)
    assert await buffers.append(b"1", b"2", writer="w", first_number=1) == first
    overlapping = await buffers.append(b"2", b"3", writer="w", first_number=2)
    assert overlapping.runs == (Run(2, 2, 1, 1), Run(3, 3, 1, 1))
    with pytest.raises(WriterSequenceGap) as gap:
        await buffers.append(b"5", writer="w", first_number=5)
    assert gap.value.details["expected_writer_sequence"] == "4"
    kept = await buffers.check()
    assert [(record.data, record.writer) for record in kept] == [(b"1", "w"), (b"2", "w"), (b"3", "w")]
    await buffers.close()


async def test_a_stream_is_acknowledged_in_order_and_goes_on_where_it_was() -> None:
    buffers = await start_buffers()
    writer = await buffers.open()
    assert writer.opening.number == 0
    for number in range(1, 100, 3):
        await writer.take(number, [buffers.record(bytes([one])) for one in range(number, number + 3)])
    await writer.flush()
    assert buffers.acks[-1].number == 99
    assert sum(run.count for ack in buffers.acks for run in ack.runs) == 99
    await writer.close()
    again = await buffers.open()
    assert again.opening.number == 99
    await again.take(98, [buffers.record(bytes([one])) for one in range(98, 102)])  # two of them once more
    await again.close()
    assert [record.data for record in await buffers.check()] == [bytes([one]) for one in range(1, 102)]
    await buffers.close()


async def test_the_newer_of_two_streams_of_one_writer_wins() -> None:
    buffers = await start_buffers()
    old = await buffers.open()
    await old.take(1, [buffers.record(b"1")])
    await old.flush()
    new = await buffers.another().open()
    await old.take(2, [buffers.record(b"2 of the old one")])
    with pytest.raises(WriterFenced):
        await old.close()
    await new.take(2, [buffers.record(b"2")])
    await new.close()
    assert [record.data for record in await buffers.check()] == [b"1", b"2"]
    await buffers.close()


async def test_a_stream_without_an_id_keeps_its_order_too() -> None:
    buffers = await start_buffers()
    writer = await buffers.open("")
    for number in range(20):
        await writer.take(0, [buffers.record(bytes([number]))])
    with pytest.raises(WriterSequenceGap):
        await writer.take(5, [buffers.record(b"again")])
    await writer.close()
    assert [record.data[0] for record in await buffers.check()] == list(range(20))
    assert buffers.acks[-1].number == 20
    await buffers.close()


async def test_bad_submissions_disturb_nobody_in_their_group() -> None:
    buffers = await start_buffers()
    await buffers.append(b"x", request_id="used")

    async def bad(number: int) -> None:
        doubled = [buffers.record(b"1", id="i"), buffers.record(b"2", id="i")]
        calls = (
            lambda: buffers.append(b"other", request_id="used"),
            lambda: buffers.append(b"gap", writer=f"w{number}", first_number=7),
            lambda: buffers.appending.append(LOCAL_USER, buffers.name, doubled),
        )
        with pytest.raises((RequestIdReused, WriterSequenceGap)):
            await calls[number % 3]()

    good = [buffers.append(bytes([number])) for number in range(60)]
    await asyncio.gather(*good, *(bad(number) for number in range(60)))
    assert sorted(record.data for record in await buffers.check())[:-1] == [bytes([n]) for n in range(60)]
    assert not (await buffers.head()).ids
    await buffers.close()


async def test_what_is_durable_is_acknowledged_before_a_stream_fails() -> None:
    buffers = await start_buffers()
    writer = await buffers.open()
    for number in range(1, 4):
        await writer.take(number, [buffers.record(b"x")])
    await writer.take(4, [buffers.record(b"1", id="i"), buffers.record(b"2", id="i")])
    await writer.take(6, [buffers.record(b"x")])
    with pytest.raises(RequestIdReused):
        await writer.close()
    assert buffers.acks[-1].number == 3
    assert len(await buffers.check()) == 3
    await buffers.close()


async def test_bad_calls_store_nothing() -> None:
    buffers = await start_buffers(limits=Limits(max_data_bytes=10))
    before = await buffers.head()
    with pytest.raises(InvalidArgument):
        await buffers.append()
    with pytest.raises(TooLarge):
        await buffers.append(b"12345678901")
    with pytest.raises(InvalidArgument):
        await buffers.append(b"1", writer="w")
    with pytest.raises(InvalidArgument):
        await buffers.append(b"1", writer="é", first_number=1)
    with pytest.raises(InvalidArgument):
        await buffers.append(b"1", writer="w", first_number=1, request_id="r")
    with pytest.raises(NotFound):
        await buffers.appending.append(LOCAL_USER, BufferName("lab", "other"), [buffers.record(b"1")])
    assert await buffers.head() == before
    assert not [blob async for blob in buffers.rooms.blobs.scan()]
    await buffers.close()


async def test_append_time_never_goes_down() -> None:
    buffers = await start_buffers()
    for move in (0, 5, -60, 1, 120):
        buffers.rooms.clock.move(timedelta(seconds=move))
        await buffers.append(b"x")
    times = [record.time for record in await buffers.check()]
    assert times == sorted(times)
    assert times[1] == times[2] == times[3] < times[4]
    await buffers.close()


async def test_a_slow_clock_of_another_server_takes_no_time_back() -> None:
    buffers = await start_buffers()
    await buffers.append(b"x")
    behind = buffers.rooms.means.now() - timedelta(hours=1)
    other = buffers.another(means=replace(buffers.rooms.means, now=lambda: behind))
    await other.append(b"y")
    first, second = await buffers.check()
    assert first.time == second.time
    await buffers.close()
    await other.close()


async def test_a_full_window_slows_the_writer() -> None:
    buffers = await start_buffers(limits=Limits(window_bytes=100))
    gate, put = asyncio.Event(), buffers.rooms.blobs.put

    class Slow:
        def __getattr__(self, verb: str) -> object:
            return getattr(buffers.rooms.blobs, verb)

        async def put(self, key: str, chunks: list[bytes], *, policy: Policy | None = None) -> object:
            await gate.wait()
            return await put(key, chunks, policy=policy)

    server = buffers.another(blobs=Slow())
    writer = await server.open()

    async def take_all() -> None:
        for number in range(1, 11):
            await writer.take(number, [buffers.record(b"x" * 60)])

    taking = asyncio.ensure_future(take_all())
    for _ in range(100):
        await asyncio.sleep(0)
    assert server.commits.queues.total == 120
    assert not taking.done()
    gate.set()
    await taking
    await writer.close()
    assert server.commits.queues.total == 0
    assert len(await buffers.check()) == 10
    await server.close()
    await buffers.close()


async def test_a_buffer_that_was_made_anew_gets_nothing_of_the_old_one() -> None:
    buffers = await start_buffers()
    other = buffers.another()
    await buffers.append(b"old")
    old = await buffers.head()
    await other.buffers.delete(LOCAL_USER, buffers.name, force=True)
    with pytest.raises(NotFound):
        await buffers.append(b"to nobody")
    await other.create()
    await other.append(b"new")
    await other.append(b"newer")
    # Whoever still holds the old head, at any revision it has had, cannot put it in the place of the new one.
    for revision in range(1, 4):
        assert await buffers.rooms.documents.replace(BUFFERS, head_document(old), expected_revision=revision) is None
    assert (await buffers.append(b"third")).first == 3
    assert [record.data for record in await buffers.check()] == [b"new", b"newer", b"third"]
    await other.buffers.delete(LOCAL_USER, buffers.name, force=True)
    await other.create()
    assert (await buffers.append(b"newest")).first == 1  # whoever has not heard of it looks once more
    assert [record.data for record in await buffers.check()] == [b"newest"]
    await buffers.close()
    await other.close()
