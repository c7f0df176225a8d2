"""Removing datasets and catalogs for good. Every step can be repeated, so a crash between two of them costs nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

from measurand.core.catalog_documents import CATALOG_HISTORY, CATALOGS
from measurand.core.dataset_documents import (
    DATASETS,
    DRAFTED,
    PURGES,
    REVISIONS,
    is_draft,
    is_purging,
    purging_document,
)
from measurand.core.filters.tree import And, Compare, Exists, Filter, Not
from measurand.core.means import Means
from measurand.core.names import CatalogName, DatasetName, parse_catalog, parse_dataset
from measurand.core.ports import Document, DocumentStore
from measurand.core.requests import fixed_view
from measurand.core.times import microseconds
from measurand.core.usage import USAGES
from measurand.core.view import Scalar

__all__ = ["GONE_DRAFTS", "Also", "AlsoOfCatalog", "Purging"]

PARTS = ("files", "superseded", "uploads", "arrays", "staged_arrays", "array_chunks")
"""What lies in datasets. The blobs that these documents name are garbage then, and are collected as such."""

GONE_DRAFTS = "gone_drafts"
"""The collection of drafts that went and were never shown: key the name, scope the catalog."""

GONE_FOR = timedelta(days=7)
"""No watch goes on from further back than that."""

BATCH = 200
AT_ONCE = 16
"""Datasets that are purged beside each other, so that they share durable writes."""


Also = Callable[[DatasetName], Awaitable[None]]
"""Removes what else there is of a dataset that goes. May be called again."""

AlsoOfCatalog = Callable[[CatalogName], Awaitable[None]]
"""Removes what lies in a catalog beside its datasets, before those go. May be called again."""


class Purging:
    """Removes datasets and catalogs with all that is in them.

    Parameters
    ----------
    also : sequence of callable
        Remove what lies elsewhere than in documents.
    also_of_catalog : sequence of callable
        Remove what lies in catalogs beside datasets.
    """

    def __init__(
        self,
        documents: DocumentStore,
        means: Means,
        *,
        also: Sequence[Also] = (),
        also_of_catalog: Sequence[AlsoOfCatalog] = (),
    ) -> None:
        self._documents = documents
        self._means = means
        self._also = also
        self._also_of_catalog = also_of_catalog

    async def purge(self, name: DatasetName) -> bool:
        """Remove a dataset, whatever its state, and tell whether there was one.

        It is marked first: from then on nobody sees it or adds to it. Its document goes last, so that a purge which a
        crash cut short is found and finished.
        """
        while (current := await self._documents.fetch(DATASETS, str(name))) is not None:
            if await self.purge_at(name, current):
                return True
        return False

    async def purge_expired(self) -> int:
        """Remove the deleted datasets and catalogs whose time is over, and return how many."""
        purged = 0
        over = await self._over(DATASETS)
        for start in range(0, len(over), AT_ONCE):
            part = over[start : start + AT_ONCE]
            purged += sum(await asyncio.gather(*(self.purge_at(parse_dataset(one.key), one) for one in part)))
        for document in await self._over(CATALOGS):
            purged += await self._purge_catalog(document)
        return purged

    async def purge_at(self, name: DatasetName, current: Document) -> bool:
        """Remove a dataset if it is still as in `current`. False: it has changed, and stays."""
        if not is_purging(current):
            marked = await self._documents.replace(
                DATASETS, purging_document(current, self._means.now()), expected_revision=current.revision
            )
            if marked is None:
                return False
            current = marked
        await self._keep_quiet(current)
        for remove in self._also:
            await remove(name)
        for collection in (*PARTS, REVISIONS):
            await self._empty(collection, str(name))
        return await self._documents.remove(DATASETS, str(name), expected_revision=current.revision)

    async def _keep_quiet(self, current: Document) -> None:
        """Remember the name of a draft, so that no watch tells of a removal of what it never told of."""
        if not is_draft(current):
            await self._documents.remove(GONE_DRAFTS, current.key)  # of a draft that had the name before
            return
        expires = microseconds(self._means.now() + GONE_FOR)
        document = Document(current.key, current.scope, {"expires": expires}, view=fixed_view(expires))
        await self._documents.insert_many(GONE_DRAFTS, [document])

    async def forget_drafts(self) -> int:
        """Forget the names of drafts that went long ago, and return how many."""
        now = Scalar("t", microseconds(self._means.now()))
        found = await self._documents.find(GONE_DRAFTS, where=Compare("expires", "<=", now), limit=1000)
        for item in found:
            await self._documents.remove(GONE_DRAFTS, item.document.key)
        return len(found)

    async def _purge_catalog(self, current: Document) -> bool:
        """Remove what a catalog holds, and then the catalog. Its own time is over, so it cannot come back meanwhile."""
        for remove in self._also_of_catalog:
            await remove(parse_catalog(current.key))
        while found := await self._documents.find(DATASETS, scopes=[current.key], limit=AT_ONCE, with_text=False):
            await asyncio.gather(*(self.purge(parse_dataset(item.document.key)) for item in found))
        await self._empty(CATALOG_HISTORY, current.key)
        await self._documents.remove(USAGES, current.key)
        return await self._documents.remove(CATALOGS, current.key, expected_revision=current.revision)

    async def _over(self, collection: str) -> Sequence[Document]:
        now = Scalar("t", microseconds(self._means.now()))
        # Drafts stand there as over, so that nothing finds them; only `expire` of drafts ends them.
        where: Filter = And((Compare(PURGES, "<=", now), Not(Exists(DRAFTED))))
        return [
            item.document for item in await self._documents.find(collection, where=where, limit=1000, with_text=False)
        ]

    async def _empty(self, collection: str, scope: str) -> None:
        while found := await self._documents.find(collection, scopes=[scope], limit=BATCH, with_text=False):
            # Together, so that a store can share one durable write among them.
            await asyncio.gather(*(self._documents.remove(collection, item.document.key) for item in found))
