"""The documents in which buffers are kept; see `heads` for what they say."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from measurand.core.buffers.heads import (
    Closing,
    Event,
    EventKind,
    Freeze,
    Head,
    Peer,
    Policy,
    Run,
    Segment,
    SegmentIndex,
    State,
    WriterState,
)
from measurand.core.names import parse_buffer
from measurand.core.ports import Document, Json
from measurand.core.searchable import entries, texts
from measurand.core.times import from_microseconds, microseconds
from measurand.core.view import View

__all__ = [
    "BUFFERS",
    "SEGMENTS",
    "blob_key",
    "event_of",
    "event_to_json",
    "head_document",
    "head_of",
    "index_document",
    "index_key",
    "index_of",
    "uid_of_blob",
]


BUFFERS = "buffers"
"""The collection of heads: key the buffer's name, scope its catalog's."""

SEGMENTS = "buffer_segments"
"""The collection of indexes of older segments: key uid and first sequence, scope the buffer's name."""

BLOBS = "buffers/"
RUNS_KEPT = 4


def blob_key(uid: str, ulid: str) -> str:
    """Return the key of a segment's blob."""
    return f"{BLOBS}{uid}/{ulid}"


def uid_of_blob(key: str) -> str | None:
    """Return the uid of the buffer that a blob is of; None: it is not of a buffer."""
    return key.removeprefix(BLOBS).partition("/")[0] if key.startswith(BLOBS) else None


def index_key(uid: str, first: int) -> str:
    """Return the key of an index of older segments; those of one buffer sort by sequence."""
    return f"{uid}/{first:019d}"


def index_document(index: SegmentIndex) -> Document:
    """Return the document of some older segments. Its blobs can be found by key, its records by window."""
    first, last = index.segments[0], index.segments[-1]
    body: dict[str, Json] = {
        "name": str(index.name),
        "uid": index.uid,
        "segments": [_segment_to_json(segment) for segment in index.segments],
    }
    view: View = [
        *texts("blob", [blob_key(index.uid, segment.ulid) for segment in index.segments]),
        *entries(first=first.first, end=last.end, last_window=last.window, size=sum(s.size for s in index.segments)),
    ]
    return Document(index_key(index.uid, first.first), str(index.name), body, view=view)


def index_of(document: Document) -> SegmentIndex:
    """Return the segments that a document of `SEGMENTS` tells of."""
    body: Mapping[str, Any] = document.body
    return SegmentIndex(
        parse_buffer(body["name"]), body["uid"], tuple(Segment(*segment) for segment in body["segments"])
    )


def head_document(head: Head) -> Document:
    """Return the document of a buffer."""
    policy = head.policy
    body: dict[str, Json] = {
        "uid": head.uid,
        "secret": head.secret,
        "creator": head.creator,
        "created": microseconds(head.create_time),
        "updated": microseconds(head.update_time),
        "description": head.description,
        "policy": {
            "records": policy.freeze_after_records,
            "bytes": policy.freeze_after_bytes,
            "age": _seconds(policy.freeze_after_age),
            "rotate": policy.rotate,
            "keep_sealed": _seconds(policy.keep_sealed),
            "title": policy.batch_title,
            "keep_for": _seconds(policy.keep_batches_for),
            "keep_bytes": policy.keep_batches_bytes,
            "keep": policy.keep_batches,
        },
        "state": head.state.value,
        "window": head.window,
        "next": head.next_sequence,
        "first": head.first_sequence,
        "window_first": head.window_first,
        "window_counted": head.window_counted,
        "window_time": head.window_first_time,
        "last_time": head.last_time,
        "segments": [_segment_to_json(segment) for segment in head.segments],
        "writers": {
            name: [writer.last, writer.epoch, writer.time, [_run_to_json(run) for run in writer.runs[-RUNS_KEPT:]]]
            for name, writer in head.writers.items()
        },
        "ids": {key: list(value) for key, value in head.ids.items()},
        "requests": {key: list(value) for key, value in head.requests.items()},
        "freeze": None if head.freeze is None else _freeze_to_json(head.freeze),
        "freezes": head.freezes,
        "closing": [_closing_to_json(closing) for closing in head.closing],
        "events": [event_to_json(event) for event in head.events],
        "next_event": head.next_event,
        "rates": [list(rate) for rate in head.rates],
        "batches": head.batch_count,
        "next_buffer": head.next_buffer,
        "version": head.version,
        "request": head.request,
        "leader": None if head.leader is None else [head.leader.instance, head.leader.address],
    }
    lapses = head.lapses
    view: View = [
        *entries(
            uid=head.uid,
            closing=len(head.closing) or None,
            lapses=None if lapses is None else from_microseconds(lapses),
            keeps=1 if policy.forgets else None,
        ),
    ]
    return Document(str(head.name), str(head.name.parent), body, head.metadata, view)


def head_of(document: Document) -> Head:
    """Return the buffer that a document of `BUFFERS` is."""
    body: Mapping[str, Any] = document.body
    policy = body["policy"]
    return Head(
        name=parse_buffer(document.key),
        uid=body["uid"],
        secret=body["secret"],
        creator=body["creator"],
        create_time=from_microseconds(body["created"]),
        update_time=from_microseconds(body["updated"]),
        description=body["description"],
        metadata=document.text,
        policy=Policy(
            policy["records"],
            policy["bytes"],
            _span(policy["age"]),
            policy["rotate"],
            _span(policy["keep_sealed"]),
            policy["title"],
            _span(policy["keep_for"]),
            policy["keep_bytes"],
            policy["keep"],
        ),
        state=State(body["state"]),
        window=body["window"],
        next_sequence=body["next"],
        first_sequence=body["first"],
        window_first=body["window_first"],
        window_counted=body["window_counted"],
        window_first_time=body["window_time"],
        last_time=body["last_time"],
        segments=tuple(Segment(*segment) for segment in body["segments"]),
        writers={
            name: WriterState(last, epoch, time, tuple(Run(*run) for run in runs))
            for name, (last, epoch, time, runs) in body["writers"].items()
        },
        ids={key: (sequence, crc) for key, (sequence, crc) in body["ids"].items()},
        requests={key: tuple(value) for key, value in body["requests"].items()},
        freeze=None if body["freeze"] is None else _freeze_of(body["freeze"]),
        freezes=body["freezes"],
        closing=tuple(_closing_of(closing) for closing in body["closing"]),
        events=tuple(event_of(event) for event in body["events"]),
        next_event=body["next_event"],
        rates=tuple(tuple(rate) for rate in body["rates"]),
        batch_count=body["batches"],
        next_buffer=body["next_buffer"],
        version=body["version"],
        request=body["request"],
        leader=None if body.get("leader") is None else Peer(*body["leader"]),
    )


def event_to_json(event: Event) -> dict[str, Json]:
    """Return an event as it is kept."""
    return {
        "number": event.number,
        "kind": event.kind.value,
        "time": event.time,
        "actor": event.actor,
        "window": event.window,
        "next": event.next_sequence,
        "message": event.message,
        "dataset": event.dataset,
    }


def event_of(body: Mapping[str, Any]) -> Event:
    """Return the event that was kept."""
    return Event(
        body["number"],
        EventKind(body["kind"]),
        body["time"],
        body["actor"],
        body["window"],
        body["next"],
        body["message"],
        body["dataset"],
    )


def _segment_to_json(segment: Segment) -> list[Json]:
    return [
        segment.first,
        segment.count,
        segment.window,
        segment.ulid,
        segment.size,
        segment.table_size,
        segment.table_crc,
        segment.counted,
        segment.time,
        segment.first_event,
        segment.last_event,
    ]


def _run_to_json(run: Run) -> list[Json]:
    return [run.number, run.first, run.count, run.window]


def _freeze_to_json(freeze: Freeze) -> dict[str, Json]:
    return {
        "owner": freeze.owner,
        "time": freeze.time,
        "number": freeze.number,
        "expires": freeze.expires,
        "comment": freeze.comment,
        "request": freeze.request,
        "refused": list(freeze.refused),
    }


def _freeze_of(body: Mapping[str, Any]) -> Freeze:
    return Freeze(
        body["owner"],
        body["time"],
        body["number"],
        body["expires"],
        body["comment"],
        body["request"],
        tuple(body["refused"]),
    )


def _closing_to_json(closing: Closing) -> dict[str, Json]:
    return {
        "window": closing.window,
        "first": closing.first,
        "end": closing.end,
        "counted": closing.counted,
        "first_time": closing.first_time,
        "last_time": closing.last_time,
        "owner": closing.owner,
        "freeze_time": closing.freeze_time,
        "close_time": closing.close_time,
        "dataset": closing.dataset,
        "said": dict(closing.said),
        "comment": closing.comment,
        "request": closing.request,
    }


def _closing_of(body: Mapping[str, Any]) -> Closing:
    return Closing(**body)


def _seconds(span: timedelta | None) -> float | None:
    return None if span is None else span.total_seconds()


def _span(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)
