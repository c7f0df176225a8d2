"""One of several processes holds a lease; when it dies another takes over, whatever the clocks say."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from tests.core.rooms import Clock, Direct

from measurand.core.leases import Lease
from measurand.core.means import Means
from measurand.core.ports import Document, DocumentStore
from measurand.server.patterns import compile_pattern
from measurand.storage.documents.memory import Memory


class Peers:
    """Several processes over one store, each with a running time of its own."""

    def __init__(self) -> None:
        self.documents: DocumentStore = Memory(compile_pattern)
        self.clock = Clock()

    def lease(self, owner: str) -> Lease:
        means = Means(
            now=lambda: self.clock.time,
            monotonic=lambda: self.clock.running,
            random_bytes=bytes,
            crc32c=lambda _data, _crc: 0,
            combine_crc32c=lambda _one, _other, _size: 0,
            blake3=lambda: pytest.fail("nothing is hashed"),
            in_thread=Direct(),
        )
        return Lease(self.documents, means, name="background", owner=owner, seconds=30.0)

    def wait(self, seconds: float) -> None:
        self.clock.move(timedelta(seconds=seconds))


async def test_one_holds_it_and_the_others_do_not() -> None:
    peers = Peers()
    one, other = peers.lease("one"), peers.lease("other")
    assert await one.try_hold()
    assert not await other.try_hold()
    for _ in range(10):
        peers.wait(10)
        assert await one.try_hold()
        assert not await other.try_hold()
    assert one.is_held
    assert not other.is_held


class Slow(Memory):
    """A store whose answers let others go first."""

    async def fetch(self, collection: str, key: str) -> Document | None:
        found = await super().fetch(collection, key)
        await asyncio.sleep(0)
        return found


async def test_a_holder_that_renews_it_twice_at_once_does_not_stand_in_its_own_way() -> None:
    peers = Peers()
    peers.documents = Slow(compile_pattern)
    one = peers.lease("one")
    assert await asyncio.gather(*(one.try_hold() for _ in range(5))) == [True] * 5
    assert one.is_held


async def test_the_lease_of_a_dead_holder_goes_to_the_one_who_watched_it_stand_still() -> None:
    peers = Peers()
    assert await peers.lease("dead").try_hold()
    heir = peers.lease("heir")
    peers.wait(1000)  # whatever time has passed: the heir has not watched yet
    assert not await heir.try_hold()
    peers.wait(29)
    assert not await heir.try_hold()
    peers.wait(1)
    assert await heir.try_hold()


async def test_a_holder_that_cannot_renew_stops_before_anybody_else_may_begin() -> None:
    peers = Peers()
    one, other = peers.lease("one"), peers.lease("other")
    assert await one.try_hold()
    assert not await other.try_hold()
    peers.wait(20)
    assert not one.is_held
    assert not await other.try_hold()
    peers.wait(10)
    assert await other.try_hold()
    assert not await one.try_hold()


async def test_a_lease_that_is_given_back_is_free_at_once() -> None:
    peers = Peers()
    one, other = peers.lease("one"), peers.lease("other")
    assert await one.try_hold()
    assert not await other.try_hold()
    await one.release()
    assert not one.is_held
    assert await other.try_hold()
    await one.release()  # not its own any more
    assert await other.try_hold()
    assert not await one.try_hold()


async def test_of_two_heirs_one_takes_it() -> None:
    peers = Peers()
    assert await peers.lease("dead").try_hold()
    heirs = [peers.lease("a"), peers.lease("b")]
    for heir in heirs:
        assert not await heir.try_hold()
    peers.wait(30)
    assert sum([await heir.try_hold() for heir in heirs]) == 1
