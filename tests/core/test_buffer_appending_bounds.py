"""A head stays small however long the buffer runs, and what was moved out of it is still known."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.core.buffer_rooms import BufferRooms, start_buffers

from measurand.core.buffers.buffers import Buffers
from measurand.core.buffers.changing import change_head
from measurand.core.buffers.documents import BUFFERS, SEGMENTS, head_document, index_of
from measurand.core.buffers.heads import Policy
from measurand.core.buffers.remembering import EVENTS, MEMORIES, Moved, Remembering
from measurand.core.names import BufferName
from measurand.core.principal import LOCAL_USER
from measurand.wire.errors import Contention, NotFound, RequestIdReused, ResourceInUse, WriterSequenceGap

COMMITS = 600


async def test_a_head_stays_within_bounds_over_many_commits() -> None:
    buffers = await start_buffers()
    server, sizes = buffers.another(), []
    for number in range(1, COMMITS + 1):
        record = buffers.record(b"x", id=f"i{number}")
        if number % 3 == 0:
            await server.appending.append(LOCAL_USER, buffers.name, [record], writer=f"w{number}", first_number=1)
        elif number % 3 == 1:
            await server.appending.append(LOCAL_USER, buffers.name, [record], request_id=f"r{number}")
        else:
            await server.buffers.note(LOCAL_USER, buffers.name, f"note {number}")
            await server.appending.append(LOCAL_USER, buffers.name, [record])
        if number % 250 == 0:
            await server.close()
            server = buffers.another()
        if number % 10 == 0:
            head = await buffers.head()
            sizes.append(len(str(head_document(head).body)))
            assert len(head.segments) <= 70
    assert max(sizes[-10:]) < 1.1 * max(sizes[:-10])
    assert max(sizes) < 60_000
    assert len(await buffers.check()) == COMMITS
    # Whatever was said once is known, wherever it is now.
    for number in (1, 2, 3, 300, 301, 302, COMMITS):
        again = buffers.record(b"x", id=f"i{number}")
        assert (await server.appending.append(LOCAL_USER, buffers.name, [again])).first == number
        other = buffers.record(b"y", id=f"i{number}")
        with pytest.raises(RequestIdReused):
            await server.appending.append(LOCAL_USER, buffers.name, [other])
    first = await server.appending.append(LOCAL_USER, buffers.name, [buffers.record(b"x", id="i1")], request_id="r1")
    assert (first.first, first.count) == (1, 1)
    assert (await server.append(b"x", writer="w3", first_number=1)).first == 3
    with pytest.raises(WriterSequenceGap):
        await server.append(b"x", writer="w3", first_number=3)
    head = await buffers.head()
    in_head = {event.number for event in head.events}
    moved = await buffers.rooms.documents.find(EVENTS, key_prefix=f"{head.uid}/", limit=5000)
    assert in_head | {item.document.body["number"] for item in moved} == set(range(1, head.next_event))
    assert len(await buffers.check()) == COMMITS
    await server.close()


async def test_ids_are_remembered_for_a_day_and_as_long_as_their_window_is_open() -> None:
    buffers = await start_buffers(Policy(freeze_after_records=1500, rotate=True))

    async def append(key: str) -> int:
        return (await buffers.appending.append(LOCAL_USER, buffers.name, [buffers.record(b"x", id=key)])).first

    await asyncio.gather(*(append(f"a{number}") for number in range(1000)))
    await append("b")
    await append("c")
    assert await buffers.rooms.documents.find(MEMORIES, limit=1)
    known = {number: await append(f"a{number}") for number in (0, 500, 999)}
    buffers.rooms.clock.move(timedelta(days=2))
    assert {number: await append(f"a{number}") for number in known} == known  # their window is open
    assert await buffers.buffers.expire() == 0
    assert {number: await append(f"a{number}") for number in known} == known
    await asyncio.gather(*(append(f"d{number}") for number in range(1000)))
    assert (await buffers.head()).window == 2
    await append("e")
    await append("f")
    buffers.rooms.clock.move(timedelta(days=2))
    assert await buffers.buffers.expire() > 500
    assert await append("a0") > 2000
    await buffers.check()
    await buffers.close()


async def test_a_writer_goes_on_with_its_numbers_after_two_weeks() -> None:
    buffers = await start_buffers()
    await buffers.append(b"1", writer="patient", first_number=1)
    for number in range(300):
        await buffers.append(b"x", writer=f"w{number}", first_number=1)
    await buffers.close()
    await buffers.append(b"x")
    assert "patient" not in (await buffers.head()).writers
    buffers.rooms.clock.move(timedelta(days=14))
    await buffers.buffers.expire()
    assert (await buffers.append(b"1", b"2", writer="patient", first_number=1)).runs[-1].number == 2
    assert len(await buffers.check()) == 303
    await buffers.close()


async def test_a_stale_copy_of_a_writer_never_takes_the_place_of_a_newer_one() -> None:
    """A server that was held up while it moved a writer out of the head must not bring its old number back."""
    buffers = await start_buffers()
    await buffers.append(b"1", writer="w", first_number=1)
    old = await buffers.head()
    await buffers.append(b"2", writer="w", first_number=2)
    new = await buffers.head()
    remembering = Remembering(buffers.rooms.documents, buffers.rooms.means, buffers.rooms.limits)
    await remembering.move(new, Moved(writers=dict(new.writers)))
    await remembering.move(old, Moved(writers=dict(old.writers)))
    known = await remembering.look_up(new, (), (), ("w",))
    assert known.writers["w"].last == 2
    await buffers.close()


async def test_removing_a_buffer_leaves_its_sealed_windows_and_nothing_else() -> None:
    buffers = await start_buffers(Policy(freeze_after_records=10, rotate=True))
    await _fill(buffers, 205)
    head = await buffers.head()
    with pytest.raises(ResourceInUse):
        await buffers.buffers.delete(LOCAL_USER, buffers.name)
    with pytest.raises(Contention):  # batches are still to be made
        await buffers.buffers.delete(LOCAL_USER, buffers.name, force=True)
    await _forget_closing(buffers)
    removed: list[tuple[BufferName, str]] = []

    async def also(name: BufferName, uid: str) -> None:
        removed.append((name, uid))

    rooms = buffers.rooms
    deleting = Buffers(rooms.documents, rooms.catalogs, buffers.board, rooms.means, rooms.limits, remove_also=[also])
    await deleting.delete(LOCAL_USER, buffers.name, force=True)
    with pytest.raises(NotFound):
        await buffers.buffers.get(LOCAL_USER, buffers.name)
    assert not (await buffers.buffers.page(LOCAL_USER, None)).heads
    found = await buffers.rooms.documents.find(SEGMENTS, key_prefix=f"{head.uid}/", limit=1000)
    left = sorted({segment.first for item in found for segment in index_of(item.document).segments})
    assert len(left) == 200
    assert left[-1] < head.window_first
    assert removed == [(buffers.name, head.uid)]
    for collection in (EVENTS, MEMORIES):
        assert not await buffers.rooms.documents.find(collection)
    assert await buffers.rooms.documents.find(BUFFERS)
    buffers.rooms.clock.move(timedelta(days=2))
    await buffers.buffers.expire()
    assert not await buffers.rooms.documents.find(BUFFERS)
    await buffers.close()


async def _fill(buffers: BufferRooms, count: int) -> None:
    for number in range(count):
        await buffers.appending.append(LOCAL_USER, buffers.name, [buffers.record(b"x", id=f"i{number}")])


async def _forget_closing(buffers: BufferRooms) -> None:
    """As whoever makes the batches does in the end."""
    rooms = buffers.rooms
    await change_head(rooms.documents, buffers.board, rooms.means, buffers.name, lambda head: replace(head, closing=()))
