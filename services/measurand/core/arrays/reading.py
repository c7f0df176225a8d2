"""Chunks as they are stored: found by the index, read ahead, and held to their sums."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass

from measurand.core.arrays.blocks import BLOCKS, Block, Entry, Index, block_key, block_of, block_of_chunk
from measurand.core.arrays.documents import Array
from measurand.core.arrays.standing import find_standing
from measurand.core.means import Means
from measurand.core.ports import Blob, BlobStore, Buffer, DocumentStore
from measurand.wire.errors import Conflict, DataLoss, NotFound

__all__ = ["ChunkReading", "StoredChunk"]

AHEAD_CHUNKS = 32
AHEAD_BYTES = 16 * 1024 * 1024
RUN_BYTES = 2 * 1024 * 1024
"""Chunks that lie beside each other in one blob are read together, up to so many bytes."""
BLOCKS_AT_ONCE = 8
IN_THREAD_BYTES = 4 * 1024 * 1024
"""CRC-32C of less takes less time than the way to a thread and back."""


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """A chunk as it was last written.

    Parameters
    ----------
    data : buffer or None
        As it was encoded. None: it was never written, and reads as fill.
    crc32c : int
        Of the data, which has been proved.
    etag : str
        Changes with every write. Empty: it was never written.
    """

    index: Index
    data: Buffer | None
    crc32c: int = 0
    etag: str = ""


@dataclass(frozen=True, slots=True)
class _Run:
    """Chunks that lie beside each other in one blob, or one that was never written."""

    wanted: Sequence[tuple[Index, Entry | None]]

    @property
    def size(self) -> int:
        return sum(entry.size for _, entry in self.wanted if entry is not None)


class ChunkReading:
    """Reads chunks of arrays."""

    def __init__(self, documents: DocumentStore, blobs: BlobStore, means: Means) -> None:
        self._documents = documents
        self._blobs = blobs
        self._means = means

    async def chunks(self, array: Array, indexes: Iterable[Index]) -> AsyncIterator[StoredChunk]:
        """Yield chunks in the order in which they are asked for, each whole and as its last writer left it.

        Raises
        ------
        DataLoss
            STORED_DATA_CORRUPT, with the name of the array and the chunk: its bytes are damaged or gone.
        NotFound
            RESOURCE_NOT_FOUND: the array was removed meanwhile.
        Conflict
            ETAG_MISMATCH: it was cut down meanwhile, and what has come for the chunks that are gone is fill.
        """
        has_gaps = False
        running: deque[tuple[_Run, asyncio.Task[list[StoredChunk]]]] = deque()
        ahead = 0
        try:
            async for run in self._runs(array, indexes):
                running.append((run, asyncio.create_task(self._read(array, run))))
                ahead += run.size
                while len(running) >= AHEAD_CHUNKS or ahead > AHEAD_BYTES:
                    first, task = running.popleft()
                    ahead -= first.size
                    for chunk in await task:
                        has_gaps = has_gaps or chunk.data is None
                        yield chunk
            while running:
                _, task = running.popleft()
                for chunk in await task:
                    has_gaps = has_gaps or chunk.data is None
                    yield chunk
            if has_gaps:
                await self._check_uncut(array)
        finally:
            for _, task in running:
                task.cancel()
            await asyncio.gather(*(task for _, task in running), return_exceptions=True)

    async def _check_uncut(self, array: Array) -> None:
        """What is not there was never written; or it has gone, with the array or with a part of it."""
        standing = await find_standing(self._documents, array.name, array.uid)
        if standing is None:
            raise NotFound(f"{array.name} was removed while it was read", resource=array.name)
        if standing.array.cuts != array.cuts:
            raise Conflict(
                f"{array.name} was cut down while it was read; read it again",
                resource=array.name,
                etag=standing.array.etag,
            )

    async def one(self, array: Array, index: Index) -> StoredChunk:
        """Return one chunk. Errors: as `chunks`."""
        [chunk] = [chunk async for chunk in self.chunks(array, [index])]
        return chunk

    async def _runs(self, array: Array, indexes: Iterable[Index]) -> AsyncIterator[_Run]:
        """Yield what is to be read, with the entries of the index."""
        known: dict[Index, Block | None] = {}
        run: list[tuple[Index, Entry | None]] = []
        waiting: list[Index] = []

        for index in indexes:
            waiting.append(index)
            if len(waiting) < AHEAD_CHUNKS:
                continue
            async for done in self._joined(array, known, waiting, run):
                yield done
            waiting = []
        async for done in self._joined(array, known, waiting, run):
            yield done
        if run:
            yield _Run(run)

    async def _joined(
        self,
        array: Array,
        known: dict[Index, Block | None],
        waiting: Sequence[Index],
        run: list[tuple[Index, Entry | None]],
    ) -> AsyncIterator[_Run]:
        """Add the chunks to the run that is open, and yield each that is at its end."""
        await self._look_up(array, known, {block_of_chunk(array, index) for index in waiting})
        for index in waiting:
            block = known[block_of_chunk(array, index)]
            entry = None if block is None else block.entries.get(index)
            last = run[-1][1] if run else None
            follows = (
                last is not None
                and entry is not None
                and (last.blob, last.offset + last.size) == (entry.blob, entry.offset)
                and entry.offset + entry.size - run[0][1].offset <= RUN_BYTES  # type: ignore[union-attr]
            )
            if run and not follows:
                yield _Run(list(run))
                run.clear()
            run.append((index, entry))

    async def _look_up(self, array: Array, known: dict[Index, Block | None], wanted: set[Index]) -> None:
        """Fetch the index documents that are needed; of those before only what is needed is kept."""
        for index in known.keys() - wanted:
            del known[index]
        new = sorted(wanted - known.keys())
        for start in range(0, len(new), BLOCKS_AT_ONCE):
            keys = {block_key(array.uid, index): index for index in new[start : start + BLOCKS_AT_ONCE]}
            found = await self._documents.fetch_many(BLOCKS, list(keys))
            for key, index in keys.items():
                document = found.get(key)
                block = None if document is None else block_of(document)
                # What a late writer has begun behind the sealing does not count.
                known[index] = None if block is not None and array.has_sealed_index and not block.is_sealed else block

    async def _read(self, array: Array, run: _Run) -> list[StoredChunk]:
        """Read the chunks of a run and prove each."""
        _, first = run.wanted[0]
        if first is None:
            return [StoredChunk(index, None) for index, _ in run.wanted]
        end = first.offset + run.size
        try:
            pieces = [piece async for piece in self._blobs.open(Blob(first.blob, end), first.offset, run.size)]
        except NotFound as error:
            return await self._read_again(array, run, error)
        except DataLoss as error:
            raise self._damaged(array, run.wanted[0][0], error.message) from error
        data: Buffer = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if len(run.wanted) == 1:
            [(index, _)] = run.wanted
            await self._prove(array, index, first, data)
            return [StoredChunk(index, data, first.crc32c, first.etag)]
        view = memoryview(data)
        chunks: list[StoredChunk] = []
        for index, entry in run.wanted:
            assert entry is not None
            begin = entry.offset - first.offset
            part = view[begin : begin + entry.size]
            await self._prove(array, index, entry, part)
            chunks.append(StoredChunk(index, part, entry.crc32c, entry.etag))
        return chunks

    async def _prove(self, array: Array, index: Index, entry: Entry, data: Buffer) -> None:
        if len(data) >= IN_THREAD_BYTES:
            found = await self._means.in_thread(self._means.crc32c, data, 0)
        else:
            found = self._means.crc32c(data, 0)
        if len(data) != entry.size or found != entry.crc32c:
            raise self._damaged(array, index, f"the blob {entry.blob} has other bytes")

    async def _read_again(self, array: Array, run: _Run, error: NotFound) -> list[StoredChunk]:
        """A blob is gone: its chunk was written anew, the array was removed, or the store has lost it."""
        chunks: list[StoredChunk] = []
        for index, entry in run.wanted:
            document = await self._documents.fetch(BLOCKS, block_key(array.uid, block_of_chunk(array, index)))
            now = None if document is None else block_of(document).entries.get(index)
            if now in (None, entry) and await find_standing(self._documents, array.name, array.uid) is None:
                raise NotFound(f"{array.name} was removed while it was read", resource=array.name) from error
            if now == entry:
                raise self._damaged(array, index, error.message) from error
            chunks += await self._read(array, _Run([(index, now)]))
        return chunks

    @staticmethod
    def _damaged(array: Array, index: Index, why: str) -> DataLoss:
        return DataLoss(
            f"{array.name}: the stored bytes of chunk {list(index)} are damaged or gone; restore them from a copy "
            f"({why})",
            resource=array.name,
            index="/".join(map(str, index)),
        )
