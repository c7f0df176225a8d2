"""Chunks that are to be written, and what becomes of them in the index document of their block. No I/O."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from measurand.core.arrays.blocks import Block, Entry, Index
from measurand.core.arrays.documents import Array
from measurand.core.arrays.standing import fenced, sealed
from measurand.core.ports import Buffer
from measurand.wire.errors import Conflict, MeasurandError

__all__ = ["ChunkItem", "ChunkWrite", "Step", "merged"]


@dataclass(frozen=True, slots=True)
class ChunkWrite:
    """A chunk to be written.

    Parameters
    ----------
    data : buffer or None
        The encoded chunk. None: remove it.
    crc32c : int
        Of the data, checked.
    if_etag : str, optional
        Only if the chunk has this etag; empty: only if it was never written. None: whatever is there.
    epoch : int, optional
        Of the appender that writes it.
    """

    index: Index
    data: Buffer | None
    crc32c: int = 0
    if_etag: str | None = None
    epoch: int | None = None


Step = asyncio.Future[str] | asyncio.Future[Array]
"""What comes of a chunk, or of a growth."""


@dataclass(slots=True, eq=False)
class ChunkItem:
    """A chunk on its way.

    Parameters
    ----------
    block : tuple of int
        The place of the block that it lies in.
    entry : Entry, optional
        Where its bytes are, once they are stored.
    """

    write: ChunkWrite
    block: Index
    answer: asyncio.Future[str]
    entry: Entry | None = None

    @property
    def size(self) -> int:
        return 0 if self.write.data is None else len(self.write.data)

    def fail(self, error: Exception) -> None:
        """Tell the caller what went wrong; one that has gone has cancelled the answer."""
        if not self.answer.done():
            self.answer.set_exception(error)


def merged(block: Block, chunks: Sequence[ChunkItem]) -> tuple[list[str | MeasurandError], Block]:
    """Return what comes of each chunk, and the block with those that are right; the same block if none is."""
    entries, epoch = dict(block.entries), block.epoch
    outcomes: list[str | MeasurandError] = []
    for chunk in chunks:
        error = _refusal(block, entries.get(chunk.write.index), epoch, chunk.write)
        if error is not None:
            outcomes.append(error)
            continue
        if chunk.entry is None:
            entries.pop(chunk.write.index, None)
        else:
            entries[chunk.write.index] = chunk.entry
        epoch = max(epoch, chunk.write.epoch or 0)
        outcomes.append("")
    if entries == block.entries and epoch == block.epoch:
        return outcomes, block
    return outcomes, replace(block, entries=entries, epoch=epoch)


def _refusal(block: Block, entry: Entry | None, epoch: int, write: ChunkWrite) -> MeasurandError | None:
    """Return why a chunk cannot be written, or None."""
    if block.is_sealed:
        return sealed(block)
    if write.epoch is not None and write.epoch < epoch:
        return fenced(block, write.epoch, newest=epoch)
    there = "" if entry is None else entry.etag
    if write.if_etag is not None and write.if_etag != there:
        return Conflict(
            f"{block.array}: chunk {list(write.index)} was written meanwhile; read it again and decide anew",
            resource=block.array,
            etag=there,
        )
    return None
