"""Buffers as values, and as the documents they are kept in.

Everything that must be decided at once stands in one document, the **head**: whether the buffer takes records, the next
sequence, the newest segments, what each writer has stored last. Whatever grows without end is moved out of it into
documents of its own, written there first and then left out here: older segments, ids, events, what has become of
windows. A thing that is in both is the same thing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from measurand.core.names import BufferName
from measurand.core.ports import Json
from measurand.core.times import microseconds

__all__ = [
    "Closing",
    "Event",
    "EventKind",
    "Freeze",
    "Head",
    "Peer",
    "Policy",
    "Run",
    "Segment",
    "SegmentIndex",
    "State",
    "WriterState",
]


class State(StrEnum):
    """Whether a buffer takes records."""

    ACTIVE = "active"
    FROZEN = "frozen"
    FINISHED = "finished"


class EventKind(StrEnum):
    """What happened; the words of `BufferEventKind` in the contract."""

    CREATED = "created"
    UPDATED = "updated"
    FROZEN = "frozen"
    SEALED = "sealed"
    DISCARDED = "discarded"
    OPENED = "opened"
    TRIMMED = "trimmed"
    NOTE = "note"
    RECORD_GIVEN_UP = "record_given_up"
    REFUSED = "refused"
    FREEZE_EXPIRED = "freeze_expired"
    BATCH_EXPIRED = "batch_expired"
    FINISHED = "finished"
    WAITING = "waiting"


@dataclass(frozen=True, slots=True)
class Segment:
    """Records that were stored together: one blob.

    Parameters
    ----------
    first, count : int
        Sequence of the first record, and how many there are.
    ulid : str
        The last part of the blob's key.
    size, table_size : int
        Bytes of the blob, and of the table that it begins with.
    table_crc : int
        CRC-32C of the table.
    counted : int
        Bytes of data and metadata.
    time : int
        When it was stored, in microseconds since 1970: the append_time of all its records.
    first_event, last_event : int, optional
        The least and the greatest event_time in it.
    """

    first: int
    count: int
    window: int
    ulid: str
    size: int
    table_size: int
    table_crc: int
    counted: int
    time: int
    first_event: int | None = None
    last_event: int | None = None

    @property
    def end(self) -> int:
        """The sequence behind its last record."""
        return self.first + self.count


@dataclass(frozen=True, slots=True)
class Run:
    """Records of one writer that lie next to each other: its number of the first, their sequences, their window."""

    number: int
    first: int
    count: int
    window: int


@dataclass(frozen=True, slots=True)
class WriterState:
    """What is known about a writer with an id.

    Parameters
    ----------
    last : int
        Its number of the last record that was stored.
    epoch : int
        Counts its streams: the newest may write.
    time : int
        When it stored something last, in microseconds.
    runs : tuple of Run
        The newest, for those whose answer was lost.
    """

    last: int
    epoch: int
    time: int
    runs: tuple[Run, ...] = ()


@dataclass(frozen=True, slots=True)
class Policy:
    """What a buffer does by itself. A limit of 0 or None is none."""

    freeze_after_records: int = 0
    freeze_after_bytes: int = 0
    freeze_after_age: timedelta | None = None
    rotate: bool = False
    keep_sealed: timedelta | None = None
    batch_title: str = ""
    keep_batches_for: timedelta | None = None
    keep_batches_bytes: int = 0
    keep_batches: int = 0

    @property
    def forgets(self) -> bool:
        """It says how long records or batches are kept."""
        spans = self.keep_sealed is not None or self.keep_batches_for is not None
        return spans or bool(self.keep_batches_bytes or self.keep_batches)


@dataclass(frozen=True, slots=True)
class Freeze:
    """Who holds a frozen buffer.

    Parameters
    ----------
    owner : str
        `users/{user}`, or `system` for a policy.
    expires : int, optional
        When the freeze ends by itself, in microseconds. None: never.
    number : int
        Counts the freezes; with the buffer's secret it makes the freeze token.
    request : str
        What asked for it: `{id} {fingerprint}`.
    """

    owner: str
    time: int
    number: int
    expires: int | None = None
    comment: str = ""
    request: str = ""
    refused: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Closing:
    """A window that was closed and whose batch is to be made, by whoever finds this.

    Parameters
    ----------
    first, end : int
        Sequences: of its first record, and the one behind its last.
    dataset : str
        The id of the batch's dataset, which follows from buffer and window. Empty: no batch is made.
    said : mapping
        Title, tags and metadata for the dataset, as the one who closed it said.
    """

    window: int
    first: int
    end: int
    counted: int
    first_time: int | None
    last_time: int | None
    owner: str
    freeze_time: int
    close_time: int
    dataset: str
    said: Mapping[str, Json] = field(default_factory=dict)
    comment: str = ""
    request: str = ""

    @property
    def records(self) -> int:
        """How many there are in it."""
        return self.end - self.first


@dataclass(frozen=True, slots=True)
class Event:
    """An entry of the log."""

    number: int
    kind: EventKind
    time: int
    actor: str
    window: int
    next_sequence: int
    message: str = ""
    dataset: str = ""


@dataclass(frozen=True, slots=True)
class Peer:
    """A server that others can reach: this process of it, and where."""

    instance: str
    address: str


@dataclass(frozen=True, slots=True)
class Head:
    """A buffer, and all that must be decided at once.

    Parameters
    ----------
    uid : str
        A ULID in lower case, of this buffer and no other that has had or will have its name.
    metadata : str
        One line of Extended JSON, at most 64 KiB.
    window_first : int
        Sequence of the first record of the newest window.
    first_sequence : int
        The oldest that can still be read.
    segments : tuple of Segment
        The newest, oldest first; older ones are in `SEGMENTS`.
    ids : mapping of str to (int, int)
        The callers' ids of records not long ago: sequence and CRC-32C.
    requests : mapping of str to (str, int, int, int)
        Unary appends not long ago, by request id: fingerprint, first sequence, count, window.
    closing : tuple of Closing
        Windows whose batches are not made yet.
    events : tuple of Event
        Those that are not yet in the log's collection.
    rates : tuple of (int, int, int)
        Ten-second spans of the last minute: which, records, bytes.
    version : int
        Counts the changes of all but the records.
    leader : Peer, optional
        The server that commits for all that compete; see `leading`.
    """

    name: BufferName
    uid: str
    secret: str
    creator: str
    create_time: datetime
    update_time: datetime
    description: str = ""
    metadata: str = "{}"
    policy: Policy = field(default_factory=Policy)
    state: State = State.ACTIVE
    window: int = 1
    next_sequence: int = 1
    first_sequence: int = 1
    window_first: int = 1
    window_counted: int = 0
    window_first_time: int | None = None
    last_time: int | None = None
    segments: tuple[Segment, ...] = ()
    writers: Mapping[str, WriterState] = field(default_factory=dict)
    ids: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    requests: Mapping[str, tuple[str, int, int, int]] = field(default_factory=dict)
    freeze: Freeze | None = None
    freezes: int = 0
    closing: tuple[Closing, ...] = ()
    events: tuple[Event, ...] = ()
    next_event: int = 1
    rates: tuple[tuple[int, int, int], ...] = ()
    batch_count: int = 0
    next_buffer: str = ""
    version: int = 1
    request: str = ""
    leader: Peer | None = None

    @property
    def etag(self) -> str:
        """Changes with description, metadata, policy and state, not with appends."""
        return f"{self.uid}-{self.version}"

    @property
    def window_records(self) -> int:
        """Records in the newest window."""
        return self.next_sequence - self.window_first

    @property
    def lapses(self) -> int | None:
        """When time alone changes it, in microseconds: its freeze ends, or its window is too old. None: never."""
        if self.freeze is not None:
            return self.freeze.expires
        age = self.policy.freeze_after_age
        if self.state is not State.ACTIVE or age is None or self.window_first_time is None:
            return None
        return self.window_first_time + age // timedelta(microseconds=1)

    def noting(self, kind: EventKind, now: datetime, actor: str, message: str = "", dataset: str = "") -> Head:
        """Return the head with one more event."""
        event = Event(
            self.next_event, kind, microseconds(now), actor, self.window, self.next_sequence, message, dataset
        )
        return replace(self, events=(*self.events, event), next_event=self.next_event + 1)


@dataclass(frozen=True, slots=True)
class SegmentIndex:
    """Some older segments of a buffer, next to each other."""

    name: BufferName
    uid: str
    segments: tuple[Segment, ...]
