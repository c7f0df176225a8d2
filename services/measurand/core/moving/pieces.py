"""The files or chunks that share a blob, each proved by its own crc32c while the blob passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from measurand.core.arrays.blocks import BLOCKS, block_of, chunk_text
from measurand.core.buffers.documents import BUFFERS, SEGMENTS, blob_key
from measurand.core.buffers.records import read_table
from measurand.core.file_documents import FILES, SUPERSEDED, file_of
from measurand.core.means import Means
from measurand.core.naming import namers_of, segments_in
from measurand.core.ports import Buffer, Document, DocumentStore
from measurand.wire.errors import DataLoss

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
    table : bytearray, optional
        Of the table of a segment: what of it has passed. It tells of the records behind it.
    """

    collection: str
    key: str
    offset: int
    size: int
    crc32c: int
    chunk: str = ""
    passed: int = 0
    found: int = 0
    table: bytearray | None = None


async def pieces_of(documents: DocumentStore, key: str) -> Sequence[Piece]:
    """Return the pieces of a blob that are a whole file, a whole chunk or the table of a segment each."""
    pieces: list[Piece] = []
    for collection, document in await namers_of(documents, key):
        if collection == BLOCKS:
            pieces += _chunks(document, key)
        elif collection in (BUFFERS, SEGMENTS):
            pieces += _tables(collection, document, key)
        elif collection in (FILES, SUPERSEDED):
            file = file_of(document)
            if len(file.extents) == 1 and file.digests.crc32c is not None:
                [extent] = file.extents
                pieces.append(Piece(collection, document.key, extent.offset, extent.size, file.digests.crc32c))
    return pieces


def _chunks(document: Document, key: str) -> Sequence[Piece]:
    block = block_of(document)
    return [
        Piece(BLOCKS, document.key, entry.offset, entry.size, entry.crc32c, chunk_text(block, index))
        for index, entry in block.entries.items()
        if entry.blob == key
    ]


def _tables(collection: str, document: Document, key: str) -> Sequence[Piece]:
    uid, segments = segments_in(collection, document)
    return [
        Piece(
            collection,
            document.key,
            0,
            one.table_size,
            one.table_crc,
            f"records {one.first} to {one.end - 1}",
            table=bytearray(),
        )
        for one in segments
        if blob_key(uid, one.ulid) == key
    ]


class Pieces:
    """Sums up each piece as the blob passes."""

    def __init__(self, pieces: Sequence[Piece], means: Means) -> None:
        self._pieces = sorted(pieces, key=lambda piece: piece.offset)
        self._telling = next((piece for piece in pieces if piece.table is not None), None)
        self._means = means
        self._begun = 0
        self._running: list[Piece] = []
        self._position = 0

    def add(self, chunk: Buffer) -> None:
        """Take the next bytes of the blob."""
        view, piece = memoryview(chunk), self._telling
        if piece is not None and piece.table is not None:
            missing = piece.size - len(piece.table)
            piece.table += view[:missing]
            if len(piece.table) == piece.size:
                self._telling = None
                self._pass(view[:missing])
                self._pieces = [*self._pieces, *self._records(piece)]
                view = view[missing:]
        self._pass(view)

    def _records(self, piece: Piece) -> Sequence[Piece]:
        """Return what a table that has passed tells of; nothing if it is not as it was stored."""
        assert piece.table is not None
        try:
            table = read_table(bytes(piece.table), piece.crc32c, self._means.crc32c, piece.key)
        except DataLoss:
            return ()
        return [
            Piece(piece.collection, piece.key, offset, size, crc32c, piece.chunk)
            for offset, size, crc32c in zip(table.offsets, table.sizes, table.crcs, strict=False)
            if size
        ]

    def _pass(self, chunk: memoryview) -> None:
        view, begin = chunk, self._position
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
