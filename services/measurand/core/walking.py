"""All documents of a deployment, one after the other, read as what they are: what cannot be read is told of."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from measurand.core.arrays.blocks import BLOCKS, block_key, block_of
from measurand.core.arrays.documents import ARRAYS, STAGED, array_of
from measurand.core.buffers.batches import BATCHES, batch_of
from measurand.core.buffers.documents import BUFFERS, SEGMENTS, event_of, head_of, index_of
from measurand.core.buffers.heads import Segment
from measurand.core.buffers.remembering import EVENTS
from measurand.core.buffers.standing import is_gone
from measurand.core.catalog_documents import CATALOGS, catalog_of
from measurand.core.containers.documents import CONTAINERS, container_of
from measurand.core.containers.placements import PLACEMENTS, placement_of
from measurand.core.dataset_documents import DATASETS, REVISIONS, dataset_of, is_purging, revision_of
from measurand.core.file_documents import FILES, SUPERSEDED, file_of
from measurand.core.means import Means
from measurand.core.operations.documents import OPERATIONS, operation_of
from measurand.core.ports import Document, DocumentStore, Position
from measurand.core.registry.documents import REGISTRATIONS, registration_of
from measurand.core.uploads import UPLOADS, upload_of
from measurand.wire.documents import decode, text_bytes
from measurand.wire.errors import DataLoss, MeasurandError

__all__ = ["COLLECTIONS", "Unreadable", "Walk", "shown"]

PAGE = 500
GROUP = 200
GROUP_BYTES = 8 << 20
"""So much metadata is in memory at once."""

WITH_METADATA = (DATASETS, REVISIONS)

_NONSENSE = (ValueError, TypeError, LookupError, AttributeError, AssertionError, ArithmeticError)
"""What taking apart raises what is not as it was written."""
_LOST = (DataLoss, *_NONSENSE)
_WRONG = (MeasurandError, *_NONSENSE)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A document, or all from some place on, that the store does not give or that says nothing sensible."""

    collection: str
    key: str
    why: str


class Walk:
    """Goes over collections without changing them, beside those who do.

    Parameters
    ----------
    tell : callable
        Called with each document that cannot be read; those are left out.
    """

    def __init__(self, documents: DocumentStore, means: Means, tell: Callable[[Unreadable], None]) -> None:
        self._documents = documents
        self._means = means
        self._tell = tell

    async def over(self, collection: str) -> AsyncIterator[Sequence[Document]]:
        """Yield the documents of a collection that can be read, some at a time, without their texts."""
        after: Position | None = None
        limit = PAGE
        while True:
            try:
                found = await self._documents.find(collection, after=after, limit=limit, with_text=False)
            except _LOST as error:
                if limit > 1:  # come as near to it as possible
                    limit = 1
                    continue
                place = f"what comes after {shown(after.key)}" if after else "the first document"
                self._tell(Unreadable(collection, place, f"{_why(error)}; so is, perhaps, all that comes behind"))
                return
            if not found:
                return
            after = found[-1].position
            readable = [item.document for item in found if self._is_sound(collection, item.document)]
            if collection in WITH_METADATA:
                await self._read_texts(collection, readable)
            yield readable

    async def _read_texts(self, collection: str, documents: Sequence[Document]) -> None:
        for group in _groups(documents):
            try:
                found = await self._documents.fetch_many(collection, group)
            except _LOST:
                found = {}
                for key in group:
                    try:
                        document = await self._documents.fetch(collection, key)
                    except _LOST as error:
                        self._tell(Unreadable(collection, shown(key), _why(error)))
                    else:
                        found |= {key: document} if document else {}
            for key, why in await self._means.in_thread(_wrong_texts, list(found.values())):
                self._tell(Unreadable(collection, shown(key), why))

    def _is_sound(self, collection: str, document: Document) -> bool:
        try:
            READERS[collection](document)
        except _WRONG as error:
            self._tell(Unreadable(collection, shown(document.key), _why(error)))
            return False
        return True


def _dataset(document: Document) -> None:
    if not is_purging(document):
        dataset_of(document)


def _revision(document: Document) -> None:
    revision_of(replace(document, key=document.scope))


def _file(document: Document) -> None:
    file = file_of(document)
    there = sum(extent.size for extent in file.extents)
    if there != file.size:
        raise ValueError(f"the file has {file.size} bytes and its pieces {there}")


def _array(document: Document) -> None:
    array = array_of(document)
    if not len(array.shape) == len(array.chunk_shape) == len(array.block_shape):
        raise ValueError("its shape, its chunks and its blocks have different numbers of axes")


def _block(document: Document) -> None:
    block = block_of(document)
    if document.key != block_key(block.uid, block.index):
        raise ValueError(f"it is of block {list(block.index)} of {block.uid}")


def _head(document: Document) -> None:
    if is_gone(document):
        return
    _segments(head_of(document).segments)


def _index(document: Document) -> None:
    _segments(index_of(document).segments)


def _segments(segments: Sequence[Segment]) -> None:
    for before, segment in pairwise(segments):
        if segment.first < before.end:
            raise ValueError(f"its segments overlap at {segment.first}")


def _event(document: Document) -> None:
    event_of(document.body)


READERS: Mapping[str, Callable[[Document], object]] = {
    CATALOGS: catalog_of,
    DATASETS: _dataset,
    REVISIONS: _revision,
    FILES: _file,
    SUPERSEDED: _file,
    UPLOADS: upload_of,
    ARRAYS: _array,
    STAGED: _array,
    BLOCKS: _block,
    BUFFERS: _head,
    SEGMENTS: _index,
    BATCHES: batch_of,
    EVENTS: _event,
    REGISTRATIONS: registration_of,
    OPERATIONS: operation_of,
    CONTAINERS: container_of,
    PLACEMENTS: placement_of,
}
COLLECTIONS = tuple(READERS)
"""What there is to walk over. The other collections hold notes that are made anew when they are lost."""


def _wrong_texts(documents: Sequence[Document]) -> list[tuple[str, str]]:
    return [(document.key, why) for document in documents if (why := _fault_of_text(document))]


def _fault_of_text(document: Document) -> str:
    if is_purging(document):
        return ""
    there, promised = text_bytes(document.text), document.body["metadata_bytes"]
    if there != promised:
        return f"its metadata has {there} bytes and should have {promised}"
    try:
        decode(document.text)
    except _WRONG as error:
        return f"its metadata cannot be read: {_why(error)}"
    return ""


def _groups(documents: Sequence[Document]) -> Sequence[Sequence[str]]:
    """Return keys in groups whose texts fit into memory together."""
    groups: list[list[str]] = [[]]
    size = 0
    for document in documents:
        promised = document.body.get("metadata_bytes")
        size += promised if isinstance(promised, int) else 0
        if groups[-1] and (size > GROUP_BYTES or len(groups[-1]) == GROUP):
            groups.append([])
            size = 0
        groups[-1].append(document.key)
    return groups if groups[-1] else ()


def shown(key: str) -> str:
    """Return a key as one line: that of an older generation has a NUL in it, and what is broken may have anything."""
    name, _, older = key.partition("\0")
    text = f"{name} (an older generation)" if older else name
    return text if text.isprintable() else json.dumps(text)


def _why(error: Exception) -> str:
    text = error.message if isinstance(error, MeasurandError) else str(error)
    return f"{type(error).__name__}: {text}" if isinstance(error, LookupError) or not text else text
