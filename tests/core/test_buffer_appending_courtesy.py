"""Servers that share a head: who keeps losing asks to be let pass, and who has died holds up nobody."""

from __future__ import annotations

import asyncio

import pytest
from tests.core.buffer_rooms import BufferRooms, start_buffers

from measurand.core.buffers import courtesy
from measurand.core.buffers.courtesy import TURNS, Courtesy


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody loses patience only because the machine is slow."""
    monkeypatch.setattr(courtesy, "PATIENCE", 1000.0)


async def courtesies(count: int) -> tuple[BufferRooms, list[Courtesy]]:
    buffers = await start_buffers()
    rooms, head = buffers.rooms, await buffers.head()
    return buffers, [Courtesy(rooms.documents, rooms.means, head) for _ in range(count)]


async def asked(buffers: BufferRooms) -> int:
    return len(await buffers.rooms.documents.find(TURNS))


async def test_who_has_lost_often_is_let_pass() -> None:
    buffers, [loser, other] = await courtesies(2)
    for tries in range(1, 4):
        assert not await asked(buffers)
        await loser.come_again(tries)
    assert await asked(buffers)
    other.notice()
    waiting = asyncio.ensure_future(other.wait())
    await asyncio.wait([waiting], timeout=0.05)
    assert not waiting.done()
    await loser.end()
    await waiting
    assert not await asked(buffers)


async def test_a_busy_server_looks_for_others_that_it_has_never_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    _, [loser, busy] = await courtesies(2)
    await loser.come_again(3)
    busy.win(0.001)
    monkeypatch.setattr(courtesy, "BUSY", 1000.0)
    monkeypatch.setattr(courtesy, "LOOKED", -1.0)  # it is time to look
    waiting = asyncio.ensure_future(busy.wait())
    await asyncio.wait([waiting], timeout=0.05)
    assert not waiting.done()
    await loser.end()
    await waiting
    assert busy.is_shared


async def test_two_that_ask_pass_one_after_the_other() -> None:
    buffers, [first, second] = await courtesies(2)
    await first.come_again(3)
    asking = asyncio.ensure_future(second.come_again(3))
    await asyncio.wait([asking], timeout=0.05)
    assert not asking.done()
    await first.end()
    await asking
    assert not await asked(buffers)
    await second.end()


async def test_who_has_asked_and_died_holds_up_nobody_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    buffers, [dead, other] = await courtesies(2)
    await dead.come_again(3)
    monkeypatch.setattr(courtesy, "PATIENCE", 0.01)
    other.notice()
    await other.wait()
    assert not await asked(buffers)


async def test_a_server_that_is_alone_waits_for_nobody_and_looks_for_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    buffers = await start_buffers()
    reads: list[str] = []

    class Watched:
        def __getattr__(self, verb: str) -> object:
            return getattr(buffers.rooms.documents, verb)

        async def fetch(self, collection: str, key: str) -> object:
            reads.append(collection)
            return await buffers.rooms.documents.fetch(collection, key)

    monkeypatch.setattr(courtesy, "LOOKED", 1000.0)
    server = buffers.another(documents=Watched())
    for _ in range(20):
        await server.append(b"x")
    assert TURNS not in reads
    await server.close()
