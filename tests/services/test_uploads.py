"""Uploads over a real channel: resumed, fenced, refused, committed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from blake3 import blake3
from tests.services.file_calls import (
    DATASET,
    FILES,
    Writer,
    begin,
    crc,
    read,
    refused,
)
from tests.stores import EVERY

from measurand.v1 import common_pb2, files_pb2
from measurand.wire.codec import pack

if TYPE_CHECKING:
    from tests.services.file_calls import Stub

pytestmark = pytest.mark.stores(*EVERY)


async def test_a_stream_drops_repeats_refuses_gaps_and_damaged_chunks_and_goes_on_after(stub: Stub) -> None:
    upload = await begin(stub, "u")
    writer = Writer(stub, upload.name)
    assert (await writer.open()).epoch == 1
    await writer.send(0, b"abcd")
    await writer.send(2, b"cdEF", flush=True)
    assert (await writer.answer()).persisted_size == 6
    await writer.send(9, b"x")
    assert await writer.failure() == "OFFSET_GAP"
    writer = Writer(stub, upload.name)
    answer = await writer.open(expected_epoch=1)
    assert (answer.persisted_size, answer.epoch) == (6, 2)
    await writer.send(6, b"GH", crc32c=1)
    assert await writer.failure() == "CHECKSUM_MISMATCH"
    writer = Writer(stub, upload.name)
    await writer.open()
    await writer.send(6, b"GH")
    assert await writer.end() == 8
    file = await stub.CommitUpload(files_pb2.CommitUploadRequest(name=upload.name, size=8))
    assert file.checksums.blake3 == blake3(b"abcdEFGH").hexdigest()
    assert await read(stub, "u") == b"abcdEFGH"
    assert await stub.CommitUpload(files_pb2.CommitUploadRequest(name=upload.name, size=8)) == file


async def test_of_two_writers_the_first_is_fenced_and_nothing_mixes(stub: Stub) -> None:
    upload = await begin(stub, "two")
    first, second = Writer(stub, upload.name), Writer(stub, upload.name)
    await first.open()
    await first.send(0, b"A" * 100, flush=True)
    assert (await first.answer()).persisted_size == 100
    assert (await second.open()).persisted_size == 100
    await second.send(100, b"B" * 100, flush=True)
    assert (await second.answer()).persisted_size == 200
    await first.send(100, b"A" * 100, flush=True)
    assert await first.failure() == "WRITER_FENCED"
    late = Writer(stub, upload.name)
    await late.call.write(pack(files_pb2.WriteUploadRequest(name=upload.name, expected_epoch=1)))
    assert await late.failure() == "WRITER_FENCED"
    await second.end()
    commit = files_pb2.CommitUploadRequest(name=upload.name, size=200, expected_epoch=1)
    assert await refused(stub.CommitUpload(commit)) == "WRITER_FENCED"
    await stub.CommitUpload(files_pb2.CommitUploadRequest(name=upload.name, size=200, expected_epoch=2))
    assert await read(stub, "two") == b"A" * 100 + b"B" * 100


async def test_an_upload_by_unary_calls_alone(stub: Stub) -> None:
    upload = await begin(stub, "unary", request_id="u1")
    assert (await begin(stub, "unary", request_id="u1")).name == upload.name
    for offset, data in ((0, b"abc"), (0, b"abc"), (3, b"def")):
        request = files_pb2.WriteUploadChunkRequest(name=upload.name, offset=offset, crc32c=crc(data))
        answer = await stub.WriteUploadChunk(pack(request, data))
        assert answer.persisted_size == offset + 3
    gap = files_pb2.WriteUploadChunkRequest(name=upload.name, offset=50)
    assert await refused(stub.WriteUploadChunk(pack(gap, b"x"))) == "OFFSET_GAP"
    early = files_pb2.CommitUploadRequest(name=upload.name, size=9)
    assert await refused(stub.CommitUpload(early)) == "UPLOAD_INCOMPLETE"
    await stub.CommitUpload(files_pb2.CommitUploadRequest(name=upload.name, size=6))
    assert await read(stub, "unary") == b"abcdef"


async def test_a_wrong_digest_ends_the_upload_and_nobody_ever_sees_the_file(stub: Stub) -> None:
    upload = await begin(stub, "w")
    writer = Writer(stub, upload.name)
    await writer.open()
    await writer.send(0, b"abc")
    await writer.end()
    checksums = common_pb2.Checksums(blake3=blake3(b"abd").hexdigest())
    commit = files_pb2.CommitUploadRequest(name=upload.name, size=3, checksums=checksums)
    assert await refused(stub.CommitUpload(commit)) == "DIGEST_MISMATCH"
    state = await stub.GetUpload(files_pb2.GetUploadRequest(name=upload.name))
    assert state.state == files_pb2.UPLOAD_STATE_ABORTED
    assert await refused(stub.GetFile(files_pb2.GetFileRequest(name=f"{FILES}/w"))) == "RESOURCE_NOT_FOUND"


async def test_an_aborted_upload_takes_nothing_more_and_leaves_the_list(stub: Stub) -> None:
    upload = await begin(stub, "gone")
    listed = await stub.ListUploads(files_pb2.ListUploadsRequest(parent=DATASET))
    assert [item.name for item in listed.uploads] == [upload.name]
    abort = files_pb2.AbortUploadRequest(name=upload.name)
    await stub.AbortUpload(abort)
    await stub.AbortUpload(abort)
    for parent in (DATASET, "catalogs/lab"):
        assert not (await stub.ListUploads(files_pb2.ListUploadsRequest(parent=parent))).uploads
    writer = Writer(stub, upload.name)
    await writer.call.write(pack(files_pb2.WriteUploadRequest(name=upload.name)))
    assert await writer.failure() == "STATE_WRONG"
