"""How much may wait to be stored: so much of one buffer, so much of all, and one record however large it is."""

from __future__ import annotations

import asyncio

from measurand.core.buffers.queues import BUFFER_QUEUE_BYTES, QUEUE_BYTES, Queues


def test_one_full_buffer_leaves_room_for_others_until_all_are_full() -> None:
    queues = Queues()
    full = QUEUE_BYTES // BUFFER_QUEUE_BYTES
    for number in range(full):
        assert queues.has_room(f"{number}", BUFFER_QUEUE_BYTES)
        queues.add(f"{number}", BUFFER_QUEUE_BYTES)
        assert not queues.has_room(f"{number}", 1)
    assert queues.total == QUEUE_BYTES
    assert not queues.has_room("another", 1)
    queues.take("0", 10)
    assert queues.has_room("another", 10) and queues.has_room("0", 10) and not queues.has_room("1", 10)


def test_the_first_is_let_in_however_large_it_is() -> None:
    queues = Queues()
    assert queues.has_room("a", 2 * QUEUE_BYTES)
    queues.add("a", 2 * QUEUE_BYTES)
    assert not queues.has_room("a", 1) and not queues.has_room("b", 1)


async def test_writers_wait_for_their_own_buffer_only() -> None:
    queues = Queues()
    queues.add("a", BUFFER_QUEUE_BYTES + 1)
    await queues.wait_for_room("b")
    waiting = asyncio.ensure_future(queues.wait_for_room("a"))
    await asyncio.sleep(0)
    queues.add("b", 1)
    queues.take("b", 1)
    for _ in range(3):
        await asyncio.sleep(0)
    assert not waiting.done()
    queues.take("a", 1)
    await waiting
