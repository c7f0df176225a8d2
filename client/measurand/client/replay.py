"""What a writer has sent and not yet been told is safe: kept, so that it can be sent again (U2)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from measurand.client.hashing import Bytes
from measurand.wire.errors import DataLoss

__all__ = ["Chunk", "Replay"]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some bytes of a file.

    Parameters
    ----------
    offset : int
        Where they begin in the file.
    data : bytes
        The bytes; nobody changes them any more.
    crc32c : int
        Of these bytes.
    """

    offset: int
    data: Bytes
    crc32c: int

    @property
    def end(self) -> int:
        """Where they end in the file."""
        return self.offset + len(self.data)


class Replay:
    """The window of one writer.

    Parameters
    ----------
    start : int
        So many bytes are persisted already.
    window_bytes : int
        At most so many may be sent and not acknowledged.
    """

    def __init__(self, start: int, window_bytes: int) -> None:
        self.persisted_size = start
        self.end = start
        self.window_bytes = window_bytes
        self.resent_bytes = 0
        """How much was sent more than once so far."""
        self._kept: deque[Chunk] = deque()
        self._sent = 0
        self._furthest = start

    def has_room(self, size: int) -> bool:
        """Tell whether a chunk of this size may be added; into an empty window any may."""
        return not self._kept or self.end + size - self.persisted_size <= self.window_bytes

    def add(self, chunk: Chunk) -> None:
        """Keep a chunk until it is acknowledged."""
        self._kept.append(chunk)
        self.end = chunk.end

    def next_unsent(self) -> Chunk | None:
        """Return the chunk to be sent next, or None if all were."""
        return self._kept[self._sent] if self._sent < len(self._kept) else None

    def note_sent(self) -> None:
        """Note that what `next_unsent` returned is on its way."""
        chunk = self._kept[self._sent]
        self._sent += 1
        self.resent_bytes += max(0, min(chunk.end, self._furthest) - chunk.offset)
        self._furthest = max(self._furthest, chunk.end)

    def acknowledge(self, persisted_size: int) -> bool:
        """Forget what is safe now; tell whether that was more than before."""
        grown = persisted_size > self.persisted_size
        self.persisted_size = max(self.persisted_size, persisted_size)
        while self._kept and self._kept[0].end <= self.persisted_size:
            self._kept.popleft()
            self._sent = max(0, self._sent - 1)
        return grown

    def rewind(self, persisted_size: int) -> bool:
        """Send again what a new stream does not have; tell whether more is safe than before.

        Raises
        ------
        DataLoss
            STORED_DATA_CORRUPT: the server has less than it has acknowledged.
        """
        if persisted_size < self.persisted_size:
            raise DataLoss(
                f"the server has {persisted_size} bytes of the {self.persisted_size} that it said were safe; "
                "upload the file again",
                offset=persisted_size,
            )
        grown = self.acknowledge(persisted_size)
        self.end = max(self.end, self.persisted_size)
        self._sent = 0
        return grown

    @property
    def is_safe(self) -> bool:
        """All that was added is persisted."""
        return self.persisted_size >= self.end
