"""Garbage: blobs that no document names, left by crashes, aborted uploads, purged datasets, superseded files."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.naming import forget, is_named
from measurand.core.ports import BlobStore, DocumentStore, StoredBlob
from measurand.core.suspects import Suspects

__all__ = ["Collected", "Collector"]


@dataclass(frozen=True, slots=True)
class Collected:
    """What one pass has seen.

    Parameters
    ----------
    orphans : int
        Blobs older than the grace time that nobody names.
    removed, removed_bytes : int
        Those of them that were removed: they had been orphans in an earlier pass too.
    """

    scanned: int = 0
    orphans: int = 0
    removed: int = 0
    removed_bytes: int = 0


class Collector:
    """Removes what nobody names, never what somebody is about to name.

    A blob is removed when it is older than the grace time and two looks, a grace time of this process's own running
    time apart, found it named by nobody. Whoever is slow to name a blob (half the grace time) writes it again.
    """

    def __init__(self, documents: DocumentStore, blobs: BlobStore, means: Means, limits: Limits) -> None:
        self._documents = documents
        self._blobs = blobs
        self._means = means
        self._grace = limits.blob_grace
        self._suspects = Suspects(self._grace.total_seconds(), monotonic=means.monotonic)

    async def run_once(self) -> Collected:
        """Look at every blob once and remove the orphans that may go. Safe to run in several processes at once."""
        scanned = orphans = removed = removed_bytes = 0
        self._suspects.begin_pass()
        async for blob in self._blobs.scan():
            scanned += 1
            if self._means.now() - blob.modified_time < self._grace or await is_named(self._documents, blob.key):
                continue
            orphans += 1
            if not self._suspects.may_go(blob.key):
                continue
            await self._remove(blob)
            removed, removed_bytes = removed + 1, removed_bytes + blob.size
            await asyncio.sleep(0)
        self._suspects.end_pass()
        return Collected(scanned, orphans, removed, removed_bytes)

    async def _remove(self, blob: StoredBlob) -> None:
        await forget(self._documents, blob.key)
        await (self._blobs.discard(blob.key) if blob.staged else self._blobs.delete(blob.key))
