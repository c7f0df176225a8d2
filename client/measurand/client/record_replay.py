"""What a writer of a buffer has sent and may have to send again; many small records go in one message."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from measurand.client.hashing import crc32c
from measurand.client.records import Given, framed
from measurand.v1 import buffers_pb2
from measurand.wire.codec import Bulk

__all__ = ["Group", "RecordReplay"]

Request = buffers_pb2.AppendRecordsRequest

PART_BYTES = 2 << 20
"""A message carries at most so many."""
MOST_RECORDS = 4000
"""A message carries at most so many: the server stores up to 8,000 at once."""


@dataclass(frozen=True, slots=True)
class Group:
    """Records of one message, or one record in several messages.

    Parameters
    ----------
    first : int
        The writer's number of the first.
    size : int
        Bytes of all, headers included.
    """

    first: int
    records: list[Given]
    size: int

    def messages(self, base: int) -> list[Bulk[Request]]:
        """Return what is to be sent.

        Parameters
        ----------
        base : int
            The number before the first that the server knows under the present writer id.
        """
        number = self.first - base
        header, data = self.records[0]
        if len(data) > PART_BYTES:
            headers, view = framed(header), memoryview(data)
            return [
                _message(number, headers, view[offset : offset + PART_BYTES], offset)
                for offset in range(0, len(data), PART_BYTES)
            ]
        if len(self.records) == 1:
            return [_message(number, framed(header), data)]
        headers = b"".join([framed(header) for header, _ in self.records])
        return [_message(number, headers, b"".join([data for _, data in self.records]))]


class RecordReplay:
    """The window of one writer. Numbers are 1, 2, 3, …, in the order in which records are added.

    Parameters
    ----------
    window_bytes : int
        At most so many are kept that are not safe.
    safe : int
        Records up to this number are safe already.
    """

    def __init__(self, window_bytes: int, safe: int = 0) -> None:
        self.window_bytes = window_bytes
        self.end = safe
        """The number that was given last."""
        self.safe = safe
        """Everything up to this number is durable."""
        self.open_bytes = 0
        """What is kept."""
        self.sent_bytes = 0
        """What is sent and not acknowledged."""
        self._sent: deque[Group] = deque()
        self._unsent: deque[Given] = deque()

    @property
    def is_safe(self) -> bool:
        """All that was added is durable."""
        return self.safe >= self.end

    @property
    def unsent(self) -> int:
        """How many records were not sent."""
        return len(self._unsent)

    @property
    def unsent_bytes(self) -> int:
        """What they take."""
        return self.open_bytes - self.sent_bytes

    @property
    def groups_sent(self) -> int:
        """How many groups are on their way."""
        return len(self._sent)

    def has_room(self, size: int) -> bool:
        """Tell whether a record of this size may be added; into an empty window any may."""
        return not self.open_bytes or self.open_bytes + size <= self.window_bytes

    def add(self, record: Given) -> int:
        """Keep a record until it is safe; returns its number."""
        self._unsent.append(record)
        self.open_bytes += _size(record)
        self.end += 1
        return self.end

    def next_group(self, server_window_bytes: int) -> Group | None:
        """Take what is to be sent in the next message; None: nothing, or the server's window is full.

        Parameters
        ----------
        server_window_bytes : int
            At most so many may be sent and not acknowledged; a record that is larger is sent alone.
        """
        unsent = self._unsent
        if not unsent:
            return None
        room = server_window_bytes - self.sent_bytes
        first = self.end - len(unsent) + 1
        size = _size(unsent[0])
        if self._sent and size > room:
            return None
        records = [unsent.popleft()]
        data_bytes = len(records[0].data)
        while unsent and len(records) < MOST_RECORDS:
            record = unsent[0]
            data_bytes += len(record.data)
            more = size + _size(record)
            if data_bytes > PART_BYTES or more > min(room, 2 * PART_BYTES):
                break
            records.append(unsent.popleft())
            size = more
        group = Group(first, records, size)
        self._sent.append(group)
        self.sent_bytes += size
        return group

    def acknowledge(self, number: int) -> bool:
        """Forget what is safe now; tell whether that is more than before."""
        if number <= self.safe:
            return False
        while self._sent and self._sent[0].first + len(self._sent[0].records) - 1 <= number:
            group = self._sent.popleft()
            self.sent_bytes -= group.size
            self.open_bytes -= group.size
        self.safe = number
        return True

    def rewind(self, number: int) -> bool:
        """Begin a new stream, which gets everything that is not safe; tell whether more is safe than before.

        Parameters
        ----------
        number : int
            Records up to this one are durable. It may lie beyond what was added.
        """
        has_grown = self.acknowledge(number)
        kept = [record for group in self._sent for record in group.records] + list(self._unsent)
        first = self.end - len(kept) + 1
        self._sent.clear()
        self._unsent = deque(kept[max(0, self.safe + 1 - first) :])
        self.open_bytes = sum(map(_size, self._unsent))
        self.sent_bytes = 0
        self.end = max(self.end, self.safe)
        return has_grown


def _size(record: Given) -> int:
    return len(record.data) + len(record.header)


def _message(number: int, headers: bytes, data: bytes | memoryview, offset: int = 0) -> Bulk[Request]:
    head = Request(first_writer_sequence=number, part_offset=offset, crc32c=crc32c(data))
    head.MergeFromString(headers)
    return Bulk(head, data)
