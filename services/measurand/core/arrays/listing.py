"""Lists: the arrays of a dataset by name, the chunks of an array that were written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from measurand.core.arrays.blocks import BLOCKS, Block, Index, block_of
from measurand.core.arrays.documents import ARRAYS, Array, array_of
from measurand.core.filters.tree import Compare
from measurand.core.names import DatasetName
from measurand.core.ports import DocumentStore, Position
from measurand.core.view import Scalar

__all__ = ["ArrayPage", "WrittenChunk", "WrittenPage", "page", "stored_bytes", "written"]

BLOCKS_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class ArrayPage:
    """Some arrays.

    Parameters
    ----------
    after : Position, optional
        Where the next page begins. None: this was the last.
    """

    arrays: Sequence[Array]
    after: Position | None


@dataclass(frozen=True, slots=True)
class WrittenChunk:
    """A chunk that was written: its index, its bytes as encoded, and what changes with every write."""

    index: Index
    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class WrittenPage:
    """Some chunks that were written.

    Parameters
    ----------
    after : tuple of int, optional
        The index of the last of them, where there are more. None: this was the last page.
    """

    chunks: Sequence[WrittenChunk]
    after: Index | None


async def page(
    documents: DocumentStore, parent: DatasetName, prefix: str, after: Position | None, limit: int
) -> ArrayPage:
    """Return the arrays of a dataset whose own name begins with `prefix`, by name."""
    start = f"{parent}/arrays/{prefix}"
    found = await documents.find(ARRAYS, scopes=[str(parent)], key_prefix=start, after=after, limit=limit + 1)
    arrays = [array_of(item.document) for item in found[:limit]]
    return ArrayPage(arrays, found[limit - 1].position if len(found) > limit else None)


async def written(documents: DocumentStore, array: Array, after: Index | None, limit: int) -> WrittenPage:
    """Return the chunks within the shape that were written, by index in C order.

    Blocks whose first coordinate is the same form a band; the chunks of one band come before those of the next, and
    within a band they may lie in any order.
    """
    chunks: list[WrittenChunk] = []
    band: list[WrittenChunk] = []
    place: Index = ()
    position = _before_band(array, after)
    while True:
        found = await documents.find(
            BLOCKS, scopes=[str(array.name.parent)], key_prefix=f"{array.uid}/", after=position, limit=BLOCKS_AT_ONCE
        )
        for item in found:
            block = block_of(item.document)
            if block.index[:1] != place:
                chunks += sorted(band, key=_index)
                if len(chunks) > limit:
                    return WrittenPage(chunks[:limit], chunks[limit - 1].index)
                band, place = [], block.index[:1]
            band += _written(array, block, after)
        if len(found) < BLOCKS_AT_ONCE:
            break
        position = found[-1].position
    chunks += sorted(band, key=_index)
    more = len(chunks) > limit
    return WrittenPage(chunks[:limit], chunks[limit - 1].index if more else None)


async def stored_bytes(documents: DocumentStore, array: Array) -> int:
    """Return how many bytes the stored chunks of an array have."""
    where = Compare("uid", "=", Scalar("s", array.uid))
    return (await documents.total(BLOCKS, "size", scopes=[str(array.name.parent)], where=where)).total


def _written(array: Array, block: Block, after: Index | None) -> list[WrittenChunk]:
    if array.has_sealed_index and not block.is_sealed:
        return []  # of a writer that came behind the sealing
    grid = array.grid
    return [
        WrittenChunk(index, entry.size, entry.etag)
        for index, entry in block.entries.items()
        if grid.contains(index) and (after is None or index > after)
    ]


def _before_band(array: Array, after: Index | None) -> Position | None:
    """Return the place before the blocks that chunks behind `after` may lie in."""
    if not after:
        return None
    band = after[0] // array.block_shape[0]
    # Behind every block of the band before, whose keys go on with digits or `/`.
    return Position((), f"{array.uid}/c/{band - 1:012d}/~") if band else None


def _index(chunk: WrittenChunk) -> Index:
    return chunk.index
