"""Servers far from their stores that share a buffer: none starves, and what is on its way does not pile up."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from tests.core.buffer_rooms import BufferRooms, start_buffers
from tests.core.relayed import READ, distant
from tests.core.simulated import Distant, simulate

from measurand.core.buffers.remembering import MEMORIES


async def call(
    buffers: BufferRooms, servers: Sequence[BufferRooms], callers: Sequence[int], seconds: float
) -> list[float]:
    """Append from so many callers of each server, for a while; return how many appends a caller of each has made."""
    clock = asyncio.get_running_loop().time
    stored, end = [0] * len(servers), clock() + seconds

    async def append(place: int) -> None:
        while clock() < end:
            await servers[place].append(b"x")
            stored[place] += 1

    await asyncio.gather(*(append(place) for place, count in enumerate(callers) for _ in range(count)))
    assert len(await buffers.check()) == sum(stored)
    for server in servers:
        await server.close()
    return [some / count for some, count in zip(stored, callers, strict=True)]


def test_of_servers_that_are_all_called_at_once_none_starves() -> None:
    async def work() -> list[float]:
        buffers = await start_buffers()
        return await call(buffers, [distant(buffers) for _ in range(4)], [4] * 4, 1)

    each = simulate(work())
    assert min(each) > sum(each) / 4 / 2


def test_a_server_with_one_caller_is_not_shut_out_by_a_busy_one() -> None:
    async def work() -> list[float]:
        buffers = await start_buffers()
        return await call(buffers, [distant(buffers) for _ in range(2)], [8, 1], 1)

    busy, alone = simulate(work())
    assert alone > busy / 2


def test_a_server_far_away_loses_every_race_and_is_let_pass() -> None:
    async def work() -> list[float]:
        buffers = await start_buffers()
        return await call(buffers, [distant(buffers), distant(buffers), distant(buffers, 5)], [2, 2, 2], 2)

    assert simulate(work())[2] > 2


def test_what_moved_out_of_the_head_is_looked_up_once_for_all_groups_that_are_decided_anew() -> None:
    async def work() -> list[list[str]]:
        buffers = await start_buffers()
        asked: list[list[str]] = []

        class Listening(Distant):
            async def fetch_many(self, collection: str, keys: Any) -> Any:
                if collection == MEMORIES:
                    asked.append(sorted(key[-5:] for key in keys))
                return await buffers.rooms.documents.fetch_many(collection, keys)

        documents = Listening(buffers.rooms.documents, READ, replace=10.0)
        slow = distant(buffers, documents=documents)
        first = asyncio.ensure_future(slow.append(b"slow", request_id="one.."))
        await asyncio.sleep(1)  # it is stored, and its head is on the way
        second = asyncio.ensure_future(slow.append(b"slow", request_id="two.."))
        await asyncio.sleep(1)
        assert asked == [["one.."], ["two.."]]
        await buffers.append(b"fast")
        assert [(await one).first for one in (first, second)] == [2, 3]
        assert len(await buffers.check()) == 3
        await slow.close()
        return asked

    assert simulate(work())[2:] == [["one..", "two.."]]
