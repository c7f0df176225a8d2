"""What a writer of chunks has sent and may have to send again.

Chunks and steps have numbers of the writer's own, which go on over streams; each stream counts from 1 again.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import takewhile

from measurand.client.hashing import Bytes
from measurand.wire.errors import DataLoss

__all__ = ["ChunkReplay", "Step"]


@dataclass(frozen=True, slots=True)
class Step:
    """A chunk, or a step without one.

    Parameters
    ----------
    number : int
        The writer's own number: 1, 2, 3, …
    index : tuple of int
        Which chunk.
    data : bytes, optional
        The encoded chunk. None: there is no chunk.
    if_etag : str, optional
        Only if the chunk has this etag.
    rows : int, optional
        Show so many rows.
    """

    number: int
    index: tuple[int, ...] = ()
    data: Bytes | None = None
    if_etag: str | None = None
    rows: int | None = None

    @property
    def size(self) -> int:
        """Bytes of the chunk."""
        return 0 if self.data is None else len(self.data)


class ChunkReplay:
    """The window of one writer.

    Parameters
    ----------
    window_bytes : int
        At most so many may be sent and not acknowledged.
    is_appender : bool
        Chunks are safe only when their rows are seen: the next opening drops what lies behind the rows.
    """

    def __init__(self, window_bytes: int, *, is_appender: bool) -> None:
        self.window_bytes = window_bytes
        self.end = 0
        """The number that was given last."""
        self.safe = 0
        """Everything up to this number survives the server, and need not be sent again."""
        self.rows = 0
        """So many rows are seen, as far as the server has said."""
        self._is_appender = is_appender
        self._kept: deque[Step] = deque()
        self._sent = 0
        self._acknowledged = 0
        self._open_bytes = 0
        self._base = 0
        self._wanted_rows = 0

    @property
    def is_safe(self) -> bool:
        """All that was added is safe."""
        return self.safe >= self.end

    @property
    def is_idle(self) -> bool:
        """Nothing that is not safe would be missed."""
        return all(step.data is None and (step.rows or 0) <= self.rows for step in self._kept)

    def has_room(self, size: int) -> bool:
        """Tell whether a chunk of this size may be added; into an empty window any may."""
        return not self._open_bytes or self._open_bytes + size <= self.window_bytes

    def add_chunk(self, index: tuple[int, ...], data: Bytes, if_etag: str | None = None) -> int:
        """Keep a chunk until it is safe; returns its number."""
        return self._add(Step(self.end + 1, index, data, if_etag))

    def add_step(self, rows: int | None = None) -> int:
        """Keep a step until it is done; returns its number.

        Parameters
        ----------
        rows : int, optional
            Show so many; unless given, an appender shows as many as it did and a plain writer asks to be told.
        """
        if self._is_appender:
            self._wanted_rows = max(self._wanted_rows, self.rows, rows or 0)
            rows = self._wanted_rows
        return self._add(Step(self.end + 1, rows=rows))

    def next_unsent(self) -> Step | None:
        """Return what is to be sent next, or None if all was."""
        return self._kept[self._sent] if self._sent < len(self._kept) else None

    def note_sent(self) -> None:
        """Note that what `next_unsent` returned is on its way."""
        self._sent += 1

    def sequence(self, step: Step) -> int:
        """Return the number that a step has in the present stream."""
        return step.number - self._base

    def acknowledge(self, sequence: int, rows: int) -> bool:
        """Forget what is safe now; tell whether that is more than before."""
        number = min(self._base + sequence, self.end)
        if number > self._acknowledged:
            for step in takewhile(lambda step: step.number <= number, self._kept):
                self._open_bytes -= step.size if step.number > self._acknowledged else 0
            self._acknowledged = number
        self.rows = max(self.rows, rows)
        return self._make_safe(number)

    def rewind(self, rows: int) -> bool:
        """Begin a new stream, which gets everything that is not safe; tell whether more is safe than before.

        Parameters
        ----------
        rows : int
            So many are seen now.

        Raises
        ------
        DataLoss
            STORED_DATA_CORRUPT: they are fewer than the server has said.
        """
        if self._is_appender and rows < self.rows:
            raise DataLoss(
                f"the server shows {rows} rows of the {self.rows} that it said were safe; look at the array, "
                "then go on with resume=True",
                rows=rows,
            )
        has_grown = self.settle(rows)
        self._base = self._acknowledged = self.safe
        self._sent = 0
        self._open_bytes = sum(step.size for step in self._kept)
        return has_grown

    def settle(self, rows: int) -> bool:
        """Take it as done whatever made so many rows seen; tell whether more is safe than before."""
        number, before = 0, self.rows
        if self._is_appender:
            for step in self._kept:
                if step.rows is not None and before < step.rows <= rows:
                    number, before = step.number, step.rows
        self.rows = max(self.rows, rows)
        self._wanted_rows = max(self._wanted_rows, rows)
        return self._make_safe(number)

    def forget(self) -> None:
        """Give up what is not safe: it was refused."""
        self._kept.clear()
        self._sent = self._open_bytes = 0
        self.safe = self._acknowledged = self._base = self.end
        self._wanted_rows = self.rows

    def _add(self, step: Step) -> int:
        self._kept.append(step)
        self._open_bytes += step.size
        self.end = step.number
        return step.number

    def _make_safe(self, number: int) -> bool:
        """Forget everything up to this number, or up to the last rows before it."""
        if self._is_appender:
            number = max(
                (step.number for step in self._kept if step.rows is not None and step.number <= number), default=0
            )
        has_grown = number > self.safe
        while self._kept and self._kept[0].number <= number:
            step = self._kept.popleft()
            self._sent = max(0, self._sent - 1)
            self._open_bytes -= step.size if step.number > self._acknowledged else 0
        self.safe = max(self.safe, number)
        self._acknowledged = max(self._acknowledged, self.safe)
        return has_grown
