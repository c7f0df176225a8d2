"""What the plain layout of a sealed dataset is made of, read from its documents bit by bit."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace

from measurand.chunks.grid import chunk_key
from measurand.chunks.trees import tree_documents
from measurand.core.arrays.blocks import BLOCKS, Block, block_key, block_of
from measurand.core.arrays.documents import ARRAYS, Array, array_of
from measurand.core.arrays.making import spec_of_array
from measurand.core.arrays.plain_places import Chunk, Text
from measurand.core.names import DatasetName
from measurand.core.ports import Document, DocumentStore, Position

__all__ = ["BEGIN", "Cursor", "chunks_of", "texts_of"]

PAGE = 100
BLOCKS_AT_ONCE = 16
"""Index documents that are in memory together; each has up to 256 chunks."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far somebody has come who goes over the chunks.

    Parameters
    ----------
    array : str
        The name of the last array that is done.
    block : str
        The key of the last index document that is done of the next array.
    skip : int
        How many chunks are done of the next index document.
    """

    array: str = ""
    block: str = ""
    skip: int = 0


BEGIN = Cursor()


async def texts_of(documents: DocumentStore, dataset: DatasetName, attributes: Mapping[str, str]) -> Sequence[Text]:
    """Return the metadata of all arrays and groups, that of the root last. See `tree_documents`.

    Parameters
    ----------
    attributes : mapping
        Those of the root.
    """
    specs = {array.name.array: spec_of_array(array) async for array in _arrays(documents, dataset, "")}
    return [Text(key, text.encode()) for key, text in tree_documents(specs, attributes).items()]


async def chunks_of(
    documents: DocumentStore, dataset: DatasetName, begin: Cursor = BEGIN, *, at_once: int
) -> AsyncIterator[tuple[Sequence[Chunk], Cursor]]:
    """Yield the chunks behind a cursor, at most so many at once, each time with the cursor behind them.

    Only chunks within the shapes of the arrays, and in index documents that are sealed: what a late writer has left
    elsewhere is no part of the data.
    """
    cursor = begin
    async for array in _arrays(documents, dataset, begin.array):
        async for block in _blocks(documents, array, cursor.block):
            chunks = _chunks(array, block)[cursor.skip :]
            for start in range(0, len(chunks), at_once):
                part = chunks[start : start + at_once]
                cursor = replace(cursor, skip=cursor.skip + len(part))
                yield part, cursor
            cursor = Cursor(cursor.array, block_key(block.uid, block.index))
        cursor = Cursor(str(array.name))


async def _arrays(documents: DocumentStore, dataset: DatasetName, after: str) -> AsyncIterator[Array]:
    async for document in _found(documents, ARRAYS, dataset, "", after, PAGE):
        yield array_of(document)


async def _blocks(documents: DocumentStore, array: Array, after: str) -> AsyncIterator[Block]:
    async for document in _found(documents, BLOCKS, array.name.parent, f"{array.uid}/", after, BLOCKS_AT_ONCE):
        block = block_of(document)
        if block.is_sealed:
            yield block


async def _found(
    documents: DocumentStore, collection: str, dataset: DatasetName, prefix: str, after: str, limit: int
) -> AsyncIterator[Document]:
    position = Position((), after) if after else None
    while found := await documents.find(
        collection, scopes=[str(dataset)], after=position, key_prefix=prefix, limit=limit
    ):
        for item in found:
            yield item.document
        position = found[-1].position


def _chunks(array: Array, block: Block) -> Sequence[Chunk]:
    grid = array.grid
    return [
        Chunk(f"{array.name.array}/{chunk_key(index)}", entry.blob, entry.offset, entry.size, entry.crc32c)
        for index, entry in sorted(block.entries.items())
        if grid.contains(index)
    ]
