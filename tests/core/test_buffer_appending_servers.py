"""Several servers on one buffer, each with its own idea of the newest head: one order, no gap, nobody starves."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import pytest
from tests.core.buffer_rooms import BufferRooms, start_buffers
from tests.core.interleaved import Gate, gated
from tests.core.stumbling import Stumble, persistently, stumbling

from measurand.core.buffers.changing import change_head
from measurand.core.buffers.heads import Head, Policy, State
from measurand.core.buffers.windows import closed
from measurand.core.principal import LOCAL_USER
from measurand.wire.errors import NotFound

Result = TypeVar("Result")
RECORDS = 30


async def write(server: BufferRooms, writer_id: str, chance: random.Random) -> None:
    writer = await server.open(writer_id)
    number = 1
    while number <= RECORDS:
        records = [server.record(f"{writer_id} {one}".encode()) for one in range(number, min(number + 3, RECORDS + 1))]
        await writer.take(number, records)
        number += len(records)
        for _ in range(chance.randrange(5)):
            await asyncio.sleep(0)
    await writer.close()


@pytest.mark.parametrize("seed", range(6))
async def test_servers_that_race_make_one_sequence(seed: int) -> None:
    chance = random.Random(seed)
    policy = Policy(freeze_after_records=17, rotate=True) if seed % 2 else Policy()
    buffers = await start_buffers(policy, seed=seed)
    servers = [buffers.another() for _ in range(4)]
    writing = [write(server, f"{place}-{n}", chance) for place, server in enumerate(servers) for n in range(3)]
    calling = [server.append(f"call {n}".encode()) for server in servers for n in range(20)]
    await asyncio.gather(*writing, *calling)
    kept = await buffers.check()
    for place in range(4):
        for n in range(3):
            mine = [record.data.decode() for record in kept if record.writer == f"{place}-{n}"]
            assert mine == [f"{place}-{n} {number}" for number in range(1, RECORDS + 1)]
    assert len(kept) == 12 * RECORDS + 80
    for server in servers:
        await server.close()


async def test_a_writer_that_goes_from_server_to_server_is_stored_once() -> None:
    buffers = await start_buffers()
    servers = [buffers.another() for _ in range(3)]
    for number in range(1, 31):
        await asyncio.gather(
            *(
                server.append(f"{number}".encode(), writer="w", first_number=number)
                for server in (servers[number % 3], servers[(number + 1) % 3])
            )
        )
    assert [record.data for record in await buffers.check()] == [f"{number}".encode() for number in range(1, 31)]
    for server in servers:
        await server.close()


async def test_one_request_at_two_servers_is_done_once() -> None:
    buffers = await start_buffers()
    servers = [buffers.another() for _ in range(3)]
    for number in range(10):
        answers = await asyncio.gather(*(server.append(b"x", request_id=f"r{number}") for server in servers))
        assert len({answer.first for answer in answers}) == 1
    assert len(await buffers.check()) == 10
    for server in servers:
        await server.close()


async def test_a_change_at_another_server_is_seen_by_the_next_commit() -> None:
    buffers = await start_buffers()
    other = buffers.another()
    await buffers.append(b"1")

    def rotate(head: Head) -> Head:
        return closed(head, buffers.rooms.means.now(), LOCAL_USER.name)

    await change_head(other.rooms.documents, other.board, other.rooms.means, other.name, rotate)
    stored = await buffers.append(b"2")
    assert (stored.first, stored.window) == (2, 2)
    await buffers.check()
    await buffers.close()


async def test_a_commit_that_is_held_up_anywhere_gives_way_to_those_of_another_server() -> None:
    calls = 0
    while True:
        buffers = await start_buffers()
        other = buffers.another()
        gate = Gate()
        documents, blobs = gated(buffers.rooms.documents, buffers.rooms.blobs, gate)
        slow = buffers.another(documents=documents, blobs=blobs)

        async def work(slow: BufferRooms = slow) -> None:
            await slow.append(b"slow", writer="w", first_number=1)

        gate.begin(work())
        await gate.let(calls)
        fast = await other.append(b"fast", writer="w", first_number=1)
        await gate.end()
        kept = await buffers.check()
        assert len(kept) == 1
        assert kept[0].data in (b"fast", b"slow")
        assert fast.first == 1
        for server in (buffers, other, slow):
            await server.close()
        if calls > gate.calls:
            break
        calls += 1
    assert calls > 3


async def test_news_come_from_this_server_and_from_others() -> None:
    buffers = await start_buffers()
    other = buffers.another()
    for server in (buffers, other):
        head = await buffers.board.newest(buffers.name)
        waiting = asyncio.create_task(buffers.board.newest(buffers.name, head.next_sequence, 30))
        await asyncio.sleep(0)
        await server.append(b"x")
        assert (await asyncio.wait_for(waiting, 10)).next_sequence == head.next_sequence + 1
    waiting = asyncio.create_task(buffers.board.newest(buffers.name, 100, 30))
    for _ in range(10):
        await asyncio.sleep(0)
    await other.freeze()
    assert (await asyncio.wait_for(waiting, 10)).state is State.FROZEN
    assert (await buffers.board.newest(buffers.name, 100, 0.01)).next_sequence == 3
    waiting = asyncio.create_task(buffers.board.newest(buffers.name, 100, 30))
    for _ in range(10):
        await asyncio.sleep(0)
    await other.buffers.delete(LOCAL_USER, buffers.name, force=True)
    with pytest.raises(NotFound):
        await asyncio.wait_for(waiting, 10)
    for server in (buffers, other):
        await server.close()


async def test_bytes_of_the_newest_segments_are_kept_within_a_bound() -> None:
    buffers = await start_buffers()
    for _ in range(12):
        await buffers.append(b"x" * 2 * 1024 * 1024)
    head = await buffers.head()
    cached = [buffers.board.cached(head.uid, segment) for segment in head.segments]
    assert cached[0] is None
    newest = cached[-1]
    assert newest is not None
    assert newest.endswith(b"x" * 1024)
    assert sum(len(one) for one in cached if one is not None) <= 16 * 1024 * 1024
    await buffers.close()


@pytest.mark.parametrize("seed", range(6))
async def test_servers_that_race_over_stores_that_stumble_lose_and_double_nothing(seed: int) -> None:
    buffers = await start_buffers(Policy(freeze_after_records=13, rotate=True), seed=seed)
    chance = random.Random(seed)
    servers = []
    for _ in range(3):
        unsure = Unsure(chance)
        documents, blobs = stumbling(buffers.rooms.documents, buffers.rooms.blobs, unsure)
        servers.append(buffers.another(documents=documents, blobs=blobs))
    told: dict[int, bytes] = {}

    async def write(writer_id: str) -> None:
        for number in range(1, 16):
            server = chance.choice(servers)
            data = f"{writer_id} {number}".encode()
            answer = await persistently(lambda: server.append(data, writer=writer_id, first_number=number))  # noqa: B023
            if answer.first:
                assert told.setdefault(answer.first, data) == data

    await asyncio.gather(*(write(f"w{number}") for number in range(8)))
    kept = await buffers.check()
    assert sorted(record.data for record in kept) == sorted(
        f"w{writer} {number}".encode() for writer in range(8) for number in range(1, 16)
    )
    assert {record.sequence: record.data for record in kept if record.sequence in told} == told
    for server in servers:
        await server.close()


@dataclass
class Unsure(Stumble):
    """Stumbles over one call in twelve, before or after it has come about."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__(0, after=False)
        self._chance = chance

    async def over(self, work: Callable[[], Awaitable[Result]]) -> Result:
        self.at, self.calls = self._chance.choice([0] + 11 * [1]), 0
        self.after = self._chance.random() < 0.5
        return await super().over(work)
