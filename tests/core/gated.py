"""Array rooms whose blobs can be held up on their way, or fail."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from tests.core.array_rooms import ArrayRooms
from tests.core.rooms import make_rooms, prepare

from measurand.core.placement.policies import Policy
from measurand.core.ports import Blob, Buffer
from measurand.storage.blobs.memory import Memory
from measurand.wire.errors import (
    StoreFull,
)


class Gated(Memory):
    """Blobs whose puts can be held up, or fail."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.gate: asyncio.Event | None = None
        self.arrived = asyncio.Event()
        self.full = False
        self.puts = 0
        self.opens = 0

    async def put(self, key: str, chunks: Iterable[Buffer], *, policy: Policy | None = None) -> Blob:
        self.puts += 1
        data = [bytes(chunk) for chunk in chunks]
        if self.gate is not None:
            gate = self.gate
            self.arrived.set()
            await gate.wait()
        if self.full:
            raise StoreFull("no room")
        return await super().put(key, data)

    def open(self, *args: Any, **more: Any) -> Any:
        self.opens += 1
        return super().open(*args, **more)


async def make_gated_rooms() -> ArrayRooms:
    """Return rooms with a catalog and a dataset."""
    inner = make_rooms()
    gated = Gated(now=lambda: inner.clock.time)
    inner.blobs = gated
    inner = inner.restarted()
    await prepare(inner)
    return ArrayRooms(inner)


def blobs(rooms: ArrayRooms) -> Gated:
    found = rooms.rooms.blobs
    assert isinstance(found, Gated)
    return found


def another(rooms: ArrayRooms) -> ArrayRooms:
    """Return another server over the same stores."""
    return ArrayRooms(rooms.rooms.restarted())


async def acknowledged(rooms: ArrayRooms, sequence: int) -> None:
    while not rooms.acks or rooms.acks[-1].sequence < sequence:  # noqa: ASYNC110  # the list tells nobody
        await asyncio.sleep(0)
