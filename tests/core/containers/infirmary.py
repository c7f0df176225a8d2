"""Containers in memory that a test breaks, what heals them, and a time that the test lets pass."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from tests.spreading import Fickle, make_test_means

from measurand.core.containers.containers import keep_beat
from measurand.core.containers.documents import CONTAINERS, Beat, Container, container_document, full_name
from measurand.core.containers.healing.automatic import Automatic, Told
from measurand.core.containers.healing.choosing import Targets
from measurand.core.containers.healing.draining import Draining
from measurand.core.containers.healing.evening import Rebalancing
from measurand.core.containers.healing.garbage import Garbage
from measurand.core.containers.healing.looking import Looking
from measurand.core.containers.healing.mending import Mending
from measurand.core.containers.healing.pacing import Pace
from measurand.core.containers.healing.recoding import Recoding
from measurand.core.containers.healing.repairing import Repairing
from measurand.core.containers.healing.scrubbing import Scrubbing
from measurand.core.containers.healing.wanted import Wanted
from measurand.core.containers.placements import Part, Placement, Placements
from measurand.core.containers.sites import Place, Sites
from measurand.core.limits import Limits
from measurand.core.placement.policies import parse_policy
from measurand.core.ports import Blob, BlobStore, DocumentStore, Json
from measurand.server.patterns import compile_pattern
from measurand.storage.blobs.memory import Memory
from measurand.storage.blobs.spread import Spread, make_coder
from measurand.storage.documents.memory import Memory as DocumentsInMemory

__all__ = ["GRACE", "Infirmary", "PlainJob", "Ward", "read"]

GRACE = timedelta(seconds=10)
ROOM = 1 << 30


class PlainJob:
    """A job as a handler sees it, which remembers what was said. Like a `Job`.

    Parameters
    ----------
    most : int
        At the checkpoint after so many it is stopped.
    """

    def __init__(self, arguments: Mapping[str, Json], state: Json = None, *, most: int | None = None) -> None:
        self.arguments = arguments
        self.state = state
        self.most = most
        self.checkpoints = 0
        self.failed: dict[str, Exception] = {}
        self.messages: list[str] = []

    def check(self) -> None:
        if self.most is not None and self.checkpoints > self.most:
            from measurand.core.operations.jobs import Stopped

            raise Stopped

    def progress(self, done: int | None = None, total: int | None = None, unit: str = "", message: str = "") -> None:
        self.messages.append(message)

    def fail_target(self, name: str, error: Exception) -> None:
        self.failed[name] = error

    async def checkpoint(self, state: Json) -> None:
        self.state = state
        self.checkpoints += 1
        self.check()


class Infirmary:
    """The documents and the containers of one deployment, on which several servers may stand.

    Parameters
    ----------
    count : int
        Number of containers, `c0` and so on.
    zones : int
        They are in so many zones by turns. 0: each in one of its own.
    """

    def __init__(
        self, count: int, *, zones: int = 0, home: BlobStore | None = None, limits: Limits | None = None
    ) -> None:
        self.stores = {f"c{index}": Fickle(Memory()) for index in range(count)}
        self.zones = {name: f"z{index % (zones or count)}" for index, name in enumerate(self.stores)}
        self.rooms: dict[str, int] = {}
        self.silent: set[str] = set()
        self.documents: DocumentStore = DocumentsInMemory(compile_pattern)
        self.home = home
        self.limits = limits or Limits(blob_grace=GRACE, repair_delay=timedelta(seconds=30))
        self.passed = 0.0
        self.servers: list[Ward] = []
        real = make_test_means()
        self.means = replace(
            real,
            now=lambda: datetime.now(UTC) + timedelta(seconds=self.passed),
            monotonic=lambda: time.monotonic() + self.passed,
        )
        self._beats = 0

    async def open(self, documents: DocumentStore | None = None) -> Ward:
        """Return a server over them."""
        for name in self.stores:
            if await self.documents.fetch(CONTAINERS, full_name(name)) is None:
                await self.documents.insert(CONTAINERS, container_document(self._container(name)))
        await self.beat()
        ward = Ward(self, documents or self.documents)
        await ward.sites.refresh()
        self.servers.append(ward)
        return ward

    def add(self, name: str, zone: str) -> None:
        """Add an empty container; servers see it when time passes."""
        self.stores[name], self.zones[name] = Fickle(Memory()), zone

    async def remove(self, name: str) -> None:
        """Remove a container by force."""
        await self.documents.remove(CONTAINERS, full_name(name))
        del self.stores[name]

    async def drain(self, name: str, *, draining: bool = True) -> None:
        """Let a container take no more parts."""
        found = await self.documents.fetch(CONTAINERS, full_name(name))
        assert found is not None
        changed = container_document(replace(self._container(name), is_draining=draining))
        await self.documents.replace(CONTAINERS, changed, expected_revision=found.revision)
        await self.pass_time(0)

    def wipe(self, *names: str) -> None:
        """Lose what containers hold."""
        for name in names:
            self.stores[name].inner = Memory()

    async def pass_time(self, seconds: float) -> None:
        """Let time pass, in which those that are not silent beat."""
        steps = max(int(seconds // 4), 1)
        for _ in range(steps):
            self.passed += seconds / steps
            for name in self.stores:
                if await self.documents.fetch(CONTAINERS, full_name(name)) is None:
                    await self.documents.insert(CONTAINERS, container_document(self._container(name)))
            await self.beat()
            for server in self.servers:
                await server.sites.refresh()

    async def beat(self) -> None:
        """All that are not silent tell that they are there."""
        self._beats += 1
        for name in self.stores.keys() - self.silent:
            room = self.rooms.get(name, ROOM)
            held = sum(len(piece) for kept in self.held(name).values() for piece in kept.pieces)
            beat = Beat(f"uid-{name}", self.means.now(), capacity_bytes=room, free_bytes=max(room - held, 0))
            await keep_beat(self.documents, name, beat)

    def held(self, name: str) -> Mapping[str, Any]:
        """Return what is finished in a container, by key."""
        return cast("Memory", self.stores[name].inner)._finished

    def part_keys(self) -> set[tuple[str, str]]:
        """Return the container and the key of all parts there are, staged or not."""
        return {
            (name, key)
            for name, store in self.stores.items()
            for key in {**cast("Memory", store.inner)._finished, **cast("Memory", store.inner)._staged}
        }

    def damage(self, part: Part) -> None:
        """Flip a bit of a part."""
        held = self.held(part.container)[part.key]
        data = bytearray(b"".join(held.pieces))
        data[len(data) // 2] ^= 1
        held.pieces[:], held.ends[:] = [bytes(data)], [len(data)]

    def lose(self, part: Part) -> None:
        """Lose one part."""
        del cast("dict[str, Any]", self.held(part.container))[part.key]

    async def close(self) -> None:
        for server in self.servers:
            await server.spread.close()
            await server.sites.close()

    def _container(self, name: str) -> Container:
        return Container(name, f"uid-{name}", "memory", "memory:", self.means.now(), zone=self.zones[name])


class Ward:
    """One server: what it sees of the containers, its store over them, and what heals."""

    def __init__(self, infirmary: Infirmary, documents: DocumentStore) -> None:
        means, limits = infirmary.means, infirmary.limits

        async def open_store(container: Container) -> Place:
            return Place(infirmary.stores[container.id])

        self.documents = documents
        self.is_waiting, self.may_go_on = asyncio.Event(), asyncio.Event()
        """Those who wait for others do so until they may go on."""
        self.may_go_on.set()
        self.sites = Sites(documents, means, open_store)
        self.placements = Placements(documents)
        self.wanted = Wanted(documents, means)
        self.told = Told(self.wanted, means)
        self.pace = Pace(lambda: 0.0, means)
        self.spread = Spread(
            infirmary.home, self.sites, self.placements, make_coder(), means, tell=self.told, most_part_bytes=1 << 21
        )
        parts, looking, targets = self.spread.parts, Looking(self.sites, self.spread.parts), Targets(self.sites, means)
        self.mending = Mending(looking, parts, self.placements, targets, self.wanted, self.pace)
        self.garbage = Garbage(documents, self.spread, self.placements, self.sites, means, limits)
        self.automatic = Automatic(
            documents, self.placements, self.sites, looking, self.mending, self.wanted, means, limits
        )
        self.scrubbing = Scrubbing(documents, self.placements, looking, self.wanted, means, limits, most_rate=self.pace)
        self._repairing = Repairing(
            documents, self.placements, looking, self.mending, self.wanted, self.garbage, self.pace, means
        )
        self._draining = Draining(documents, self.placements, parts, self.sites, targets, self.pace, sleep=self._sleep)
        self._rebalancing = Rebalancing(documents, self.placements, parts, self.sites, self.pace)
        self._recoding = Recoding(documents, means, self.spread.recoding, self.pace)

    async def _sleep(self, seconds: float) -> None:
        self.is_waiting.set()
        await self.may_go_on.wait()

    async def put(self, key: str, data: bytes, policy: str = "erasure:4+2") -> Blob:
        return await self.spread.put(key, [data], policy=parse_policy(policy))

    async def placement(self, key: str) -> Placement:
        """Return where a blob is."""
        found = await self.placements.fetch(key, fresh=True)
        assert found is not None
        return found

    async def all(self) -> list[Placement]:
        """Return all placements."""
        return list(await self.placements.find(limit=1000))

    async def repair(self, job: PlainJob | None = None, **asked: Json) -> Mapping[str, Any]:
        return await self._repairing(cast("Any", job or PlainJob(asked)))

    async def drain(self, name: str, job: PlainJob | None = None, **asked: Json) -> Mapping[str, Any]:
        return await self._draining(cast("Any", job or PlainJob({"container": name, **asked})))

    async def rebalance(self, job: PlainJob | None = None, **asked: Json) -> Mapping[str, Any]:
        return await self._rebalancing(cast("Any", job or PlainJob(asked)))

    async def recode(self, parent: str, job: PlainJob | None = None, **asked: Json) -> Mapping[str, Any]:
        return await self._recoding(cast("Any", job or PlainJob({"parent": parent, **asked})))


async def read(ward: Ward, blobs: Iterable[Blob]) -> dict[str, bytes]:
    """Return what blobs hold, by key."""
    return {blob.key: b"".join([bytes(chunk) async for chunk in ward.spread.open(blob)]) for blob in blobs}
