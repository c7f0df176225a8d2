"""The files that share a blob, each proved by its own crc32c while the blob passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from measurand.core.file_documents import FILES, SUPERSEDED, file_of
from measurand.core.filters.tree import Compare
from measurand.core.means import Means
from measurand.core.ports import Buffer, DocumentStore
from measurand.core.view import Scalar

__all__ = ["Piece", "Pieces", "pieces_of"]

FILES_AT_ONCE = 500


@dataclass(slots=True)
class Piece:
    """The bytes of one file in a shared blob.

    Parameters
    ----------
    collection, key : str
        The file's document.
    offset, size : int
        Where they lie.
    crc32c : int
        What they were when they were stored.
    """

    collection: str
    key: str
    offset: int
    size: int
    crc32c: int
    passed: int = 0
    found: int = 0


async def pieces_of(documents: DocumentStore, blob_key: str) -> Sequence[Piece]:
    """Return the pieces of a blob that are a whole file each."""
    pieces: list[Piece] = []
    named = Compare("blob", "=", Scalar("s", blob_key))
    for collection in (FILES, SUPERSEDED):
        after = None
        while found := await documents.find(collection, where=named, after=after, limit=FILES_AT_ONCE):
            for item in found:
                file = file_of(item.document)
                if len(file.extents) == 1 and file.digests.crc32c is not None:
                    [extent] = file.extents
                    key, crc32c = item.document.key, file.digests.crc32c
                    pieces.append(Piece(collection, key, extent.offset, extent.size, crc32c))
            if len(found) < FILES_AT_ONCE:
                break
            after = found[-1].position
    return pieces


class Pieces:
    """Sums up each piece as the blob passes."""

    def __init__(self, pieces: Sequence[Piece], means: Means) -> None:
        self._pieces = sorted(pieces, key=lambda piece: piece.offset)
        self._means = means
        self._begun = 0
        self._running: list[Piece] = []
        self._position = 0

    def add(self, chunk: Buffer) -> None:
        """Take the next bytes of the blob."""
        view, begin = memoryview(chunk), self._position
        self._position = end = begin + len(chunk)
        while self._begun < len(self._pieces) and self._pieces[self._begun].offset < end:
            self._running.append(self._pieces[self._begun])
            self._begun += 1
        for piece in self._running:
            first, last = max(begin, piece.offset), min(end, piece.offset + piece.size)
            piece.found = self._means.crc32c(view[first - begin : last - begin], piece.found)
            piece.passed += last - first
        self._running = [piece for piece in self._running if piece.passed < piece.size]

    @property
    def damaged(self) -> Sequence[Piece]:
        """Those whose bytes are not those that were stored, once all have passed."""
        return [piece for piece in self._pieces if piece.passed < piece.size or piece.found != piece.crc32c]
