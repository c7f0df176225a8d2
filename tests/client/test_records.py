"""Records from what a writer gives, and back out of messages."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from measurand.client.errors import InvalidArgument, MeasurandError
from measurand.client.hashing import crc32c
from measurand.client.record_pages import RecordPages
from measurand.client.record_replay import PART_BYTES, RecordReplay
from measurand.client.records import MAX_RECORD_BYTES, Given, Part, Record, given
from measurand.v1.buffers_pb2 import RecordHeader
from measurand.wire.errors import ChecksumMismatch, DocumentInvalid, FailedPrecondition, TooLarge


def back(record: Given) -> Record:
    return Record(RecordHeader.FromString(record.header), memoryview(record.data))


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3),
        np.array(7, "i2"),
        np.zeros((0, 4), ">f8"),
        np.arange(5, dtype=">u4"),
        np.arange(12).reshape(3, 4).T[::2],
        np.array([1 + 2j, np.nan], "c8"),
        np.array(["2026-11-21T10:00", "NaT"], "M8[ms]"),
        np.array(["a", "bcd"]),
        np.frombuffer(struct.pack("<4Q", 0x7FF8DEAD00000001, 0x7FF0000000000001, 1 << 63, 1), "<f8"),
    ],
)
def test_an_array_comes_back_with_its_dtype_its_shape_and_its_bits(array: np.ndarray[Any, Any]) -> None:
    found = back(given(array)).array
    assert (found.shape, found.dtype) == (array.shape, array.dtype.newbyteorder("="))
    assert found.tobytes() == array.astype(array.dtype.newbyteorder("=")).tobytes()
    assert not found.flags.writeable


def test_bytes_come_back_as_bytes_and_are_no_array() -> None:
    record = back(given(bytearray(b"abc")))
    assert (record.data, record.size, record.is_array) == (b"abc", 3, False)
    with pytest.raises(FailedPrecondition, match="use data"):
        _ = record.array


def test_what_is_said_of_a_record_comes_back() -> None:
    record = back(given(b"", {"gain": 2}, gps=1126259462, id="x17", part=("event-7", 1, 3)))
    assert record.metadata == {"gain": 2}
    assert record.event_time == datetime(2015, 9, 14, 9, 50, 45, tzinfo=UTC)
    assert (record.id, record.part) == ("x17", Part("event-7", 1, 3))
    assert back(given(b"", part=Part("e", 0, 2))).part == Part("e", 0, 2)


@pytest.mark.parametrize(
    ("arguments", "kind", "field"),
    [
        ({"data": "text"}, InvalidArgument, "data"),
        ({"data": [1, 2]}, InvalidArgument, "data"),
        ({"data": np.array([object()])}, InvalidArgument, "data"),
        ({"data": b"", "metadata": {"a": "x" * 70_000}}, TooLarge, "metadata"),
        ({"data": b"", "metadata": {"a\0": 1}}, DocumentInvalid, None),
        ({"data": b"", "metadata": [1]}, DocumentInvalid, None),
        ({"data": b"", "id": ""}, InvalidArgument, "id"),
        ({"data": b"", "id": "x" * 65}, InvalidArgument, "id"),
        ({"data": b"", "id": "ö"}, InvalidArgument, "id"),
        ({"data": b"", "part": ("e", 3, 3)}, InvalidArgument, "part"),
        ({"data": b"", "part": ("e", 0, 1)}, InvalidArgument, "part"),
        ({"data": b"", "part": "e"}, InvalidArgument, "part"),
        ({"data": b"", "time": "yesterday"}, InvalidArgument, "time"),
        ({"data": b"", "gps": float("nan")}, InvalidArgument, "gps"),
        ({"data": b"", "gps": 1.0, "time": 1.0}, InvalidArgument, "time"),
    ],
)
def test_what_cannot_be_stored_is_refused_by_the_name_of_its_field(
    arguments: dict[str, object], kind: type[MeasurandError], field: str | None
) -> None:
    with pytest.raises(kind) as refused:
        given(**arguments)  # type: ignore[arg-type]
    assert field is None or refused.value.details["field"] == field


def test_a_record_beyond_64_mib_is_too_large_and_one_of_64_mib_is_not() -> None:
    data = bytes(MAX_RECORD_BYTES + 1)
    with pytest.raises(TooLarge):
        given(data)
    assert len(given(memoryview(data)[1:]).data) == MAX_RECORD_BYTES


# ---------------------------------------------------------------------------------------------------------- the window


def test_many_small_records_go_in_one_message_with_their_headers() -> None:
    replay = RecordReplay(1 << 20)
    records = [given(bytes([i]) * i, {"i": i} if i % 2 else None) for i in range(200)]
    for record in records:
        replay.add(record)
    group = replay.next_group(1 << 24)
    assert group is not None
    (message,) = group.messages(0)
    head, data = message
    assert (head.first_writer_sequence, len(head.headers)) == (1, 200)
    assert [header.size for header in head.headers] == list(range(200))
    assert head.headers[7].metadata.json == '{"i":7}'
    assert bytes(data) == b"".join(record.data for record in records)
    assert head.crc32c == crc32c(bytes(data))
    assert replay.next_group(1 << 24) is None


def test_a_large_record_goes_alone_in_parts() -> None:
    replay = RecordReplay(1 << 30)
    replay.add(given(b"a"))
    replay.add(given(bytes(2 * PART_BYTES + 5)))
    replay.add(given(b"b"))
    sizes = []
    while (group := replay.next_group(1 << 30)) is not None:
        sizes.append([(m.head.first_writer_sequence, m.head.part_offset, len(m.data)) for m in group.messages(0)])
    assert sizes == [
        [(1, 0, 1)],
        [(2, 0, PART_BYTES), (2, PART_BYTES, PART_BYTES), (2, 2 * PART_BYTES, 5)],
        [(3, 0, 1)],
    ]


def test_a_message_carries_at_most_two_mebibytes() -> None:
    replay = RecordReplay(1 << 30)
    for _ in range(5):
        replay.add(given(bytes(PART_BYTES // 2)))
    counts = []
    while (group := replay.next_group(1 << 30)) is not None:
        counts.append(len(group.records))
    assert counts == [2, 2, 1]


def test_no_more_is_sent_than_the_window_of_the_server_and_it_opens_again() -> None:
    replay = RecordReplay(1 << 30)
    for _ in range(10):
        replay.add(given(bytes(1000)))
    first = replay.next_group(3500)
    assert first is not None and len(first.records) == 3
    assert replay.next_group(3500) is None
    replay.acknowledge(3)
    again = replay.next_group(3500)
    assert again is not None and (again.first, len(again.records)) == (4, 3)


def test_the_window_has_room_until_it_is_full_and_takes_any_record_when_it_is_empty() -> None:
    replay = RecordReplay(2500)
    assert replay.has_room(10_000)
    replay.add(given(bytes(1000)))
    assert replay.has_room(1000)
    replay.add(given(bytes(1000)))
    assert not replay.has_room(1000)
    assert replay.next_group(1 << 20) is not None
    replay.acknowledge(2)
    assert replay.has_room(2500) and replay.is_safe and replay.open_bytes == replay.sent_bytes == 0


@pytest.mark.parametrize("stands", [0, 3, 4, 7, 10])
def test_a_new_stream_gets_what_the_server_does_not_have_whatever_was_grouped_before(stands: int) -> None:
    replay = RecordReplay(1 << 20)
    for i in range(10):
        replay.add(given(bytes([i])))
        if i in (2, 5):
            assert replay.next_group(1 << 20) is not None
    replay.acknowledge(min(stands, 2))
    assert replay.rewind(stands) == (stands > 2)
    sent: list[int] = []
    while (group := replay.next_group(1 << 20)) is not None:
        assert group.first == stands + len(sent) + 1
        sent += [record.data[0] for record in group.records]
    assert sent == list(range(stands, 10))
    assert (replay.end, replay.safe) == (10, stands)


def test_a_server_that_has_more_than_was_fed_moves_the_window_on() -> None:
    replay = RecordReplay(1 << 20, safe=5)
    replay.rewind(8)
    assert (replay.safe, replay.end) == (8, 8)
    assert replay.add(given(b"")) == 9


# ---------------------------------------------------------------------------------------------------------- the pages


def header(sequence: int, size: int) -> RecordHeader:
    return RecordHeader(sequence=sequence, size=size)


def test_records_are_cut_out_of_a_message() -> None:
    records = RecordPages().take([header(1, 2), header(2, 0), header(3, 1)], b"abc", 0, crc32c(b"abc"))
    assert [(record.seq, record.data) for record in records] == [(1, b"ab"), (2, b""), (3, b"c")]


def test_a_record_in_parts_comes_when_it_is_whole() -> None:
    pages = RecordPages()
    assert pages.take([header(4, 5)], b"ab", 0, None) == []
    assert pages.unfinished == 4
    assert pages.take([header(4, 5)], b"cd", 2, None) == []
    (record,) = pages.take([header(4, 5)], b"e", 4, None)
    assert (record.data, pages.unfinished) == (b"abcde", 0)


@pytest.mark.parametrize(
    ("headers", "data", "offset", "checksum"),
    [
        ([header(1, 1)], b"a", 0, crc32c(b"b")),
        ([header(1, 2), header(2, 2)], b"abc", 0, None),
        ([header(1, 9)], b"abc", 3, None),
    ],
)
def test_what_arrived_damaged_is_told(headers: list[RecordHeader], data: bytes, offset: int, checksum: int) -> None:
    with pytest.raises(ChecksumMismatch):
        RecordPages().take(headers, data, offset, checksum)
