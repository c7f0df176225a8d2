"""What one server of a fleet does for all containers: it looks whether those that do not tell of themselves are there,
and counts what placements say that each holds.
"""

from __future__ import annotations

import asyncio

from measurand.core.containers.containers import keep_beat
from measurand.core.containers.documents import COUNTS, Beat, Held, counts_document
from measurand.core.containers.placements import PLACEMENTS, held_path, in_container
from measurand.core.containers.sites import Place, Site, Sites
from measurand.core.means import Means
from measurand.core.ports import DocumentStore
from measurand.wire.errors import MeasurandError

__all__ = ["Upkeep"]

LOOK_SECONDS = 4.0
REST = 20
"""Counting takes the longer the more there is: it rests so many times as long as it counted."""


class Upkeep:
    """Beats for containers that cannot, and counts."""

    def __init__(self, documents: DocumentStore, sites: Sites, means: Means) -> None:
        self._documents = documents
        self._sites = sites
        self._means = means

    async def look(self) -> None:
        """Beat for each container that is reached by servers themselves and is there."""
        sites = [site for site in self._sites.all.values() if site.place is not None and site.place.look is not None]
        await asyncio.gather(*(self._look(site, site.place) for site in sites if site.place is not None))

    async def count(self) -> None:
        """Count what each container holds, then rest the longer the longer that took."""
        if self._sites.is_empty:
            return
        began, now = self._means.monotonic(), self._means.now()
        counts: dict[str, Held] = {}
        for name in list(self._sites.all):
            total = await self._documents.total(PLACEMENTS, held_path(name), where=in_container(name))
            counts[name] = Held(total.count, total.total)
        document = counts_document(counts, now)
        current = await self._documents.fetch(COUNTS, document.key)
        if current is None:
            await self._documents.insert_many(COUNTS, [document])
        else:
            await self._documents.replace(COUNTS, document, expected_revision=current.revision)
        await asyncio.sleep(REST * (self._means.monotonic() - began))

    async def _look(self, site: Site, place: Place) -> None:
        assert place.look is not None
        started = self._means.monotonic()
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                room = await place.look()
        except (MeasurandError, OSError, TimeoutError) as error:
            self._sites.note(site.container.id, "read", 0, self._means.monotonic() - started, error)
            return
        now, figures = self._means.now(), site.figures
        beat = Beat(
            site.container.uid,
            now,
            capacity_bytes=room.capacity_bytes,
            free_bytes=room.free_bytes,
            write_seconds=figures.latency("write"),
            read_seconds=figures.latency("read"),
            write_bandwidth=figures.bandwidth("write"),
            read_bandwidth=figures.bandwidth("read"),
            failure_rate=figures.failure_rate(self._means.monotonic()),
        )
        await keep_beat(self._documents, site.container.id, beat)
