"""What readers are given: records where they are stored, pages of them, and errors where there are none any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from measurand.core.buffers.heads import Head, State
from measurand.core.buffers.records import Record
from measurand.core.buffers.segments import Span
from measurand.wire.errors import DataLoss, HistoryTrimmed, InvalidArgument, NotFound

__all__ = ["Page", "StoredRecord", "begin_of", "lost", "span_of", "trimmed"]


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record where it is stored.

    Parameters
    ----------
    append_time : int
        When it was stored, in microseconds since 1970.
    writer : str
        Who stored it, as it called itself; or empty.
    record : Record
        Its `data` are fewer than `size` bytes where bytes were not asked for, or where it is larger than a message.
    size : int
        How many bytes it has.
    offset : int
        Where `record.data` begins in them.
    """

    sequence: int
    append_time: int
    window: int
    writer: str
    record: Record
    size: int
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    """Some records, in the order of their sequence.

    Parameters
    ----------
    next_sequence : int
        The one that the next record of the buffer will get; of a batch, the one behind its last.
    state : State, optional
        None for a batch.
    next_buffer : str
        Where the stream goes on, once it is finished.
    read_sequence : int
        Read on after this one.
    is_last : bool
        Nothing that comes later is wanted.
    skipped_to : int
        Records were left out up to this sequence, for the reader is slow. 0: none.
    """

    records: Sequence[StoredRecord]
    next_sequence: int
    state: State | None
    next_buffer: str
    read_sequence: int
    is_last: bool = False
    skipped_to: int = 0


def span_of(head: Head) -> Span:
    """Return the records that can be read through a buffer."""
    return Span(head.name, head.name, head.uid, head.first_sequence, head.next_sequence, head.segments)


def begin_of(head: Head, after: int, *, skip_trimmed: bool) -> int:
    """Return the first sequence that a reader wants, or raise HistoryTrimmed."""
    if after < -1:
        raise InvalidArgument(
            f"after_sequence: {after} is no sequence; 0 begins at the oldest, -1 with the next to come",
            field="after_sequence",
        )
    if after == -1:
        return head.next_sequence
    if after == 0 or skip_trimmed:
        return max(after + 1, head.first_sequence)
    if after + 1 < head.first_sequence:
        raise trimmed(head)
    return after + 1


def trimmed(head: Head) -> HistoryTrimmed:
    """Return the error for a reader whose records are gone."""
    return HistoryTrimmed(
        f"{head.name}: records before {head.first_sequence} are gone; begin after {head.first_sequence - 1}, or read "
        "the batches",
        resource=head.name,
        first_sequence=head.first_sequence,
    )


def lost(span: Span, error: NotFound) -> DataLoss:
    """Return the error for bytes that are not there although nobody has removed the records."""
    sequence = error.details.get("sequence", "")
    which = f" of record {sequence}" if sequence else ""
    return DataLoss(
        f"{span.name}: the stored bytes{which} are gone; restore them from a copy ({error.message})",
        resource=span.name,
        sequence=sequence,
    )
