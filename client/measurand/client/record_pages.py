"""Records out of the messages of a stream: many in one, or a large one in several."""

from __future__ import annotations

from collections.abc import Sequence

from measurand.client.hashing import Bytes, crc32c
from measurand.client.records import Record
from measurand.v1 import buffers_pb2
from measurand.wire.errors import ChecksumMismatch

__all__ = ["RecordPages"]

Header = buffers_pb2.RecordHeader


class RecordPages:
    """Takes the messages of one stream in their order."""

    def __init__(self) -> None:
        self._header = Header()
        self._parts = bytearray()

    @property
    def unfinished(self) -> int:
        """Sequence of the record of which a part has come; 0: none."""
        return self._header.sequence if self._parts else 0

    def take(self, headers: Sequence[Header], data: Bytes, offset: int, checksum: int | None) -> list[Record]:
        """Return the records that are whole now.

        Parameters
        ----------
        offset : int
            Where the data begins in its record.
        checksum : int, optional
            CRC-32C of the data.

        Raises
        ------
        ChecksumMismatch
            CHECKSUM_MISMATCH: they arrived damaged, or a part is missing; the stream is to be opened anew.
        """
        if checksum is not None and (actual := crc32c(data)) != checksum:
            raise _damaged(headers, f"{checksum:08x}", f"{actual:08x}")
        if len(headers) == 1 and (offset or headers[0].size > len(data)):
            whole = self._take_part(headers[0], data, offset)
            return [whole] if whole is not None else []
        records, begin, view = [], 0, memoryview(data)
        if sum(header.size for header in headers) != len(view):
            raise _damaged(headers, str(sum(header.size for header in headers)), str(len(view)))
        for header in headers:
            records.append(Record(header, view[begin : begin + header.size]))
            begin += header.size
        return records

    def _take_part(self, header: Header, data: Bytes, offset: int) -> Record | None:
        if not offset:
            self._header, self._parts = header, bytearray()
        if offset != len(self._parts) or header.sequence != self._header.sequence:
            raise _damaged([header], str(len(self._parts)), str(offset))
        self._parts += data
        if len(self._parts) < header.size:
            return None
        whole, self._parts = Record(self._header, memoryview(self._parts).toreadonly()), bytearray()
        return whole


def _damaged(headers: Sequence[Header], expected: str, actual: str) -> ChecksumMismatch:
    first = headers[0].sequence if headers else 0
    return ChecksumMismatch(f"records from {first} on arrived damaged", expected=expected, actual=actual)
