"""Containers for tests: stores under names, without documents or beats."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Literal, cast

from measurand.core.blob_rules import closing
from measurand.core.containers.placements import Placement, Placements
from measurand.core.containers.ports import Direction, Health, Tell
from measurand.core.means import Means
from measurand.core.placement.candidates import Candidate
from measurand.core.placement.field import Field
from measurand.core.placement.policies import Policy, parse_policy
from measurand.core.ports import Blob, BlobStore, Buffer, DocumentStore, Stage, StoredBlob
from measurand.server.crc32c import combine_crc32c, make_crc32c
from measurand.server.patterns import compile_pattern
from measurand.storage.blobs.memory import Memory
from measurand.storage.blobs.spread import Spread, make_coder
from measurand.storage.blobs.spread.calling import Patience
from measurand.storage.documents.memory import Memory as DocumentsInMemory
from measurand.wire.errors import NotFound, StoreFull, Unavailable

__all__ = ["Fickle", "Ill", "StillSites", "Ward", "content", "make_test_means", "noise", "spread_over"]


class StillSites:
    """Containers that stay as the test says. A `Sites`.

    Parameters
    ----------
    stores : mapping
        By name; may be changed at any time.
    """

    def __init__(self, stores: Mapping[str, BlobStore]) -> None:
        self.stores = dict(stores)
        self.field = Field(Candidate(name, zone=f"zone-{name}") for name in stores)
        self.avoided: set[str] = set()
        self.usuals: dict[str, float] = {}
        self.notes: list[tuple[str, Direction, int, Exception | None]] = []

    def __repr__(self) -> str:
        return f"sites({', '.join(self.stores)})"

    @property
    def is_empty(self) -> bool:
        return not self.stores

    def store(self, name: str) -> BlobStore:
        if name not in self.stores:
            raise NotFound(f"containers/{name}: there is no such container", resource=f"containers/{name}")
        return self.stores[name]

    def usual(self, name: str, direction: Direction) -> float:
        return self.usuals.get(name, 0.0)

    def is_avoided(self, name: str) -> bool:
        return name in self.avoided

    def note(self, name: str, direction: Direction, size: int, seconds: float, error: Exception | None) -> None:
        self.notes.append((name, direction, size, error))

    @contextmanager
    def in_flight(self, name: str, size: int) -> Iterator[None]:
        self.field.begin([name], size)
        try:
            yield
        finally:
            self.field.end(name, size)

    def drop(self, name: str) -> None:
        """Remove a container for good."""
        del self.stores[name]
        self.field.remove(name)


Ill = Literal["", "hung", "down", "full", "garbage", "wiped"]


class Fickle:
    """A container that a test breaks and mends: `ill` says how it is.

    hung: calls never return; down: they fail; full: nothing more goes in; garbage: what is read has flipped bits.
    `seconds` is how long each call takes before it begins.
    """

    def __init__(self, inner: BlobStore) -> None:
        self.inner = inner
        self.ill: Ill = ""
        self.seconds = 0.0
        self.calls: Counter[str] = Counter()

    def __repr__(self) -> str:
        return f"fickle({self.inner!r})"

    async def suffer(self, verb: str, *, is_writing: bool = False) -> None:
        self.calls[verb] += 1
        if self.seconds:
            await asyncio.sleep(self.seconds)
        if self.ill == "hung":
            await asyncio.Event().wait()
        if self.ill == "down":
            raise Unavailable("the container is down", store="fickle")
        if self.ill == "full" and is_writing:
            raise StoreFull("the container is full")

    async def put(self, key: str, chunks: Iterable[Buffer], *, policy: Policy | None = None) -> Blob:
        await self.suffer("put", is_writing=True)
        return await self.inner.put(key, chunks)

    async def open(self, blob: Blob, offset: int = 0, length: int | None = None) -> AsyncIterator[Buffer]:
        await self.suffer("open")
        async with closing(self.inner.open(blob, offset, length)) as chunks:
            async for chunk in chunks:
                if self.ill == "garbage":
                    wrong = bytearray(chunk)
                    wrong[len(wrong) // 2] ^= 0x10
                    yield bytes(wrong)
                else:
                    yield chunk

    async def stat(self, key: str) -> StoredBlob:
        await self.suffer("stat")
        return await self.inner.stat(key)

    async def delete(self, key: str) -> None:
        await self.suffer("delete")
        await self.inner.delete(key)

    async def scan(self, prefix: str = "") -> AsyncIterator[StoredBlob]:
        await self.suffer("scan")
        async with closing(self.inner.scan(prefix)) as blobs:
            async for blob in blobs:
                yield blob

    async def stage(self, key: str, *, policy: Policy | None = None) -> Stage:
        await self.suffer("stage", is_writing=True)
        return _FickleStage(await self.inner.stage(key), self)

    async def finish(self, key: str, size: int) -> Blob:
        await self.suffer("finish")
        return await self.inner.finish(key, size)

    async def discard(self, key: str) -> None:
        await self.suffer("discard")
        await self.inner.discard(key)

    async def close(self) -> None:
        await self.inner.close()


class _FickleStage:
    def __init__(self, inner: Stage, store: Fickle) -> None:
        self._inner = inner
        self._store = store

    async def append(self, chunks: Sequence[Buffer]) -> None:
        await self._store.suffer("append", is_writing=True)
        await self._inner.append(chunks)

    async def persist(self, *, whole: bool = True) -> int:
        await self._store.suffer("persist")
        return await self._inner.persist(whole=whole)

    async def close(self) -> None:
        await self._inner.close()


class Ward:
    """Containers in memory that can be broken, and the documents of one deployment.

    Parameters
    ----------
    count : int
        Number of containers, `c0` and so on, each in a zone of its own.
    policy : str
        Of all blobs.
    """

    def __init__(self, count: int, policy: str) -> None:
        self.policy = policy
        self.fickle = {f"c{index}": Fickle(Memory()) for index in range(count)}
        self.sites = StillSites(self.fickle)
        self.documents = DocumentsInMemory(compile_pattern)
        self.placements = Placements(self.documents)
        self.told: list[tuple[str, int, Health]] = []

    def open(self, *, most_part_bytes: int = 256 << 20, patience: Patience | None = None) -> Spread:
        """Return a store as a process of its own would have it."""
        return spread_over(
            self.sites,
            self.documents,
            self.policy,
            tell=self._tell,
            most_part_bytes=most_part_bytes,
            patience=patience,
        )

    async def placement(self, key: str) -> Placement:
        """Return where a blob is."""
        found = await self.placements.fetch(key, fresh=True)
        assert found is not None
        return found

    def wipe(self, *names: str) -> None:
        """Lose what containers hold."""
        for name in names:
            self.fickle[name].inner = Memory()

    def break_(self, ill: Ill, *names: str) -> None:
        """Break containers, or mend them."""
        for name in names:
            if ill == "wiped":
                self.wipe(name)
            else:
                self.fickle[name].ill = ill

    def part_keys(self) -> set[tuple[str, str]]:
        """Return the container and the key of all that lies in containers, staged or not."""
        memories = {name: cast("Memory", fickle.inner) for name, fickle in self.fickle.items()}
        return {(name, key) for name, memory in memories.items() for key in {**memory._finished, **memory._staged}}

    def _tell(self, placement: Placement, index: int, health: Health) -> None:
        self.told.append((placement.blob, index, health))


async def content(store: BlobStore, blob: Blob, offset: int = 0, length: int | None = None) -> bytes:
    """Return what is read."""
    return b"".join([bytes(chunk) async for chunk in store.open(blob, offset, length)])


def noise(size: int, seed: int = 0) -> bytes:
    """Return bytes that compress to nothing less."""
    return random.Random(seed).randbytes(size)


def make_test_means() -> Means:
    """Return real clocks, chance and sums; threads are those of asyncio."""
    return Means(
        now=lambda: datetime.now(UTC),
        monotonic=time.monotonic,
        random_bytes=os.urandom,
        crc32c=make_crc32c(),
        combine_crc32c=combine_crc32c,
        blake3=lambda: (_ for _ in ()).throw(AssertionError("no digests here")),
        in_thread=asyncio.to_thread,
    )


def spread_over(
    sites: StillSites,
    documents: DocumentStore,
    policy: str = "losses:2",
    *,
    home: BlobStore | None = None,
    tell: Tell | None = None,
    most_part_bytes: int = 256 << 20,
    patience: Patience | None = None,
) -> Spread:
    """Return a spread store as a process of its own would have it.

    Parameters
    ----------
    policy : str
        Of blobs without one, where there is no home store.
    """
    return Spread(
        home,
        sites,
        Placements(documents),
        make_coder(),
        make_test_means(),
        usual_policy=parse_policy(policy),
        tell=tell or (lambda placement, index, health: None),
        most_part_bytes=most_part_bytes,
        patience=patience or Patience(),
    )
