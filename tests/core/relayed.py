"""Servers far from their stores and from each other that hand appends over, in simulated time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.core.buffer_rooms import BufferRooms
from tests.core.simulated import Distant

from measurand.core.buffers.heads import Peer
from measurand.core.buffers.leading import Leading
from measurand.core.buffers.relaying import Caller, Relaying
from measurand.core.buffers.submissions import Stored
from measurand.wire.errors import FailedPrecondition, MeasurandError, Unavailable

__all__ = ["READ", "Network", "Relayed", "distant"]

READ, WRITE, PUT = 0.002, 0.006, 0.012
HOP = 0.0005


def distant(buffers: BufferRooms, times: float = 1.0, *, leading: Leading | None = None, **stores: Any) -> BufferRooms:
    """Return one more server, over stores as far away as in the next room, or so many times as far."""
    read, write = READ * times, WRITE * times
    documents = Distant(buffers.rooms.documents, read, replace=write, insert_many=write, remove=write)
    far = {"documents": documents, "blobs": Distant(buffers.rooms.blobs, PUT * times)}
    return buffers.another(leading, **{**far, **stores})


@dataclass(frozen=True)
class Append:
    """What is handed over: an append with a request id."""

    data: bytes
    request_id: str


class Network:
    """Servers that hand appends over to each other.

    Attributes
    ----------
    silent, deaf : set of str
        Servers that make what they are asked to and never say so, and servers that hear nothing.
    pause : float
        Seconds that servers take before they begin with what they are asked to.
    relayed : int
        How many appends were handed over.
    """

    def __init__(self) -> None:
        self.servers: dict[str, Relayed] = {}
        self.silent: set[str] = set()
        self.deaf: set[str] = set()
        self.pause = 0.0
        self.relayed = 0

    def add(self, buffers: BufferRooms, times: float = 1.0) -> Relayed:
        """Return one more server."""
        name = f"server-{len(self.servers)}"
        server = self.servers[name] = Relayed(self, buffers, name, times)
        return server

    async def relay(self, peer: Peer, caller: Caller, calls: Sequence[Append]) -> Sequence[Stored | MeasurandError]:
        """Answer as a server does that gets appends from another."""
        await asyncio.sleep(HOP)
        if peer.instance in self.deaf:
            raise Unavailable(f"{peer.address} is not there")
        server = self.servers[peer.address]
        if not server.relaying.leads(server.rooms.name):
            raise FailedPrecondition(f"{peer.address} follows another server")
        self.relayed += len(calls)
        if calls:
            await asyncio.sleep(self.pause)
        answers = await asyncio.gather(*(server.append_here(call) for call in calls), return_exceptions=True)
        await asyncio.sleep(HOP if peer.instance not in self.silent else 1e6)
        return answers  # type: ignore[return-value]  # nothing else is raised


class Relayed:
    """One of them."""

    def __init__(self, network: Network, buffers: BufferRooms, name: str, times: float) -> None:
        self.leading = Leading(name)
        self.leading.address = name
        self.rooms = distant(buffers, times, leading=self.leading)
        self.relaying = Relaying(self.leading, network.relay)
        self._made = 0
        self.name = name

    async def append(self, data: bytes, request_id: str = "") -> Stored:
        """Append as a caller of this server does."""
        self._made += 1
        call = Append(data, request_id or f"{self.name}-{self._made}")
        stored = await self.relaying.append(self.rooms.name, (), call, len(data))
        return stored or await self.append_here(call)

    async def append_here(self, call: Append) -> Stored:
        """Append as another server asks for it."""
        return await self.rooms.append(call.data, request_id=call.request_id)

    async def close(self) -> None:
        """End."""
        await self.relaying.close()
        await self.rooms.close()
