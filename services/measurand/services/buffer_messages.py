"""Buffers, their policies, batches and events as messages, and back. Records are in `record_messages`."""

from __future__ import annotations

from datetime import datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from measurand.core.buffers.batches import ListedBatch
from measurand.core.buffers.buffers import EDITABLE, BufferDraft
from measurand.core.buffers.freezing import BatchDraft
from measurand.core.buffers.heads import Event, EventKind, Head, Policy, Run, State
from measurand.core.buffers.pages import Page
from measurand.core.buffers.selecting import Selection
from measurand.core.buffers.tailing import SlowReader
from measurand.core.dataset_edits import Source
from measurand.core.limits import Limits
from measurand.core.names import BufferName, DatasetName, parse_buffer, parse_dataset
from measurand.core.times import from_microseconds, microseconds
from measurand.services.messages import check_fits, keep_fields, mask_fields, span_of, time_message, time_of
from measurand.services.record_messages import Headers, record_message
from measurand.v1 import buffers_pb2, common_pb2
from measurand.wire.errors import NameInvalid
from measurand.wire.structs import from_message, to_message

__all__ = [
    "STATES",
    "BufferPacking",
    "batch_draft_of",
    "draft_of",
    "duration",
    "edited_fields",
    "event_message",
    "read_message",
    "run_message",
    "selection_of",
    "slow_reader_of",
    "source_name",
    "source_of",
    "wait_of",
]

STATES: dict[State, buffers_pb2.BufferState.ValueType] = {
    State.ACTIVE: buffers_pb2.BUFFER_STATE_ACTIVE,
    State.FROZEN: buffers_pb2.BUFFER_STATE_FROZEN,
    State.FINISHED: buffers_pb2.BUFFER_STATE_FINISHED,
}
_EVENTS = {kind: buffers_pb2.BufferEventKind.Value(f"BUFFER_EVENT_KIND_{kind.name}") for kind in EventKind}
_SLOW_READERS: dict[int, SlowReader] = {
    buffers_pb2.SLOW_READER_POLICY_UNSPECIFIED: SlowReader.WAIT,
    buffers_pb2.SLOW_READER_POLICY_SKIP: SlowReader.SKIP,
    buffers_pb2.SLOW_READER_POLICY_FAIL: SlowReader.FAIL,
}
_SPAN = 10_000_000
"""Microseconds of one of the spans of `Head.rates`."""
_SPANS = 6
_MINUTE = 60_000_000


# ------------------------------------------------------------------------------------------------------------ requests


def source_of(message: common_pb2.Document) -> Source:
    """Return a document as core takes it: its text, or decoded."""
    return message.json if message.WhichOneof("form") == "json" else from_message(message)


def draft_of(message: buffers_pb2.Buffer, buffer_id: str = "") -> BufferDraft:
    """Return what a caller says of a buffer."""
    return BufferDraft(
        buffer_id=buffer_id,
        description=message.description,
        metadata=source_of(message.metadata) if message.HasField("metadata") else None,
        policy=_policy(message.policy),
    )


def batch_draft_of(message: buffers_pb2.Batch) -> BatchDraft:
    """Return what a caller says of the batch to be made."""
    return BatchDraft(
        title=message.title,
        tags=tuple(message.tags),
        metadata=source_of(message.metadata) if message.HasField("metadata") else None,
    )


def edited_fields(message: buffers_pb2.UpdateBufferRequest) -> tuple[str, ...]:
    """Return which fields an update replaces."""
    fields = mask_fields(message.update_mask, buffers_pb2.Buffer.DESCRIPTOR, field="update_mask")
    if fields is None:
        fields = frozenset(field.name for field, _ in message.buffer.ListFields()).intersection(EDITABLE)
        if message.HasField("metadata_patch"):
            fields -= {"metadata"}
    return tuple(sorted(fields))


def selection_of(message: Message, field: str = "selection") -> Selection | None:
    """Return which records a request wants; None: all."""
    if not message.HasField(field):
        return None
    wanted: buffers_pb2.RecordSelection = getattr(message, field)
    return Selection(
        filter=wanted.filter,
        start=time_of(wanted, "start_time", f"{field}.start_time"),
        end=time_of(wanted, "end_time", f"{field}.end_time"),
        by_event_time=wanted.by_event_time,
        last_sequence=wanted.last_sequence,
    )


def slow_reader_of(value: int) -> SlowReader:
    """Return what to do for a slow reader; a word of a later release is the same as none."""
    return _SLOW_READERS.get(value, SlowReader.WAIT)


def source_name(name: str) -> BufferName | DatasetName:
    """Return the buffer, or the batch, that records are read from."""
    if "/datasets/" in name:
        return parse_dataset(name)
    if "/buffers/" in name:
        return parse_buffer(name)
    raise NameInvalid(
        f"name: {name[:200]!r} is neither catalogs/{{catalog}}/buffers/{{buffer}} nor "
        "catalogs/{catalog}/datasets/{dataset}",
        field="name",
        name=name[:200],
    )


def wait_of(message: Message, field: str = "wait") -> timedelta:
    """Return how long a request may wait; not at all where it does not say."""
    return span_of(message, field, field) or timedelta()


def _policy(message: buffers_pb2.BufferPolicy) -> Policy:
    def span(field: str) -> timedelta | None:
        return span_of(message, field, f"buffer.policy.{field}") or None  # 0 is no limit

    return Policy(
        freeze_after_records=message.freeze_after_records,
        freeze_after_bytes=message.freeze_after_bytes,
        freeze_after_age=span("freeze_after_age"),
        rotate=message.rotate,
        keep_sealed=span("keep_sealed"),
        batch_title=message.batch_title,
        keep_batches_for=span("keep_batches_for"),
        keep_batches_bytes=message.keep_batches_bytes,
        keep_batches=message.keep_batches,
    )


# ------------------------------------------------------------------------------------------------------------- answers


class BufferPacking:
    """How one request wants its buffers and batches.

    Parameters
    ----------
    now : datetime
        What rates are relative to.
    read_mask : FieldMask, optional
        Which fields of a buffer to answer. None or empty: all.
    """

    def __init__(
        self,
        now: datetime,
        limits: Limits,
        form: common_pb2.DocumentForm.ValueType,
        *,
        read_mask: FieldMask | None = None,
    ) -> None:
        self._now = microseconds(now)
        self._form = form
        self._fields = None if read_mask is None else mask_fields(read_mask, buffers_pb2.Buffer.DESCRIPTOR)
        self._most_bytes = limits.max_message_bytes

    def buffer(self, head: Head) -> buffers_pb2.Buffer:
        """Return a buffer as callers see it."""
        freeze = head.freeze
        message = buffers_pb2.Buffer(
            name=str(head.name),
            description=head.description,
            metadata=to_message(head.metadata, self._form),
            policy=_policy_message(head.policy),
            state=STATES[head.state],
            window=head.window,
            stats=self._stats(head),
            etag=head.etag,
            create_time=time_message(head.create_time),
            update_time=time_message(head.update_time),
            freeze_owner=freeze.owner if freeze else "",
            freeze_time=_time(freeze.time if freeze else None),
            freeze_expire_time=_time(freeze.expires if freeze else None),
            next_buffer=head.next_buffer,
        )
        keep_fields(message, self._fields)
        check_fits(message, self._most_bytes)
        return message

    def batch(self, listed: ListedBatch) -> buffers_pb2.Batch:
        """Return a batch with what its dataset says."""
        batch, dataset = listed.batch, listed.dataset
        message = buffers_pb2.Batch(
            dataset=str(dataset.name),
            buffer=str(batch.buffer),
            window=batch.window,
            first_sequence=batch.first,
            last_sequence=batch.end - 1,
            size=batch.size,
            freeze_time=_time(batch.freeze_time),
            create_time=_time(batch.make_time),
            title=dataset.title,
            tags=dataset.tags,
            metadata=to_message(dataset.metadata, self._form),
            records=batch.records,
            first_time=_time(batch.first_time),
            last_time=_time(batch.last_time),
            owner=batch.owner,
        )
        check_fits(message, self._most_bytes)
        return message

    def _stats(self, head: Head) -> buffers_pb2.BufferStats:
        span = self._now // _SPAN
        recent = [rate for rate in head.rates if rate[0] > span - _SPANS]
        seconds = (self._now - (span - _SPANS + 1) * _SPAN) / 1_000_000
        return buffers_pb2.BufferStats(
            window_records=head.window_records,
            window_bytes=head.window_counted,
            first_sequence=head.first_sequence,
            next_sequence=head.next_sequence,
            window_first_sequence=head.window_first,
            window_first_time=_time(head.window_first_time),
            last_append_time=_time(head.last_time),
            records_per_second=sum(records for _, records, _ in recent) / seconds,
            bytes_per_second=sum(size for _, _, size in recent) / seconds,
            active_writers=sum(writer.time > self._now - _MINUTE for writer in head.writers.values()),
            batch_count=head.batch_count,
        )


def event_message(event: Event) -> buffers_pb2.BufferEvent:
    """Return an entry of the log."""
    return buffers_pb2.BufferEvent(
        number=event.number,
        kind=_EVENTS[event.kind],
        create_time=_time(event.time),
        actor=event.actor,
        window=event.window,
        next_sequence=event.next_sequence,
        message=event.message,
        dataset=event.dataset,
    )


def run_message(run: Run) -> buffers_pb2.AppendedRun:
    """Return where records of a writer went."""
    return buffers_pb2.AppendedRun(
        first_writer_sequence=run.number, first_sequence=run.first, count=run.count, window=run.window
    )


def read_message(
    page: Page, form: common_pb2.DocumentForm.ValueType, limits: Limits
) -> buffers_pb2.ReadRecordsResponse:
    """Return the answer of ReadRecords."""
    response = buffers_pb2.ReadRecordsResponse(
        next_sequence=page.next_sequence,
        state=buffers_pb2.BUFFER_STATE_UNSPECIFIED if page.state is None else STATES[page.state],
        next_buffer=page.next_buffer,
        read_sequence=page.read_sequence,
    )
    headers = Headers(form)
    for stored in page.records:
        record_message(response.records.add(), stored, headers)
    check_fits(response, limits.max_message_bytes)
    return response


def _policy_message(policy: Policy) -> buffers_pb2.BufferPolicy:
    return buffers_pb2.BufferPolicy(
        freeze_after_records=policy.freeze_after_records,
        freeze_after_bytes=policy.freeze_after_bytes,
        freeze_after_age=duration(policy.freeze_after_age),
        rotate=policy.rotate,
        keep_sealed=duration(policy.keep_sealed),
        batch_title=policy.batch_title,
        keep_batches_for=duration(policy.keep_batches_for),
        keep_batches_bytes=policy.keep_batches_bytes,
        keep_batches=policy.keep_batches,
    )


def duration(span: timedelta | None) -> Duration | None:
    """Return a span as a message, None as nothing set."""
    if span is None:
        return None
    message = Duration()
    message.FromTimedelta(span)
    return message


def _time(value: int | None) -> Timestamp | None:
    """Return a time in microseconds since 1970 as a message, None as nothing set."""
    return None if value is None else time_message(from_microseconds(value))
