"""Drafts: datasets that nobody finds until one document write shows them with all that is in them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

from measurand.core.arrays.blocks import BLOCKS, block_of
from measurand.core.arrays.documents import ARRAYS, STAGED, array_of
from measurand.core.catalogs import Catalogs
from measurand.core.dataset_documents import (
    DATASETS,
    DRAFTED,
    REVISIONS,
    Dataset,
    Note,
    dataset_document,
    dataset_of,
    require_shown,
)
from measurand.core.datasets import Datasets
from measurand.core.file_documents import FILES, file_of
from measurand.core.filters.tree import Compare
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.names import DatasetName, parse_dataset
from measurand.core.ports import Document, DocumentStore, Position
from measurand.core.principal import Principal
from measurand.core.times import microseconds
from measurand.core.ulid import make_ulid
from measurand.core.uploads import UPLOADS
from measurand.core.view import Scalar
from measurand.wire.errors import Contention

__all__ = ["Drafts"]

AT_ONCE = 100
TICK = timedelta(microseconds=1)


class Drafts:
    """Commits drafts, and ends those that were left alone."""

    def __init__(
        self,
        documents: DocumentStore,
        catalogs: Catalogs,
        datasets: Datasets,
        means: Means,
        limits: Limits,
    ) -> None:
        self._documents = documents
        self._catalogs = catalogs
        self._datasets = datasets
        self._means = means
        self._limits = limits

    async def commit(self, principal: Principal, name: DatasetName) -> Dataset:
        """Show a draft with all that was put into it; it is then at its first revision. Doing it again changes nothing.

        Raises
        ------
        NotFound
            RESOURCE_NOT_FOUND: there is no such dataset, or the draft has expired. RESOURCE_DELETED.
        """
        await self._catalogs.require(principal, name.parent)
        for _ in range(self._limits.max_retries):
            current = require_shown(await self._documents.fetch(DATASETS, str(name)), name, self._means.now())
            before = dataset_of(current)
            if not before.is_draft:
                return before
            committed = await self._committed(current, before)
            # The commit point: before it nobody finds any of it, after it everybody all of it.
            stored = await self._documents.replace(DATASETS, committed, expected_revision=current.revision)
            if stored is not None:
                await self._forget_past(name, dataset_of(stored))
                return dataset_of(stored)
        raise Contention(f"{name}: others kept changing the draft; try again", retry_seconds=0.1, resource=name)

    async def expire(self) -> int:
        """Remove the drafts that nothing was put into for the lifetime of an upload, and return how many."""
        await self._datasets.purging.forget_drafts()
        since = self._means.now() - self._limits.upload_lifetime
        old = Compare(DRAFTED, "<=", Scalar("t", microseconds(since)))
        expired = 0
        after: Position | None = None
        while True:
            found = await self._documents.find(DATASETS, where=old, after=after, limit=AT_ONCE)
            for item in found:
                if not await self._is_touched(parse_dataset(item.document.key), since):
                    # Only as it was found: a draft that is committed or changed just now stays.
                    expired += await self._datasets.purging.purge_at(parse_dataset(item.document.key), item.document)
            if len(found) < AT_ONCE:
                return expired
            after = found[-1].position

    async def _committed(self, current: Document, before: Dataset) -> Document:
        """Return the document of the dataset that a draft becomes.

        It is made anew as far as its history goes: what it was as a draft is not of it, since `created` differs. It
        keeps the request that made the draft, so that a repetition finds the dataset.
        """
        created = max(self._means.now(), before.create_time + TICK)
        after = replace(before, is_draft=False, revision=1, create_time=created, update_time=created)
        view = await self._datasets.reader.view(current.text)
        document = dataset_document(after, view, Note(before.creator), None)
        first = await self._datasets.history.first(current)
        request = first.body["request"] if first is not None else None
        return replace(document, body={**document.body, "request": request, "stored": current.revision + 1})

    async def _forget_past(self, name: DatasetName, committed: Dataset) -> None:
        """Remove what the dataset was as a draft. What a crash leaves is known by its time."""
        created = microseconds(committed.create_time)
        while True:
            found = await self._documents.find(REVISIONS, scopes=[str(name)], limit=AT_ONCE, with_text=False)
            past = [item.document for item in found if item.document.body["created"] != created]
            gone = await asyncio.gather(
                *(self._documents.remove(REVISIONS, one.key, expected_revision=one.revision) for one in past)
            )
            if len(found) < AT_ONCE or not any(gone):
                return

    async def _is_touched(self, name: DatasetName, since: datetime) -> bool:
        """Tell whether anything was put into the draft since."""
        running = Compare("expires", ">", Scalar("t", microseconds(since + self._limits.upload_lifetime)))
        for collection in (UPLOADS, STAGED):
            if await self._documents.count(collection, scopes=[str(name)], where=running, most=1):
                return True
        for collection, is_newer in ((FILES, _is_newer_file), (ARRAYS, _is_newer_array), (BLOCKS, _is_newer_block)):
            after: Position | None = None
            while found := await self._documents.find(collection, scopes=[str(name)], after=after, limit=AT_ONCE):
                if any(is_newer(item.document, since) for item in found):
                    return True
                after = found[-1].position
        return False


def _is_newer_file(document: Document, since: datetime) -> bool:
    return file_of(document).create_time > since


def _is_newer_array(document: Document, since: datetime) -> bool:
    return array_of(document).update_time > since


def _is_newer_block(document: Document, since: datetime) -> bool:
    # Chunks are written without a word in the array's document; but their blobs are called by the time.
    blobs = (entry.blob.rpartition("/")[2] for entry in block_of(document).entries.values())
    return max(blobs, default="") > make_ulid(since, bytes).lower()
