"""The rules of uploads as functions (U1 to U4 of docs/how-a-byte-travels.md)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from measurand.core.extents import Extent, cut, extents_from_json, extents_to_json, whole
from measurand.core.file_documents import Digests, FileSpec
from measurand.core.names import FileName
from measurand.core.ports import Blob, Checks
from measurand.core.uploads import (
    Piece,
    Upload,
    UploadState,
    accept,
    check_epoch,
    check_open,
    check_size,
    opened,
    persisted,
    upload_document,
    upload_of,
)
from measurand.wire.errors import (
    FailedPrecondition,
    InvalidArgument,
    OffsetGap,
    SizeMismatch,
    UploadIncomplete,
    WriterFenced,
)

NOW = datetime(2026, 11, 21, tzinfo=UTC)
UPLOAD = Upload(
    id="01JD0000000000000000000000",
    spec=FileSpec(FileName("lab", "run", "a.bin"), "text/csv", {"mtime": "x"}, 0),
    state=UploadState.OPEN,
    epoch=3,
    pieces=(Piece("files/a.1", 10, Blob("files/a.1", 10, Checks(4, (1, 2, 3)))), Piece("files/a.3", 5)),
    size=None,
    digests=Digests(7, "ab"),
    creator="users/local",
    create_time=NOW,
    expire_time=NOW,
    request="id hash",
)


@given(received=st.integers(0, 50), offset=st.integers(0, 50), size=st.integers(0, 50))
def test_what_was_received_is_left_out_and_a_gap_is_refused(received: int, offset: int, size: int) -> None:
    if offset > received:
        with pytest.raises(OffsetGap) as caught:
            accept(UPLOAD, received, offset, size)
        assert caught.value.details["expected_offset"] == str(received)
        return
    skip = accept(UPLOAD, received, offset, size)
    new = max(0, offset + size - received)
    assert size - skip == new
    assert not new or offset + skip == received


def test_bytes_behind_the_promised_size_are_refused() -> None:
    promised = replace(UPLOAD, size=20)
    assert accept(promised, 15, 15, 5) == 0
    with pytest.raises(SizeMismatch):
        accept(promised, 15, 15, 6)
    with pytest.raises(InvalidArgument):
        accept(promised, 15, -1, 1)


def test_a_new_writer_counts_up_and_keeps_only_pieces_with_bytes() -> None:
    first = opened(UPLOAD, "files/a.4", NOW)
    assert (first.epoch, first.persisted_size) == (4, 15)
    second = opened(first, "files/a.5", NOW)
    assert [piece.key for piece in second.pieces] == ["files/a.1", "files/a.3", "files/a.5"]
    grown = persisted(second, second.pieces[:-1], 8, NOW)
    assert grown.persisted_size == 23


def test_a_writer_that_knows_an_older_epoch_is_fenced() -> None:
    check_epoch(UPLOAD, None)
    check_epoch(UPLOAD, 3)
    with pytest.raises(WriterFenced) as caught:
        check_epoch(UPLOAD, 2)
    assert caught.value.details["epoch"] == "3"


@pytest.mark.parametrize("state", [UploadState.COMMITTING, UploadState.COMMITTED, UploadState.ABORTED])
def test_only_an_open_upload_takes_bytes(state: UploadState) -> None:
    check_open(UPLOAD)
    with pytest.raises(FailedPrecondition):
        check_open(replace(UPLOAD, state=state))


def test_a_commit_asks_for_exactly_what_is_persisted() -> None:
    assert check_size(UPLOAD, 15) == 15
    assert check_size(replace(UPLOAD, size=15), None) == 15
    with pytest.raises(UploadIncomplete) as caught:
        check_size(UPLOAD, 16)
    assert caught.value.details == {"expected": "16", "persisted_size": "15"}
    with pytest.raises(SizeMismatch):
        check_size(UPLOAD, 14)
    with pytest.raises(SizeMismatch):
        check_size(replace(UPLOAD, size=15), 16)
    with pytest.raises(InvalidArgument):
        check_size(UPLOAD, None)


def test_an_upload_comes_back_from_its_document_as_it_was() -> None:
    assert upload_of(upload_document(UPLOAD)) == UPLOAD


def test_an_ended_upload_names_no_blobs_any_more() -> None:
    def named(upload: Upload) -> list[object]:
        return [entry.scalar.value for entry in upload_document(upload).view if entry.path == "blob" and entry.scalar]

    assert named(UPLOAD) == ["files/a.1", "files/a.3"]
    assert named(replace(UPLOAD, state=UploadState.COMMITTING)) == ["files/a.1", "files/a.3"]
    assert named(replace(UPLOAD, state=UploadState.ABORTED)) == []


@given(st.lists(st.integers(0, 9), max_size=6), st.data())
def test_a_cut_gives_just_the_bytes_of_the_range(sizes: list[int], data: st.DataObject) -> None:
    blobs = {f"b{index}": bytes([index]) * size for index, size in enumerate(sizes)}
    extents = [whole(Blob(key, len(content))) for key, content in blobs.items()]
    everything = b"".join(blobs.values())
    offset = data.draw(st.integers(0, len(everything)))
    length = data.draw(st.integers(0, len(everything) - offset))
    pieces = [blobs[piece.blob.key][piece.offset : piece.offset + piece.size] for piece in cut(extents, offset, length)]
    assert b"".join(pieces) == everything[offset : offset + length]


def test_extents_come_back_from_json_as_they_were() -> None:
    extents = (whole(Blob("a", 9, Checks(4, (0, 2**32 - 1, 5)))), Extent(Blob("b", 12), 5, 7))
    assert extents_from_json(extents_to_json(extents)) == extents
