"""How many uploads are begun and not finished: counted now and then, for the metrics."""

from __future__ import annotations

from measurand.core.filters.tree import Compare
from measurand.core.ports import DocumentStore
from measurand.core.uploads import UPLOADS, UploadState
from measurand.core.view import Scalar

__all__ = ["OpenUploads"]

MOST = 10_000
"""Not counted any further: more than that tells nothing new, and would be asked for again and again."""


class OpenUploads:
    """The uploads of all servers over one store."""

    def __init__(self, documents: DocumentStore) -> None:
        self._documents = documents
        self._counted: int | None = None

    async def count(self) -> int:
        """Count them anew, and return how many there are."""
        self._counted = None  # should the store not answer, an old number must not stand for it
        unfinished = Compare("state", "=", Scalar("s", UploadState.OPEN.value))
        self._counted = await self._documents.count(UPLOADS, where=unfinished, most=MOST)
        return self._counted

    def last(self) -> int | None:
        """Return how many there were when they were last counted; None if that failed or was never done."""
        return self._counted
