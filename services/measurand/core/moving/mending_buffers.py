"""Taking away from a copy what is ahead of the heads of buffers in it.

Heads are looked at before what moves out of them (see `copying`), so the copy of the latter may know of records, events
and windows that the copy of the head has not had yet. Its next records would take the place of those.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from measurand.core.buffers.batches import BATCHES, batch_of
from measurand.core.buffers.documents import BUFFERS, SEGMENTS, head_of, index_document, index_of
from measurand.core.buffers.heads import Head
from measurand.core.buffers.remembering import EVENTS, MEMORIES
from measurand.core.dataset_documents import DATASETS
from measurand.core.moving.contents import content_of
from measurand.core.moving.lines import walk
from measurand.core.ports import Document, DocumentStore

__all__ = ["mend_buffers"]

MENDED = (BATCHES, SEGMENTS, EVENTS, MEMORIES)


async def mend_buffers(documents: DocumentStore) -> int:
    """Remove what is too much from a store that nobody serves, and return how many documents that were."""
    removed = 0
    for collection in MENDED:
        async for batch in walk(documents, collection, content_of(collection).at_once):
            names = list(dict.fromkeys(document.scope for document in batch))
            found = await documents.fetch_many(BUFFERS, names)
            heads = {name: head_of(document) for name, document in found.items()}
            for document in batch:
                head = heads.get(document.scope)
                if head is not None and head.uid == document.body["uid"]:
                    removed += await _mend(documents, collection, document, head)
                elif collection in (EVENTS, MEMORIES):
                    removed += await documents.remove(collection, document.key)
    return removed


async def _mend(documents: DocumentStore, collection: str, document: Document, head: Head) -> int:
    if collection == SEGMENTS:
        index = index_of(document)
        kept = tuple(segment for segment in index.segments if segment.first < head.next_sequence)
        if len(kept) == len(index.segments):
            return 0
        if kept:
            shorter = replace(index_document(replace(index, segments=kept)), key=document.key)
            await documents.replace(SEGMENTS, shorter, expected_revision=document.revision)
            return 1
    elif not _is_ahead(collection, document, head):
        return 0
    elif collection == BATCHES and (dataset := batch_of(document).dataset) is not None:
        await documents.remove(DATASETS, str(dataset))  # of a window that is still open here
    return int(await documents.remove(collection, document.key))


def _is_ahead(collection: str, document: Document, head: Head) -> bool:
    body: Mapping[str, Any] = document.body
    if collection == BATCHES:
        return batch_of(document).window >= head.window
    if collection == EVENTS:
        return int(body["number"]) >= head.next_event
    kind, kept = str(body["kind"]), body["kept"]
    if kind == "i":
        return int(kept[0]) >= head.next_sequence
    if kind == "r":
        return int(kept[1]) + int(kept[2]) > head.next_sequence
    runs: Sequence[Sequence[int]] = kept[3]
    return any(first + count > head.next_sequence for _, first, count, _ in runs)
