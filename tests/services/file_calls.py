"""Calls of the files service as tests make them: over a real channel, with the dataset `run` of the fixture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import google_crc32c
import grpc
import grpc.aio
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from measurand.v1 import common_pb2, files_pb2, files_pb2_grpc
from measurand.wire.codec import pack, unpack

DATASET = "catalogs/lab/datasets/run"
FILES = f"{DATASET}/files"

if TYPE_CHECKING:
    Stub = files_pb2_grpc.FileServiceAsyncStub


def crc(data: bytes) -> int:
    return int(google_crc32c.value(data))


def spec(path: str, **more: object) -> files_pb2.FileSpec:
    return files_pb2.FileSpec(name=f"{FILES}/{path}", **more)  # type: ignore[arg-type]  # fields by name


async def put(stub: Stub, path: str, data: bytes, **more: object) -> files_pb2.File:
    checksums = common_pb2.Checksums(crc32c=crc(data))
    return await stub.PutFile(pack(files_pb2.PutFileRequest(file=spec(path, **more), checksums=checksums), data))


async def read(stub: Stub, path: str, **more: object) -> bytes:
    request = files_pb2.ReadFileRequest(name=f"{FILES}/{path}", **more)  # type: ignore[arg-type]  # fields by name
    pieces = []
    async for message in stub.ReadFile(request):
        head, data = unpack(message)
        if len(data):
            assert head.crc32c == crc(bytes(data))
        pieces.append(bytes(data))
    return b"".join(pieces)


def reason_of(error: grpc.aio.AioRpcError) -> str:
    details = {key: value for key, value in error.trailing_metadata() or () if isinstance(value, bytes)}
    status = Status.FromString(details["grpc-status-details-bin"])
    reason: str = ErrorInfo.FromString(status.details[0].value).reason
    return reason


async def refused(call: object) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call  # type: ignore[misc]  # any call
    return reason_of(caught.value)


class Writer:
    """A WriteUpload stream by hand."""

    def __init__(self, stub: Stub, name: str) -> None:
        self.call = stub.WriteUpload()
        self.name = name

    async def open(self, **more: object) -> files_pb2.WriteUploadResponse:
        request = files_pb2.WriteUploadRequest(name=self.name, **more)  # type: ignore[arg-type]  # fields by name
        await self.call.write(pack(request))
        return await self.answer()

    async def send(self, offset: int, data: bytes, *, flush: bool = False, crc32c: int | None = None) -> None:
        value = crc(data) if crc32c is None else crc32c
        await self.call.write(pack(files_pb2.WriteUploadRequest(offset=offset, crc32c=value, flush=flush), data))

    async def answer(self) -> files_pb2.WriteUploadResponse:
        answer = await self.call.read()
        assert isinstance(answer, files_pb2.WriteUploadResponse), await self.call.code()
        return answer

    async def failure(self) -> str:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self._read_on()
        return reason_of(caught.value)

    async def _read_on(self) -> None:
        while await self.call.read() is not grpc.aio.EOF:
            pass

    async def end(self) -> int:
        await self.call.done_writing()
        persisted = 0
        while (answer := await self.call.read()) is not grpc.aio.EOF:
            assert isinstance(answer, files_pb2.WriteUploadResponse)
            persisted = answer.persisted_size
        return persisted


async def begin(stub: Stub, path: str, **more: object) -> files_pb2.Upload:
    return await stub.CreateUpload(files_pb2.CreateUploadRequest(file=spec(path), **more))  # type: ignore[arg-type]


async def put_many(stub: Stub, files: dict[str, bytes], request_id: str = "") -> dict[int, files_pb2.PutFilesResult]:
    call = stub.PutFiles()
    items = list(files.items())
    for start in range(0, len(items), 15):
        group = items[start : start + 15]
        small = [
            files_pb2.SmallFile(
                index=start + number,
                file=spec(path),
                size=len(data),
                checksums=common_pb2.Checksums(crc32c=crc(data)),
            )
            for number, (path, data) in enumerate(group)
        ]
        head = files_pb2.PutFilesRequest(parent=DATASET, files=small, request_id=request_id)
        await call.write(pack(head, b"".join(data for _, data in group)))
    await call.done_writing()
    results: dict[int, files_pb2.PutFilesResult] = {}
    while (message := await call.read()) is not grpc.aio.EOF:
        assert isinstance(message, files_pb2.PutFilesResponse)
        for result in message.results:
            assert result.index not in results
            results[result.index] = result
    return results


async def read_many(
    stub: Stub, *names: str, **limits: int
) -> tuple[dict[str, tuple[int, bytes]], files_pb2.ReadFilesSummary]:
    found: dict[str, tuple[int, bytes]] = {}
    name, content, summary = "", b"", None
    request = files_pb2.ReadFilesRequest(names=[f"{FILES}/{name}" for name in names], **limits)
    async for message in stub.ReadFiles(request):
        assert summary is None
        head, data = unpack(message)
        offset = 0
        for frame in head.frames:
            name, content = (frame.name, b"") if frame.name else (name, content)
            piece = bytes(data[offset : offset + frame.size])
            assert not piece or frame.crc32c == crc(piece)
            offset, content = offset + frame.size, content + piece
            if frame.result:
                assert name not in found
                found[name.removeprefix(f"{FILES}/")] = frame.result, content
        assert offset == len(data)
        summary = head.summary if head.HasField("summary") else None
    assert summary is not None
    return found, summary
