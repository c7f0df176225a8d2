"""What one caller may ask of a server, and that the server is well after more was asked."""

from __future__ import annotations

import asyncio
from typing import TypeAlias

import grpc
import grpc.aio
import pytest
from tests.servers import in_process, memory_config
from tests.services.probe import details, probing

from measurand.core.limits import Limits
from measurand.v1 import (
    common_pb2,
    datasets_pb2,
    datasets_pb2_grpc,
    files_pb2,
    files_pb2_grpc,
    server_pb2,
    server_pb2_grpc,
)
from measurand.wire.codec import codec_channel, pack
from measurand.wire.errors import NotFound

Raw: TypeAlias = "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]"

LIMITS = Limits()


def document(text_bytes: int) -> common_pb2.Document:
    """Return a document whose Extended JSON has so many bytes."""
    return common_pb2.Document(json='{"a":"%s"}' % ("x" * (text_bytes - len('{"a":""}'))))


async def create(channel: grpc.aio.Channel, metadata: common_pb2.Document) -> datasets_pb2.Dataset:
    dataset = datasets_pb2.Dataset(metadata=metadata)
    request = datasets_pb2.CreateDatasetRequest(
        parent="catalogs/lab", dataset=dataset, document_form=common_pb2.DOCUMENT_FORM_JSON
    )
    return await datasets_pb2_grpc.DatasetServiceStub(channel).CreateDataset(request)


async def test_a_document_of_the_largest_size_is_taken_and_comes_back(channel: grpc.aio.Channel, run: str) -> None:
    metadata = document(LIMITS.max_document_bytes)
    assert (await create(channel, metadata)).metadata.json == metadata.json


async def test_a_larger_document_is_refused_with_both_sizes(channel: grpc.aio.Channel, run: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await create(channel, document(LIMITS.max_document_bytes + 1))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    found = details(caught.value).info
    assert found.reason == "TOO_LARGE"
    assert (found.metadata["limit"], found.metadata["actual"]) == ("4194304", "4194305")


async def test_a_message_beyond_all_limits_is_refused_and_the_connection_lives_on(
    channel: grpc.aio.Channel, run: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await create(channel, document(LIMITS.max_message_bytes + 1))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert str(LIMITS.max_message_bytes) in str(caught.value.details())
    assert (await create(channel, document(100))).metadata.json


async def test_a_bulk_message_with_too_much_data_is_refused(channel: grpc.aio.Channel, run: str) -> None:
    stub = files_pb2_grpc.FileServiceStub(codec_channel(channel))
    spec = files_pb2.FileSpec(name=f"{run}/files/x")
    upload = await stub.CreateUpload(files_pb2.CreateUploadRequest(file=spec))
    call = stub.WriteUpload()
    await call.write(pack(files_pb2.WriteUploadRequest(name=upload.name)))
    await call.write(pack(files_pb2.WriteUploadRequest(), bytes(LIMITS.max_data_bytes + 1)))
    assert isinstance(await call.read(), files_pb2.WriteUploadResponse)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    found = details(caught.value).info
    assert (found.reason, found.metadata["limit"]) == ("TOO_LARGE", str(LIMITS.max_data_bytes))


async def test_too_many_calls_at_once_are_told_to_come_again() -> None:
    begun, finish = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        begun.set()
        await finish.wait()

    async with probing(wait, most_at_once=1) as probed:
        first = asyncio.ensure_future(probed.ask())
        await asyncio.wait_for(begun.wait(), 10)
        error = await probed.fail()
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        found = details(error)
        assert found.info.reason == "SERVER_BUSY"
        assert found.retry and 0.4 < found.retry.retry_delay.ToTimedelta().total_seconds() < 1.1
        finish.set()
        assert (await first).instance_id == "probe"
        assert (await probed.ask()).instance_id == "probe"
        assert probed.calls.running == 0


async def test_a_unary_call_ends_by_the_deadline_of_the_server_when_the_caller_has_none() -> None:
    async def wait() -> None:
        await asyncio.Event().wait()

    async with probing(wait, unary_seconds=0.05) as probed:
        error = await probed.fail()
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "0.05 s" in str(error.details())


async def test_a_timeout_inside_a_servicer_is_not_taken_for_the_deadline() -> None:
    async def fail() -> None:
        raise TimeoutError("of something else")

    async with probing(fail) as probed:
        assert (await probed.fail()).code() is grpc.StatusCode.INTERNAL


async def test_an_unknown_method_is_unimplemented(channel: grpc.aio.Channel) -> None:
    call: Raw = channel.unary_unary("/measurand.v1.NoService/NoMethod")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_bytes_that_are_no_message_are_an_error_and_nothing_more(channel: grpc.aio.Channel) -> None:
    call: Raw = channel.unary_unary("/measurand.v1.ServerService/GetCapabilities")
    with pytest.raises(grpc.aio.AioRpcError):
        await call(b"\xff\xff\xff")
    stub = server_pb2_grpc.ServerServiceStub(channel)
    assert (await stub.GetCapabilities(server_pb2.GetCapabilitiesRequest())).api_versions == ["v1"]


async def test_capabilities_tell_the_limits_that_hold(channel: grpc.aio.Channel) -> None:
    stub = server_pb2_grpc.ServerServiceStub(channel)
    told = (await stub.GetCapabilities(server_pb2.GetCapabilitiesRequest())).limits
    for name in ("max_message_bytes", "max_data_bytes", "max_put_file_bytes", "max_document_bytes", "window_bytes"):
        assert getattr(told, name) == getattr(LIMITS, name)
    assert told.upload_lifetime.ToTimedelta() == LIMITS.upload_lifetime


async def test_more_streams_than_a_connection_may_have_wait_their_turn() -> None:
    async with (
        in_process(memory_config(max_streams_per_connection=2)) as process,
        grpc.aio.insecure_channel(str(process.address)) as channel,
    ):
        stub = server_pb2_grpc.ServerServiceStub(channel)
        held = [stub.KeepOpen(server_pb2.KeepOpenRequest()) for _ in range(2)]
        for call in held:
            await call.read()
        third = asyncio.ensure_future(stub.KeepOpen(server_pb2.KeepOpenRequest()).read())
        assert not (await asyncio.wait([third], timeout=0.2))[0]
        held[0].cancel()
        assert isinstance(await asyncio.wait_for(third, 10), server_pb2.KeepOpenResponse)


async def test_an_error_does_not_use_up_room() -> None:
    async def fail() -> None:
        raise NotFound("gone")

    async with probing(fail, most_at_once=1) as probed:
        for _ in range(5):
            assert (await probed.fail()).code() is grpc.StatusCode.NOT_FOUND
        assert probed.calls.running == 0
