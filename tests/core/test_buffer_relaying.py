"""Servers that hand single appends to the one that leads: as fast as one, fair, and none lost or stored twice."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from tests.core.buffer_rooms import BufferRooms, start_buffers
from tests.core.relayed import Network, Relayed
from tests.core.simulated import simulate

from measurand.core.buffers.heads import Peer
from measurand.core.buffers.leading import AWAY, LONGEST_AWAY, Leading
from measurand.core.buffers.relaying import PATIENCE, SECONDS
from measurand.core.names import BufferName

NAME = BufferName("lab", "live")


def now() -> float:
    return asyncio.get_running_loop().time()


async def call(servers: Sequence[Relayed], callers: Sequence[int], seconds: float, *, after: float = 0.0) -> list[int]:
    """Append from so many callers of each server; return how many appends each server has answered after a while."""
    made, begin = [0] * len(servers), now() + after

    async def append(place: int) -> None:
        while now() < begin + seconds:
            await servers[place].append(b"x")
            made[place] += now() >= begin

    await asyncio.gather(*(append(place) for place, count in enumerate(callers) for _ in range(count)))
    return made


async def start(count: int) -> tuple[BufferRooms, Network, list[Relayed]]:
    buffers, network = await start_buffers(), Network()
    return buffers, network, [network.add(buffers) for _ in range(count)]


async def end(buffers: BufferRooms, servers: Sequence[Relayed]) -> list[bytes]:
    """Return all records, of which none was stored twice."""
    for server in servers:
        await server.close()
    return [record.data for record in await buffers.check()]


def test_callers_of_four_servers_store_as_much_as_callers_of_one_and_none_starves() -> None:
    async def work(callers: Sequence[int]) -> list[int]:
        buffers, _, servers = await start(len(callers))
        made = await call(servers, callers, 1, after=1)
        await end(buffers, servers)
        return made

    each = simulate(work([16] * 4))
    assert sum(each) > 0.9 * sum(simulate(work([64])))  # each call by another server takes two hops longer
    assert min(each) > sum(each) / 4 / 2


def test_a_server_with_one_caller_is_not_shut_out_by_a_busy_one() -> None:
    async def work() -> list[int]:
        buffers, _, servers = await start(2)
        made = await call(servers, [8, 1], 1)
        await end(buffers, servers)
        return made

    busy, alone = simulate(work())
    assert alone > busy / 8 / 2


def test_streams_of_a_server_that_follows_are_not_shut_out() -> None:
    async def work() -> None:
        buffers, network, servers = await start(2)
        following = servers[1].rooms
        writer = await following.open()
        calls = asyncio.ensure_future(call(servers, [16, 16], 3))
        number = 0
        while not calls.done():
            number += 1
            await writer.take(number, [following.record(b"y")])
            await asyncio.sleep(0.1)
            acknowledged = following.acks[-1].number if following.acks else 0
            assert number - acknowledged < 3
        await writer.close()
        made = await calls
        assert network.relayed
        records = await end(buffers, servers)
        assert len(records) == number + sum(made)

    simulate(work())


def test_a_leader_that_is_slow_is_waited_for() -> None:
    async def work() -> None:
        buffers, network, servers = await start(2)
        await call(servers, [4, 4], 0.5)
        head = await buffers.head()
        assert head.leader is not None
        (following,) = [server for name, server in network.servers.items() if name != head.leader.instance]
        network.relayed, network.pause = 0, 10 * (PATIENCE + SECONDS)
        await call([following], [4], 1)
        assert network.relayed == 4
        assert (await buffers.head()).leader == head.leader
        await end(buffers, servers)

    simulate(work())


@pytest.mark.parametrize("fault", ["deaf", "silent"])
def test_a_leader_that_does_not_answer_loses_and_doubles_nothing(fault: str) -> None:
    async def work() -> None:
        buffers, network, servers = await start(3)
        await call(servers, [4] * 3, 0.5)
        head = await buffers.head()
        assert head.leader is not None
        dead = head.leader.instance
        rest = [server for name, server in network.servers.items() if name != dead]
        getattr(network, fault).add(dead)
        before, begin = len(await buffers.check()), now()
        data = [b"%d" % number for number in range(40)]
        await asyncio.gather(*(rest[number % 2].append(one) for number, one in enumerate(data)))
        assert now() - begin < PATIENCE + SECONDS + 1
        assert sorted((await end(buffers, []))[before:]) == sorted(data)
        network.relayed = 0
        await call(rest, [8, 8], 0.5)
        assert network.relayed  # one of them leads the other now
        head = await buffers.head()
        assert head.leader is not None
        assert head.leader.instance != dead
        await end(buffers, servers)

    simulate(work())


def test_a_server_that_is_alone_again_makes_its_appends_itself() -> None:
    async def work() -> None:
        buffers, network, servers = await start(2)
        await call(servers, [4, 4], 0.5)
        head = await buffers.head()
        assert head.leader is not None
        (left,) = [server for name, server in network.servers.items() if name != head.leader.instance]
        await call([left], [4], 12)
        network.relayed = 0
        await call([left], [4], 1)
        assert not network.relayed
        assert (await buffers.head()).leader == Peer(left.name, left.name)
        await end(buffers, servers)

    simulate(work())


def test_a_server_that_follows_another_does_not_lead() -> None:
    async def work() -> None:
        buffers, network, [one, two, three] = await start(3)
        await one.rooms.board.read(NAME)
        for server in (two, one):  # `one` finds the head changed
            await server.append(b"x")
        assert one.leading.leader(NAME) == Peer(two.name, two.name)
        three.leading.named((await one.rooms.board.read(NAME)).head, is_shared=True)
        await three.append(b"y")
        assert network.relayed == 1
        await three.rooms.append(b"z")
        network.servers[two.name] = one  # where `two` was, somebody stands who follows
        await three.append(b"y")
        assert network.relayed == 1
        assert await end(buffers, [one, two, three]) == [b"x", b"x", b"y", b"z", b"y"]

    simulate(work())


def test_a_server_that_others_do_not_reach_is_not_named_and_hands_its_appends_over() -> None:
    async def work() -> None:
        buffers, network, servers = await start(2)
        servers[0].leading.address = ""
        await call(servers, [4, 4], 1)
        head = await buffers.head()
        assert head.leader == Peer(servers[1].name, servers[1].name)
        assert network.relayed
        await end(buffers, servers)

    simulate(work())


async def test_a_server_that_never_answers_is_asked_more_and_more_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    buffers = await start_buffers()
    leading, peer, clock = Leading("me"), Peer("other", "there"), [0.0]
    monkeypatch.setattr("measurand.core.buffers.leading._now", lambda: clock[0])
    leading.address = "here"
    head = await buffers.head()
    for seconds in (AWAY, 2 * AWAY, 4 * AWAY, 8 * AWAY, 16 * AWAY, LONGEST_AWAY, LONGEST_AWAY):
        from_other = leading.named(replace(head, leader=peer), is_shared=True)
        assert (from_other.leader, leading.leader(head.name)) == (peer, peer)
        leading.note_away(peer)
        leading.note_away(peer)  # another call that was on its way
        clock[0] += seconds - 0.1
        assert leading.leader(head.name) is None
        assert leading.named(replace(head, leader=peer), is_shared=True).leader == Peer("me", "here")
        clock[0] += 0.2
    leading.named(replace(head, leader=peer), is_shared=True)
    leading.note_stored(head.name, peer, 1, 1)
    leading.note_away(peer)
    clock[0] += AWAY + 0.1
    assert leading.named(replace(head, leader=peer), is_shared=True).leader == peer
