"""The files or chunks that share a blob, each proved by its own crc32c while the blob passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from measurand.core.arrays.blocks import BLOCKS, block_of, chunk_text
from measurand.core.file_documents import FILES, SUPERSEDED, file_of
from measurand.core.means import Means
from measurand.core.naming import namers_of
from measurand.core.ports import Buffer, Document, DocumentStore

__all__ = ["Piece", "Pieces", "pieces_of"]


@dataclass(slots=True)
class Piece:
    """The bytes of one file or chunk in a shared blob.

    Parameters
    ----------
    collection, key : str
        The document that names it.
    chunk : str
        Which chunk of which array; empty for a file.
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
    chunk: str = ""
    passed: int = 0
    found: int = 0


async def pieces_of(documents: DocumentStore, blob_key: str) -> Sequence[Piece]:
    """Return the pieces of a blob that are a whole file or a whole chunk each."""
    pieces: list[Piece] = []
    for collection, document in await namers_of(documents, blob_key):
        if collection == BLOCKS:
            pieces += _chunks(document, blob_key)
        elif collection in (FILES, SUPERSEDED):
            file = file_of(document)
            if len(file.extents) == 1 and file.digests.crc32c is not None:
                [extent] = file.extents
                pieces.append(Piece(collection, document.key, extent.offset, extent.size, file.digests.crc32c))
    return pieces


def _chunks(document: Document, blob_key: str) -> Sequence[Piece]:
    block = block_of(document)
    return [
        Piece(BLOCKS, document.key, entry.offset, entry.size, entry.crc32c, chunk_text(block, index))
        for index, entry in block.entries.items()
        if entry.blob == blob_key
    ]


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
