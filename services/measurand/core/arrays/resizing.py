"""Changing the shape of an array. Growing is one document write; what shrinking cuts off is gone for good.

Shrinking goes in three steps, each of which may be taken again by whoever comes next, should a crash cut it short:

1. The array's document takes the lesser of both shapes, and `trim` says what the shape is to be in the end. From now on
   nobody sees what is cut off, and no appender that was at work before can add to it: the epoch has risen.
2. The chunks that lie wholly beyond the shape leave the index, and those that it cuts through are written anew with the
   fill value beyond it.
3. The array's document takes the shape that was asked for. Only now may the array grow again.

Whoever was held up in step 2 must not take away what was written after step 3: index documents are read first, then the
array's own document is looked at, and only what has not changed since is replaced.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

from measurand.core.arrays.blocks import BLOCKS, Block, Entry, Index, blob_key, block_document, block_of
from measurand.core.arrays.documents import ARRAYS, Array, array_document, array_of
from measurand.core.arrays.elements import Elements
from measurand.core.arrays.making import is_same_request, remember, request_of
from measurand.core.arrays.standing import find_standing, sealed, stored
from measurand.core.blob_rules import closing
from measurand.core.files import DatasetGate
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.names import ArrayName
from measurand.core.policies import Policies
from measurand.core.ports import Blob, BlobStore, Buffer, Document, DocumentStore, Position
from measurand.core.principal import Principal
from measurand.core.ulid import make_ulid
from measurand.wire.errors import (
    Conflict,
    Contention,
    DataLoss,
    InvalidArgument,
    NotFound,
    WriterFenced,
)

__all__ = ["Resizing"]

AT_ONCE = 50


class Resizing:
    """Changes shapes.

    Parameters
    ----------
    elements : Elements
        For the chunks that shrinking cuts through.
    """

    def __init__(
        self,
        documents: DocumentStore,
        blobs: BlobStore,
        datasets: DatasetGate,
        elements: Elements,
        means: Means,
        limits: Limits,
    ) -> None:
        self._documents = documents
        self._blobs = blobs
        self._datasets = datasets
        self._elements = elements
        self._means = means
        self._limits = limits
        self._policies = Policies(documents, means)

    async def resize(
        self,
        principal: Principal,
        name: ArrayName,
        shape: Index,
        *,
        etag: str = "",
        force: bool = False,
        request_id: str = "",
    ) -> Array:
        """Change the shape; what is cut off is gone for good. A repeated request gets the array as it is now.

        Parameters
        ----------
        force : bool
            Fence an appender that is at work.

        Raises
        ------
        NotFound
            RESOURCE_NOT_FOUND: of the dataset or the array.
        Conflict
            ETAG_MISMATCH: the array is not at `etag`. CONTENTION: others kept changing it.
        WriterFenced
            WRITER_FENCED: an appender is at work, and `force` is not set.
        InvalidArgument
            FIELD_INVALID: another number of axes, or lengths that no array has. REQUEST_ID_REUSED.
        Sealed
            DATASET_SEALED.
        """
        request = request_of(request_id, "resize", principal.name, str(name), shape, etag, force)
        await self._datasets.require_open(principal, name.parent)
        for _ in range(self._limits.max_retries):
            current = await self._documents.fetch(ARRAYS, str(name))
            if current is None:
                raise NotFound(f"{name}: there is no such array; list the arrays of {name.parent}", resource=name)
            array = array_of(current)
            if array.trim is not None:
                await self.finish(array)
                continue
            if any(is_same_request(made, request) for made in array.changes):
                return array
            self._check(array, shape, etag, force)
            if shape == array.shape:
                return array
            new = remember(self._resized(array, shape), request)
            if await self._documents.replace(ARRAYS, array_document(new), expected_revision=current.revision):
                return await self.finish(new)
        raise _contention(name)

    async def finish(self, array: Array) -> Array:
        """Take the steps that are left of a resize, and return the array as it is then."""
        for _ in range(self._limits.max_retries):
            standing = await find_standing(self._documents, array.name, array.uid)
            if standing is None:
                raise NotFound(f"{array.name} was removed; make a new array", resource=array.name)
            array = standing.array
            if array.trim is None:
                return array
            if array.is_sealed:
                raise sealed(array)
            if await self._cut(array):
                now = self._means.now()
                new = replace(array, shape=array.trim, trim=None, version=array.version + 1, update_time=now)
                if await stored(self._documents, standing, new):
                    return new
        raise _contention(array.name)

    def _check(self, array: Array, shape: Index, etag: str, force: bool) -> None:
        if array.is_sealed:
            raise sealed(array)
        if etag and etag != array.etag:
            raise Conflict(
                f"{array.name} has changed since it was read; read it again and decide anew",
                resource=array.name,
                etag=array.etag,
            )
        if len(shape) != len(array.shape):
            raise InvalidArgument(
                f"shape: {list(shape)} has {len(shape)} axes and {array.name} has {len(array.shape)}; that stays",
                field="shape",
            )
        if any(length < 0 for length in shape) or prod(max(1, length) for length in shape) >= 1 << 63:
            raise InvalidArgument(f"shape: {list(shape)} is none that an array can have", field="shape")
        if array.is_growing(self._means.now()) and not force:
            raise WriterFenced(
                f"{array.name}: an appender is at work; wait until it has ended, or fence it with `force`",
                resource=array.name,
                epoch=array.epoch,
            )

    def _resized(self, array: Array, shape: Index) -> Array:
        """Return the array after the first step."""
        kept = tuple(map(min, array.shape, shape))
        is_cut = kept != array.shape
        new = replace(
            array,
            shape=kept if is_cut else shape,
            trim=shape if is_cut else None,
            cuts=array.cuts + is_cut,
            version=array.version + 1,
            update_time=self._means.now(),
        )
        if shape[0] == array.shape[0]:
            return new
        takeovers = {**array.takeovers, array.epoch: array.shape[0]}
        return replace(new, epoch=array.epoch + 1, takeovers=takeovers, growing_until=None)

    async def _cut(self, array: Array) -> bool:
        """Take the second step. False: somebody else has come to its end, and it must not go on."""
        after: Position | None = None
        while True:
            found = await self._documents.find(
                BLOCKS, scopes=[str(array.name.parent)], key_prefix=f"{array.uid}/", after=after, limit=AT_ONCE
            )
            for item in found:
                document: Document | None = item.document
                is_done = False
                while document is not None and not is_done:
                    new = await self._cut_block(array, block_of(document))
                    if new is None:
                        break
                    if not await self._is_still(array):
                        return False
                    replaced = await self._documents.replace(
                        BLOCKS, block_document(new), expected_revision=document.revision
                    )
                    is_done = replaced is not None
                    document = document if is_done else await self._documents.fetch(BLOCKS, document.key)
            if len(found) < AT_ONCE:
                return await self._is_still(array)
            after = found[-1].position

    async def _is_still(self, array: Array) -> bool:
        standing = await find_standing(self._documents, array.name, array.uid)
        return standing is not None and (standing.array.shape, standing.array.trim) == (array.shape, array.trim)

    async def _cut_block(self, array: Array, block: Block) -> Block | None:
        """Return a block without what lies beyond the shape; None if there is nothing to do."""
        if block.is_sealed:
            return None
        while True:
            began = self._means.now()
            entries: dict[Index, Entry] = {}
            for index, entry in block.entries.items():
                if array.grid.contains(index):
                    entries[index] = await self._cut_chunk(array, block, index, entry)
            if self._means.now() - began <= self._limits.blob_grace / 2:
                break
            # The machine slept: the collector may have taken the new blobs for garbage. Make them once more.
        if entries == block.entries:
            return None
        return replace(block, entries=entries, epoch=max(block.epoch, array.epoch))

    async def _cut_chunk(self, array: Array, block: Block, index: Index, entry: Entry) -> Entry:
        """Return where a chunk lies that holds nothing but the fill value beyond the shape."""
        span = array.grid.span(index)
        lengths = tuple(part.stop - part.start for part in span)
        if lengths == array.chunk_shape:
            return entry
        try:
            encoded = await self._read(entry)
            new = await self._means.in_thread(self._elements.trimmed, array, lengths, encoded)
        except (DataLoss, NotFound):
            return entry  # whoever reads it is told
        if new is None:
            return entry
        ulid = make_ulid(self._means.now(), self._means.random_bytes)
        policy = await self._policies.of(array.name.parent)
        blob = await self._blobs.put(blob_key(array.uid, block.index, ulid), [new], policy=policy)
        crc32c = await self._means.in_thread(self._means.crc32c, new, 0)
        return Entry(blob.key, 0, len(new), crc32c)

    async def _read(self, entry: Entry) -> Buffer:
        blob = Blob(entry.blob, entry.offset + entry.size)
        async with closing(self._blobs.open(blob, entry.offset, entry.size)) as pieces:
            data = b"".join([bytes(piece) async for piece in pieces])
        if await self._means.in_thread(self._means.crc32c, data, 0) != entry.crc32c:
            raise DataLoss(f"{entry.blob} has other bytes than were stored", resource=entry.blob)
        return data


def _contention(name: ArrayName) -> Contention:
    return Contention(f"{name}: others keep changing it; try again", retry_seconds=0.1, resource=name)
