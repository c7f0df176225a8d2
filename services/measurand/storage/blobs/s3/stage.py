"""A staged write of this process: what fills a part goes into a multipart upload, the rest into pieces beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from measurand.core.blob_rules import missing
from measurand.core.means import Threads
from measurand.core.ports import Buffer
from measurand.storage.blobs.s3.faults import Refused, translating
from measurand.storage.blobs.s3.layout import MOST_PARTS, Names, Note, Piece, Record
from measurand.storage.blobs.s3.objects import Objects
from measurand.storage.blobs.s3.parts import Parts
from measurand.wire.errors import MeasurandError, TooLarge

__all__ = ["S3Stage"]

_MOST_PIECES = 16
"""Of one part: then one piece takes the place of all of them."""


class S3Stage:
    """Holds at most four parts in memory, and what one append hands in.

    Parameters
    ----------
    record : Record
        As it was stored when the key was taken.
    """

    def __init__(self, objects: Objects, names: Names, key: str, record: Record, in_thread: Threads) -> None:
        self._objects = objects
        self._names = names
        self._key = key
        self._part_bytes = record.part_bytes
        self._in_thread = in_thread
        self._size = 0
        self._part: list[memoryview] = []
        self._parts = Parts(self._upload_part)
        self._uploaded: set[int] = set()
        self._pieces: list[Piece] = []
        self._pieces_end = 0
        self._beginning = asyncio.Lock()
        self._note: Note | None = None
        self._upload = ""
        self._has_strays = False
        self._storing_piece = asyncio.Lock()

    async def append(self, chunks: Sequence[Buffer]) -> None:
        # All waiting comes first: an append that fails or is cancelled has taken nothing, so it can be tried again.
        await self._parts.room()
        size = self._size + sum(map(len, chunks))
        if size >= MOST_PARTS * self._part_bytes:
            raise TooLarge(
                f"{self._key}: more than {MOST_PARTS} parts of {self._part_bytes} bytes; begin another blob",
                limit=MOST_PARTS * self._part_bytes,
                actual=size,
            )
        for chunk in chunks:
            self._take(memoryview(chunk))

    async def persist(self, *, whole: bool = True) -> int:
        """Return when one more part is durable; with `whole` all of them, and the bytes behind them in a piece."""
        size, part = self._size, list(self._part)
        full = size // self._part_bytes
        if not whole:
            # Not all that are on their way: whoever is told of each can send as much again meanwhile.
            durable = min(full, await self._parts.first())
            return max(durable * self._part_bytes, min(size, self._pieces_end))
        steps = (self._parts.settle(full), self._store_piece(full * self._part_bytes, size, part))
        # Both come to their end: who tries again finds nothing on its way that fails for a reason of before.
        for answer in await asyncio.gather(*steps, return_exceptions=True):
            if answer is not None:
                raise answer
        return size

    async def close(self) -> None:
        await self._parts.close()
        self._part = []

    def _take(self, chunk: memoryview) -> None:
        while len(chunk):
            filled = self._size % self._part_bytes
            count = min(len(chunk), self._part_bytes - filled)
            # What nobody can change need not be copied.
            self._part.append(chunk[:count] if isinstance(chunk.obj, bytes) else memoryview(bytes(chunk[:count])))
            self._size += count
            chunk = chunk[count:]
            if filled + count == self._part_bytes:
                self._parts.begin(self._size // self._part_bytes, self._part)
                self._part = []

    # ------------------------------------------------------------------------------------------------------- parts

    async def _upload_part(self, number: int, chunks: Sequence[Buffer]) -> None:
        async with self._beginning:
            if not self._upload:
                await self._in_thread(self._begin_upload)
        await self._in_thread(self._send_part, number, chunks)
        self._uploaded.add(number)
        await self._sweep()

    def _begin_upload(self) -> None:
        """Begin the upload and write down its id. Whatever fails on the way, there is a sign of what may be there."""
        with translating(self._key):
            if self._objects.head(self._names.record(self._key)) is None:  # it was discarded: bring nothing back
                raise missing(self._key)
            if self._note is None:
                self._objects.put(self._names.begun(self._key), ())
                has_strays, self._has_strays = self._has_strays, True
                upload = self._objects.begin_upload(self._names.blob(self._key))
                self._has_strays = has_strays
                self._note = Note(upload, has_strays)
            self._objects.put(self._names.note(self._key), [self._note.to_bytes()])
            self._upload = self._note.upload

    def _send_part(self, number: int, chunks: Sequence[Buffer]) -> None:
        with translating(self._key):
            try:
                self._objects.upload_part(self._names.blob(self._key), self._upload, number, chunks)
            except Refused as error:
                if error.is_upload_gone:  # discarded, or finished by somebody else
                    raise missing(self._key) from error
                raise

    # ------------------------------------------------------------------------------------------------------ pieces

    async def _store_piece(self, base: int, end: int, part: Sequence[memoryview]) -> None:
        """Make the bytes up to `end` durable, of the part that begins at `base` and is not full there."""
        async with self._storing_piece:
            begin = max(base, self._pieces_end)
            if begin >= end:
                return
            old = [piece for piece in self._pieces if piece.begin >= base]
            if len(old) >= _MOST_PIECES:
                begin = base
            else:
                old = []
            piece = self._names.piece(self._key, begin, end)
            await self._in_thread(self._put_piece, piece, _cut(part, begin - base))
            self._pieces_end = end
            self._pieces.append(piece)
            await self._remove(old)
        await self._sweep()

    def _put_piece(self, piece: Piece, content: Sequence[memoryview]) -> None:
        with translating(self._key):
            self._objects.put(piece.name, content)

    async def _sweep(self) -> None:
        """Remove the pieces of parts that are durable."""
        await self._remove([piece for piece in self._pieces if piece.begin // self._part_bytes + 1 in self._uploaded])

    async def _remove(self, pieces: list[Piece]) -> None:
        if not pieces:
            return
        self._pieces = [piece for piece in self._pieces if piece not in pieces]
        with suppress(MeasurandError):  # whoever finishes or discards the blob removes what is left
            await self._in_thread(self._delete, pieces)

    def _delete(self, pieces: list[Piece]) -> None:
        with translating(self._key):
            for piece in pieces:
                self._objects.delete(piece.name)


def _cut(chunks: Sequence[memoryview], skip: int) -> list[memoryview]:
    """Return chunks without the first `skip` bytes."""
    rest: list[memoryview] = []
    for chunk in chunks:
        if skip < len(chunk):
            rest.append(chunk[skip:])
        skip = max(0, skip - len(chunk))
    return rest
