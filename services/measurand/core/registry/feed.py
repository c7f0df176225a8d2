"""Changes of registrations, read once for all who watch in this process."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from measurand.core.means import Means
from measurand.core.ports import Change, DocumentStore
from measurand.core.registry.documents import REGISTRATIONS, Registration
from measurand.core.registry.names import RegistrationName, parse_registration
from measurand.core.registry.standing import Standing, with_beats
from measurand.core.times import from_microseconds
from measurand.core.watch_places import Place
from measurand.wire.errors import MeasurandError

__all__ = ["BEGINNING", "ChangeKind", "Feed", "News", "RegistrationChange"]

CHANGES_AT_ONCE = 100
MOST_KEPT = 64
LISTEN_SECONDS = 5.0
BEGINNING = from_microseconds(0)
"""What places say of when a watch began: nothing depends on it, so all who watch share their tokens."""
PAUSE_SECONDS = 0.2


ChangeKind = Literal["existing", "created", "updated", "deleted", "heartbeat"]


@dataclass(frozen=True, slots=True)
class RegistrationChange:
    """One change of one registration.

    Parameters
    ----------
    name : RegistrationName, optional
        None in a heartbeat.
    registration : Registration, optional
        After the change. None where nothing is known of it any more, and in a heartbeat.
    token : str
        Watch or poll with it to go on after this change.
    time : datetime
        When it is told.
    """

    kind: ChangeKind
    name: RegistrationName | None
    registration: Registration | None
    token: str
    time: datetime


@dataclass(frozen=True, slots=True)
class News:
    """What has changed since some place.

    Parameters
    ----------
    told : sequence of RegistrationChange
        As it is told to all who watch from there.
    is_some : bool
        Something has changed, though perhaps nothing that is told; there may be more.
    token : str
        The store's, to go on with.
    """

    told: Sequence[RegistrationChange]
    is_some: bool
    token: str


class Feed:
    """Tells all who watch that there is something new, and reads for the first of them what the others want as well."""

    def __init__(self, documents: DocumentStore, means: Means) -> None:
        self._documents = documents
        self._means = means
        self._kept: OrderedDict[tuple[str, str | None], News] = OrderedDict()
        self._turn = asyncio.Lock()
        self._listeners = 0
        self._task: asyncio.Task[None] | None = None
        self._is_primed = asyncio.Event()
        self._rung = asyncio.Event()
        self.rings = 0
        """How often there was something new, for those who listen."""

    async def token(self) -> str:
        """Return the place after all changes so far."""
        return (await self._documents.changes(REGISTRATIONS, after=None)).token

    async def read(self, token: str, kind: str | None) -> News:
        """Return what has changed since a place, of one kind or of all. Raises HistoryTrimmed."""
        async with self._turn:
            kept = self._kept.get((token, kind))
            if kept is not None:
                return kept
            scopes = None if kind is None else [f"registry/{kind}"]
            found = await self._documents.changes(REGISTRATIONS, after=token, scopes=scopes, limit=CHANGES_AT_ONCE)
            keys = list({change.key for change in found.changes})
            documents = await self._documents.fetch_many(REGISTRATIONS, keys)
            told = self._told(found.changes, await with_beats(self._documents, documents))
            news = News(told, bool(found.changes), found.token)
            if news.is_some:
                self._kept[token, kind] = news
                if len(self._kept) > MOST_KEPT:
                    self._kept.popitem(last=False)
            return news

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Hear of all changes from now on."""
        self._listeners += 1
        try:
            if self._task is None:
                self._is_primed.clear()
                self._task = asyncio.create_task(self._listen(), name="changes of registrations")
            await self._is_primed.wait()
            yield
        finally:
            self._listeners -= 1

    async def wait(self, rings: int, seconds: float) -> None:
        """Return when it has rung more often than that, or the time is over. Only while listening."""
        if self.rings == rings:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):  # wait_for can lose a cancellation
                    await self._rung.wait()

    async def close(self) -> None:
        """End the listening."""
        task = self._task
        while task is not None and not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=PAUSE_SECONDS)

    async def _listen(self) -> None:
        token: str | None = None
        try:
            while self._listeners:
                try:
                    if token is None:
                        token = await self.token()
                        self._ring()  # there may be something in between
                    found = await self._documents.changes(
                        REGISTRATIONS, after=token, limit=1000, wait_seconds=LISTEN_SECONDS
                    )
                    token = found.token
                    if found.changes:
                        self._ring()
                except MeasurandError:  # the store does not answer: whoever watches finds out what it is
                    token = None
                    self._ring()
                    await asyncio.sleep(PAUSE_SECONDS)
        finally:
            self._task = None

    def _told(self, changes: Sequence[Change], standings: Mapping[str, Standing]) -> list[RegistrationChange]:
        told: list[RegistrationChange] = []
        now = self._means.now()
        for change in changes:
            seen = _seen(change, standings.get(change.key))
            if seen is not None:
                token = Place(BEGINNING, change.token).text()
                told.append(RegistrationChange(seen[0], parse_registration(change.key), seen[1], token, now))
        return told

    def _ring(self) -> None:
        self._is_primed.set()
        self.rings += 1
        self._rung.set()
        self._rung = asyncio.Event()


def _seen(change: Change, standing: Standing | None) -> tuple[ChangeKind, Registration | None] | None:
    """Return what a change is to whoever watches, None if nothing.

    The document may have moved on since. Each lease ends in the revision right before the one in which the next begins.
    """
    if standing is None or standing.document is None:  # long gone, and forgotten
        return ("deleted", None) if change.kind == "replaced" else None
    registration = standing.registration
    assert registration is not None
    if registration.gone_time is not None:
        return ("deleted", registration) if change.revision >= standing.document.revision else None
    begun = standing.document.body["stored"]
    assert isinstance(begun, int)
    if change.kind == "removed" or change.revision < begun:
        return ("deleted", None) if change.revision == begun - 1 else None
    return ("created" if change.revision == begun else "updated", registration)
