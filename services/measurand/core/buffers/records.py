"""Records as they lie in a segment: a table that says where each begins, what goes with it and its sum, then the bytes.

    MRS1 | size of heads | count | size of writers | writers (JSON) | size, crc32c, head size for each | heads | bytes

All numbers are 32 bits, little-endian. A head is JSON with what its writer said of the record, and nothing where it
said nothing; so a thousand plain records cost twelve bytes each. Sequence and time are not here: they are given when
the segment is named, and a segment that loses the race for its place takes another without being written again.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from measurand.core.ports import Buffer
from measurand.wire.errors import DataLoss

__all__ = ["MAX_RECORD_BYTES", "Part", "Record", "Table", "counted_bytes", "make_table", "read_table"]

MAX_RECORD_BYTES = 64 * 1024 * 1024
_MAGIC = b"MRS1"
_FRONT = struct.Struct("<4sIII")


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a set of records that belong together.

    Parameters
    ----------
    index, count : int
        Which part it is, from 0, and how many there are.
    """

    set: str
    index: int
    count: int


@dataclass(frozen=True, slots=True)
class Record:
    """What a writer hands in, checked.

    Parameters
    ----------
    data : buffer
        The bytes.
    crc32c : int
        Of the bytes.
    event_time : int, optional
        When it was measured, in microseconds since 1970.
    metadata : str
        One line of Extended JSON; empty for the empty object.
    array : tuple, optional
        Data type of Zarr v3, and shape: how the bytes are to be read.
    id : str
        The caller's own, or empty.
    """

    data: Buffer
    crc32c: int
    event_time: int | None = None
    metadata: str = ""
    array: tuple[str, tuple[int, ...]] | None = None
    id: str = ""
    part: Part | None = None

    def head(self) -> bytes:
        """Return what goes with the bytes, as it is stored."""
        said: dict[str, Any] = {}
        if self.event_time is not None:
            said["e"] = self.event_time
        if self.metadata:
            said["m"] = self.metadata
        if self.array is not None:
            said["a"] = [self.array[0], list(self.array[1])]
        if self.id:
            said["i"] = self.id
        if self.part is not None:
            said["p"] = [self.part.set, self.part.index, self.part.count]
        return json.dumps(said, separators=(",", ":")).encode() if said else b""


def counted_bytes(record: Record) -> int:
    """Return what a record counts in statistics and limits: its data and its metadata."""
    return len(record.data) + len(record.metadata.encode())


@dataclass(frozen=True, slots=True)
class Table:
    """What a segment's table says.

    Parameters
    ----------
    sizes, crcs : sequence of int
        Of the bytes of each record.
    offsets : sequence of int
        Where the bytes of each begin in the blob, and in the end where the last ends.
    heads : sequence of bytes
        What goes with each.
    writers : sequence of (int, int, str, int)
        First record, count, writer and the writer's own number of the first, for those that came from one.
    """

    sizes: Sequence[int]
    crcs: Sequence[int]
    offsets: Sequence[int]
    heads: Sequence[bytes]
    writers: Sequence[tuple[int, int, str, int]]

    def record(self, index: int, data: Buffer) -> Record:
        """Return a record with its bytes, which may be a part of them or none."""
        said: dict[str, Any] = json.loads(self.heads[index]) if self.heads[index] else {}
        array, part = said.get("a"), said.get("p")
        return Record(
            data=data,
            crc32c=self.crcs[index],
            event_time=said.get("e"),
            metadata=said.get("m", ""),
            array=None if array is None else (array[0], tuple(array[1])),
            id=said.get("i", ""),
            part=None if part is None else Part(*part),
        )

    def writer(self, index: int) -> str:
        """Return who stored a record, or "" if that was not said."""
        return next((name for first, count, name, _ in self.writers if first <= index < first + count), "")


def make_table(records: Iterable[Record], writers: Sequence[tuple[int, int, str, int]]) -> bytes:
    """Return the table of a segment; the bytes of the records follow it in their order."""
    numbers: list[int] = []
    heads: list[bytes] = []
    for record in records:
        head = record.head()
        numbers += (len(record.data), record.crc32c, len(head))
        heads.append(head)
    said = json.dumps([list(run) for run in writers], separators=(",", ":")).encode() if writers else b""
    all_heads = b"".join(heads)
    front = _FRONT.pack(_MAGIC, len(all_heads), len(heads), len(said))
    return b"".join((front, said, struct.pack(f"<{len(numbers)}I", *numbers), all_heads))


def read_table(data: Buffer, expected_crc: int, crc32c: Callable[[Buffer, int], int], name: object) -> Table:
    """Take a table apart. Raises DataLoss unless it is as it was stored."""
    if crc32c(data, 0) != expected_crc or bytes(data[:4]) != _MAGIC:
        raise DataLoss(f"{name}: the stored table of a segment is damaged; restore it from a copy", resource=name)
    _, _, count, said_size = _FRONT.unpack_from(data)
    begin = _FRONT.size
    said = bytes(data[begin : begin + said_size])
    begin += said_size
    numbers = struct.unpack_from(f"<{3 * count}I", data, begin)
    begin += 12 * count
    sizes, crcs, head_sizes = numbers[0::3], numbers[1::3], numbers[2::3]
    places = [begin, *accumulate(head_sizes, initial=begin)][1:]
    heads = [bytes(data[place : place + size]) for place, size in zip(places, head_sizes, strict=False)]
    offsets = list(accumulate(sizes, initial=len(data)))
    return Table(sizes, crcs, offsets, heads, [tuple(run) for run in json.loads(said)] if said else [])
