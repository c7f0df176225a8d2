"""What is told to those who watch, what is forgotten, and what killed servers leave behind."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from tests.core.registry_rooms import SITE, RegistryRooms, told

from measurand.core.ports import Changes, Document
from measurand.core.principal import LOCAL_USER
from measurand.core.registry.documents import BEATS, REGISTRATIONS
from measurand.core.registry.names import RegistrationName
from measurand.server.patterns import compile_pattern
from measurand.storage.documents.memory import Memory
from measurand.wire.errors import NotFound


@pytest.fixture
def rooms() -> RegistryRooms:
    return RegistryRooms()


async def test_comings_changes_and_goings_are_told_and_renewals_are_not(rooms: RegistryRooms) -> None:
    start = await rooms.token()
    leased = await rooms.register()
    rooms.move(10)
    await rooms.renew(leased.lease_id)
    await rooms.renew(leased.lease_id, metadata={"a": 1})
    assert await rooms.told(start) == [("created", "site-a", 1), ("updated", "site-a", 1)]
    middle = await rooms.token()
    await rooms.release(leased.lease_id)
    assert await rooms.told(middle) == [("deleted", "site-a", 1)]
    assert await rooms.told(middle, "schema") == []
    end = await rooms.token()
    await rooms.register()
    assert await rooms.told(end) == [("created", "site-a", 2)]
    away = await rooms.beside().told(middle)
    assert away == [("deleted", "site-a", 0), ("created", "site-a", 2)], "who was away learns of both"


async def test_being_taken_over_is_going_and_coming(rooms: RegistryRooms) -> None:
    await rooms.register()
    start = await rooms.token()
    await rooms.register(take_over=True, endpoint="grpc://b:1")
    assert await rooms.told(start) == [("deleted", "site-a", 0), ("created", "site-a", 2)]


async def test_what_is_over_is_told_by_the_sweep_once(rooms: RegistryRooms) -> None:
    for number in range(3):
        await rooms.register(RegistrationName("gateway", f"g{number}"))
    rooms.move(20)
    kept = await rooms.register()
    start = await rooms.token()
    rooms.move(11)
    assert sorted(await asyncio.gather(rooms.ending.sweep(), rooms.beside().ending.sweep())) == [0, 3]
    assert await rooms.told(start) == [("deleted", f"g{number}", 1) for number in range(3)]
    assert (await rooms.renew(kept.lease_id)).epoch == 1
    assert await rooms.ending.sweep() == 0


async def test_a_watch_tells_what_is_there_and_then_what_happens(rooms: RegistryRooms) -> None:
    await rooms.register()
    changes = rooms.watch.follow(LOCAL_USER, "gateway", include_existing=True)
    first = await anext(changes)
    assert (first.kind, first.name) == ("existing", SITE)
    later = asyncio.ensure_future(anext(changes))
    await rooms.register(RegistrationName("schema", "run"), ttl=None)
    await rooms.release()
    change = await asyncio.wait_for(later, 10)
    assert (change.kind, change.name) == ("deleted", SITE)
    await changes.aclose()
    again = rooms.watch.follow(LOCAL_USER, "gateway", resume_token=first.token)
    change = await anext(again)
    assert (change.kind, change.name) == ("deleted", SITE)
    await again.aclose()
    await rooms.feed.close()


async def test_a_hundred_watches_of_a_thousand_entries_read_the_store_once(rooms: RegistryRooms) -> None:
    counted = Counting()
    rooms = RegistryRooms(counted)
    start = await rooms.token()
    for number in range(200):
        await rooms.register(RegistrationName("gateway", f"g{number}"))
    before = counted.reads

    async def all_of(rooms: RegistryRooms) -> int:
        polled = await rooms.watch.poll(LOCAL_USER, "gateway", told, resume_token=start, most=1000)
        return len(polled.changes)

    assert set(await asyncio.gather(*(all_of(rooms) for _ in range(100)))) == {200}
    # Two pages for all together; that nothing more has come each finds out by itself.
    assert counted.reads - before <= 2 + 100 + 10
    await rooms.feed.close()


class Counting(Memory):
    """A memory store that counts how often changes were read."""

    def __init__(self) -> None:
        super().__init__(compile_pattern)
        self.reads = 0

    async def changes(
        self,
        collection: str,
        *,
        after: str | None,
        scopes: Sequence[str] | None = None,
        limit: int = 100,
        wait_seconds: float = 0.0,
    ) -> Changes:
        self.reads += 1
        return await super().changes(collection, after=after, scopes=scopes, limit=limit, wait_seconds=wait_seconds)


async def test_for_seven_days_it_is_known_when_it_was_seen_and_epochs_never_come_down(rooms: RegistryRooms) -> None:
    for _ in range(3):
        leased = await rooms.register()
        await rooms.release(leased.lease_id)
    rooms.move(7 * 86400 - 1)
    await rooms.ending.forget()
    with pytest.raises(NotFound, match="last seen"):
        await rooms.get()
    rooms.move(2)
    await rooms.ending.forget()
    with pytest.raises(NotFound) as caught:
        await rooms.get()
    assert "last_seen" not in caught.value.details
    assert (await rooms.documents.find(REGISTRATIONS), await rooms.documents.find(BEATS)) == ([], [])
    assert (await rooms.register()).registration.epoch == 4


class Killed(Exception):
    """The server was killed."""


class Killing(Memory):
    """A memory store whose server is killed at one of its writes."""

    def __init__(self) -> None:
        super().__init__(compile_pattern)
        self.left: int | None = None

    def _write(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Killed

    async def insert_many(self, collection: str, documents: Sequence[Document]) -> Sequence[bool]:
        self._write()
        return await super().insert_many(collection, documents)

    async def replace(self, collection: str, document: Document, *, expected_revision: int) -> Document | None:
        self._write()
        return await super().replace(collection, document, expected_revision=expected_revision)

    async def remove(self, collection: str, key: str, *, expected_revision: int | None = None) -> bool:
        self._write()
        return await super().remove(collection, key, expected_revision=expected_revision)


@pytest.mark.parametrize("writes", range(8))
@pytest.mark.parametrize("act", ["register", "take over", "release", "sweep"])
async def test_a_server_killed_between_two_writes_leaves_nothing_that_stays_wrong(act: str, writes: int) -> None:
    store = Killing()
    rooms = RegistryRooms(store)
    start = await rooms.token()
    if act != "register":
        await rooms.register()
    if act == "sweep":
        rooms.move(31)
    store.left = writes
    try:
        match act:
            case "register" | "take over":
                await rooms.register(take_over=True, endpoint="grpc://b:1")
            case "release":
                await rooms.release()
            case _:
                await rooms.ending.sweep()
    except Killed:
        pass
    store.left = None
    after = rooms.beside()
    after.move(31)
    await after.ending.sweep()
    await after.ending.forget()
    assert await after.ids() == []
    assert await store.find(BEATS) == []
    seen = await after.told(start)
    assert not seen or seen[-1][0] == "deleted", "whoever watched knows that it has gone"
    last = max([epoch for _, _, epoch in seen], default=0)
    assert (await after.register()).registration.epoch > last
