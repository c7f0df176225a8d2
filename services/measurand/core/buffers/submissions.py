"""What callers hand in to be appended, and what is said of it: the values of a decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from measurand.core.buffers.heads import Head, Run, WriterState
from measurand.core.buffers.records import Record
from measurand.core.principal import Principal
from measurand.core.requests import Request
from measurand.wire.errors import MeasurandError

__all__ = ["Answer", "Cut", "Decision", "Known", "Opened", "Stored", "Stream", "Submission", "sought"]


@dataclass(slots=True, eq=False)
class Stream:
    """Tells one stream of submissions from another. After a refusal nothing more of it is taken.

    Parameters
    ----------
    error : MeasurandError, optional
        What was refused first, once that is certain.
    """

    error: Exception | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Submission:
    """What one caller hands in at once: records for one window, next to each other there, or a writer's opening.

    Parameters
    ----------
    counted : int
        Bytes of data and metadata of all records.
    writer : str
        Id of the writer; empty: none, and no promise over repeats.
    first_number : int
        The writer's own number of the first record, from 1.
    epoch : int
        Of the writer's stream; 0: it has none, and is neither fenced nor fences.
    request : Request, optional
        Of a unary append without a writer: a repeat gets the first outcome.
    opens : bool
        There are no records: the writer opens a new stream, which fences the one before.
    stream : Stream, optional
        The one that it belongs to.
    """

    records: Sequence[Record]
    counted: int
    principal: Principal
    writer: str = ""
    first_number: int = 0
    epoch: int = 0
    request: Request | None = None
    opens: bool = False
    stream: Stream | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """Where records are.

    Parameters
    ----------
    first : int
        Sequence of the first; 0: it was stored so long ago that this is not known any more.
    window : int
        The one it is in; 0 likewise.
    runs : tuple of Run
        All of them as far as known, by the writer's numbers, or from 1 on where it said none.
    """

    first: int
    count: int
    window: int
    runs: tuple[Run, ...] = ()


@dataclass(frozen=True, slots=True)
class Opened:
    """Where a writer stands: its number of the last record that was stored, and the epoch of its new stream."""

    last: int
    epoch: int


Answer = Stored | Opened | MeasurandError


@dataclass(slots=True)
class Cut:
    """Records that go into one segment: of one window, in the order of their sequence.

    Parameters
    ----------
    first : int
        Sequence of the first.
    writers : list of (int, int, str, int)
        As in `measurand.core.buffers.records.Table`.
    """

    first: int
    window: int
    records: list[Record] = field(default_factory=list)
    counted: int = 0
    writers: list[tuple[int, int, str, int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Known:
    """What was moved out of the head, as far as it was looked for."""

    ids: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    requests: Mapping[str, tuple[str, int, int, int]] = field(default_factory=dict)
    writers: Mapping[str, WriterState] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decision:
    """What comes of submissions.

    Parameters
    ----------
    head : Head
        The next one, but for the segments that are to be made of `cuts`; the very same object if nothing changes.
    answers : sequence of Answer
        One for each submission.
    time : int
        append_time of the records, in microseconds since 1970.
    """

    head: Head
    answers: Sequence[Answer]
    cuts: Sequence[Cut]
    time: int


def sought(head: Head, submissions: Sequence[Submission]) -> tuple[set[str], set[str], set[str]]:
    """Return the record ids, request ids and writers that the head does not know, and that are to be looked for."""
    ids: set[str] = set()
    requests: set[str] = set()
    writers: set[str] = set()
    for submission in submissions:
        ids.update([record.id for record in submission.records if record.id])
        if submission.request is not None:
            requests.add(submission.request.id)
        if submission.writer:
            writers.add(submission.writer)
    return ids - head.ids.keys(), requests - head.requests.keys(), writers - head.writers.keys()
