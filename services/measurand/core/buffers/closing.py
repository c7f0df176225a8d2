"""Closed windows come to their end: a batch is made of each, and then the note of it leaves the head.

The note says all that is needed, so whoever finds it does the rest, and several who do it at once do it once. First it
is written down what becomes of the window, under a key that only this window has; then the dataset is made, under the
id that was fixed when the window was closed; then the note goes, with an event. A crash in between leaves the note.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from measurand.core.buffers.batches import BATCHES, KIND, Batch, batch_document, change_counted, window_batch
from measurand.core.buffers.changing import change_head
from measurand.core.buffers.documents import BUFFERS, SEGMENTS, head_of, index_of
from measurand.core.buffers.heads import Closing, Event, EventKind, Head, State
from measurand.core.buffers.live import Board
from measurand.core.buffers.releasing import Releasing
from measurand.core.buffers.windows import SYSTEM, closed, due, frozen, lapsed
from measurand.core.dataset_documents import DATASETS, Dataset, Note, dataset_document
from measurand.core.filters.tree import And, Compare, Exists, Filter
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.metadata import Metadata, MetadataReader
from measurand.core.names import DatasetName
from measurand.core.ports import DocumentStore, Position
from measurand.core.times import from_microseconds, microseconds
from measurand.core.ulid import make_ulid
from measurand.core.view import Scalar
from measurand.wire.documents import encode
from measurand.wire.errors import Contention, NotFound

__all__ = ["Closings", "overdue"]

AT_ONCE = 100
TITLE = "{buffer}, window {window}"


def overdue(head: Head, now: datetime) -> Head | None:
    """Return what time alone makes of a head: a lease has run out, or a window is too old. None: nothing."""
    if (ended := lapsed(head, now)) is not None:
        return ended
    if head.state is State.ACTIVE and (why := due(head, microseconds(now))):
        return (closed if head.policy.rotate else frozen)(head, now, SYSTEM, comment=why)
    return None


class Closings:
    """Brings closed windows to their end.

    Parameters
    ----------
    releasing : Releasing
        Lets go of the records of windows that are thrown away.
    """

    def __init__(
        self, documents: DocumentStore, board: Board, releasing: Releasing, means: Means, limits: Limits
    ) -> None:
        self._documents = documents
        self._board = board
        self._releasing = releasing
        self._means = means
        self._reader = MetadataReader(means, limits)

    async def settle(self) -> int:
        """Do what time demands of all buffers, finish what is closing, and return how many windows that were.

        For a background job, every second or so. Safe to run in several processes at once.
        """
        now = self._means.now()
        for head in await self._heads(Compare("lapses", "<=", Scalar("t", microseconds(now)))):
            with contextlib.suppress(NotFound, Contention):  # it is gone, or others are at it
                await change_head(self._documents, self._board, self._means, head.name, lambda one: overdue(one, now))
        finished = 0
        for head in await self._heads(Exists("closing")):
            with contextlib.suppress(Contention):
                finished += await self.finish(head)
        return finished

    async def finish(self, head: Head, window: int | None = None) -> int:
        """Bring the closed windows of a head to their end, oldest first, or this one alone; return how many.

        What is made is durable when it returns.
        """
        found = [closing for closing in head.closing if window is None or closing.window == window]
        for closing in found:
            await self._finish(head, closing)
        return len(found)

    async def _heads(self, where: Filter) -> list[Head]:
        heads: list[Head] = []
        after: Position | None = None
        while True:
            found = await self._documents.find(BUFFERS, where=where, after=after, limit=AT_ONCE)
            heads += [head_of(item.document) for item in found]
            if len(found) < AT_ONCE:
                return heads
            after = found[-1].position

    async def _finish(self, head: Head, closing: Closing) -> None:
        if closing.dataset:
            while not await self._made(head, closing):
                moved = await self._with_other_id(head, closing)
                if moved is None:
                    return  # somebody else has finished it
                closing = moved
        else:
            await self._documents.insert_many(BATCHES, [batch_document(_batch(head, closing))])
            if closing.records:
                await self._releasing.throw_away(head.name, head.uid, closing)

        def leave(now: Head) -> Head | None:
            if closing not in now.closing:
                return None
            left = replace(now, closing=tuple(one for one in now.closing if one != closing))
            return _noted(left, closing, self._means.now())

        await change_counted(self._documents, self._board, self._means, head.name, head.uid, leave)

    async def _made(self, head: Head, closing: Closing) -> bool:
        """Make the batch of a window, if it is not there yet. False: its dataset's id is taken by another dataset."""
        batch = _batch(head, closing)
        assert batch.dataset is not None
        name = str(batch.dataset)
        there = await self._documents.fetch(DATASETS, name)
        if there is not None:
            return _is_its(there.body, closing)
        if not (await self._documents.insert_many(BATCHES, [batch_document(batch)]))[0]:
            kept = await window_batch(self._documents, head.uid, closing.window)
            if kept is not None and (kept.released is not None or kept.dataset != batch.dataset):
                return kept.released is not None
        dataset, metadata = await self._dataset(head, closing, batch.dataset)
        note = Note(str(closing.said.get("by") or closing.owner), comment=closing.comment)
        document = dataset_document(dataset, metadata.view, note, None)
        if not (await self._documents.insert_many(DATASETS, [document]))[0]:
            taken = await self._documents.fetch(DATASETS, name)
            return taken is None or _is_its(taken.body, closing)
        kept = await window_batch(self._documents, head.uid, closing.window)
        if kept is None or kept.released is not None:
            # Others have made it, and it was purged, while this process was held up: it must not come back.
            await self._documents.remove(DATASETS, name, expected_revision=1)
        return True

    async def _with_other_id(self, head: Head, closing: Closing) -> Closing | None:
        """Choose another id for the dataset of a batch: somebody has made one with the id that was fixed."""
        suffix = make_ulid(self._means.now(), self._means.random_bytes).lower()[-8:]
        moved = replace(closing, dataset=f"{closing.dataset[:119]}-{suffix}")
        found: list[Closing] = []

        def decide(now: Head) -> Head | None:
            there = next((one for one in now.closing if one.window == closing.window), None)
            found[:] = [there] if there is not None else []
            if there is None or now.uid != head.uid or there != closing:
                return None
            found[:] = [moved]
            return replace(now, closing=tuple(moved if one == closing else one for one in now.closing))

        try:
            await change_head(self._documents, self._board, self._means, head.name, decide)
        except NotFound:
            return None
        if not found:
            return None
        kept = await window_batch(self._documents, head.uid, closing.window)
        if kept is not None and kept.released is None:
            document = batch_document(_batch(head, found[0]))
            there = await self._documents.fetch(BATCHES, document.key)
            if there is not None:
                await self._documents.replace(BATCHES, document, expected_revision=there.revision)
        return found[0]

    async def _dataset(self, head: Head, closing: Closing, name: DatasetName) -> tuple[Dataset, Metadata]:
        first_event, last_event = await self._event_times(head, closing)
        facts = {
            "buffer": str(head.name),
            "window": closing.window,
            "records": closing.records,
            "bytes": closing.counted,
            "first_sequence": closing.first,
            "last_sequence": closing.end - 1,
            "first_time": closing.first_time,
            "last_time": closing.last_time,
            "first_event_time": first_event,
            "last_event_time": last_event,
            "freeze_time": closing.freeze_time,
            "owner": closing.owner,
            "reason": closing.comment,
        }
        times = ("first_time", "last_time", "first_event_time", "last_event_time", "freeze_time")
        shown = {
            key: from_microseconds(value) if key in times and isinstance(value, int) else value
            for key, value in facts.items()
            if value is not None and value != ""
        }
        metadata = await self._reader.read(encode(shown), field="metadata")
        said = closing.said
        for text in (head.metadata, said.get("metadata")):
            if isinstance(text, str) and text not in ("", "{}"):
                patch = await self._reader.read(text, field="metadata")
                metadata, _ = await self._reader.patched(metadata.text, patch)
        made = from_microseconds(closing.close_time)
        begin = first_event if first_event is not None else closing.first_time
        end = last_event if last_event is not None else closing.last_time
        tags = said.get("tags")
        dataset = Dataset(
            name=name,
            title=str(said.get("title") or _title(head, closing, made)),
            kind=KIND,
            tags=tuple(str(tag) for tag in tags) if isinstance(tags, list | tuple) else (),
            parents=(),
            metadata=metadata.text,
            metadata_bytes=metadata.size,
            revision=1,
            creator=str(said.get("by") or closing.owner),
            create_time=made,
            update_time=made,
            start_time=None if begin is None else from_microseconds(begin),
            end_time=None if end is None else from_microseconds(end),
            stored_bytes=closing.counted,
            is_sealed=True,
            plain_url="",  # it has no arrays to be laid out
        )
        return dataset, metadata

    async def _event_times(self, head: Head, closing: Closing) -> tuple[int | None, int | None]:
        """Return the least and the greatest event_time in a window, as far as its writers said."""
        segments = {segment.first: segment for segment in head.segments if segment.window == closing.window}
        range_: tuple[Filter, ...] = (
            Compare("end", ">", Scalar("n", closing.first)),
            Compare("first", "<", Scalar("n", closing.end)),
        )
        after: Position | None = None
        while True:
            found = await self._documents.find(
                SEGMENTS, where=And(range_), key_prefix=f"{head.uid}/", after=after, limit=AT_ONCE
            )
            for item in found:
                segments |= {one.first: one for one in index_of(item.document).segments if one.window == closing.window}
            if len(found) < AT_ONCE:
                break
            after = found[-1].position
        firsts = [one.first_event for one in segments.values() if one.first_event is not None]
        lasts = [one.last_event for one in segments.values() if one.last_event is not None]
        return min(firsts, default=None), max(lasts, default=None)


def _batch(head: Head, closing: Closing) -> Batch:
    return Batch(
        buffer=head.name,
        uid=head.uid,
        window=closing.window,
        first=closing.first,
        end=closing.end,
        size=closing.counted,
        owner=closing.owner,
        freeze_time=closing.freeze_time,
        make_time=closing.close_time,
        first_time=closing.first_time,
        last_time=closing.last_time,
        dataset=DatasetName(head.name.catalog, closing.dataset) if closing.dataset else None,
        request=closing.request,
        released=None if closing.dataset else closing.close_time,
    )


def _is_its(body: Mapping[str, object], closing: Closing) -> bool:
    """Tell whether a dataset is the batch of this window: the time is a part of the id, to the microsecond."""
    return body["kind"] == KIND and body["created"] == closing.close_time


def _title(head: Head, closing: Closing, made: datetime) -> str:
    title = head.policy.batch_title or TITLE
    filled = {"buffer": head.name.buffer, "window": str(closing.window), "time": f"{made:%Y-%m-%dT%H:%M:%SZ}"}
    for key, value in filled.items():
        title = title.replace(f"{{{key}}}", value)
    return title[:1000]


def _noted(head: Head, closing: Closing, now: datetime) -> Head:
    """Return the head with the event of what became of a window."""
    kind = EventKind.SEALED if closing.dataset else EventKind.DISCARDED
    said = f"{closing.records} records, {closing.counted} bytes"
    event = Event(
        number=head.next_event,
        kind=kind,
        time=microseconds(now),
        actor=str(closing.said.get("by") or closing.owner),
        window=closing.window,
        next_sequence=head.next_sequence,
        message=f"{closing.comment}: {said}" if closing.comment else said,
        dataset=str(DatasetName(head.name.catalog, closing.dataset)) if closing.dataset else "",
    )
    return replace(head, events=(*head.events, event), next_event=head.next_event + 1)
