"""Bringing the blobs that documents name to another store, several at a time, each proved.

What is read is held to the checks that were made when it was first written: those of the blob, or, for what small files
or chunks share, those of each. What was written is read back and compared. A blob that is there already is not copied
again: stores show no blob before it is whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from measurand.core.arrays.blocks import BLOCKS, block_of, chunks_text
from measurand.core.blob_rules import closing
from measurand.core.means import Means
from measurand.core.moving.contents import blobs_of, content_of
from measurand.core.moving.damages import Damage, Damages
from measurand.core.moving.lines import walk
from measurand.core.moving.pieces import Pieces, pieces_of
from measurand.core.moving.tally import Tally
from measurand.core.naming import NAMING, namers_of
from measurand.core.ports import Blob, BlobStore, Buffer, Document, DocumentStore
from measurand.wire.errors import DataLoss, NotFound

__all__ = ["Sweeping", "Swept"]

ASKING_AT_ONCE = 16
COPYING_AT_ONCE = 4
SMALL_BYTES = 4 * 1024 * 1024
"""What is not larger is put in one piece."""
KNOWN = 200_000


@dataclass(slots=True)
class Swept:
    """What one sweep has found.

    Parameters
    ----------
    copied : int
        Blobs that were not there.
    damaged : dict of str to Damage
        What cannot be copied, or not be proved, by the document that names it.
    is_outdated : bool
        The source has changed: what named a missing blob is no longer there.
    """

    copied: int = 0
    damaged: dict[str, Damage] = field(default_factory=dict)
    is_outdated: bool = False


class _SourceFault(Exception):
    """Reading the source has failed with this error; not to be taken for one of the target."""

    def __init__(self, error: DataLoss | NotFound) -> None:
        super().__init__(str(error))
        self.error = error


class Sweeping:
    """Brings blobs from `source` to `target`, both of which make and hold to checks.

    Parameters
    ----------
    namers : DocumentStore
        Asked which files or chunks share a blob; can be searched.
    """

    def __init__(self, namers: DocumentStore, source: BlobStore, target: BlobStore, means: Means, tally: Tally) -> None:
        self._namers = namers
        self._source = source
        self._target = target
        self._means = means
        self._tally = tally
        self._damages = Damages(target)
        self._known: dict[str, int] = {}
        self._asking = asyncio.Semaphore(ASKING_AT_ONCE)
        self._copying = asyncio.Semaphore(COPYING_AT_ONCE)

    async def sweep(
        self,
        documents: DocumentStore,
        *,
        meanwhile: Callable[[], Awaitable[None]] | None = None,
        seen: Callable[[Sequence[Blob]], Awaitable[None]] | None = None,
    ) -> Swept:
        """Bring all blobs that the documents of a store name.

        Parameters
        ----------
        meanwhile : callable, optional
            Called every now and then.
        seen : callable, optional
            Told of the blobs that the documents name and that are there.
        """
        swept = Swept()
        for collection in NAMING:
            async for batch in walk(documents, collection, content_of(collection).at_once):
                needed: dict[str, Blob] = {}
                for blob in (blob for document in batch for blob in blobs_of(collection, document)):
                    if blob.key not in needed or needed[blob.key].size < blob.size:
                        needed[blob.key] = blob
                brought = await _all([asyncio.create_task(self._bring(swept, blob)) for blob in needed.values()])
                if seen is not None:
                    await seen([blob for blob in brought if blob is not None])
                if meanwhile is not None:
                    await meanwhile()
        swept.damaged |= {damage.key: damage for damage in await self._damages.of(documents)}
        return swept

    async def _bring(self, swept: Swept, blob: Blob) -> Blob | None:
        """Bring a blob if it is not there, and return it with its size; None if that cannot be."""
        async with self._asking:
            self._tally.blobs += 1
            there = self._known.get(blob.key) or await self._size(blob.key)
        if there is None or there < blob.size:
            async with self._copying:
                try:
                    there = await self._copy(blob)
                except _SourceFault as fault:
                    await self._explain(swept, blob, fault.error)
                    return None
            swept.copied += 1
        if len(self._known) < KNOWN:
            self._known[blob.key] = there
        return Blob(blob.key, there)

    async def _explain(self, swept: Swept, blob: Blob, error: DataLoss | NotFound) -> None:
        """Find out whose bytes cannot be had. A blob that is gone may have gone together with all that named it."""
        found = [
            Damage(collection, document.key, blob.key, _of_chunks(collection, document, blob.key) + error.message)
            for collection, document in await namers_of(self._namers, blob.key)
        ]
        swept.damaged |= {damage.key: damage for damage in found}
        swept.is_outdated = swept.is_outdated or not found

    async def _size(self, key: str) -> int | None:
        try:
            return (await self._target.stat(key)).size
        except NotFound:
            return None

    async def _copy(self, blob: Blob) -> int:
        """Copy a blob and return its size."""
        pieces = None
        if blob.checks is None:  # small files share it, and each proves its own bytes
            try:
                blob = Blob(blob.key, (await self._source.stat(blob.key)).size)
            except NotFound as error:
                raise _SourceFault(error) from error
            pieces = Pieces(await pieces_of(self._namers, blob.key), self._means)
        # What a command that was killed has left there is in the way, and so is what a disk has cut short.
        await self._target.discard(blob.key)
        await self._target.delete(blob.key)
        async with closing(self._read(blob, pieces)) as chunks:
            if blob.size <= SMALL_BYTES:
                data = [chunk async for chunk in chunks]
                await self._note(blob, pieces)
                written = await self._target.put(blob.key, data)
            else:
                await self._stage(blob, chunks)
                await self._note(blob, pieces)
                written = await self._target.finish(blob.key, blob.size)
        await self._read_back(written)
        self._tally.copied += 1
        self._tally.copied_bytes += blob.size
        return blob.size

    async def _read(self, blob: Blob, pieces: Pieces | None) -> AsyncIterator[Buffer]:
        try:
            async with closing(self._source.open(blob)) as chunks:
                async for chunk in chunks:
                    if pieces is not None:
                        pieces.add(chunk)
                    yield chunk
        except (DataLoss, NotFound) as error:
            raise _SourceFault(error) from error

    async def _stage(self, blob: Blob, chunks: AsyncIterator[Buffer]) -> None:
        stage = await self._target.stage(blob.key)
        try:
            async for chunk in chunks:
                await stage.append([chunk])
            await stage.persist()
        except _SourceFault:
            await self._target.discard(blob.key)
            raise
        finally:
            await stage.close()

    async def _note(self, blob: Blob, pieces: Pieces | None) -> None:
        if pieces is not None and pieces.damaged:
            what = "its bytes are not those that were stored"
            damages = [
                Damage(piece.collection, piece.key, blob.key, f"{piece.chunk}: {what}" if piece.chunk else what)
                for piece in pieces.damaged
            ]
            await self._damages.note(blob.key, damages)

    async def _read_back(self, written: Blob) -> None:
        try:
            async with closing(self._target.open(written)) as chunks:
                async for _ in chunks:
                    pass
        except DataLoss:
            await self._target.delete(written.key)
            raise


def _of_chunks(collection: str, document: Document, blob: str) -> str:
    """Return which chunks of which array cannot be had, for people; empty of a file."""
    if collection != BLOCKS:
        return ""
    return f"{chunks_text(block_of(document), blob)}: "


async def _all(tasks: Sequence[asyncio.Task[Blob | None]]) -> Sequence[Blob | None]:
    """Return what all have returned; when one fails the others are ended first."""
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
