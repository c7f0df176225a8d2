"""What becomes of arrays that are seen no more, or never were: their record stays for a while, then all of it goes.

An array that is deleted or replaced leaves a dropped record under its uid, written before it goes out of sight, which
keeps the blobs named for those who still read them. When its time is over the index documents go, and the record last,
so that what a crash cuts short is found again. A record whose array is in sight has been left behind by something that
did not come about, and only the record goes.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from measurand.core.arrays.blocks import BLOCKS
from measurand.core.arrays.documents import (
    ARRAYS,
    STAGED,
    Array,
    array_document,
    array_of,
    is_dropped,
    staged_document,
    was_seen,
)
from measurand.core.arrays.listing import stored_bytes
from measurand.core.filters.tree import Compare
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.names import ArrayName
from measurand.core.ports import Document, DocumentStore, Position
from measurand.core.times import microseconds
from measurand.core.view import Scalar
from measurand.wire.errors import Contention, NotFound

__all__ = ["Expiring"]

AT_ONCE = 100


class Expiring:
    """Removes arrays, some time after they went out of sight."""

    def __init__(self, documents: DocumentStore, means: Means, limits: Limits) -> None:
        self._documents = documents
        self._means = means
        self._limits = limits

    async def drop(self, array: Array) -> None:
        """Leave a dropped record of an array that is about to go out of sight."""
        document = await self._dropped(array, was_seen=True)
        for _ in range(self._limits.max_retries):
            if (await self._documents.insert_many(STAGED, [document]))[0]:
                return
            kept = await self._documents.fetch(STAGED, array.uid)
            # Of an attempt that did not come about, or of a commit that a crash cut short.
            if kept and await self._documents.replace(STAGED, document, expected_revision=kept.revision):
                return
        raise _contention(array.name)

    async def throw_away(self, name: ArrayName, uid: str) -> None:
        """Drop a staged array. One that is gone, or in sight by now, stays as it is."""
        for _ in range(self._limits.max_retries):
            staged = await self._documents.fetch(STAGED, uid)
            if staged is None or is_dropped(staged) or array_of(staged).name != name:
                return
            document = await self._dropped(array_of(staged))
            if await self._documents.replace(STAGED, document, expected_revision=staged.revision):
                return
        raise _contention(name)

    async def settle(self, shown: Array, *, instead_of: Array | None) -> Array:
        """End a commit: remove the staged record of an array that has come in sight, and return the array.

        Raises
        ------
        NotFound
            RESOURCE_NOT_FOUND: it was thrown away meanwhile; what it has replaced is in its place again.
        """
        for _ in range(self._limits.max_retries):
            staged = await self._documents.fetch(STAGED, shown.uid)
            if staged is None or is_dropped(staged):
                # By whoever takes its place in turn; or when it was not in sight yet, and then it must not be.
                if (staged is not None and was_seen(staged)) or not await self._put_back(shown, instead_of):
                    return shown
                raise NotFound(
                    f"{shown.name}: the staged array {shown.uid} was thrown away; write it once more",
                    resource=shown.name,
                )
            newer = array_of(staged)
            if newer.version >= shown.version:  # an appender was at work on it to the last moment
                shown = await self._catch_up(shown, newer)
            if await self._documents.remove(STAGED, shown.uid, expected_revision=staged.revision):
                return shown
        return shown

    async def run_once(self) -> int:
        """Drop the staged arrays whose time is over, remove the dropped ones whose time is, and return how many."""
        over = Compare("expires", "<=", Scalar("t", microseconds(self._means.now())))
        ended = 0
        after: Position | None = None
        while found := await self._documents.find(STAGED, where=over, after=after, limit=AT_ONCE):
            for item in found:
                ended += await self._end(item.document)
            after = found[-1].position
        return ended

    async def _end(self, document: Document) -> bool:
        array = array_of(document)
        shown = await self._documents.fetch(ARRAYS, str(array.name))
        if shown is not None and array_of(shown).uid == array.uid:
            # One that is not dropped was just committed, perhaps; whoever does so looks for it once more.
            if is_dropped(document) or self._is_long_over(array):
                await self._documents.remove(STAGED, array.uid, expected_revision=document.revision)
            return False
        if not is_dropped(document):
            await self._documents.replace(STAGED, await self._dropped(array), expected_revision=document.revision)
            return True
        while found := await self._documents.find(BLOCKS, key_prefix=f"{array.uid}/", limit=AT_ONCE, with_text=False):
            await asyncio.gather(*(self._documents.remove(BLOCKS, item.document.key) for item in found))
        await self._documents.remove(STAGED, array.uid, expected_revision=document.revision)
        return True

    def _is_long_over(self, array: Array) -> bool:
        return array.expire_time is not None and array.expire_time + self._limits.blob_grace < self._means.now()

    async def _put_back(self, shown: Array, instead_of: Array | None) -> bool:
        """Undo a commit. False: something else has taken its place already."""
        while True:
            current = await self._documents.fetch(ARRAYS, str(shown.name))
            if current is None or array_of(current).uid != shown.uid:
                return False
            if instead_of is None:
                if await self._documents.remove(ARRAYS, current.key, expected_revision=current.revision):
                    return True
                continue
            old = array_document(replace(instead_of, version=instead_of.version + 1))
            if await self._documents.replace(ARRAYS, old, expected_revision=current.revision):
                return True

    async def _catch_up(self, shown: Array, newer: Array) -> Array:
        """Bring an array in sight to what its staged record has come to, if that is ahead."""
        current = await self._documents.fetch(ARRAYS, str(shown.name))
        if current is None or (there := array_of(current)).uid != newer.uid:
            return shown
        if (newer.epoch, newer.shape[:1]) <= (there.epoch, there.shape[:1]):
            return there
        merged = replace(newer, expire_time=None, version=max(newer.version, there.version) + 1)
        stored = await self._documents.replace(ARRAYS, array_document(merged), expected_revision=current.revision)
        return there if stored is None else merged

    async def _dropped(self, array: Array, *, was_seen: bool = False) -> Document:
        expires = self._means.now() + self._limits.blob_grace
        size = await stored_bytes(self._documents, array)
        gone = replace(array, expire_time=expires, growing_until=None)
        return staged_document(gone, is_dropped=True, was_seen=was_seen, size=size)


def _contention(name: ArrayName) -> Contention:
    return Contention(f"{name}: others keep changing it; try again", retry_seconds=0.1, resource=name)
