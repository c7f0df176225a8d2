"""What a head would grow too large with: old segments, events, ids, requests, writers. Moved out of it, and found.

First it is written where it goes, then the next commit leaves it out of the head. So a head that lacks something, and
that is still the newest, proves that it is found there or nowhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from measurand.core.buffers.documents import SEGMENTS, event_to_json, index_document, index_of
from measurand.core.buffers.heads import Event, Head, Run, Segment, SegmentIndex, WriterState
from measurand.core.buffers.standing import find_standing
from measurand.core.buffers.submissions import Known
from measurand.core.filters.tree import Compare
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.names import parse_buffer
from measurand.core.ports import Document, DocumentStore, Json
from measurand.core.searchable import entries
from measurand.core.times import from_microseconds, microseconds
from measurand.core.view import Scalar, View
from measurand.wire.errors import Contention

__all__ = [
    "EVENTS",
    "MEMORIES",
    "Moved",
    "Remembering",
    "event_document",
    "event_view",
    "memory_view",
    "surplus",
    "with_few_events",
    "without",
]

MEMORIES = "buffer_ids"
"""The collection of ids of records, requests and writers: key uid and id, scope the buffer's name."""

EVENTS = "buffer_events"
"""The collection of the event log: key uid and number, scope the buffer's name."""

MOST_SEGMENTS = 64
SEGMENTS_AT_ONCE = 32
MOST_EVENTS = 32
MOST_IDS = 128
MOST_REQUESTS = 128
MOST_WRITERS = 256
WRITERS_REMEMBERED = timedelta(days=30)
"""A writer may stand still for longer than a request is repeated, and go on with its numbers."""
IDLE = 60_000_000
IDLE_WRITERS = 64
TRIES = 10


@dataclass(frozen=True, slots=True)
class Moved:
    """What is to be left out of a head, each as it was when it was written elsewhere."""

    segments: tuple[Segment, ...] = ()
    events: tuple[Event, ...] = ()
    ids: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    requests: Mapping[str, tuple[str, int, int, int]] = field(default_factory=dict)
    writers: Mapping[str, WriterState] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.segments or self.events or self.ids or self.requests or self.writers)


def surplus(head: Head, now: datetime) -> Moved:
    """Return what should move out of a head."""
    segments = head.segments[:SEGMENTS_AT_ONCE] if len(head.segments) > MOST_SEGMENTS else ()
    events = _old_events(head)
    ids = dict(_oldest(head.ids.items(), MOST_IDS, lambda kept: kept[0]))
    requests = dict(_oldest(head.requests.items(), MOST_REQUESTS, lambda kept: kept[1]))
    writers = dict(_oldest(head.writers.items(), MOST_WRITERS, lambda kept: kept.time))
    if len(head.writers) > IDLE_WRITERS:
        idle = microseconds(now) - IDLE
        writers |= {name: writer for name, writer in head.writers.items() if writer.time < idle}
    return Moved(segments, events, ids, requests, writers)


def without(head: Head, moved: Moved) -> Head:
    """Return the head without what was moved; what has changed since stays."""
    last_segment = moved.segments[-1].first if moved.segments else 0
    last_event = moved.events[-1].number if moved.events else 0
    segments = [segment for segment in head.segments if segment.first > last_segment]
    events = [event for event in head.events if event.number > last_event]
    ids = {key: kept for key, kept in head.ids.items() if moved.ids.get(key) != kept}
    requests = {key: kept for key, kept in head.requests.items() if moved.requests.get(key) != kept}
    writers = {key: kept for key, kept in head.writers.items() if moved.writers.get(key) != kept}
    before = map(len, (head.segments, head.events, head.ids, head.requests, head.writers))
    if list(before) == [len(segments), len(events), len(ids), len(requests), len(writers)]:
        return head
    return replace(head, segments=tuple(segments), events=tuple(events), ids=ids, requests=requests, writers=writers)


async def with_few_events(documents: DocumentStore, head: Head, new: Head) -> Head:
    """Return the head that follows on one that is stored, without the old events of that one: they are moved out.

    Whoever changes a head without a commit calls it, else a buffer that only gets notes would keep all of them there.
    """
    old = _old_events(head)
    if not old:
        return new
    await documents.insert_many(EVENTS, [event_document(head, event) for event in old])
    return without(new, Moved(events=old))


def event_document(head: Head, event: Event) -> Document:
    """Return the document of an event of a buffer."""
    body = {**event_to_json(event), "uid": head.uid}
    return Document(f"{head.uid}/{event.number:019d}", str(head.name), body, view=event_view(event))


def event_view(event: Event) -> View:
    """Return what an event can be found by."""
    happened = from_microseconds(event.time)
    return entries(number=event.number, kind=event.kind.value, happened=happened, dataset=event.dataset or None)


def memory_view(expires: int) -> View:
    """Return what something that is remembered can be found by."""
    return entries(expires=from_microseconds(expires))


class Remembering:
    """Writes what moves out of heads, and looks it up."""

    def __init__(self, documents: DocumentStore, means: Means, limits: Limits) -> None:
        self._documents = documents
        self._means = means
        self._limits = limits

    async def move(self, head: Head, moved: Moved) -> None:
        """Write what is to be left out of a head. Durable when it returns; doing it again changes nothing."""
        if moved.segments:
            await self.index(head, moved.segments)
        if moved.events:
            await self._documents.insert_many(EVENTS, [event_document(head, event) for event in moved.events])
        memories = [
            *(self._memory(head, "i", key, [sequence], [sequence, crc]) for key, (sequence, crc) in moved.ids.items()),
            *(self._memory(head, "r", key, [kept[1]], list(kept)) for key, kept in moved.requests.items()),
            *(
                self._memory(head, "w", key, [kept.epoch, kept.last], _writer_to_json(kept))
                for key, kept in moved.writers.items()
            ),
        ]
        for start in range(0, len(memories), 1000):
            await self._remember(memories[start : start + 1000])

    async def index(self, head: Head, segments: Sequence[Segment]) -> None:
        """Write segments into one index document; what is there already stays."""
        document = index_document(SegmentIndex(head.name, head.uid, tuple(segments)))
        for _ in range(TRIES):
            if (await self._documents.insert_many(SEGMENTS, [document]))[0]:
                return
            kept = await self._documents.fetch(SEGMENTS, document.key)
            if kept is None:
                continue
            there = index_of(kept).segments
            new = [segment for segment in segments if segment.first >= there[-1].end]
            if not new:
                return
            merged = index_document(SegmentIndex(head.name, head.uid, (*there, *new)))
            if await self._documents.replace(SEGMENTS, merged, expected_revision=kept.revision) is not None:
                return
        raise Contention(f"{head.name}: others keep changing its index; try again", retry_seconds=0.1)

    async def look_up(self, head: Head, ids: Iterable[str], requests: Iterable[str], writers: Iterable[str]) -> Known:
        """Return what was moved out of a head of these record ids, request ids and writers."""
        keys = [
            _key(head.uid, kind, key) for kind, some in (("i", ids), ("r", requests), ("w", writers)) for key in some
        ]
        found: dict[str, Document] = {}
        for start in range(0, len(keys), 1000):
            found.update(await self._documents.fetch_many(MEMORIES, keys[start : start + 1000]))
        now = microseconds(self._means.now())
        known: dict[str, dict[str, Any]] = {"i": {}, "r": {}, "w": {}}
        for document in found.values():
            body: Mapping[str, Any] = document.body
            if body["expires"] > now or body["window"] == head.window:
                known[body["kind"]][body["id"]] = body["kept"]
        return Known(
            ids={key: (kept[0], kept[1]) for key, kept in known["i"].items()},
            requests={key: (kept[0], kept[1], kept[2], kept[3]) for key, kept in known["r"].items()},
            writers={key: _writer_of(kept) for key, kept in known["w"].items()},
        )

    async def expire(self) -> int:
        """Forget what need not be remembered any longer, and return how many there were. For a background job.

        Ids of records in an open window are remembered however old they are.
        """
        removed, is_through = 0, False
        while not is_through:
            now = self._means.now()
            found = await self._documents.find(
                MEMORIES, where=Compare("expires", "<=", Scalar("t", microseconds(now))), limit=500
            )
            windows: dict[str, tuple[str, int]] = {}
            for item in found:
                document, scope = item.document, item.document.scope
                if scope not in windows:
                    standing = await find_standing(self._documents, parse_buffer(scope))
                    windows[scope] = ("", 0) if standing is None else (standing.head.uid, standing.head.window)
                if windows[scope] == (document.body["uid"], document.body["window"]):
                    kept = _expiring(document, microseconds(now + self._limits.request_id_lifetime))
                    await self._documents.replace(MEMORIES, kept, expected_revision=document.revision)
                else:
                    removed += await self._documents.remove(MEMORIES, document.key, expected_revision=document.revision)
            is_through = len(found) < 500
        return removed

    async def forget(self, uid: str) -> None:
        """Remove all that is remembered of a buffer that is gone, and its events."""
        for collection, prefix in ((MEMORIES, f"{uid} "), (EVENTS, f"{uid}/")):
            while found := await self._documents.find(collection, key_prefix=prefix, limit=500, with_text=False):
                for item in found:
                    await self._documents.remove(collection, item.document.key)

    def _memory(self, head: Head, kind: str, key: str, order: list[Json], kept: list[Json]) -> Document:
        is_open = kind == "i" and isinstance(order[0], int) and order[0] >= head.window_first
        body: dict[str, Json] = {
            "uid": head.uid,
            "kind": kind,
            "id": key,
            "order": order,
            "kept": kept,
            "window": head.window if is_open else 0,
        }
        lifetime = WRITERS_REMEMBERED if kind == "w" else self._limits.request_id_lifetime
        expires = microseconds(self._means.now() + lifetime)
        return _expiring(Document(_key(head.uid, kind, key), str(head.name), body), expires)

    async def _remember(self, memories: Sequence[Document]) -> None:
        """Write memories; of two of one thing the later one stays, whoever writes last."""
        stored = await self._documents.insert_many(MEMORIES, memories) if memories else ()
        taken = {memory.key: memory for memory, is_new in zip(memories, stored, strict=True) if not is_new}
        for _ in range(TRIES):
            there = await self._documents.fetch_many(MEMORIES, list(taken)) if taken else {}
            for key, memory in list(taken.items()):
                kept: Any = there.get(key)
                if kept is None:
                    is_done = (await self._documents.insert_many(MEMORIES, [memory]))[0]
                elif kept.body["order"] >= memory.body["order"]:
                    is_done = True
                else:
                    is_done = bool(await self._documents.replace(MEMORIES, memory, expected_revision=kept.revision))
                if is_done:
                    del taken[key]
            if not taken:
                return
        raise Contention("others keep writing what is remembered of a buffer; try again", retry_seconds=0.1)


def _old_events(head: Head) -> tuple[Event, ...]:
    return head.events[: -MOST_EVENTS // 2] if len(head.events) > MOST_EVENTS else ()


def _key(uid: str, kind: str, key: str) -> str:
    return f"{uid} {kind}{key}"


def _expiring(document: Document, expires: int) -> Document:
    return replace(document, body={**document.body, "expires": expires}, view=memory_view(expires))


def _oldest(items: Iterable[Any], most: int, age: Any) -> list[Any]:
    """Return the older half of items of which there are too many."""
    some = list(items)
    return sorted(some, key=lambda item: age(item[1]))[: len(some) - most // 2] if len(some) > most else []


def _writer_to_json(writer: WriterState) -> list[Json]:
    runs = [[run.number, run.first, run.count, run.window] for run in writer.runs]
    return [writer.last, writer.epoch, writer.time, runs]


def _writer_of(kept: Any) -> WriterState:
    last, epoch, time, runs = kept
    return WriterState(last, epoch, time, tuple(Run(*run) for run in runs))
