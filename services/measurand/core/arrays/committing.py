"""Chunks on their way into the store: those of one array that wait at the same time share blobs and index documents.

First the bytes are stored, then the index documents name them, then the array's own document is looked at: only if it
still takes them is anything acknowledged. While the bytes of one group are on their way the next one gathers, and the
index documents are written in the order in which the chunks came.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from measurand.core.arrays.blocks import (
    Entry,
    Index,
    blob_key,
    block_of_chunk,
)
from measurand.core.arrays.chunk_writes import ChunkItem, ChunkWrite, Step
from measurand.core.arrays.documents import Array
from measurand.core.arrays.indexing import TRIES, Indexing
from measurand.core.arrays.standing import Standing, fenced, find_standing, sealed, stored
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.policies import Policies
from measurand.core.ports import BlobStore, DocumentStore
from measurand.core.ulid import make_ulid
from measurand.wire.errors import Contention, MeasurandError, NotFound, SelectionInvalid

__all__ = ["GROWING", "Commits"]

ALONE_BYTES = 256 * 1024
"""A chunk of so many bytes is a blob of its own; smaller ones share one."""
GROUP_BYTES = 8 * 1024 * 1024
GROUP_ITEMS = 1000
GROUPS_AT_ONCE = 4
PUTS_AT_ONCE = 16
GROWING = timedelta(minutes=5)
"""An appender of which nothing was heard for so long is thought to be gone."""
RENEWED = timedelta(hours=1)


@dataclass(slots=True, eq=False)
class _Grow:
    epoch: int
    rows: int
    is_last: bool
    after: Sequence[Step]
    answer: asyncio.Future[Array]


_Item = ChunkItem | _Grow


@dataclass(slots=True)
class _Lane:
    """What waits for one array, and the groups on their way."""

    array: Array
    indexing: Indexing
    waiting: list[_Item] = field(default_factory=list)
    groups: set[asyncio.Task[None]] = field(default_factory=set)
    turn: asyncio.Task[None] | None = None
    task: asyncio.Task[None] | None = None


class Commits:
    """Stores chunks, and lets arrays grow. What it has answered is durable."""

    def __init__(self, documents: DocumentStore, blobs: BlobStore, means: Means, limits: Limits) -> None:
        self._documents = documents
        self._blobs = blobs
        self._means = means
        self._limits = limits
        self._policies = Policies(documents, means)
        self._lanes: dict[str, _Lane] = {}
        self._puts = asyncio.Semaphore(PUTS_AT_ONCE)

    def submit(self, array: Array, write: ChunkWrite) -> asyncio.Future[str]:
        """Hand a chunk to the group that is gathering; the future has the chunk's new etag, empty when it was removed.

        Later writes of a chunk win over earlier ones.

        Raises
        ------
        Conflict
            ETAG_MISMATCH: the chunk is not as it should be.
        WriterFenced
            WRITER_FENCED: a newer appender has taken over.
        Sealed, NotFound
            The array takes no more chunks, or is gone.
        SelectionInvalid
            SELECTION_INVALID: the chunk lies outside an array that has shrunk.
        """
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._enqueue(array, ChunkItem(write, block_of_chunk(array, write.index), answer))
        return answer

    def grow(
        self, array: Array, epoch: int, rows: int, *, after: Sequence[Step] = (), is_last: bool = False
    ) -> asyncio.Future[Array]:
        """Show `rows` rows of the first axis, never fewer than before, once everything handed in before is durable.

        Parameters
        ----------
        after : sequence of future
            What `submit` has answered for these rows: if any of them fails, they are not shown.
        is_last : bool
            The appender goes away.
        """
        answer: asyncio.Future[Array] = asyncio.get_running_loop().create_future()
        self._enqueue(array, _Grow(epoch, rows, is_last, after, answer))
        return answer

    def _enqueue(self, array: Array, item: _Item) -> None:
        lane = self._lanes.get(array.uid)
        if lane is None:
            lane = self._lanes[array.uid] = _Lane(array, Indexing(self._documents, self._means, array))
        lane.waiting.append(item)
        if lane.task is None:
            lane.task = asyncio.create_task(self._drain(lane), name=f"chunks of {array.name}")

    async def _drain(self, lane: _Lane) -> None:
        """Store group after group until nobody waits."""
        await asyncio.sleep(0)  # whoever is ready in this turn of the loop joins the first group
        while lane.waiting or lane.groups:
            if lane.waiting and len(lane.groups) < GROUPS_AT_ONCE:
                group, lane.waiting = _first_group(lane.waiting)
                task = asyncio.create_task(self._commit(lane, group, lane.turn))
                lane.turn = task
                lane.groups.add(task)
                task.add_done_callback(lane.groups.discard)
                await asyncio.sleep(0)
            else:
                await asyncio.wait(lane.groups, return_when=asyncio.FIRST_COMPLETED)
        del self._lanes[lane.array.uid]

    async def _commit(self, lane: _Lane, group: Sequence[_Item], before: asyncio.Task[None] | None) -> None:
        chunks = [item for item in group if isinstance(item, ChunkItem)]
        try:
            began = self._means.now()
            await self._put_all(lane.array, chunks)
            if before is not None and not before.done():
                await asyncio.wait([before])
            if self._means.now() - began > self._limits.blob_grace / 2:
                # The machine slept: the collector may have taken the blobs for garbage. Write them under new keys.
                await self._put_all(lane.array, chunks)
            stored_chunks = [chunk for chunk in chunks if not chunk.answer.done()]
            blocks: dict[Index, list[ChunkItem]] = {}
            for chunk in stored_chunks:
                blocks.setdefault(chunk.block, []).append(chunk)
            await asyncio.gather(*(lane.indexing.name(index, items) for index, items in blocks.items()))
            await self._acknowledge(lane, stored_chunks)
            await self._grow(lane, [item for item in group if isinstance(item, _Grow)])
        except Exception as error:
            for item in group:
                _fail(item, error)

    # ------------------------------------------------------------------------------------------------------- the bytes

    async def _put_all(self, array: Array, chunks: Sequence[ChunkItem]) -> None:
        """Store the bytes of all chunks that have some, and note where."""
        packs: dict[Index, list[ChunkItem]] = {}
        alone: list[list[ChunkItem]] = []
        for chunk in chunks:
            if chunk.answer.done() or chunk.write.data is None:
                continue
            if chunk.size >= ALONE_BYTES:
                alone.append([chunk])
            else:
                packs.setdefault(chunk.block, []).append(chunk)
        await asyncio.gather(*(self._put(array, pack) for pack in [*alone, *packs.values()]))

    async def _put(self, array: Array, pack: Sequence[ChunkItem]) -> None:
        """Store chunks of one block in one blob; if that fails, just they fail."""
        ulid = make_ulid(self._means.now(), self._means.random_bytes)
        key = blob_key(array.uid, pack[0].block, ulid)
        try:
            policy = await self._policies.of(array.name.parent)
            async with self._puts:
                data = [chunk.write.data for chunk in pack if chunk.write.data is not None]
                await self._blobs.put(key, data, policy=policy)
        except MeasurandError as error:
            for chunk in pack:
                _fail(chunk, error)
            return
        offset = 0
        for chunk in pack:
            chunk.entry = Entry(key, offset, chunk.size, chunk.write.crc32c)
            offset += chunk.size

    # ------------------------------------------------------------------------------------------------------- the array

    async def _acknowledge(self, lane: _Lane, chunks: Sequence[ChunkItem]) -> None:
        """Answer those who wait, unless the array has ceased to take their chunks."""
        left = [chunk for chunk in chunks if not chunk.answer.done()]
        if not left:
            return
        standing = await find_standing(self._documents, lane.array.name, lane.array.uid)
        if standing is None:
            await lane.indexing.take_back({chunk.block for chunk in left})
            raise NotFound(f"{lane.array.name} was removed; make a new array", resource=lane.array.name)
        array = standing.array
        if array.is_sealed:
            raise sealed(array)
        lane.array = array
        await self._renew(standing)
        refused: list[tuple[ChunkItem, MeasurandError]] = []
        for chunk in left:
            epoch = chunk.write.epoch
            if epoch is not None and epoch != array.epoch:
                refused.append((chunk, fenced(array, epoch)))
            elif epoch is None and chunk.entry is not None and not array.grid.contains(chunk.write.index):
                message = f"{array.name}: chunk {chunk.write.index} lies outside {array.shape}"
                refused.append((chunk, SelectionInvalid(message)))
            elif not chunk.answer.done():
                chunk.answer.set_result(chunk.entry.etag if chunk.entry else "")
        try:
            outside = [chunk for chunk, _ in refused if _is_outside(array, chunk.write)]
            for index in {chunk.block for chunk in outside}:
                await lane.indexing.remove(index, [chunk for chunk in outside if chunk.block == index])
        finally:
            for chunk, error in refused:
                _fail(chunk, error)

    async def _renew(self, standing: Standing) -> None:
        """Keep a staged array that is being written to."""
        array, now = standing.array, self._means.now()
        lifetime = self._limits.upload_lifetime
        if array.expire_time is not None and array.expire_time - now < lifetime - RENEWED:
            await stored(self._documents, standing, replace(array, expire_time=now + lifetime))

    async def _grow(self, lane: _Lane, items: Sequence[_Grow]) -> None:
        """Show rows: one write of the array's document for each appender, however often it has asked."""
        ready: dict[int, list[_Grow]] = {}
        for item in items:
            failures = (future.exception() for future in item.after if future.done() and not future.cancelled())
            failure = next((error for error in failures if error is not None), None)
            if isinstance(failure, Exception):
                _fail(item, failure)
            else:
                ready.setdefault(item.epoch, []).append(item)
        for epoch, same in ready.items():
            try:
                array = await self._shown(lane, epoch, max(item.rows for item in same), any(i.is_last for i in same))
            except MeasurandError as error:
                for item in same:
                    _fail(item, error)
            else:
                for item in same:
                    if not item.answer.done():
                        item.answer.set_result(array)

    async def _shown(self, lane: _Lane, epoch: int, rows: int, is_last: bool) -> Array:
        for _ in range(TRIES):
            standing = await find_standing(self._documents, lane.array.name, lane.array.uid)
            if standing is None:
                raise NotFound(f"{lane.array.name} was removed; make a new array", resource=lane.array.name)
            array, now = standing.array, self._means.now()
            if array.is_sealed:
                raise sealed(array)
            if array.epoch != epoch:
                raise fenced(array, epoch)
            has_grown = rows > array.shape[0]
            is_quiet = array.growing_until is None or array.growing_until - now < GROWING / 2
            if not has_grown and not (is_last and array.growing_until) and not (is_quiet and not is_last):
                return array
            new = replace(
                array,
                shape=(max(rows, array.shape[0]), *array.shape[1:]),
                growing_until=None if is_last else now + GROWING,
                version=array.version + 1,
                update_time=now,
            )
            if await stored(self._documents, standing, new):
                lane.array = new
                return new
        raise Contention(f"{lane.array.name}: others keep changing it; try again", retry_seconds=0.1)


def _is_outside(array: Array, write: ChunkWrite) -> bool:
    """Tell whether nobody is to see a chunk: an appender has left none of its rows behind, whatever is shown since."""
    if write.epoch is None:
        return True
    return bool(write.index) and write.index[0] * array.chunk_shape[0] >= array.takeovers.get(
        write.epoch, array.shape[0]
    )


def _first_group(waiting: list[_Item]) -> tuple[list[_Item], list[_Item]]:
    size = 0
    for number, item in enumerate(waiting):
        size += item.size if isinstance(item, ChunkItem) else 0
        if number and (size > GROUP_BYTES or number == GROUP_ITEMS):
            return waiting[:number], waiting[number:]
    return waiting, []


def _fail(item: _Item, error: Exception) -> None:
    if not item.answer.done():
        item.answer.set_exception(error)
