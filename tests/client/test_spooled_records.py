"""The spool of a writer: records, and the id and numbers under which the server knows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from measurand.client.errors import FailedPrecondition, InvalidArgument
from measurand.client.records import given
from measurand.client.spooled_records import SpooledRecords

BUFFER, SERVER = "catalogs/lab/buffers/v1", "localhost:1"


def opened(folder: Path, buffer: str = BUFFER) -> SpooledRecords:
    return SpooledRecords(folder / "spool", buffer, SERVER, most_bytes=1 << 20)


def test_records_come_back_in_order_with_what_was_said_of_them(tmp_path: Path) -> None:
    records = [given(b"a" * i, {"i": i}) for i in range(3)]
    first = opened(tmp_path)
    assert [first.append(record) for record in records] == [1, 2, 3]
    identity = first.identity
    first.close()
    second = opened(tmp_path)
    assert (second.identity, second.first_new) == (identity, 4)
    assert [second.next(after) for after in range(4)] == [*enumerate(records, 1), None]
    second.close()


def test_a_spool_that_is_empty_in_the_end_is_removed_and_the_next_writer_is_another(tmp_path: Path) -> None:
    first = opened(tmp_path)
    first.acknowledge(first.append(given(b"a")))
    first.close()
    assert not (tmp_path / "spool").exists()
    second = opened(tmp_path)
    assert second.identity.id != first.identity.id and second.identity.base == 0
    second.close()


def test_without_its_name_a_spool_begins_behind_what_is_acknowledged(tmp_path: Path) -> None:
    """As after a crash in the middle of its removal."""
    first = opened(tmp_path)
    first.acknowledge(first.append(given(b"a")))
    first.spool.close()
    (tmp_path / "spool" / "writer.json").unlink()
    second = opened(tmp_path)
    assert (second.identity.base, second.append(given(b"b"))) == (1, 2)
    assert second.identity.id != first.identity.id
    second.close()


def test_a_name_that_is_torn_or_of_another_buffer_is_not_taken(tmp_path: Path) -> None:
    first = opened(tmp_path)
    first.acknowledge(first.append(given(b"a")))
    first.spool.close()
    (tmp_path / "spool" / "writer.json").write_text("{")
    second = opened(tmp_path)
    assert second.identity.id != first.identity.id
    second.spool.close()
    third = opened(tmp_path, "catalogs/lab/buffers/v2")
    assert third.identity.id not in (first.identity.id, second.identity.id)
    assert third.append(given(b"b")) == 1
    third.close()


def test_a_spool_with_records_for_another_buffer_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    first = opened(tmp_path)
    first.append(given(b"a"))
    with pytest.raises(FailedPrecondition, match="in use"):
        opened(tmp_path)
    first.close()
    with pytest.raises(InvalidArgument, match="something else"):
        opened(tmp_path, "catalogs/lab/buffers/v2")
    again = opened(tmp_path)
    assert (again.last, again.identity) == (1, first.identity)
    again.close()
