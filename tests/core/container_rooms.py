"""The containers of one server, over memory stores, with a clock that the test moves."""

from __future__ import annotations

import random
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

from measurand.core.containers.containers import Containers, Registered
from measurand.core.containers.documents import Beat, Container, State
from measurand.core.containers.placements import PLACEMENTS, Part, Placement, Segment, part_key, placement_document
from measurand.core.containers.sites import Place, Room, Sites
from measurand.core.containers.upkeep import Upkeep
from measurand.core.limits import Limits
from measurand.core.placement.policies import Policy
from measurand.core.ports import DocumentStore
from measurand.core.principal import LOCAL_USER
from measurand.core.times import from_microseconds
from measurand.server.means import make_means
from measurand.server.patterns import compile_pattern
from measurand.storage.blobs.memory import Memory as Blobs
from measurand.storage.documents.memory import Memory
from measurand.wire.errors import Unavailable

from .rooms import Clock, Direct

EPOCH = from_microseconds(0)
ROOM = Room(1000, 800)


class ContainerRooms:
    """One server's worth of it. `beside` is another server, which has been running for another while.

    Attributes
    ----------
    away : set of str
        URIs that cannot be reached: stores are not opened there, and those that are open are not found to be there.
    rooms : dict
        How much room there is, by URI; `ROOM` unless said.
    """

    def __init__(
        self,
        documents: DocumentStore | None = None,
        clock: Clock | None = None,
        *,
        has_home: bool = True,
        running_for: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.clock = clock or Clock()
        self.documents = documents or Memory(compile_pattern)
        self.away: set[str] = set()
        self.rooms: dict[str, Room] = {}
        self.probed: list[str] = []
        self.opened = 0
        self.means = replace(
            make_means(ThreadPoolExecutor()),  # starts no thread before it is given work
            in_thread=Direct(),
            now=lambda: self.clock.time,
            monotonic=lambda: self.clock.running + running_for,
            random_bytes=random.Random(seed).randbytes,
        )
        self.home = Blobs() if has_home else None
        home = None if self.home is None else self._place("", self.home)
        self.sites = Sites(self.documents, self.means, self._open, home=home)
        self.upkeep = Upkeep(self.documents, self.sites, self.means)
        self.containers = Containers(
            self.documents, self.sites, self._probe, self.means, Limits(), compile_pattern=compile_pattern
        )

    def beside(self, *, running_for: float = 1000.0) -> ContainerRooms:
        return ContainerRooms(self.documents, self.clock, running_for=running_for, seed=1)

    async def add(self, name: str, uri: str = "", *, rejoin: bool = False, **said: Any) -> Registered:
        more = {key: said.pop(key) for key in ("lease_id", "request_id") if key in said}
        draft = Container(name, "", "home", uri or f"memory:{name}", EPOCH, **said)
        return await self.containers.register(LOCAL_USER, draft, rejoin=rejoin, **more)

    async def serve(self, name: str, **said: Any) -> Registered:
        """Register a container that another process serves."""
        return await self.add(name, f"grpc://{name}:50061", **said)

    async def beat(self, name: str, lease_id: str, **told: Any) -> State:
        return await self.containers.beat(LOCAL_USER, name, lease_id, Beat("", EPOCH, **told))

    async def pass_by(self, seconds: float, *, looking: bool = True) -> None:
        """Let time pass as a server does that runs: it refreshes every second, and looks every five."""
        for second in range(1, round(seconds) + 1):
            self.clock.move(timedelta(seconds=1))
            if looking and second % 5 == 0:
                await self.upkeep.look()
            await self.sites.refresh()

    async def place(
        self, blob: str, *containers: str, size: int = 100, data_parts: int = 1, staged: bool = False
    ) -> None:
        """Write down that a blob has parts of so many bytes in these containers."""
        parts = [Part(name, part_key(blob, "abc123", index), index) for index, name in enumerate(containers)]
        await self.documents.insert(
            PLACEMENTS,
            placement_document(
                Placement(
                    blob=blob,
                    uid="0f" * 16,
                    size=size,
                    data_parts=data_parts,
                    parity_parts=len(parts) - data_parts,
                    segments=(Segment(size, size),),
                    parts=tuple(parts),
                    policy=Policy(replicas=len(parts)),
                    create_time=EPOCH,
                    modified_time=EPOCH,
                    staged=staged,
                )
            ),
        )

    def free_of(self, name: str) -> int:
        candidate = self.sites.field.get(name)
        assert candidate is not None
        return candidate.free_bytes

    def is_taking(self, name: str) -> bool:
        candidate = self.sites.field.get(name)
        assert candidate is not None
        return candidate.takes_blobs

    async def close(self) -> None:
        await self.sites.close()

    async def _open(self, container: Container) -> Place:
        if container.uri in self.away:
            raise Unavailable(f"{container.uri}: it does not answer", store=container.uri)
        self.opened += 1
        return self._place(container.uri, Blobs(), tells_itself=container.kind == "remote")

    def _place(self, uri: str, store: Blobs, *, tells_itself: bool = False) -> Place:
        async def look() -> Room:
            if uri in self.away:
                raise Unavailable(f"{uri}: it does not answer", store=uri)
            return self.rooms.get(uri, ROOM)

        return Place(store, None if tells_itself else look)

    async def _probe(self, container: Container, others: Collection[str]) -> Room:
        self.probed.append(container.id)
        if container.uri in self.away:
            raise Unavailable(f"{container.uri}: it does not answer", store=container.uri)
        return self.rooms.get(container.uri, ROOM)
