"""The registry of one server, over a memory store, with a clock that the test moves."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from measurand.core.limits import Limits
from measurand.core.metadata import MetadataReader
from measurand.core.ports import DocumentStore
from measurand.core.principal import LOCAL_USER, Principal
from measurand.core.registry.documents import Registration, RegistrationDraft
from measurand.core.registry.ending import Ending
from measurand.core.registry.feed import Feed, RegistrationChange
from measurand.core.registry.finding import Finding
from measurand.core.registry.lease_writes import LeaseWrites
from measurand.core.registry.leasing import Leased, Leasing
from measurand.core.registry.names import RegistrationName
from measurand.core.registry.watching import RegistrationWatch
from measurand.server.means import make_means
from measurand.server.patterns import compile_pattern
from measurand.storage.documents.memory import Memory

from .rooms import Clock, Direct

TTL = timedelta(seconds=30)
SITE = RegistrationName("gateway", "site-a")


class RegistryRooms:
    """One server's worth of it. `beside` is another server over the same store."""

    def __init__(self, documents: DocumentStore | None = None, clock: Clock | None = None, seed: int = 0) -> None:
        self.clock = clock or Clock()
        self.documents = documents or Memory(compile_pattern)
        self.limits = Limits()
        means = replace(
            make_means(ThreadPoolExecutor()),  # starts no thread before it is given work
            in_thread=Direct(),
            now=lambda: self.clock.time,
            monotonic=time.monotonic,
            random_bytes=random.Random(seed).randbytes,
        )
        reader = MetadataReader(means, self.limits)
        writes = LeaseWrites(self.documents, reader, means)
        self.leasing = Leasing(self.documents, writes, reader, means, self.limits, group_seconds=0.0)
        self.finding = Finding(self.documents, means, self.limits, compile_pattern=compile_pattern)
        self.feed = Feed(self.documents, means)
        self.watch = RegistrationWatch(self.feed, self.finding, means, self.limits)
        self.ending = Ending(self.documents, writes, means)

    def beside(self, seconds_ahead: float = 0.0) -> RegistryRooms:
        clock = self.clock
        if seconds_ahead:
            clock = Clock(self.clock.time + timedelta(seconds=seconds_ahead))
        return RegistryRooms(self.documents, clock, seed=1)

    def move(self, seconds: float) -> None:
        self.clock.move(timedelta(seconds=seconds))

    async def register(
        self,
        name: RegistrationName = SITE,
        endpoint: str = "grpc://a:1",
        *,
        ttl: timedelta | None = TTL,
        metadata: Mapping[str, Any] | None = None,
        labels: Mapping[str, str] | None = None,
        principal: Principal = LOCAL_USER,
        **more: Any,
    ) -> Leased:
        draft = RegistrationDraft(endpoint=endpoint, ttl=ttl, metadata=metadata or {}, labels=labels or {})
        return await self.leasing.register(principal, name, draft, **more)

    async def renew(self, lease_id: str, name: RegistrationName = SITE, **more: Any) -> Registration:
        return await self.leasing.renew(LOCAL_USER, name, lease_id, **more)

    async def release(self, lease_id: str = "", name: RegistrationName = SITE) -> None:
        await self.leasing.release(LOCAL_USER, name, lease_id)

    async def get(self, name: RegistrationName = SITE) -> Registration:
        return await self.finding.get(LOCAL_USER, name)

    async def ids(self, kind: str | None = "gateway", **more: Any) -> list[str]:
        page = await self.finding.find(LOCAL_USER, kind, whole, **more)
        return [registration.name.id for registration in page.items]

    async def token(self) -> str:
        return (await self.watch.poll(LOCAL_USER, None, told)).token

    async def told(self, token: str, kind: str | None = None) -> list[tuple[str, str, int]]:
        """Return what was told since: kind, id and epoch (0 where only the name is known)."""
        polled = await self.watch.poll(LOCAL_USER, kind, told, resume_token=token)
        seen: list[tuple[str, str, int]] = []
        for change in polled.changes:
            assert change.name is not None
            seen.append((change.kind, change.name.id, change.registration.epoch if change.registration else 0))
        return seen


def whole(registration: Registration, _: datetime) -> tuple[Registration, int]:
    return registration, 100


def told(change: RegistrationChange) -> tuple[RegistrationChange, int]:
    return change, 100
