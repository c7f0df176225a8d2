"""What the consumers of one group do, through one server."""

from __future__ import annotations

from typing import Any

from tests.core.reader_rooms import ReaderRooms

from measurand.core.buffers.consuming import Fetched, SettleAnswer, Settlement
from measurand.core.buffers.groups import ConsumerGroup, Settings
from measurand.core.names import GroupName
from measurand.core.principal import LOCAL_USER


class Members:
    """A group as its members see it."""

    def __init__(self, rooms: ReaderRooms, group: str = "train") -> None:
        self.rooms = rooms
        self.name = GroupName(rooms.name.catalog, rooms.name.buffer, group)

    async def put(self, *, after_sequence: int = 0, **settings: Any) -> ConsumerGroup:
        return await self.rooms.groups.put(LOCAL_USER, self.name, Settings(**settings), after_sequence=after_sequence)

    async def get(self) -> ConsumerGroup:
        return await self.rooms.groups.get(LOCAL_USER, self.name, with_unsettled=True)

    async def fetch(self, consumer: str = "a", most: int = 100, **wanted: Any) -> Fetched:
        return await self.rooms.consuming.fetch(LOCAL_USER, self.name, consumer, most=most, **wanted)

    async def take(self, consumer: str = "a", most: int = 100, **wanted: Any) -> list[int]:
        return sequences(await self.fetch(consumer, most, **wanted))

    async def settle(self, consumer: str = "a", **settlement: Any) -> SettleAnswer:
        return await self.rooms.consuming.settle(LOCAL_USER, self.name, consumer, Settlement(**settlement))

    async def seek(self, **place: Any) -> ConsumerGroup:
        return await self.rooms.groups.seek(LOCAL_USER, self.name, **place)

    async def given_up(self) -> list[tuple[int, int, str]]:
        page = await self.rooms.groups.given_up(LOCAL_USER, self.name)
        return [(one.sequence, one.attempts, one.consumer) for one in page.records]


def sequences(fetched: Fetched) -> list[int]:
    return [delivery.stored.sequence for delivery in fetched.deliveries]


def attempts(fetched: Fetched) -> list[tuple[int, int]]:
    return [(delivery.stored.sequence, delivery.attempt) for delivery in fetched.deliveries]
