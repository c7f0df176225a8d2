"""Records as messages, and back. A record of which its writer says nothing but its size costs next to nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from google.protobuf.timestamp_pb2 import Timestamp

from measurand.chunks import data_types
from measurand.core.buffers.pages import StoredRecord
from measurand.core.buffers.records import MAX_RECORD_BYTES, Part, Record
from measurand.core.ports import Buffer
from measurand.v1 import buffers_pb2, common_pb2
from measurand.wire.documents import encode, text_bytes
from measurand.wire.errors import ChecksumMismatch, DocumentInvalid, InvalidArgument, TooLarge
from measurand.wire.structs import from_message, to_message

__all__ = [
    "Headers",
    "check_count",
    "check_sum",
    "header_of",
    "instant",
    "record_message",
    "record_of",
    "records_of",
    "timestamp",
]

MOST_RECORDS = 10_000
"""In one message."""
MAX_METADATA_BYTES = 64 * 1024
MAX_TEXT = 64
MAX_AXES = 32
MOST_PARTS = 1000
_SECOND = 1_000_000
_FIRST, _LAST = -62_135_596_800, 253_402_300_799
"""Seconds since 1970 at which the years 1 and 9999 begin and end."""

Checksum = Callable[[Buffer, int], int]


def check_sum(actual: int, promised: int | None, what: str, index: int = 0) -> None:
    """Raise ChecksumMismatch unless bytes have the sum that was promised for them, if one was."""
    if promised is not None and actual != promised:
        raise ChecksumMismatch(
            f"{what} arrived damaged; send it again",
            index=index,
            expected=f"{promised:08x}",
            actual=f"{actual:08x}",
        )


def records_of(headers: Sequence[buffers_pb2.RecordHeader], data: Buffer, crc32c: Checksum) -> list[Record]:
    """Return the whole records of one message.

    Raises
    ------
    InvalidArgument
        FIELD_INVALID, DOCUMENT_INVALID, TOO_LARGE: with the `field`.
    ChecksumMismatch
        CHECKSUM_MISMATCH: with the `index` of a record.
    """
    check_count(len(headers), "headers")
    sizes = [header.size for header in headers]
    if sum(sizes) != len(data) or min(sizes, default=0) < 0:
        raise InvalidArgument(
            f"headers.size: the sizes add up to {sum(sizes)} bytes, but there are {len(data)}; give each record its "
            "size, and send a record larger than one message alone, in parts",
            field="headers.size",
        )
    view = memoryview(data)
    records: list[Record] = []
    offset = 0
    for index, (header, size) in enumerate(zip(headers, sizes, strict=True)):
        piece = view[offset : offset + size]
        offset += size
        actual = crc32c(piece, 0)
        if header.ByteSize() == _bytes_of_size(size):
            records.append(Record(piece, actual))
        else:
            records.append(header_of(header, piece, actual, f"headers[{index}]", index))
    return records


def check_count(count: int, field: str) -> None:
    """Raise TooLarge for more records than one message may carry."""
    if count > MOST_RECORDS:
        raise TooLarge(
            f"{field}: {count} records in one message; the most is {MOST_RECORDS}; send several",
            limit=MOST_RECORDS,
            actual=count,
            field=field,
        )


def record_of(message: buffers_pb2.Record, index: int, crc32c: Checksum) -> Record:
    """Return a record that came with its bytes. Errors: as `records_of`."""
    header, data = message.header, message.data
    where = f"records[{index}].header"
    if header.size not in (0, len(data)):
        raise InvalidArgument(
            f"{where}.size: {header.size}, but there are {len(data)} bytes; leave it out", field=f"{where}.size"
        )
    return header_of(header, data, crc32c(data, 0), where, index)


def header_of(header: buffers_pb2.RecordHeader, data: Buffer, actual: int, where: str, index: int = 0) -> Record:
    """Return a record with what its header says, checked. Errors: as `records_of`.

    Parameters
    ----------
    actual : int
        CRC-32C of the bytes as they came.
    where : str
        Path of the header in its request, for errors.
    """
    if len(data) > MAX_RECORD_BYTES:
        raise TooLarge(
            f"{where}.size: {len(data)} bytes; the most in a record is {MAX_RECORD_BYTES}; make smaller ones",
            limit=MAX_RECORD_BYTES,
            actual=len(data),
            field=f"{where}.size",
        )
    if header.HasField("crc32c"):
        check_sum(actual, header.crc32c, f"the record of {where}", index)
    return Record(
        data=data,
        crc32c=actual,
        event_time=instant(header.event_time, f"{where}.event_time") if header.HasField("event_time") else None,
        metadata=_metadata(header.metadata, f"{where}.metadata") if header.HasField("metadata") else "",
        array=_layout(header.array, len(data), f"{where}.array") if header.HasField("array") else None,
        id=_text(header.id, f"{where}.id") if header.id else "",
        part=_part(header.part, f"{where}.part") if header.HasField("part") else None,
    )


def instant(time: Timestamp, field: str) -> int:
    """Return a time in microseconds since 1970. What is finer than a microsecond is cut off."""
    if not (_FIRST <= time.seconds <= _LAST and 0 <= time.nanos < 1_000_000_000):
        raise InvalidArgument(f"{field}: the time does not lie within the years 1 to 9999", field=field)
    return time.seconds * _SECOND + time.nanos // 1000


class Headers:
    """Writes the headers of stored records into messages.

    Parameters
    ----------
    form : DocumentForm
        How the request wants its documents.
    """

    def __init__(self, form: common_pb2.DocumentForm.ValueType) -> None:
        self._form = form
        self._time = -1
        self._timestamp = Timestamp()

    def fill(self, header: buffers_pb2.RecordHeader, stored: StoredRecord) -> None:
        """Write what goes with a record into an empty header."""
        record = stored.record
        if stored.append_time != self._time:
            self._time, self._timestamp = stored.append_time, timestamp(stored.append_time)
        header.sequence = stored.sequence
        header.append_time.CopyFrom(self._timestamp)
        header.size = stored.size
        header.crc32c = record.crc32c
        header.window = stored.window
        if stored.writer:
            header.writer = stored.writer
        if record.event_time is not None:
            header.event_time.CopyFrom(timestamp(record.event_time))
        if record.metadata:
            header.metadata.CopyFrom(to_message(record.metadata, self._form))
        if record.array is not None:
            header.array.data_type = record.array[0]
            header.array.shape.extend(record.array[1])
        if record.id:
            header.id = record.id
        if record.part is not None:
            header.part.set, header.part.index, header.part.count = (
                record.part.set,
                record.part.index,
                record.part.count,
            )


def record_message(message: buffers_pb2.Record, stored: StoredRecord, headers: Headers) -> None:
    """Write a record with its bytes into an empty message."""
    headers.fill(message.header, stored)
    message.data = bytes(stored.record.data)


def _bytes_of_size(size: int) -> int:
    """Return how many bytes a header takes that says nothing but this size."""
    return 1 + (size.bit_length() + 6) // 7 if size else 0


def timestamp(microseconds: int) -> Timestamp:
    """Return a time in microseconds since 1970 as a message."""
    seconds, fraction = divmod(microseconds, _SECOND)
    return Timestamp(seconds=seconds, nanos=fraction * 1000)


def _metadata(document: common_pb2.Document, field: str) -> str:
    """Return metadata as the one canonical line of it; empty for the empty object."""
    try:
        content = from_message(document)
        text = encode(content) if content else ""
    except DocumentInvalid as error:
        path = error.details.get("path", "")
        raise DocumentInvalid(f"{field}: {error.message}", path=path, field=field) from error
    size = text_bytes(text)
    if size > MAX_METADATA_BYTES:
        raise TooLarge(
            f"{field}: {size} bytes as text; the most is {MAX_METADATA_BYTES}; put what is large into the data",
            limit=MAX_METADATA_BYTES,
            actual=size,
            field=field,
        )
    return text


def _layout(layout: buffers_pb2.ArrayLayout, size: int, field: str) -> tuple[str, tuple[int, ...]]:
    """Return an array layout that fits the bytes exactly."""
    try:
        data_type = data_types.parse(layout.data_type)
    except InvalidArgument as error:
        raise InvalidArgument(f"{field}.{error.message}", field=f"{field}.data_type") from error
    if data_type.kind == "T":
        raise InvalidArgument(
            f"{field}.data_type: text of any length is no plain bytes; use fixed_length_utf32, or metadata",
            field=f"{field}.data_type",
        )
    shape = tuple(layout.shape)
    if len(shape) > MAX_AXES or any(length < 0 for length in shape):
        raise InvalidArgument(
            f"{field}.shape: {list(shape[:MAX_AXES])} is no shape; at most {MAX_AXES} axes, none negative",
            field=f"{field}.shape",
        )
    if math.prod(shape) * data_type.item_bytes != size:
        raise InvalidArgument(
            f"{field}.shape: {list(shape)} of {layout.data_type} takes {math.prod(shape) * data_type.item_bytes} "
            f"bytes, but the record has {size}",
            field=f"{field}.shape",
        )
    return data_type.text, shape


def _part(part: buffers_pb2.SetPart, field: str) -> Part:
    if not 2 <= part.count <= MOST_PARTS:
        raise InvalidArgument(f"{field}.count: {part.count}; a set has 2 to {MOST_PARTS} parts", field=f"{field}.count")
    if not 0 <= part.index < part.count:
        raise InvalidArgument(
            f"{field}.index: {part.index} of {part.count} parts; number them from 0", field=f"{field}.index"
        )
    if not part.set:
        raise InvalidArgument(f"{field}.set: it is empty; say which set", field=f"{field}.set")
    return Part(_text(part.set, f"{field}.set"), part.index, part.count)


def _text(value: str, field: str) -> str:
    if len(value) > MAX_TEXT or not value.isascii() or not value.isprintable():
        raise InvalidArgument(f"{field}: {value[:80]!r} is not 1 to {MAX_TEXT} printable ASCII characters", field=field)
    return value
