"""Which frames of a stream go to the server when, and which are durable. Standard library only, and no waiting.

A frame has a place on the leading axes of its array. Frames are put together to *blocks*: as many as lie in one chunk
along the leading axes.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Protocol

__all__ = ["FixedFrames", "Frames", "GrowingFrames", "Job", "Prefix", "Window", "flat_of", "place_of"]

Place = tuple[int, ...]
REWRITTEN_BYTES_PER_SECOND = 1 << 20
"""A block that is still filling is written again and again, but no more than this for the sake of those who watch."""

MOST_FRAMES = 1 << 16
"""However small they are, so many wait at most: each takes some hundred bytes beside its own."""


@dataclass(slots=True)
class Job:
    """A block to be written.

    Parameters
    ----------
    block : tuple of int
        Its index on the leading axes of the grid of chunks.
    frames : dict
        By their place within the block.
    tickets : list of int
        Of the frames that are durable once it is.
    is_whole : bool
        Nothing else of the block has to stay; else what the server has is read and changed.
    rows : int
        So many rows of a growing array can be seen then.
    """

    block: Place
    frames: dict[Place, Any]
    tickets: list[int]
    is_whole: bool
    rows: int = 0


class Prefix:
    """Numbers from 0 that have come, in any order."""

    def __init__(self, end: int = 0) -> None:
        self.end = end
        """All below have come."""
        self._beyond: set[int] = set()

    def __contains__(self, number: int) -> bool:
        return number < self.end or number in self._beyond

    def add(self, number: int) -> None:
        """Note that one has come."""
        if number != self.end:
            if number > self.end:
                self._beyond.add(number)
            return
        self.end += 1
        while self.end in self._beyond:
            self._beyond.remove(self.end)
            self.end += 1


def flat_of(place: Place, lengths: Sequence[int]) -> int:
    """Return the number of a place in C order; an array that grows has only one leading axis."""
    flat = place[0]
    for at, length in zip(place[1:], lengths[1:], strict=True):
        flat = flat * length + at
    return flat


def place_of(flat: int, lengths: Sequence[int]) -> Place:
    """Return the place with this number in C order."""
    place: list[int] = []
    for length in reversed(lengths[1:]):
        flat, at = divmod(flat, length)
        place.append(at)
    return (flat, *reversed(place))


class Frames(Protocol):
    """Puts frames together to blocks."""

    def take(self, place: Place, frame: Any, ticket: int) -> None:
        """Take a frame. Of two for one place the later one wins."""

    def next_whole(self) -> Job | None:
        """Return the next block of which all frames are here."""

    def next_partial(self) -> Job | None:
        """Return a block of which some frames are here and have not been written."""

    def fills_gap(self, place: Place) -> bool:
        """Tell whether others wait for this frame, so that it must be taken however little room there is."""

    @property
    def is_urgent(self) -> bool:
        """Somebody may be watching for the frames of partial blocks."""


class GrowingFrames:
    """Frames of an array that grows: rows go to the server in order, however they come.

    What lies behind a missing row waits here, because the server forgets what nobody can see when its writer dies.

    Parameters
    ----------
    rows_per_block : int
        Rows of a chunk.
    rows : int
        So many are there already.
    """

    def __init__(self, rows_per_block: int, rows: int = 0) -> None:
        self.end = rows
        """All rows before this one have come."""
        self.missing: list[int] = []
        """Rows that never came, see `close_gaps`."""
        self._size = rows_per_block
        self._edge = rows // rows_per_block
        self._here: dict[int, Any] = {}
        self._tickets: dict[int, list[int]] = {}
        self._again: dict[int, Job] = {}

    @property
    def edge_rows(self) -> range:
        """Rows of the block that is still filling that are there already: they have to be restored."""
        return range(self._edge * self._size, self.end)

    def restore(self, row: int, frame: Any) -> None:
        """Put back a row of `edge_rows`, which the server has."""
        self._here[row] = frame

    def take(self, place: Place, frame: Any, ticket: int) -> None:
        """Take a frame. Of two for one row the later one wins."""
        (row,) = place
        block, within = divmod(row, self._size)
        if block < self._edge:
            job = self._again.setdefault(block, Job((block,), {}, [], is_whole=False))
            job.frames[(within,)] = frame
            job.tickets.append(ticket)
            return
        self._here[row] = frame
        self._tickets.setdefault(row, []).append(ticket)
        while self.end in self._here:
            self.end += 1

    def fills_gap(self, place: Place) -> bool:
        """Tell whether it is the row that others wait for."""
        is_waited_for = len(self._here) > self.end - self._edge * self._size
        return is_waited_for and place[0] == self.end

    def close_gaps(self) -> None:
        """Give up waiting for missing rows: they will read as fill."""
        last = max(self._here, default=-1)
        while self.end <= last:
            if self.end not in self._here:
                self.missing.append(self.end)
            self.end += 1

    def next_whole(self) -> Job | None:
        """Return the next block, in order, once all its rows have come."""
        if self.end < (self._edge + 1) * self._size:
            return None
        job = self._edge_job((self._edge + 1) * self._size)
        for row in range(self._edge * self._size, job.rows):
            self._here.pop(row, None)
        self._edge += 1
        return job

    def next_partial(self) -> Job | None:
        """Return a block that was there and is changed, or the one that is still filling."""
        if self._again:
            return self._again.pop(next(iter(self._again)))
        return self._edge_job(self.end) if self.is_urgent else None

    @property
    def is_urgent(self) -> bool:
        """There are rows that could be seen, or are to be changed."""
        return bool(self._again) or any(row in self._tickets for row in self.edge_rows)

    def _edge_job(self, end: int) -> Job:
        start = self._edge * self._size
        frames: dict[Place, Any] = {(row - start,): self._here[row] for row in range(start, end) if row in self._here}
        tickets = [ticket for row in range(start, end) for ticket in self._tickets.pop(row, ())]
        return Job((self._edge,), frames, tickets, is_whole=True, rows=end)


@dataclass(slots=True)
class _Filling:
    frames: dict[Place, Any] = field(default_factory=dict)
    tickets: list[int] = field(default_factory=list)


class FixedFrames:
    """Frames of an array whose place is all there from the beginning: they go to the server in any order.

    Parameters
    ----------
    lengths : sequence of int
        Of the leading axes.
    chunks : sequence of int
        Frames of a block along each of them.
    """

    def __init__(self, lengths: Sequence[int], chunks: Sequence[int]) -> None:
        self._lengths = tuple(lengths)
        self._chunks = tuple(chunks)
        self._filling: dict[Place, _Filling] = {}
        self._whole: deque[Place] = deque()

    def take(self, place: Place, frame: Any, ticket: int) -> None:
        """Take a frame. Of two for one place the later one wins."""
        block = tuple(at // chunk for at, chunk in zip(place, self._chunks, strict=True))
        filling = self._filling.setdefault(block, _Filling())
        was_whole = len(filling.frames) == self._size(block)
        filling.frames[tuple(at % chunk for at, chunk in zip(place, self._chunks, strict=True))] = frame
        filling.tickets.append(ticket)
        if not was_whole and len(filling.frames) == self._size(block):
            self._whole.append(block)

    def fills_gap(self, place: Place) -> bool:
        """Tell that nobody waits for any frame."""
        return False

    def next_whole(self) -> Job | None:
        """Return the next block of which all frames are here."""
        return self._job(self._whole.popleft(), is_whole=True) if self._whole else None

    def next_partial(self) -> Job | None:
        """Return a block of which some frames are here; others may write the rest."""
        if self._whole:
            return self.next_whole()
        return self._job(next(iter(self._filling)), is_whole=False) if self._filling else None

    @property
    def is_urgent(self) -> bool:
        """There are frames that could be seen."""
        return bool(self._filling)

    def _job(self, block: Place, *, is_whole: bool) -> Job:
        filling = self._filling.pop(block)
        return Job(block, filling.frames, filling.tickets, is_whole)

    def _size(self, block: Place) -> int:
        """Return how many frames a block has; the last ones of an axis may have fewer."""
        parts = zip(block, self._chunks, self._lengths, strict=True)
        return math.prod(min(chunk, length - at * chunk) for at, chunk, length in parts)


class Window:
    """Frames that were taken and are not durable yet, and when those of partial blocks are due.

    Parameters
    ----------
    frames : Frames
        Puts them together.
    frame_bytes : int
        Size of each.
    most_bytes : int
        So much may be taken and not durable; one frame always may.
    visible_every : float
        A frame shall be seen about so many seconds after it came, even though its block is not whole.
    now : callable
        A clock that only goes forward, in seconds.
    """

    def __init__(
        self, frames: Frames, *, frame_bytes: int, most_bytes: int, visible_every: float, now: Callable[[], float]
    ) -> None:
        self.frames = frames
        self.frame_bytes = frame_bytes
        self._most = max(1, min(most_bytes // max(1, frame_bytes), MOST_FRAMES))
        self._visible_every = visible_every
        self._now = now
        self._numbers = count(1)
        self._open: dict[int, Place] = {}
        self._sent: deque[tuple[int, list[int]]] = deque()
        self._since: float | None = None
        self._not_before = 0.0

    @property
    def open_frames(self) -> int:
        """How many were taken and are not durable."""
        return len(self._open)

    @property
    def first_open(self) -> int | None:
        """The oldest ticket that is not durable."""
        return next(iter(self._open), None)

    def has_room(self, place: Place) -> bool:
        """Tell whether a frame for this place may be taken."""
        return len(self._open) < self._most or self.frames.fills_gap(place)

    def take(self, place: Place, frame: Any, ticket: int | None = None) -> None:
        """Take a frame, which nobody changes any more.

        Parameters
        ----------
        ticket : int, optional
            A number of its own, larger than those before. Unless given: the next one.
        """
        ticket = next(self._numbers) if ticket is None else ticket
        self._open[ticket] = place
        self.frames.take(place, frame, ticket)
        if self._since is None and self.frames.is_urgent:
            self._since = self._now()

    def next_whole(self) -> Job | None:
        """Return the next block of which all frames are here."""
        job = self.frames.next_whole()
        if job is not None:
            self._since = self._now() if self.frames.is_urgent else None
        return job

    def next_partial(self) -> Job | None:
        """Return a block of which some frames are here, to be written as it is."""
        job = self.frames.next_partial()
        if not self.frames.is_urgent:
            self._since = None
        if job is not None:
            size = len(job.frames) * self.frame_bytes
            self._not_before = self._now() + size / REWRITTEN_BYTES_PER_SECOND
        return job

    @property
    def due(self) -> float | None:
        """When a partial block should be written for those who watch; None: there is none."""
        return None if self._since is None else max(self._since + self._visible_every, self._not_before)

    def note_sent(self, job: Job, number: int) -> None:
        """Note that a block is durable as soon as the step with this number is."""
        self._sent.append((number, job.tickets))

    def note_safe(self, number: int) -> list[Place]:
        """Return the places of the frames that are durable now that this step is."""
        places: list[Place] = []
        while self._sent and self._sent[0][0] <= number:
            _, tickets = self._sent.popleft()
            places += [self._open.pop(ticket) for ticket in tickets]
        return places
