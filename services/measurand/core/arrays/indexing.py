"""The index documents of one array while chunks are written: merged with whatever others write at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from measurand.core.arrays.blocks import BLOCKS, Block, Index, block_document, block_key, block_of, new_block
from measurand.core.arrays.chunk_writes import ChunkItem, merged
from measurand.core.arrays.documents import STAGED, Array
from measurand.core.arrays.standing import fenced, find_standing
from measurand.core.means import Means
from measurand.core.ports import DocumentStore
from measurand.wire.errors import Contention, MeasurandError, WriterFenced

__all__ = ["TRIES", "Indexing"]

TRIES = 60


@dataclass(slots=True)
class _Known:
    """A block as it was last stored or read; revision 0: there is none."""

    block: Block
    revision: int


class Indexing:
    """Names chunks in index documents. What it has read or written stays at hand for as long as chunks keep coming."""

    def __init__(self, documents: DocumentStore, means: Means, array: Array) -> None:
        self._documents = documents
        self._means = means
        self._array = array
        self._known: dict[Index, _Known] = {}

    async def name(self, index: Index, chunks: Sequence[ChunkItem]) -> None:
        """Name chunks of one block in its index document; those that cannot be are told so."""
        try:
            await self._name(index, chunks)
        except MeasurandError as error:  # of this block; the others go their way
            self._known.pop(index, None)
            for chunk in chunks:
                chunk.fail(error)

    async def _name(self, index: Index, chunks: Sequence[ChunkItem]) -> None:
        """Name chunks in the index document of their block, merged with whatever others have written there."""
        known = self._known.get(index)
        for number in range(TRIES):
            is_fresh = known is None
            known = known or await self._fetch(index)
            outcomes, block = merged(known.block, chunks)
            if not is_fresh and any(isinstance(outcome, MeasurandError) for outcome in outcomes):
                known = None  # refuse only what is wrong by what the store has now
                continue
            if block is not known.block:
                document = block_document(block)
                if known.revision:
                    new = await self._documents.replace(BLOCKS, document, expected_revision=known.revision)
                    revision = new.revision if new is not None else 0
                else:
                    revision = int((await self._documents.insert_many(BLOCKS, [document]))[0])
                if not revision:
                    self._known.pop(index, None)
                    known = None
                    await asyncio.sleep(self._means.random_bytes(1)[0] / 255 * min(0.002 * number, 0.1))
                    continue
                known = _Known(block, revision)
            self._known[index] = known
            for chunk, outcome in zip(chunks, outcomes, strict=True):
                if isinstance(outcome, WriterFenced):
                    outcome = await self._fenced(chunk, outcome)
                if isinstance(outcome, MeasurandError):
                    chunk.fail(outcome)
            return
        raise Contention(f"{self._array.name}: others keep writing to the same chunks; try again", retry_seconds=0.1)

    async def _fenced(self, chunk: ChunkItem, refusal: WriterFenced) -> WriterFenced:
        """Return the refusal of an index document with what only the array's document knows: the rows it has left."""
        standing = await find_standing(self._documents, self._array.name, self._array.uid)
        epoch = chunk.write.epoch
        if standing is None or epoch is None or standing.array.epoch == epoch:
            return refusal
        return fenced(standing.array, epoch)

    async def _fetch(self, index: Index) -> _Known:
        document = await self._documents.fetch(BLOCKS, block_key(self._array.uid, index))
        if document is None:
            return _Known(new_block(self._array, index), 0)
        return _Known(block_of(document), document.revision)

    async def take_back(self, blocks: Iterable[Index]) -> None:
        """Remove the index documents of an array that is gone, and whose uid nobody will ever have again.

        Those of one that was dropped a short time ago stay: somebody may still read it, and they go with the rest.
        """
        if await self._documents.fetch(STAGED, self._array.uid) is not None:
            return
        for index in blocks:
            self._known.pop(index, None)
            await self._documents.remove(BLOCKS, block_key(self._array.uid, index))

    async def remove(self, index: Index, chunks: Sequence[ChunkItem]) -> None:
        """Remove chunks from an index document as far as they are still as we wrote them."""
        for _ in range(TRIES):
            self._known.pop(index, None)
            known = await self._fetch(index)
            written = {chunk.write.index: chunk.entry for chunk in chunks}
            entries = {at: entry for at, entry in known.block.entries.items() if written.get(at) != entry}
            if len(entries) == len(known.block.entries):
                return
            document = block_document(replace(known.block, entries=entries))
            if await self._documents.replace(BLOCKS, document, expected_revision=known.revision) is not None:
                return
