"""Taking away from a copy what relies on something that the copy does not have.

A copy whose collections are some milliseconds apart (see `copying`) never lacks what a document relies on, but it may
have too much: parts of what was purged meanwhile, the past of what is not there yet. The rules of core leave some of
this behind at a crash as well, where nobody sees it; here it would be taken for the past of a later change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from measurand.core.arrays.blocks import BLOCKS, block_of
from measurand.core.arrays.documents import ARRAYS, STAGED, array_of
from measurand.core.file_documents import FILES, SUPERSEDED, file_of
from measurand.core.history import integer
from measurand.core.moving.contents import CONTENTS, Content
from measurand.core.moving.lines import walk
from measurand.core.moving.mending_buffers import mend_buffers
from measurand.core.ports import Document, DocumentStore

__all__ = ["mend"]


async def mend(documents: DocumentStore) -> int:
    """Remove what is too much from a store that nobody serves, and return how many documents that were."""
    removed = await mend_buffers(documents)
    # Owners before what lies in them: catalogs lie in nothing, datasets in catalogs, all else in one of the two.
    for content in sorted(CONTENTS, key=lambda content: (content.owners != "catalogs", content.name)):
        if not content.owners:
            continue
        async for batch in walk(documents, content.name, content.at_once):
            for document in await _superfluous(documents, content, batch):
                removed += await documents.remove(content.name, document.key)
    return removed


async def _superfluous(documents: DocumentStore, content: Content, batch: Sequence[Document]) -> Sequence[Document]:
    scopes = list(dict.fromkeys(document.scope for document in batch))
    owners = await documents.fetch_many(content.owners, scopes)
    newest: Mapping[str, Document] = {}
    if content.name == SUPERSEDED:
        names = list(dict.fromkeys(str(file_of(document).name) for document in batch))
        newest = await documents.fetch_many(FILES, names)
    uids = await _uids(documents, batch) if content.name == BLOCKS else frozenset[str]()
    return [
        document
        for document in batch
        if (owner := owners.get(document.scope)) is None
        or (content.is_archive and not _is_past(document, owner))
        or (content.name == BLOCKS and document.body["uid"] not in uids)
        or (content.name == SUPERSEDED and not _is_older(document, newest.get(str(file_of(document).name))))
    ]


async def _uids(documents: DocumentStore, batch: Sequence[Document]) -> frozenset[str]:
    """Return the uids of the arrays that there are, of those that index documents are of."""
    blocks = [block_of(document) for document in batch]
    shown = await documents.fetch_many(ARRAYS, list({str(block.array) for block in blocks}))
    staged = await documents.fetch_many(STAGED, list({block.uid for block in blocks}))
    return frozenset({*staged, *(array_of(document).uid for document in shown.values())})


def _is_past(document: Document, owner: Document) -> bool:
    is_of = document.body["created"] == owner.body["created"]
    return is_of and integer(document.body, "revision") < integer(owner.body, "revision")


def _is_older(document: Document, newest: Document | None) -> bool:
    return newest is None or file_of(document).generation < file_of(newest).generation
