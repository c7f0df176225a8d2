"""Writing documents into a store that is being filled, so that it comes to hold just what it shall."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from measurand.core.metadata import MetadataReader
from measurand.core.moving.contents import Content
from measurand.core.moving.lines import line_of
from measurand.core.moving.tally import Tally
from measurand.core.ports import Document, DocumentStore
from measurand.wire.errors import Contention

__all__ = ["Writing"]


class Writing:
    """Writes what differs.

    Parameters
    ----------
    reader : MetadataReader, optional
        Makes the views. None: the store will not be searched.
    """

    def __init__(self, documents: DocumentStore, reader: MetadataReader | None, tally: Tally) -> None:
        self._documents = documents
        self._reader = reader
        self._tally = tally

    async def reconcile(self, content: Content, wanted: Sequence[Document], there: Mapping[str, Document]) -> int:
        """Put what is wanted in the place of what is there, and return how many documents had to be changed.

        Raises
        ------
        Contention
            CONTENTION: somebody else writes to the store.
        """
        new: list[Document] = []
        changed: list[tuple[Document, int]] = []
        kept: set[str] = set()
        for document in wanted:
            present = there.get(document.key)
            if present is None or present.scope != document.scope:  # a purged namesake may have lain elsewhere
                new.append(document)
                continue
            kept.add(document.key)
            if line_of(present) != line_of(document):
                changed.append((document, present.revision))
        gone = there.keys() - kept
        for key in gone:
            await self._documents.remove(content.name, key)
        if new:
            documents = [await self._viewed(content, document) for document in new]
            if not all(await self._documents.insert_many(content.name, documents)):
                raise _disturbed()
        for document, revision in changed:
            viewed = await self._viewed(content, document)
            if await self._documents.replace(content.name, viewed, expected_revision=revision) is None:
                raise _disturbed()
        written = len(new) + len(changed) + len(gone)
        self._tally.written += written
        return written

    async def _viewed(self, content: Content, document: Document) -> Document:
        if self._reader is None:
            return document
        return replace(document, view=await content.view(document, self._reader))


def _disturbed() -> Contention:
    return Contention("another command writes to the target as well; wait for its end, then try again")
