"""Counts that follow by themselves: the files and arrays of each dataset, and what each catalog holds.

A change of a file or an array is in the store before anybody counts it. This job follows the changes of the store,
counts what they touched anew, and only then notes how far it came; so a crash makes it count once more, never miss
anything. Counting anew, not adding up, is what makes it exact.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from measurand.core.arrays.blocks import BLOCKS
from measurand.core.arrays.documents import ARRAYS, STAGED
from measurand.core.buffers.batches import KIND, find_batch
from measurand.core.buffers.documents import BUFFERS, head_of
from measurand.core.buffers.standing import GONE
from measurand.core.catalog_documents import CATALOGS
from measurand.core.dataset_documents import DATASETS, Dataset, dataset_of, dataset_view, is_purging, recounted_document
from measurand.core.file_documents import FILES
from measurand.core.filters.tree import Exists, Not
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.metadata import MetadataReader
from measurand.core.ports import Document, DocumentStore, Position
from measurand.core.usage import count_usage, keep_usage
from measurand.wire.errors import HistoryTrimmed

__all__ = ["Counters"]

FOLLOWERS = "followers"
"""The collection of how far each follower of changes came: key the collection that it follows."""

COUNTED = (FILES, ARRAYS, STAGED, BLOCKS)
"""The collections whose changes change what a dataset holds."""

CHANGES_AT_ONCE = 1000
SCOPES_AT_ONCE = 1000
HEADS_AT_ONCE = 100
TRIES = 10
IDLE_SECONDS = 5.0
REST = 20
"""Counting a catalog takes the longer the more it holds: the job rests so many times as long as it counted."""
SHORTEST_REST_SECONDS, LONGEST_REST_SECONDS = 0.5, 45.0


class Counters:
    """Keeps `file_count`, `array_count` and `stored_bytes` of datasets, and the usage of catalogs.

    Several processes may run it over one store: they do the same work twice and get the same numbers.
    """

    def __init__(self, documents: DocumentStore, means: Means, limits: Limits) -> None:
        self._documents = documents
        self._reader = MetadataReader(means, limits)
        self._means = means
        self._right_at: float | None = None

    def lag(self) -> float | None:
        """Return how many seconds ago the last moment was that all counts are right for; None: not known yet."""
        return None if self._right_at is None else self._means.monotonic() - self._right_at

    async def run(self) -> None:
        """Follow the changes until it is cancelled. What a store raises ends it; starting it again loses nothing."""
        self._right_at = None
        while True:
            newest = await self._documents.changes(FILES, after=None)
            started = self._means.monotonic()
            await self.run_once()
            self._right_at = started
            took = self._means.monotonic() - started
            await asyncio.sleep(min(max(REST * took, SHORTEST_REST_SECONDS), LONGEST_REST_SECONDS))
            await self._documents.changes(FILES, after=newest.token, limit=1, wait_seconds=IDLE_SECONDS)

    async def run_once(self) -> int:
        """Count all that was touched since the last time, and return how many datasets and catalogs that were."""
        counted = 0
        for collection in COUNTED:
            counted += await self._follow(collection, DATASETS, self._recount_dataset)
        # Behind the datasets, so that what was just counted in them is in the sums.
        for collection in (DATASETS, BUFFERS):
            counted += await self._follow(collection, CATALOGS, self._recount_catalog)
        return counted

    async def _follow(self, collection: str, scopes: str, recount: Callable[[str], Awaitable[None]]) -> int:
        """Recount what the changes of a collection lie in: documents of another one, whose keys are their scopes."""
        counted = 0
        while True:
            kept = await self._documents.fetch(FOLLOWERS, collection)
            since = None if kept is None else str(kept.body["token"])
            try:
                touched, token = await self._touched(collection, since)
            except HistoryTrimmed:
                since = None
                touched, token = await self._touched(collection, None)
            if since is None:
                counted += await self._recount_all(scopes, recount)
            for scope in touched:
                await recount(scope)
            counted += len(touched)
            if token != since:
                await self._note(collection, kept, token)
            if len(touched) < SCOPES_AT_ONCE:
                return counted

    async def _touched(self, collection: str, since: str | None) -> tuple[list[str], str]:
        """Return what the next changes lie in, each once, and the token to go on with."""
        touched: dict[str, None] = {}
        while True:
            found = await self._documents.changes(collection, after=since, limit=CHANGES_AT_ONCE)
            touched |= dict.fromkeys(change.scope for change in found.changes)
            since = found.token
            if len(found.changes) < CHANGES_AT_ONCE or len(touched) >= SCOPES_AT_ONCE:
                return list(touched), since

    async def _note(self, collection: str, kept: Document | None, token: str) -> None:
        """Note how far this came. Another process may be ahead by now: its word stays."""
        document = Document(collection, "", {"token": token})
        if kept is None:
            await self._documents.insert_many(FOLLOWERS, [document])
        else:
            await self._documents.replace(FOLLOWERS, document, expected_revision=kept.revision)

    async def _recount_all(self, collection: str, recount: Callable[[str], Awaitable[None]]) -> int:
        """Recount everything: nobody knows what was touched."""
        counted = 0
        after: Position | None = None
        while found := await self._documents.find(collection, after=after, limit=500, with_text=False):
            for item in found:
                await recount(item.document.key)
            counted += len(found)
            after = found[-1].position
        return counted

    async def _recount_dataset(self, name: str) -> None:
        for _ in range(TRIES):
            current = await self._documents.fetch(DATASETS, name)
            if current is None or is_purging(current):
                return
            dataset = dataset_of(current)
            files = await self._documents.total(FILES, "size", scopes=[name])
            arrays = await self._documents.count(ARRAYS, scopes=[name])
            size = files.total + await self._array_bytes(name) + await self._batch_bytes(dataset)
            if (dataset.file_count, dataset.array_count, dataset.stored_bytes) == (files.count, arrays, size):
                return
            new = replace(dataset, file_count=files.count, array_count=arrays, stored_bytes=size)
            view = dataset_view(new, await self._reader.view(current.text))
            document = recounted_document(current, view, files.count, arrays, size)
            # Then once more, whether or not it came about: a slower process may have counted earlier and written later.
            await self._documents.replace(DATASETS, document, expected_revision=current.revision)

    async def _array_bytes(self, name: str) -> int:
        """Return how many bytes the chunks of a dataset have, without those of arrays that are gone.

        While these are being removed the sum may be off; counted once more when their records have gone, it is not.
        """
        chunks = await self._documents.total(BLOCKS, "size", scopes=[name])
        gone = await self._documents.total(STAGED, "size", scopes=[name])
        return max(chunks.total - gone.total, 0)

    async def _batch_bytes(self, dataset: Dataset) -> int:
        """Return how many bytes the records of a batch have; they are sealed before they are one."""
        if dataset.kind != KIND:
            return 0
        batch = await find_batch(self._documents, dataset.name)
        return 0 if batch is None else batch.size

    async def _recount_catalog(self, name: str) -> None:
        usage = await count_usage(self._documents, name)
        size = usage.stored_bytes + await self._open_bytes(name)
        await keep_usage(self._documents, name, replace(usage, stored_bytes=size))

    async def _open_bytes(self, catalog: str) -> int:
        """Return the bytes of records that are in no batch yet: of open and frozen windows, and of closing ones."""
        total, where = 0, Not(Exists(GONE))
        after: Position | None = None
        while found := await self._documents.find(
            BUFFERS, scopes=[catalog], where=where, after=after, limit=HEADS_AT_ONCE, with_text=False
        ):
            after = found[-1].position
            for head in (head_of(item.document) for item in found):
                total += head.window_counted + sum(one.counted for one in head.closing if one.dataset)
        return total
