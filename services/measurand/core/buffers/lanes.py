"""What is on its way into a buffer: who waits, and the groups that are stored together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from measurand.core.buffers.heads import Head, Segment
from measurand.core.buffers.submissions import Cut, Decision, Opened, Stored, Submission
from measurand.core.ports import Buffer

__all__ = ["Group", "Item", "Lane", "Piece", "Try", "first_group", "is_same", "with_segments"]

GROUP_BYTES = 4 * 1024 * 1024
GROUP_RECORDS = 8000


@dataclass(slots=True, eq=False)
class Item:
    """A submission that waits for its answer, of a buffer with this uid; `size` is 0 once it has it."""

    submission: Submission
    answer: asyncio.Future[Stored | Opened]
    size: int
    uid: str


@dataclass(slots=True, eq=False)
class Piece:
    """A segment on its way: what is in it, and its blob."""

    cut: Cut
    segment: Segment
    chunks: Sequence[Buffer]
    whole: bytes | None
    is_stored: bool = False


@dataclass(slots=True, eq=False)
class Try:
    """A head that was, or may have been, written: what is answered if it was."""

    items: Sequence[Item]
    decision: Decision
    segments: frozenset[Segment]


@dataclass(slots=True, eq=False)
class Group:
    """Submissions that are stored together.

    Parameters
    ----------
    base, after : Head, optional
        The head that it was decided on, and the one that follows; the very same if nothing changes.
    """

    items: list[Item]
    base: Head | None = None
    after: Head | None = None
    decision: Decision | None = None
    pieces: list[Piece] = field(default_factory=list)
    tries: list[Try] = field(default_factory=list)
    putting: asyncio.Task[None] | None = None
    began: datetime | None = None


@dataclass(slots=True, eq=False)
class Lane:
    """What waits for one buffer, and the groups on their way, in their order."""

    head: Head
    waiting: deque[Item] = field(default_factory=deque)
    groups: list[Group] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    is_contended: bool = False
    naming: asyncio.Task[None] | None = None


def first_group(waiting: deque[Item]) -> list[Item]:
    """Take as many as fit into one blob."""
    group: list[Item] = []
    size = count = 0
    while waiting:
        submission = waiting[0].submission
        size += submission.counted
        count += len(submission.records)
        if group and (size > GROUP_BYTES or count > GROUP_RECORDS):
            break
        group.append(waiting.popleft())
    return group


def with_segments(head: Head, pieces: Sequence[Piece]) -> Head:
    """Return a head that names the segments, too."""
    return replace(head, segments=(*head.segments, *(piece.segment for piece in pieces)))


def is_same(one: Cut, other: Cut) -> bool:
    """Tell whether two cuts have the same blob."""
    return one.records == other.records and one.writers == other.writers
