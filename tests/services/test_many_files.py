"""Many files in one stream: each ends in a result of its own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import pytest
from tests.services.file_calls import (
    DATASET,
    put,
    put_many,
    read,
    read_many,
    spec,
)
from tests.stores import EVERY

from measurand.v1 import common_pb2, files_pb2
from measurand.wire.codec import pack, unpack

if TYPE_CHECKING:
    from tests.services.file_calls import Stub

pytestmark = pytest.mark.stores(*EVERY)


async def test_many_small_files_in_one_stream_each_with_its_own_result(stub: Stub) -> None:
    files = {f"many/{number:04}.dat": os.urandom(number % 300) for number in range(500)}
    results = await put_many(stub, files, "p1")
    assert {result.WhichOneof("outcome") for result in results.values()} == {"file"}
    again = await put_many(stub, files, "p1")
    assert {index: result.file.generation for index, result in again.items()} == {
        index: result.file.generation for index, result in results.items()
    }
    found, summary = await read_many(stub, "")
    assert {name: content for name, (_, content) in found.items()} == files
    assert (summary.ok_count, summary.failed_count) == (500, 0)
    assert summary.sent_bytes == sum(map(len, files.values()))


async def test_a_fault_of_one_small_file_stops_no_other(stub: Stub) -> None:
    await put(stub, "there", b"old")
    call = stub.PutFiles()
    small = [
        files_pb2.SmallFile(index=0, file=spec("good"), size=2),
        files_pb2.SmallFile(index=1, file=spec("../bad"), size=1),
        files_pb2.SmallFile(index=2, file=spec("there", if_generation=0), size=1),
        files_pb2.SmallFile(index=3, file=spec("torn"), size=1, checksums=common_pb2.Checksums(crc32c=9)),
        files_pb2.SmallFile(index=4, file=files_pb2.FileSpec(name="catalogs/lab/datasets/x/files/y"), size=1),
        files_pb2.SmallFile(index=5, file=spec("good"), size=1),
    ]
    await call.write(pack(files_pb2.PutFilesRequest(parent=DATASET, files=small), b"ab" + b"x" * 5))
    await call.done_writing()
    outcomes = {}
    while (message := await call.read()) is not grpc.aio.EOF:
        assert isinstance(message, files_pb2.PutFilesResponse)
        outcomes.update({result.index: result.problem.reason for result in message.results})
    assert outcomes == {
        0: "",
        1: "NAME_INVALID",
        2: "GENERATION_MISMATCH",
        3: "DIGEST_MISMATCH",
        4: "NAME_INVALID",
        5: "",
    }
    assert await read(stub, "good") == b"x"
    assert await read(stub, "there") == b"old"


async def test_every_file_asked_for_ends_in_one_result_with_its_reason(stub: Stub) -> None:
    await put_many(stub, {"d/1": b"11", "d/2": b"2222", "e": b"e", "f": b"ff"})
    found, summary = await read_many(stub, "d/1", "nope", "../x", "d", "d/2", "e", "f", "no/", max_file_bytes=3)
    word = files_pb2.FileResult
    by_number = {int(number): name.removeprefix("FILE_RESULT_") for name, number in word.items()}
    assert {name: (by_number[code], content) for name, (code, content) in found.items()} == {
        "d/1": ("OK", b"11"),
        "nope": ("NOT_FOUND", b""),
        "../x": ("OUTSIDE_DATASET", b""),
        "d": ("NOT_A_FILE", b""),
        "d/2": ("TOO_LARGE", b""),
        "e": ("OK", b"e"),
        "f": ("OK", b"ff"),
        "no/": ("NOT_FOUND", b""),
    }
    assert (summary.ok_count, summary.failed_count, summary.sent_bytes) == (3, 5, 5)
    other = files_pb2.ReadFilesRequest(
        names=["catalogs/lab/datasets/other/files/x", "catalogs/lab/datasets/other/files/"]
    )
    results = [frame.result async for message in stub.ReadFiles(other) for frame in unpack(message).head.frames]
    assert results == [word.FILE_RESULT_UNKNOWN_DATASET] * 2


async def test_limits_name_what_was_left_out(stub: Stub) -> None:
    mebi = 1024 * 1024
    await put_many(stub, {f"{number:02}": bytes([number]) * (mebi // 8) for number in range(20)})
    found, summary = await read_many(stub, "", max_bytes=10 * (mebi // 8))
    left = [name for name, (code, _) in found.items() if code == files_pb2.FILE_RESULT_LIMIT_BYTES]
    assert (summary.ok_count, len(left)) == (10, 10)
    rest, _ = await read_many(stub, *left)
    assert {name: content for name, (_, content) in (found | rest).items()} == {
        f"{number:02}": bytes([number]) * (mebi // 8) for number in range(20)
    }
    found, summary = await read_many(stub, "", max_files=3)
    assert summary.ok_count == 3
    assert [code for code, _ in found.values()].count(files_pb2.FILE_RESULT_LIMIT_FILES) == 17
