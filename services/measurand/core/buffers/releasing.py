"""Letting go of records: what neither the buffer nor a batch needs any more is left out of head and index.

What a buffer can be read of is a row of sequences without gaps, from `first_sequence` on. So where a batch is removed,
the buffer forgets its records and those before them, unless the policy says how long it keeps them; batches that lie
before it stay, and are read by themselves. The blobs that are named by nobody then go by the collector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from measurand.core.buffers.batches import (
    BATCHES,
    Batch,
    batch_document,
    batch_of,
    batches_prefix,
    change_counted,
    live_windows,
)
from measurand.core.buffers.documents import BUFFERS, SEGMENTS, head_of, index_document, index_of
from measurand.core.buffers.group_documents import GIVEN_UP, GROUPS, group_of
from measurand.core.buffers.group_documents import GONE as GROUP_GONE
from measurand.core.buffers.group_documents import gone_document as gone_group
from measurand.core.buffers.heads import Closing, EventKind, Head, Segment
from measurand.core.buffers.live import Board
from measurand.core.buffers.remembering import Remembering
from measurand.core.buffers.standing import GONE, find_standing, gone_document
from measurand.core.buffers.windows import SYSTEM
from measurand.core.filters.tree import And, Compare, Exists, Not
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.names import BufferName, CatalogName, DatasetName, parse_buffer
from measurand.core.ports import Document, DocumentStore, Position
from measurand.core.times import microseconds
from measurand.core.view import Scalar

__all__ = ["Releasing", "trimmed"]

AT_ONCE = 200


def trimmed(head: Head, first: int, live: frozenset[int]) -> Head:
    """Return a head that can be read from `first` on; what no batch needs before that is left out of its segments.

    Parameters
    ----------
    live : frozenset of int
        Windows whose batch is there.
    """
    first = max(first, head.first_sequence)
    closing = {one.window for one in head.closing if one.dataset}
    segments = tuple(
        segment
        for segment in head.segments
        if segment.end > first or segment.window in live or segment.window in closing
    )
    return replace(head, first_sequence=first, segments=segments)


class Releasing:
    """Lets go of records."""

    def __init__(self, documents: DocumentStore, board: Board, means: Means, limits: Limits) -> None:
        self._documents = documents
        self._board = board
        self._means = means
        self._remembering = Remembering(documents, means, limits)

    async def release(self, name: DatasetName) -> None:
        """Let go of the records of a batch whose dataset is purged, if it is one. May be called again."""
        where = Compare("dataset", "=", Scalar("s", str(name)))
        for item in await self._documents.find(BATCHES, where=where, limit=AT_ONCE):
            batch = await self._marked(item.document)
            if batch is not None:
                await self.let_go(batch)

    async def let_go(self, batch: Batch) -> None:
        """Leave the records of a batch that is not there any more out of head and index. May be called again."""
        standing = await find_standing(self._documents, batch.buffer, batch.uid)
        if standing is not None:
            keeps = standing.head.policy.keep_sealed is not None
            await self.trim(standing.head, standing.head.first_sequence if keeps else batch.end)
        await self.sweep(batch.buffer, batch.uid, batch.first, batch.end)

    async def throw_away(self, name: BufferName, uid: str, closing: Closing) -> None:
        """Leave the records of a window that is thrown away out of head and index. May be called again."""
        standing = await find_standing(self._documents, name, uid)
        if standing is not None and closing in standing.head.closing:
            await self.trim(standing.head, closing.end)
            await self.sweep(name, uid, closing.first, closing.end)

    async def trim(self, head: Head, first: int) -> None:
        """Let the buffer forget the records before `first`, and count its batches anew. The index is not touched."""
        old = [segment.window for segment in head.segments if segment.end <= max(first, head.first_sequence)]
        live = await live_windows(self._documents, head.uid, old)

        def decide(now: Head) -> Head | None:
            known = live | {segment.window for segment in now.segments if segment.window not in old}
            new = trimmed(now, min(first, now.window_first), known)
            if new.first_sequence > now.first_sequence:
                said = f"records before {new.first_sequence}"
                new = new.noting(EventKind.TRIMMED, self._means.now(), SYSTEM, said)
            return new

        await change_counted(self._documents, self._board, self._means, head.name, head.uid, decide)

    async def sweep(self, name: BufferName, uid: str, first: int, end: int) -> int:
        """Leave what nobody needs out of the index of these sequences, and return how many segments that were."""
        where = And((Compare("end", ">", Scalar("n", first)), Compare("first", "<", Scalar("n", end))))
        swept = 0
        after: Position | None = None
        while True:
            found = await self._documents.find(SEGMENTS, where=where, key_prefix=f"{uid}/", after=after, limit=AT_ONCE)
            swept += await self._sweep(name, uid, [item.document for item in found])
            if len(found) < AT_ONCE:
                return swept
            after = found[-1].position

    async def sweep_all(self) -> int:
        """Look through the index of all buffers for what a crash has left in it. For a background job, now and then."""
        swept = 0
        after: Position | None = None
        while found := await self._documents.find(SEGMENTS, after=after, limit=AT_ONCE):
            after = found[-1].position
            owners: dict[tuple[str, str], list[Document]] = {}
            for item in found:
                owners.setdefault((item.document.scope, str(item.document.body["uid"])), []).append(item.document)
            for (scope, uid), documents in owners.items():
                swept += await self._sweep(parse_buffer(scope), uid, documents)
        return swept

    async def remove(self, name: BufferName, uid: str) -> None:
        """Remove what else there is of a buffer that is gone, but for its batches and their records."""
        await self.sweep(name, uid, 0, 1 << 62)
        of_it = And((Compare("uid", "=", Scalar("s", uid)), Not(Exists(GROUP_GONE))))
        while found := await self._documents.find(GROUPS, scopes=[str(name)], where=of_it, limit=AT_ONCE):
            for item in found:
                left = gone_group(group_of(item.document), self._means.now())
                await self._documents.replace(GROUPS, left, expected_revision=item.document.revision)
        while found := await self._documents.find(GIVEN_UP, scopes=[str(name)], where=of_it, limit=AT_ONCE):
            for item in found:
                await self._documents.remove(GIVEN_UP, item.document.key)
        while found := await self._documents.find(
            BATCHES, where=Exists("released"), key_prefix=batches_prefix(uid), limit=AT_ONCE, with_text=False
        ):
            for item in found:
                await self._documents.remove(BATCHES, item.document.key)

    async def remove_all(self, catalog: CatalogName) -> None:
        """Remove all buffers of a catalog whose time is over. May be called again."""
        where = Not(Exists(GONE))
        while found := await self._documents.find(BUFFERS, scopes=[str(catalog)], where=where, limit=AT_ONCE):
            for item in found:
                head = head_of(item.document)
                gone = gone_document(head, self._means.now())
                if await self._documents.replace(BUFFERS, gone, expected_revision=item.document.revision) is None:
                    continue
                self._board.forget(head.name)
                await self._remembering.forget(head.uid)
                await self.remove(head.name, head.uid)

    async def _marked(self, document: Document) -> Batch | None:
        """Write down that a batch is not there any more. None: another process is at it."""
        batch = batch_of(document)
        if batch.released is not None:
            return batch
        batch = replace(batch, released=microseconds(self._means.now()))
        stored = await self._documents.replace(BATCHES, batch_document(batch), expected_revision=document.revision)
        if stored is not None:
            return batch
        current = await self._documents.fetch(BATCHES, document.key)
        return None if current is None else await self._marked(current)

    async def _sweep(self, name: BufferName, uid: str, documents: Sequence[Document]) -> int:
        # The head first: a window leaves its notes only after its batch was written down.
        standing = await find_standing(self._documents, name, uid)
        head = None if standing is None else standing.head
        segments = [segment for document in documents for segment in index_of(document).segments]
        live = await live_windows(self._documents, uid, [segment.window for segment in segments])
        swept = 0
        for document in documents:
            index = index_of(document)
            kept = tuple(segment for segment in index.segments if _is_needed(segment, head, live))
            if len(kept) == len(index.segments):
                continue
            if kept:
                # Under the old key, which tells of a place in the row and not of the first one that is left.
                shorter = replace(index_document(replace(index, segments=kept)), key=document.key)
                await self._documents.replace(SEGMENTS, shorter, expected_revision=document.revision)
            else:
                await self._documents.remove(SEGMENTS, document.key, expected_revision=document.revision)
            swept += len(index.segments) - len(kept)
        return swept


def _is_needed(segment: Segment, head: Head | None, live: frozenset[int]) -> bool:
    if segment.window in live:
        return True
    if head is None:
        return False
    closing = {one.window for one in head.closing if one.dataset}
    return segment.end > head.first_sequence or segment.window in closing
