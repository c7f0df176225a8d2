"""The containers as one process sees them: which there are, which are up, how full and how quick they are.

Whether a container is down is judged by this process's own running time: by how long its beat has stood still while the
documents could be read. So neither clocks that differ nor an outage of the database make one look dead.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime

from measurand.core.containers.documents import (
    BEATS,
    CONTAINERS,
    COUNTS,
    HOME,
    Beat,
    Container,
    Held,
    State,
    beat_of,
    container_of,
    counts_of,
)
from measurand.core.containers.figures import Figures
from measurand.core.containers.ports import Direction
from measurand.core.means import Means
from measurand.core.placement.candidates import USUAL_BANDWIDTH, USUAL_FAILURE_RATE, Candidate
from measurand.core.placement.field import Field
from measurand.core.ports import BlobStore, Document, DocumentStore, Position
from measurand.core.times import from_microseconds
from measurand.wire.errors import ContainersUnavailable, MeasurandError, NotFound

__all__ = ["BEAT_SECONDS", "OpenStore", "Place", "Room", "Site", "Sites"]

logger = logging.getLogger(__name__)

BEAT_SECONDS = 5.0
DOWN_SECONDS = 3.8 * BEAT_SECONDS
"""Three beats were missed, and most of another has passed: some 15 to 20 seconds after a kill."""
REFRESH_SECONDS = 1.0
IDLE_REFRESH_SECONDS = 2.0
"""So often a process looks for containers while there are none."""
RESERVED = 0.05
"""This share of a container's room is left free, unless it has a `max_bytes`."""
AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Room:
    """How much room there is, in all and left; both 0: nobody knows."""

    capacity_bytes: int = 0
    free_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Place:
    """An open container.

    Parameters
    ----------
    look : callable
        Tells that the place is there and how full it is; raises if it is not. None: it tells of itself.
    """

    store: BlobStore
    look: Callable[[], Awaitable[Room]] | None = None


OpenStore = Callable[[Container], Awaitable[Place]]
"""Opens the store of a container. Raises Unavailable when it cannot be reached, and whatever says why it never will."""


@dataclass(slots=True)
class Site:
    """One container as this process sees it."""

    container: Container
    beat: Beat | None = None
    beat_revision: int = 0
    beat_seen: float = 0.0
    """When its beat last moved, by this process's clock."""
    place: Place | None = None
    problem: MeasurandError | None = None
    """Why it could not be opened."""
    tried: float = float("-inf")
    figures: Figures = field(default_factory=Figures)
    held: Held = field(default_factory=Held)
    written: deque[tuple[datetime, int]] = field(default_factory=deque)
    """Parts that this process wrote since the last count began, so that a limit is kept within one part."""


class Sites:
    """All of them. `refresh` reads the documents; `run` does so again and again.

    Parameters
    ----------
    home : Place, optional
        The server's own blob store, which is the container `home`. None: there is none.
    open_store : callable
        Opens the others.
    """

    def __init__(
        self, documents: DocumentStore, means: Means, open_store: OpenStore, *, home: Place | None = None
    ) -> None:
        self._documents = documents
        self._means = means
        self._open_store = open_store
        self._home = home
        self._sites: dict[str, Site] = {}
        self._field = Field()
        self._turn = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()
        self._looked: float | None = None
        self._counted: datetime | None = None

    def __repr__(self) -> str:
        return f"{len(self._sites)} containers"

    # ------------------------------------------------------------------------------------ what those who spread ask for

    @property
    def is_empty(self) -> bool:
        """There is no container but the home store."""
        return not self._sites or (len(self._sites) == 1 and HOME in self._sites)

    @property
    def field(self) -> Field:
        """All containers with the figures that placement goes by, as they are now."""
        return self._field

    def store(self, name: str) -> BlobStore:
        """Return the store of a container.

        Raises
        ------
        NotFound
            RESOURCE_NOT_FOUND: there is none of that name; it was removed.
        ContainersUnavailable
            CONTAINERS_UNAVAILABLE: it could not be opened.
        """
        site = self._sites.get(name)
        if site is None:
            raise NotFound(f"containers/{name}: there is no such container", resource=f"containers/{name}")
        if site.place is None:
            why = f": {site.problem.message}" if site.problem is not None else ""
            raise ContainersUnavailable(
                f"containers/{name} cannot be reached at present{why}", retry_seconds=1.0, container=name
            )
        return site.place.store

    def usual(self, name: str, direction: Direction) -> float:
        """Return how long a call of a container takes in 95 of 100 cases, in seconds; 0: nobody knows yet."""
        site = self._sites.get(name)
        return 0.0 if site is None else site.figures.usual(direction)

    def is_avoided(self, name: str) -> bool:
        """Tell whether a container is down, or was slow or failing a while ago."""
        site = self._sites.get(name)
        return site is None or site.figures.is_avoided(self._means.monotonic()) or self._is_down(site)

    def note(self, name: str, direction: Direction, size: int, seconds: float, error: Exception | None) -> None:
        """Take what a call came to: bytes moved, and the error if it failed or was given up (TimeoutError)."""
        site = self._sites.get(name)
        if site is None:
            return
        was = site.figures.is_avoided(self._means.monotonic()), site.figures.is_full(self._means.monotonic())
        site.figures.note(self._means.monotonic(), direction, size, seconds, error)
        if error is not None or any(was):
            self._field.set(self._candidate(site))

    @contextmanager
    def in_flight(self, name: str, size: int) -> Iterator[None]:
        """Count so many bytes as held by a container for the time of the block, and as stored if it ends well."""
        self._field.begin([name], size)
        written = 0
        try:
            yield
            written = size
            if (site := self._sites.get(name)) is not None:
                site.written.append((self._means.now(), size))
        finally:
            self._field.end(name, size, written)

    # ------------------------------------------------------------------------------------------- what operators ask for

    @property
    def all(self) -> Mapping[str, Site]:
        """All containers by id."""
        return self._sites

    def state(self, name: str) -> State:
        """Return whether a container is used."""
        site = self._sites.get(name)
        return "down" if site is None else self._state(site)

    def silent_seconds(self, name: str) -> float:
        """Return for how long a container was not heard of while this process listened; infinite: there is none."""
        site = self._sites.get(name)
        return float("inf") if site is None or site.place is None else self._still(site)

    def down_seconds(self, name: str) -> float:
        """Return for how long this process has seen a container down; 0: it is up."""
        site = self._sites.get(name)
        return self._still(site) - DOWN_SECONDS if site is not None and self._is_down(site) else 0.0

    # ------------------------------------------------------------------------------------------------------- refreshing

    async def run(self) -> None:
        """Refresh until cancelled. What the store raises is waited out."""
        while True:
            try:
                await self.refresh()
            except MeasurandError as error:
                logger.warning("event=containers_unsure message=%s", error)
            await asyncio.sleep(IDLE_REFRESH_SECONDS if self.is_empty else REFRESH_SECONDS)

    async def refresh(self) -> None:
        """Read which containers there are and what is known of them, and open those that are new."""
        async with self._turn:
            containers = await self._containers()
            beats: Mapping[str, Document] = {}
            counts: Mapping[str, Held] = {}
            if containers:
                beats = await self._documents.fetch_many(BEATS, [f"containers/{name}" for name in containers])
                counted = await self._documents.fetch(COUNTS, "all")
                if counted is not None:
                    counts, self._counted = counts_of(counted)
            now = self._means.monotonic()
            if self._looked is not None and now - self._looked > DOWN_SECONDS / 3:
                # The documents could not be read, or this process stood still: beats were not seen, not missed.
                for site in self._sites.values():
                    site.beat_seen += now - self._looked
            self._looked = now
            for name in list(self._sites):
                if name not in containers or containers[name].uid != self._sites[name].container.uid:
                    self._drop(name)
            for name, container in containers.items():
                site = self._sites.setdefault(name, Site(container, beat_seen=now))
                if (site.container.kind, site.container.uri) != (container.kind, container.uri):
                    self._close(site)
                site.container, site.held = container, counts.get(name, Held())
                while site.written and self._counted is not None and site.written[0][0] < self._counted:
                    site.written.popleft()
                document = beats.get(f"containers/{name}")
                if document is not None and document.revision != site.beat_revision:
                    beat = beat_of(document)
                    if beat.uid == container.uid:
                        site.beat, site.beat_revision, site.beat_seen = beat, document.revision, now
            await asyncio.gather(*(self._open(site, now) for site in self._sites.values() if site.place is None))
            for name, site in self._sites.items():
                known, candidate = self._field.get(name), self._candidate(site)
                if known is None or replace(known, in_flight_bytes=0) != candidate:
                    self._field.set(candidate)

    async def close(self) -> None:
        """Close the stores that this has opened."""
        async with self._turn:
            for name in list(self._sites):
                self._drop(name)
            while self._closing:
                await asyncio.wait(set(self._closing))

    async def _containers(self) -> dict[str, Container]:
        found: dict[str, Container] = {}
        after: Position | None = None
        while True:
            page = await self._documents.find(CONTAINERS, after=after, limit=AT_ONCE, with_text=False)
            for item in page:
                container = container_of(item.document)
                if container.kind != "home" or self._home is not None:
                    found[container.id] = container
            if len(page) < AT_ONCE:
                return found
            after = page[-1].position

    async def _open(self, site: Site, now: float) -> None:
        if site.container.kind == "home":
            site.place = self._home
            return
        if now - site.tried < BEAT_SECONDS:
            return
        site.tried = now
        try:
            site.place, site.problem = await self._open_store(site.container), None
        except MeasurandError as error:
            if site.problem is None:
                logger.warning("event=container_unreachable container=%s message=%s", site.container.id, error)
            site.problem = error

    def _drop(self, name: str) -> None:
        site = self._sites.pop(name)
        self._field.remove(name)
        self._close(site)

    def _close(self, site: Site) -> None:
        if site.place is not None and site.place is not self._home:
            task = asyncio.ensure_future(site.place.store.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        site.place, site.tried = None, float("-inf")

    # ----------------------------------------------------------------------------------------------------------- states

    def _still(self, site: Site) -> float:
        return self._means.monotonic() - site.beat_seen

    def _is_down(self, site: Site) -> bool:
        return site.place is None or self._still(site) > DOWN_SECONDS

    def _state(self, site: Site) -> State:
        if self._is_down(site):
            return "down"
        if site.container.is_draining:
            return "draining" if site.held.parts else "drained"
        return "read_only" if site.container.is_read_only else "active"

    def _candidate(self, site: Site) -> Candidate:
        container, beat, figures = site.container, site.beat or _NO_BEAT, site.figures
        now, state = self._means.monotonic(), self._state(site)
        if state == "active" and figures.is_full(now):
            shown = "full"
        elif state == "active" and figures.is_avoided(now):
            shown = "failing"
        else:
            shown = state
        reserved = 0 if container.max_bytes else int(beat.capacity_bytes * RESERVED)
        return Candidate(
            name=container.id,
            zone=container.zone,
            labels=tuple(sorted(container.labels.items())),
            weight=container.weight,
            capacity_bytes=beat.capacity_bytes,
            free_bytes=max(beat.free_bytes - reserved, 0),
            stored_bytes=site.held.size + sum(size for _, size in site.written),
            max_bytes=container.max_bytes,
            takes_blobs=shown == "active",
            state=shown,
            annual_failure_rate=container.annual_failure_rate or USUAL_FAILURE_RATE,
            write_bandwidth=container.write_bandwidth
            or figures.bandwidth("write")
            or beat.write_bandwidth
            or USUAL_BANDWIDTH,
            read_bandwidth=container.read_bandwidth
            or figures.bandwidth("read")
            or beat.read_bandwidth
            or USUAL_BANDWIDTH,
            popularity=float(figures.reads),
        )


_NO_BEAT = Beat("", from_microseconds(0))
