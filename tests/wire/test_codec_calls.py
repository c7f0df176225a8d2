"""The bulk codec over real channels: each end with it and without it, asyncio and threads."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from concurrent import futures
from typing import Any

import grpc
import grpc.aio
import pytest

from measurand.v1 import files_pb2
from measurand.v1.files_pb2_grpc import FileServiceServicer, FileServiceStub, add_FileServiceServicer_to_server
from measurand.wire.codec import Bulk, CodecChannel, CodecServer, codec_channel, codec_server, pack, unpack

DATA = bytes(range(256)) * 4096
BLOCK = 2**18

CODEC = pytest.mark.parametrize("with_codec", [True, False], ids=["codec", "plain"])


class AsyncFiles(FileServiceServicer):
    """One method of each kind of call; notes whether it was handed tuples or messages."""

    def __init__(self) -> None:
        self.tuples = 0

    def take(self, request: Any) -> files_pb2.WriteUploadResponse:
        self.tuples += isinstance(request, Bulk)
        head, data = unpack(request)
        return files_pb2.WriteUploadResponse(persisted_size=head.offset + len(data))

    async def WriteUploadChunk(self, request: Any, context: object) -> files_pb2.WriteUploadResponse:
        return self.take(request)

    async def ReadFileChunk(self, request: files_pb2.ReadFileChunkRequest, context: object) -> Any:
        return pack(files_pb2.ReadFileResponse(offset=request.offset), memoryview(DATA)[request.offset :])

    async def ReadFile(self, request: files_pb2.ReadFileRequest, context: object) -> AsyncIterator[Any]:
        for offset in range(request.offset, len(DATA), BLOCK):
            yield pack(files_pb2.ReadFileResponse(offset=offset), memoryview(DATA)[offset : offset + BLOCK])

    async def WriteUpload(self, request_iterator: Any, context: object) -> AsyncIterator[Any]:
        async for request in request_iterator:
            yield self.take(request)

    async def GetFile(self, request: files_pb2.GetFileRequest, context: object) -> files_pb2.File:
        return files_pb2.File(name=request.name)


class ThreadFiles(FileServiceServicer):
    """The same for a server of threads."""

    def WriteUploadChunk(self, request: Any, context: object) -> files_pb2.WriteUploadResponse:
        head, data = unpack(request)
        return files_pb2.WriteUploadResponse(
            persisted_size=head.offset + len(data), epoch=int(isinstance(request, Bulk))
        )

    def ReadFile(self, request: files_pb2.ReadFileRequest, context: object) -> Iterator[Any]:
        for offset in range(request.offset, len(DATA), BLOCK):
            yield pack(files_pb2.ReadFileResponse(offset=offset), memoryview(DATA)[offset : offset + BLOCK])

    def WriteUpload(self, request_iterator: Any, context: object) -> Iterator[Any]:
        for request in request_iterator:
            head, data = unpack(request)
            yield files_pb2.WriteUploadResponse(persisted_size=head.offset + len(data))


@CODEC
async def test_any_client_works_with_a_codec_server(with_codec: bool) -> None:
    files = AsyncFiles()  # type: ignore[abstract]  # only what is called is written
    server = grpc.aio.server()
    add_FileServiceServicer_to_server(files, codec_server(server))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub: Any = FileServiceStub(codec_channel(channel) if with_codec else channel)

        def chunk(kind: type[Any], offset: int) -> Any:
            data = DATA[offset : offset + BLOCK]
            return pack(kind(offset=offset), data) if with_codec else kind(offset=offset, data=data)

        answer = await stub.WriteUploadChunk(chunk(files_pb2.WriteUploadChunkRequest, BLOCK))
        assert answer.persisted_size == 2 * BLOCK

        call = stub.WriteUpload()
        for offset in range(0, len(DATA), BLOCK):
            await call.write(chunk(files_pb2.WriteUploadRequest, offset))
            assert (await call.read()).persisted_size == offset + BLOCK
        await call.done_writing()
        assert files.tuples == 1 + len(DATA) // BLOCK

        received = [unpack(part) async for part in stub.ReadFile(files_pb2.ReadFileRequest(offset=5))]
        assert b"".join(part.data for part in received) == DATA[5:]
        assert [part.head.offset for part in received] == list(range(5, len(DATA), BLOCK))
        tail = unpack(await stub.ReadFileChunk(files_pb2.ReadFileChunkRequest(offset=len(DATA))))
        assert bytes(tail.data) == b""
        assert tail.head.offset == len(DATA)

        assert (await stub.GetFile(files_pb2.GetFileRequest(name="a"))).name == "a"
        unknown: Any = channel.unary_unary("/measurand.v1.FileService/NoSuchMethod")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await unknown(b"")
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
    await server.stop(None)


@CODEC
async def test_a_codec_client_works_with_any_server(with_codec: bool) -> None:
    class Echo(FileServiceServicer):
        async def WriteUploadChunk(self, request: Any, context: object) -> files_pb2.WriteUploadResponse:
            return files_pb2.WriteUploadResponse(persisted_size=len(unpack(request).data))

        async def ReadFileChunk(self, request: Any, context: object) -> Any:
            data = DATA[: request.length]
            return pack(files_pb2.ReadFileResponse(), data) if with_codec else files_pb2.ReadFileResponse(data=data)

    server = grpc.aio.server()
    echo = Echo()  # type: ignore[abstract]  # only what is called is written
    add_FileServiceServicer_to_server(echo, codec_server(server) if with_codec else server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub: Any = FileServiceStub(codec_channel(channel))
        answer = await stub.WriteUploadChunk(pack(files_pb2.WriteUploadChunkRequest(), bytearray(DATA)))
        assert answer.persisted_size == len(DATA)
        assert unpack(await stub.ReadFileChunk(files_pb2.ReadFileChunkRequest(length=1000))).data == DATA[:1000]
    await server.stop(None)


def test_threads_have_the_codec_at_both_ends() -> None:
    with futures.ThreadPoolExecutor(4) as pool:
        server = grpc.server(pool)
        files = ThreadFiles()  # type: ignore[abstract]  # only what is called is written
        add_FileServiceServicer_to_server(files, codec_server(server))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub: Any = FileServiceStub(codec_channel(channel))
            answer = stub.WriteUploadChunk(pack(files_pb2.WriteUploadChunkRequest(offset=1), DATA[:100]), timeout=10)
            assert (answer.persisted_size, answer.epoch) == (101, 1)
            chunks = (pack(files_pb2.WriteUploadRequest(offset=at), DATA[at : at + BLOCK]) for at in (0, BLOCK))
            assert [answer.persisted_size for answer in stub.WriteUpload(chunks)] == [BLOCK, 2 * BLOCK]
            parts = [part.data for part in stub.ReadFile(files_pb2.ReadFileRequest())]
            assert all(isinstance(part, memoryview) for part in parts)
            assert b"".join(parts) == DATA
        server.stop(None).wait()


async def test_other_services_pass_through_unchanged() -> None:
    channel, server = grpc.aio.insecure_channel("127.0.0.1:1"), grpc.aio.server()
    try:
        call = CodecChannel(channel).unary_unary("/some.Other/Method", str.encode, bytes.decode)
        assert isinstance(call, grpc.aio.UnaryUnaryMultiCallable)
        handler: Any = grpc.unary_unary_rpc_method_handler(lambda request, context: request)
        CodecServer(server).add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler("some.Other", {"Method": handler})]
        )
    finally:
        await channel.close()
        await server.stop(None)
