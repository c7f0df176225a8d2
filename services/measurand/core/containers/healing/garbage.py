"""Garbage in containers: parts that the placement of their blob does not name.

They are left by writers that died, by containers that were away when a blob was removed or its part made anew
elsewhere, and by whoever moves parts and dies before the last step.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from typing import Protocol

from measurand.core.blob_rules import closing
from measurand.core.containers.placements import PARTS, PLACEMENTS, Placement, Placements, blob_of, placement_of
from measurand.core.containers.rewrites import being_written
from measurand.core.containers.sites import Sites
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.naming import forget, is_named
from measurand.core.ports import BlobStore, DocumentStore, StoredBlob
from measurand.core.suspects import Suspects
from measurand.wire.errors import MeasurandError

__all__ = ["Garbage", "Take"]

logger = logging.getLogger(__name__)

AT_ONCE = 500
PROBES = "probes/"
"""What is left of looks at whether a container works."""

Take = Callable[[str, int], None]
"""Hears of something that is thrown away, or would be: its name and its bytes."""


class _Sure(Protocol):
    def __call__(self, key: str, /) -> bool:
        """Tell whether something may go that looks like garbage."""
        ...


class Garbage:
    """Looks for garbage and removes it.

    Parameters
    ----------
    blobs : BlobStore
        All blobs, whether documents name them or not.
    """

    def __init__(
        self,
        documents: DocumentStore,
        blobs: BlobStore,
        placements: Placements,
        sites: Sites,
        means: Means,
        limits: Limits,
    ) -> None:
        self._documents = documents
        self._blobs = blobs
        self._placements = placements
        self._sites = sites
        self._means = means
        self._grace = limits.blob_grace
        self._suspects: dict[str, Suspects] = {}
        self.collected_parts = 0
        """So many this process has thrown away."""
        self.collected_bytes = 0

    async def run_once(self) -> int:
        """Look at all parts once, remove those that looked like garbage a grace time ago too, and return how many.

        Safe to run in several processes at once. Containers that are away come when they are back.
        """
        removed: list[str] = []
        for name in list(self._sites.all):
            if self._sites.state(name) == "down":
                continue
            suspects = self._suspects.setdefault(
                name, Suspects(self._grace.total_seconds(), monotonic=self._means.monotonic)
            )
            suspects.begin_pass()
            try:
                await self._collect(name, suspects.may_go, lambda key, _: removed.append(key), is_dry=False)
            except MeasurandError as error:
                logger.warning("event=garbage_left container=%s message=%s", name, error)
            else:
                suspects.end_pass()
        for name in self._suspects.keys() - self._sites.all.keys():
            del self._suspects[name]
        return len(removed)

    async def collect_now(self, take: Take, only: Collection[str] = (), *, is_dry: bool) -> None:
        """Remove whatever is garbage and older than the grace time, blobs as well as parts.

        Parameters
        ----------
        only : collection of str
            Parts in these containers. Empty: in all, and blobs that no document names.
        is_dry : bool
            Only tell.
        """
        if not only:
            await self._collect_blobs(take, is_dry=is_dry)
        for name in sorted(only or self._sites.all):
            if self._sites.state(name) != "down":
                await self._collect(name, lambda _: True, take, is_dry=is_dry)

    async def _collect_blobs(self, take: Take, *, is_dry: bool) -> None:
        blobs = self._blobs
        async with closing(blobs.scan()) as found:
            async for blob in found:
                if not self._is_old(blob) or await is_named(self._documents, blob.key):
                    continue
                take(blob.key, blob.size)
                if not is_dry:
                    await forget(self._documents, blob.key)
                    await (blobs.discard(blob.key) if blob.staged else blobs.delete(blob.key))

    async def _collect(self, container: str, is_sure: _Sure, take: Take, *, is_dry: bool) -> None:
        """Go over the parts in one container."""
        store = self._sites.store(container)
        async for page in self._pages(container, store):
            for stored in await self._orphans(container, page):
                if not is_sure(stored.key):
                    continue
                take(f"{container}/{stored.key}", stored.size)
                if is_dry:
                    continue
                await (store.discard(stored.key) if stored.staged else store.delete(stored.key))
                self.collected_parts += 1
                self.collected_bytes += stored.size

    async def _pages(self, container: str, store: BlobStore) -> AsyncIterator[Sequence[StoredBlob]]:
        """Yield what is old enough, some at a time."""
        is_home = self._sites.all[container].container.kind == "home"
        for prefix in (PARTS,) if is_home else (PARTS, PROBES):
            page: list[StoredBlob] = []
            async with closing(store.scan(prefix)) as found:
                async for stored in found:
                    if self._is_old(stored):
                        page.append(stored)
                    if len(page) == AT_ONCE:
                        yield page
                        page = []
            yield page

    async def _orphans(self, container: str, page: Sequence[StoredBlob]) -> Sequence[StoredBlob]:
        blobs = {stored.key: blob_of(stored.key) for stored in page if stored.key.startswith(PARTS)}
        keys = sorted({blob for blob in blobs.values() if blob is not None})
        documents = await self._documents.fetch_many(PLACEMENTS, keys) if keys else {}
        known: Mapping[str, Placement] = {key: placement_of(document) for key, document in documents.items()}
        orphans: list[StoredBlob] = []
        for stored in page:
            blob = blobs.get(stored.key)
            placement = known.get(blob) if blob is not None else None
            if blob is None and stored.key in blobs:
                placement = await self._placements.of_part(stored.key)
            if placement is None or not _names(placement, container, stored.key):
                orphans.append(stored)
        spared = await being_written(self._documents, self._means, [one.key for one in orphans if one.key in blobs])
        return [one for one in orphans if one.key not in spared]

    def _is_old(self, stored: StoredBlob) -> bool:
        return self._means.now() - stored.modified_time >= self._grace


def _names(placement: Placement, container: str, key: str) -> bool:
    return any(part.key == key and part.container == container for part in placement.parts)
