"""Closing the arrays of a sealed dataset, in three steps, each of which may be taken again.

1. The documents of the arrays say that they are sealed. What a writer names from now on is not acknowledged.
2. Every index document is marked, and does not change any more.
3. The documents of the arrays say so. From now on an index document without a mark is one that a late writer has begun
   behind the second step, and nobody looks at it. So nothing that anybody reads changes behind the end of `seal`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace

from measurand.core.arrays.blocks import BLOCKS, block_document, block_of
from measurand.core.arrays.documents import ARRAYS, array_document, array_of
from measurand.core.arrays.resizing import Resizing
from measurand.core.filters.tree import Compare
from measurand.core.means import Means
from measurand.core.names import DatasetName
from measurand.core.ports import Document, DocumentStore, Position
from measurand.core.times import microseconds
from measurand.core.view import Scalar
from measurand.wire.errors import ResourceInUse

__all__ = ["SealedArrays"]

AT_ONCE = 100


class SealedArrays:
    """What sealing asks of arrays; see `dataset_sealing.SealArrays`."""

    def __init__(self, documents: DocumentStore, resizing: Resizing, means: Means) -> None:
        self._documents = documents
        self._resizing = resizing
        self._means = means

    async def in_use(self, name: DatasetName) -> bool:
        """Tell whether any array of the dataset is being appended to."""
        now = Scalar("t", microseconds(self._means.now()))
        growing = Compare("growing", ">", now)
        return bool(await self._documents.count(ARRAYS, scopes=[str(name)], where=growing, most=1))

    async def seal(self, name: DatasetName, *, force: bool) -> None:
        """Close all arrays of a dataset that is sealed, and fence who appends to them. May be called again.

        Raises
        ------
        ResourceInUse
            RESOURCE_IN_USE: an array is being appended to, and `force` is not set.
        """
        if not force and await self.in_use(name):
            raise ResourceInUse(
                f"{name}: an array is being appended to; close the writer, or seal with `force`", resource=name
            )
        await self._mark(ARRAYS, name, self._sealed_array)
        await self._mark(BLOCKS, name, _sealed_block)
        await self._mark(ARRAYS, name, self._closed_array)

    async def _mark(self, collection: str, name: DatasetName, sealed: Callable[[Document], Document | None]) -> None:
        async for found in self._all(collection, name):
            document: Document | None = found
            while document is not None:
                if collection == ARRAYS and (array := array_of(document)).trim is not None:
                    await self._resizing.finish(array)
                    document = await self._documents.fetch(ARRAYS, document.key)
                    continue
                new = sealed(document)
                if new is None or await self._documents.replace(collection, new, expected_revision=document.revision):
                    break
                document = await self._documents.fetch(collection, document.key)

    async def _all(self, collection: str, name: DatasetName) -> AsyncIterator[Document]:
        after: Position | None = None
        while found := await self._documents.find(collection, scopes=[str(name)], after=after, limit=AT_ONCE):
            for item in found:
                yield item.document
            after = found[-1].position

    def _sealed_array(self, document: Document) -> Document | None:
        array = array_of(document)
        if array.is_sealed:
            return None
        now = self._means.now()
        new = replace(array, is_sealed=True, growing_until=None, version=array.version + 1, update_time=now)
        return array_document(new)

    def _closed_array(self, document: Document) -> Document | None:
        array = array_of(document)
        if array.has_sealed_index or not array.is_sealed:
            return None  # the latter came too late, and is about to be taken back
        return array_document(replace(array, has_sealed_index=True, update_time=self._means.now()))


def _sealed_block(document: Document) -> Document | None:
    block = block_of(document)
    return None if block.is_sealed else block_document(replace(block, is_sealed=True))
