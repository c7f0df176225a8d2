"""What is known about buffers, batches, groups, events and records, in the words of the client."""

from __future__ import annotations

import json
import sys
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import click

from measurand.cli.output import cell, print_json, printable
from measurand.cli.session import Session

__all__ = [
    "facts_of_batch",
    "facts_of_buffer",
    "facts_of_event",
    "facts_of_freeze",
    "facts_of_group",
    "facts_of_record",
    "print_event",
    "print_record",
]

PREVIEW = 60


def facts_of_buffer(buffer: Any) -> dict[str, Any]:
    """Return what a buffer's handle knows: what it is, what is in it, who holds it."""
    return {
        "id": buffer.id,
        "catalog": buffer.name.split("/")[1],
        "description": buffer.description,
        **asdict(buffer.stats()),
        "created": buffer.created,
        "policy": buffer.policy,
        "metadata": plain(buffer.metadata),
    }


def facts_of_batch(batch: Any) -> dict[str, Any]:
    """Return what a batch's handle knows: which dataset it is, and what is in it."""
    return {
        "id": batch.name,
        "buffer": batch.buffer,
        "window": batch.window,
        **batch.counts,
        "first_sequence": batch.sequences.start,
        "last_sequence": batch.sequences.stop - 1,
        "first_time": batch.first_time,
        "last_time": batch.last_time,
        "frozen": batch.frozen,
        "owner": batch.owner,
        "created": batch.created,
        "title": batch.title,
        "tags": batch.tags,
        "metadata": plain(batch.metadata),
    }


def facts_of_freeze(place: object, freeze: Any) -> dict[str, Any]:
    """Return what came of freezing, with the token."""
    return {
        "buffer": str(place),
        "state": freeze.state,
        "window": freeze.window,
        "records": freeze.records,
        "bytes": freeze.bytes,
        "missing": dict(freeze.missing_of),
        "owner": freeze.owner,
        "since": freeze.since,
        "until": freeze.until,
        "token": freeze.token,
    }


def facts_of_group(group: Any) -> dict[str, Any]:
    """Return where a group of consumers stands."""
    return {
        "id": group.name,
        "settled": group.settled,
        "lag": group.lag,
        "undelivered": group.undelivered,
        "outstanding": group.outstanding,
        "returned": group.returned,
        "given_up": group.given_up,
    }


def facts_of_event(event: Any) -> dict[str, Any]:
    """Return an entry of the log."""
    return asdict(event)


def facts_of_record(record: Any, *, with_data: bool = True) -> dict[str, Any]:
    """Return a record; its bytes as Base64, and how to read them where they are an array."""
    facts = {
        "sequence": record.seq,
        "time": record.time,
        "event_time": record.event_time,
        "window": record.window,
        "writer": record.writer,
        "id": record.id,
        "part": None if record.part is None else asdict(record.part),
        "size": record.size,
        "metadata": plain(record.metadata),
    }
    if with_data:
        facts["array"] = layout_of(record) if record.is_array else None
        facts["data"] = b64encode(record.data).decode()
    return facts


def layout_of(record: Any) -> dict[str, Any]:
    array = record.array
    return {"dtype": array.dtype.str, "shape": list(array.shape)}


def print_record(session: Session, record: Any, *, with_data: bool) -> None:
    """Write a record as a line: all of it in JSON, else what tells it apart and how its bytes begin."""
    facts = facts_of_record(record, with_data=with_data)
    if session.as_json:
        print_json(facts)
        return
    words = [str(record.seq), record.time.astimezone().strftime("%Y-%m-%d %H:%M:%S.%f"), cell(record.size, "size")]
    if record.metadata:
        words.append(json.dumps(facts["metadata"], ensure_ascii=False))
    if with_data:
        words.append(preview(record))
    click.echo(printable("  ".join(words)).rstrip())
    sys.stdout.flush()


def preview(record: Any) -> str:
    """Return how the bytes of a record begin, as text where they are one."""
    if record.is_array:
        return f"{record.array.dtype}{list(record.array.shape)}"
    try:
        text = record.data.decode()
    except UnicodeDecodeError:
        text = record.data[: PREVIEW // 3].hex(" ")
    return text if len(text) <= PREVIEW else f"{text[: PREVIEW - 1]}…"


def print_event(session: Session, event: Any) -> None:
    """Write an entry of the log as a line."""
    if session.as_json:
        print_json(facts_of_event(event))
        return
    about = f"window {event.window}, next record {event.next_sequence}"
    words = [str(event.number), cell(event.time), event.kind, event.actor, about, event.message, event.dataset]
    click.echo(printable("  ".join(filter(None, words))))
    sys.stdout.flush()


def plain(metadata: Mapping[str, Any]) -> Any:
    """Return metadata as Extended JSON."""
    from measurand.client.values import to_text

    return json.loads(to_text(metadata))
