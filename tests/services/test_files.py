"""Files over a real channel: generations, conditions, ranges, lists, copies."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import pytest
from blake3 import blake3
from tests.services.file_calls import (
    DATASET,
    FILES,
    Writer,
    begin,
    crc,
    put,
    read,
    reason_of,
    refused,
    spec,
)
from tests.stores import EVERY

from measurand.v1 import common_pb2, files_pb2
from measurand.wire.codec import pack, unpack

if TYPE_CHECKING:
    from tests.services.file_calls import Stub

pytestmark = pytest.mark.stores(*EVERY)


@pytest.mark.parametrize("size", [0, 1, 70_000, 1024 * 1024])
async def test_a_small_file_comes_back_whole_and_with_its_digests(stub: Stub, size: int) -> None:
    data = os.urandom(size)
    file = await put(stub, "a/b.bin", data, attributes={"mode": "644"})
    assert (file.size, file.checksums.crc32c) == (size, crc(data))
    assert file.checksums.blake3 == blake3(data).hexdigest()
    assert file.attributes == {"mode": "644"}
    assert await read(stub, "a/b.bin") == data


async def test_a_file_too_large_for_one_message_is_refused_with_both_sizes(stub: Stub) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await put(stub, "big", bytes(1024 * 1024 + 1))
    assert reason_of(caught.value) == "TOO_LARGE"
    assert "1048577" in str(caught.value.details()) and "1048576" in str(caught.value.details())


async def test_a_wrong_digest_stores_nothing(stub: Stub) -> None:
    request = files_pb2.PutFileRequest(file=spec("x"), checksums=common_pb2.Checksums(crc32c=1))
    assert await refused(stub.PutFile(pack(request, b"abc"))) == "DIGEST_MISMATCH"
    assert await refused(stub.GetFile(files_pb2.GetFileRequest(name=f"{FILES}/x"))) == "RESOURCE_NOT_FOUND"


async def test_a_repeated_request_makes_one_generation_and_another_with_its_id_is_refused(stub: Stub) -> None:
    request = files_pb2.PutFileRequest(file=spec("once"), request_id="r1")
    first = await stub.PutFile(pack(request, b"abc"))
    assert await stub.PutFile(pack(request, b"abc")) == first
    await put(stub, "once", b"newer")
    assert (await stub.PutFile(pack(request, b"abc"))).generation == first.generation
    assert await read(stub, "once") == b"newer"
    assert await refused(stub.PutFile(pack(request, b"other"))) == "REQUEST_ID_REUSED"


async def test_a_new_upload_makes_a_new_generation_and_the_old_one_is_still_read_by_number(stub: Stub) -> None:
    first = await put(stub, "a", b"one")
    second = await put(stub, "a", b"two!")
    assert second.generation > first.generation
    assert await read(stub, "a") == b"two!"
    assert await read(stub, "a", generation=first.generation) == b"one"
    listed = await stub.ListFiles(files_pb2.ListFilesRequest(parent=DATASET, show_superseded=True))
    assert [(file.generation, file.superseded) for file in listed.files] == [
        (second.generation, False),
        (first.generation, True),
    ]
    plain = await stub.ListFiles(files_pb2.ListFilesRequest(parent=DATASET))
    assert [file.generation for file in plain.files] == [second.generation]


async def test_a_condition_on_the_generation_is_kept(stub: Stub) -> None:
    first = await put(stub, "a", b"one", if_generation=0)
    assert await refused(put(stub, "a", b"two", if_generation=0)) == "GENERATION_MISMATCH"
    await put(stub, "a", b"two", if_generation=first.generation)
    assert await refused(put(stub, "a", b"three", if_generation=first.generation)) == "GENERATION_MISMATCH"
    delete = files_pb2.DeleteFileRequest(name=f"{FILES}/a", if_generation=first.generation)
    assert await refused(stub.DeleteFile(delete)) == "GENERATION_MISMATCH"


async def test_a_deleted_file_is_gone_and_deleting_again_changes_nothing(stub: Stub) -> None:
    old = await put(stub, "a", b"one")
    await put(stub, "a", b"two")
    request = files_pb2.DeleteFileRequest(name=f"{FILES}/a")
    await stub.DeleteFile(request)
    await stub.DeleteFile(request)
    await stub.DeleteFile(files_pb2.DeleteFileRequest(name=f"{FILES}/a", if_generation=old.generation))
    for generation in (0, old.generation):
        get = files_pb2.GetFileRequest(name=f"{FILES}/a", generation=generation)
        assert await refused(stub.GetFile(get)) == "RESOURCE_NOT_FOUND"
    again = await put(stub, "a", b"three")
    assert again.generation > old.generation


async def test_ranges_give_just_their_bytes(stub: Stub) -> None:
    data = os.urandom(3 * 1024 * 1024 + 17)
    upload = await begin(stub, "r.bin", size=len(data))
    writer = Writer(stub, upload.name)
    await writer.open()
    for offset in range(0, len(data), 1024 * 1024):
        await writer.send(offset, data[offset : offset + 1024 * 1024])
    assert await writer.end() == len(data)
    await stub.CommitUpload(files_pb2.CommitUploadRequest(name=upload.name))
    assert await read(stub, "r.bin") == data
    assert await read(stub, "r.bin", offset=-5) == data[-5:]
    assert await read(stub, "r.bin", offset=-(10**9)) == data
    assert await read(stub, "r.bin", offset=1_048_570, length=20) == data[1_048_570:1_048_590]
    assert await read(stub, "r.bin", offset=len(data)) == b""
    assert await refused(
        anext(aiter(stub.ReadFile(files_pb2.ReadFileRequest(name=f"{FILES}/r.bin", offset=10**9))))
    ) == ("BEYOND_END")
    chunk = await stub.ReadFileChunk(files_pb2.ReadFileChunkRequest(name=f"{FILES}/r.bin", offset=-7, length=100))
    assert bytes(unpack(chunk).data) == data[-7:]
    wanted = [(5, 10), (0, 3), (2_000_000, 1_100_000), (8, 0), (12, 40), (len(data) - 1, 1)]
    ranges = [files_pb2.ByteRange(offset=offset, length=length) for offset, length in wanted]
    pieces: dict[int, bytes] = dict.fromkeys(range(len(wanted)), b"")
    ended = []
    async for message in stub.ReadFileRanges(files_pb2.ReadFileRangesRequest(name=f"{FILES}/r.bin", ranges=ranges)):
        head, part = unpack(message)
        assert head.offset == wanted[head.range_index][0] + len(pieces[head.range_index])
        pieces[head.range_index] += bytes(part)
        ended += [head.range_index] * head.range_end
    assert sorted(ended) == list(range(len(wanted)))
    assert [pieces[index] for index in range(len(wanted))] == [data[a : a + b] for a, b in wanted]


async def test_a_list_of_one_level_shows_folders_and_pages_through_them(stub: Stub) -> None:
    paths = ["a", "b/1", "b/2", "b/c/3", "b0", "d/4", "e", "f/5", "f/g/6"]
    for path in paths:
        await put(stub, path, path.encode())
    seen: list[str] = []
    token = ""
    while True:
        page = await stub.ListFiles(
            files_pb2.ListFilesRequest(parent=DATASET, one_level=True, page_size=2, page_token=token)
        )
        names = [file.name.removeprefix(f"{FILES}/") for file in page.files]
        assert len(names) + len(page.folders) <= 2
        seen += [*names, *page.folders]
        token = page.next_page_token
        if not token:
            break
    assert sorted(seen) == ["a", "b/", "b0", "d/", "e", "f/"]
    below = await stub.ListFiles(files_pb2.ListFilesRequest(parent=DATASET, one_level=True, prefix="b/"))
    assert [file.name.rpartition("/")[2] for file in below.files] == ["1", "2"]
    assert list(below.folders) == ["b/c/"]
    everything = await stub.ListFiles(files_pb2.ListFilesRequest(parent=DATASET, prefix="b"))
    assert [file.name.removeprefix(f"{FILES}/") for file in everything.files] == ["b/1", "b/2", "b/c/3", "b0"]


async def test_a_copy_shares_the_bytes_and_outlives_its_source(stub: Stub) -> None:
    await put(stub, "source.csv", b"1,2", attributes={"mtime": "t"})
    copy = files_pb2.CopyFileRequest(source=f"{FILES}/source.csv", file=spec("copy.csv"), request_id="c1")
    made = await stub.CopyFile(copy)
    assert made.attributes == {"mtime": "t"}
    assert await stub.CopyFile(copy) == made
    await stub.DeleteFile(files_pb2.DeleteFileRequest(name=f"{FILES}/source.csv"))
    assert await read(stub, "copy.csv") == b"1,2"


async def test_files_need_their_dataset(stub: Stub) -> None:
    missing = files_pb2.FileSpec(name="catalogs/lab/datasets/none/files/x")
    assert await refused(stub.PutFile(pack(files_pb2.PutFileRequest(file=missing), b"x"))) == "RESOURCE_NOT_FOUND"
    assert await refused(stub.CreateUpload(files_pb2.CreateUploadRequest(file=missing))) == "RESOURCE_NOT_FOUND"
    assert await refused(stub.ListFiles(files_pb2.ListFilesRequest(parent="catalogs/lab/datasets/none"))) == (
        "RESOURCE_NOT_FOUND"
    )


async def test_request_ids_of_any_form_are_told_apart_and_malformed_ones_refused(stub: Stub) -> None:
    upload = await begin(stub, "by-upload")
    made = []
    for number, request_id in enumerate(["a b", "a c", "a", upload.name, "request:a"]):
        request = files_pb2.PutFileRequest(file=spec("ids"), request_id=request_id)
        made.append((await stub.PutFile(pack(request, b"%d" % number))).generation)
    assert len(set(made)) == 5
    for request_id in ("x" * 65, "naïve", "tab\t"):
        request = files_pb2.PutFileRequest(file=spec("ids"), request_id=request_id)
        assert await refused(stub.PutFile(pack(request, b"x"))) == "FIELD_INVALID"
