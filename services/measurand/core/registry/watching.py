"""Following registrations: what comes, changes and goes. Renewals that change nothing are not told."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Generic, TypeVar

from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.principal import Principal
from measurand.core.registry.documents import Registration
from measurand.core.registry.feed import BEGINNING, Feed, RegistrationChange
from measurand.core.registry.finding import Finding
from measurand.core.watch_places import Place, open_place
from measurand.wire.errors import InvalidArgument

__all__ = ["Polled", "RegistrationWatch"]

DEFAULT_CHANGES = 100
MAX_CHANGES = 1000

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Polled(Generic[Item]):
    """Some changes, oldest first, and the token to go on with."""

    changes: Sequence[Item]
    token: str


class RegistrationWatch:
    """Follows registrations. A kind of None stands for all kinds."""

    def __init__(self, feed: Feed, finding: Finding, means: Means, limits: Limits) -> None:
        self._feed = feed
        self._finding = finding
        self._means = means
        self._limits = limits

    async def follow(
        self, principal: Principal, kind: str | None, *, resume_token: str = "", include_existing: bool = False
    ) -> AsyncGenerator[RegistrationChange, None]:
        """Yield changes as they happen, each at least once and in order for any one name. Never ends by itself.

        Raises
        ------
        HistoryTrimmed
            HISTORY_TRIMMED: the token is older than the kept history; list, then watch.
        """
        if include_existing and resume_token:
            raise InvalidArgument(
                "include_existing: not together with a resume_token, which says itself what is left to send",
                field="include_existing",
            )
        place = await self._place(resume_token)
        if include_existing:
            place = replace(place, existing="")
        async with self._feed.listening():
            if place.existing is not None:
                async for registration in self._finding.walk(kind, place.existing):
                    yield self._existing(registration, place)
                place = replace(place, existing=None)
            heard = self._means.monotonic()
            silence = self._limits.heartbeat.total_seconds()
            while True:
                rings = self._feed.rings
                news = await self._feed.read(place.token, kind)
                for change in news.told:
                    yield change
                    heard = self._means.monotonic()
                place = replace(place, token=news.token)
                left = silence - (self._means.monotonic() - heard)
                if left <= 0:
                    yield RegistrationChange("heartbeat", None, None, place.text(), self._means.now())
                    heard = self._means.monotonic()
                elif not news.is_some:
                    await self._feed.wait(rings, left)

    async def poll(
        self,
        principal: Principal,
        kind: str | None,
        pack: Callable[[RegistrationChange], tuple[Item, int]],
        *,
        resume_token: str = "",
        most: int = 0,
        wait: timedelta = timedelta(),
    ) -> Polled[Item]:
        """Return the changes since a token, waiting for one if there is none yet. Without a token: only one for now.

        Raises
        ------
        HistoryTrimmed
            HISTORY_TRIMMED: the token is older than the kept history; list, then poll.
        """
        if most < 0:
            raise InvalidArgument(f"max_changes: {most} is negative; use 0 for {DEFAULT_CHANGES}", field="max_changes")
        if not timedelta() <= wait <= self._limits.max_wait:
            raise InvalidArgument(
                f"wait: {wait.total_seconds():g} s is not within 0 and {self._limits.max_wait.total_seconds():g} s",
                field="wait",
            )
        place = await self._place(resume_token)
        if not resume_token:
            return Polled((), place.text())
        most = min(most or DEFAULT_CHANGES, MAX_CHANGES)
        items: list[Item] = []
        used, token = 0, ""
        deadline = self._means.monotonic() + wait.total_seconds()
        async with self._feed.listening() if wait else nullcontext():
            if place.existing is not None:
                async for registration in self._finding.walk(kind, place.existing):
                    change = self._existing(registration, place)
                    item, weight = pack(change)
                    if items and (len(items) == most or used + weight > self._limits.page_bytes):
                        return Polled(items, token)
                    items.append(item)
                    used, token = used + weight, change.token
                place = replace(place, existing=None)
            while True:
                rings = self._feed.rings
                news = await self._feed.read(place.token, kind)
                for change in news.told:
                    item, weight = pack(change)
                    if items and (len(items) == most or used + weight > self._limits.page_bytes):
                        return Polled(items, token)
                    items.append(item)
                    used, token = used + weight, change.token
                place = replace(place, token=news.token)
                left = deadline - self._means.monotonic()
                if news.is_some:
                    continue
                if items or left <= 0:
                    return Polled(items, place.text())
                await self._feed.wait(rings, left)

    async def _place(self, resume_token: str) -> Place:
        return open_place(resume_token) if resume_token else Place(BEGINNING, await self._feed.token())

    def _existing(self, registration: Registration, place: Place) -> RegistrationChange:
        token = replace(place, existing=str(registration.name)).text()
        return RegistrationChange("existing", registration.name, registration, token, self._means.now())
