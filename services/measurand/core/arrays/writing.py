"""Opening writers of chunks, and making an array's one appender."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from measurand.core.arrays.arrays import Arrays
from measurand.core.arrays.blocks import BLOCKS, block_document, block_of
from measurand.core.arrays.committing import GROWING, Commits
from measurand.core.arrays.documents import Array
from measurand.core.arrays.part_room import PartRoom
from measurand.core.arrays.resizing import Resizing
from measurand.core.arrays.standing import fenced, find_standing, sealed, stored
from measurand.core.arrays.writers import Ack, ArrayWriter
from measurand.core.files import DatasetGate
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.names import ArrayName
from measurand.core.ports import Document, DocumentStore, Position
from measurand.core.principal import Principal
from measurand.wire.errors import (
    Contention,
    FailedPrecondition,
    NotFound,
)

__all__ = ["Writing"]

PAGE = 100


class Writing:
    """Opens writers of chunks."""

    def __init__(
        self,
        documents: DocumentStore,
        datasets: DatasetGate,
        arrays: Arrays,
        resizing: Resizing,
        commits: Commits,
        means: Means,
        limits: Limits,
    ) -> None:
        self._documents = documents
        self._datasets = datasets
        self._arrays = arrays
        self._resizing = resizing
        self._commits = commits
        self._means = means
        self._limits = limits
        self._part_room = PartRoom()

    async def open(
        self,
        principal: Principal,
        name: ArrayName,
        uid: str,
        acknowledge: Callable[[Ack], Awaitable[None]],
        *,
        append: bool = False,
        expected_epoch: int | None = None,
    ) -> ArrayWriter:
        """Return a writer.

        Parameters
        ----------
        uid : str
            Of the array that is meant; empty: the visible one.
        append : bool
            Be the array's appender, and fence the one before.
        expected_epoch : int, optional
            Only if this is the newest epoch.

        Raises
        ------
        WriterFenced
            WRITER_FENCED: the newest epoch is another one.
        Conflict
            ETAG_MISMATCH: the name stands for another array than `uid`.
        NotFound, Sealed
            There is no such array, or it takes no chunks any more.
        """
        await self._datasets.require_open(principal, name.parent)
        array = await self._arrays.require(principal, name, uid)
        if array.is_sealed:
            raise sealed(array)
        epoch: int | None = None
        if append:
            array = await self.take_over(principal, array, expected_epoch)
            epoch = array.epoch
        return ArrayWriter(self._commits, self._means, self._limits, array, epoch, acknowledge, self._part_room)

    async def take_over(self, principal: Principal, array: Array, expected_epoch: int | None = None) -> Array:
        """Make a new appender and return the array with its epoch; whoever appended before is fenced."""
        if not array.shape:
            raise FailedPrecondition(
                f"{array.name} has no axis to grow along; make an array with one", resource=array.name, state="0-d"
            )
        for _ in range(self._limits.max_retries):
            await self._resizing.finish(array)
            standing = await find_standing(self._documents, array.name, array.uid)
            if standing is None:
                raise NotFound(f"{array.name} was removed; make a new array", resource=array.name)
            before, now = standing.array, self._means.now()
            if before.is_sealed:
                raise sealed(before)
            if expected_epoch is not None and before.epoch != expected_epoch:
                raise fenced(before, expected_epoch)
            after = replace(
                before,
                epoch=before.epoch + 1,
                takeovers={**before.takeovers, before.epoch: before.shape[0]},
                growing_until=now + GROWING,
                version=before.version + 1,
                update_time=now,
            )
            if before.trim is None and await stored(self._documents, standing, after):
                await self._drop_unseen(after)
                return after
        raise Contention(f"{array.name}: others keep taking over; try again", retry_seconds=0.1)

    async def _drop_unseen(self, array: Array) -> None:
        """Forget the chunks that an earlier appender has left where nobody sees them, so that nobody ever will."""
        first = -(-array.shape[0] // array.chunk_shape[0])
        block = first // array.block_shape[0]
        # Keys sort as blocks lie: this one stands behind all blocks before that one, and before itself.
        behind = f"{array.uid}/c/{block - 1:012d}/\U0010ffff" if block else f"{array.uid}/c"
        after = Position((), behind)
        while found := await self._documents.find(BLOCKS, key_prefix=f"{array.uid}/", after=after, limit=PAGE):
            for item in found:
                document: Document | None = item.document
                while document is not None:
                    known = block_of(document)
                    seen = {index: entry for index, entry in known.entries.items() if index[0] < first}
                    if len(seen) == len(known.entries) or known.is_sealed:
                        break
                    standing = await find_standing(self._documents, array.name, array.uid)
                    if standing is None or standing.array.epoch != array.epoch:
                        return  # held up, and others have gone on since the index document was read: leave theirs alone
                    new = block_document(replace(known, entries=seen, epoch=array.epoch))
                    if await self._documents.replace(BLOCKS, new, expected_revision=document.revision) is not None:
                        break
                    document = await self._documents.fetch(BLOCKS, document.key)
            after = found[-1].position
