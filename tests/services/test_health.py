"""The standard health service, and what becomes of it and of waiting calls when the server drains."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.servers import in_process, memory_config
from tests.services.probe import details

from measurand.server.process import Process
from measurand.v1 import datasets_pb2, datasets_pb2_grpc, server_pb2, server_pb2_grpc

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.mark.parametrize("service", ["", "measurand.v1.FileService", "measurand.v1.DatasetService"])
async def test_a_server_and_each_of_its_services_serve(channel: grpc.aio.Channel, service: str) -> None:
    health = health_pb2_grpc.HealthStub(channel)
    assert (await health.Check(health_pb2.HealthCheckRequest(service=service))).status == SERVING


async def test_a_service_that_there_is_not_is_not_found(channel: grpc.aio.Channel) -> None:
    health = health_pb2_grpc.HealthStub(channel)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await health.Check(health_pb2.HealthCheckRequest(service="measurand.v1.None"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_whoever_watches_hears_of_the_drain_and_is_then_sent_away() -> None:
    process = Process(memory_config())
    await process.start()
    async with grpc.aio.insecure_channel(str(process.address)) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == SERVING
        stopping = asyncio.ensure_future(process.stop())
        assert (await watch.read()).status == NOT_SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await watch.read()
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert details(caught.value).info.reason == "SHUTTING_DOWN"
        await asyncio.wait_for(stopping, 10)


async def test_calls_that_only_wait_end_at_once_when_the_server_drains() -> None:
    process = Process(memory_config(grace_seconds=30))
    await process.start()
    async with grpc.aio.insecure_channel(str(process.address)) as channel:
        keep = server_pb2_grpc.ServerServiceStub(channel).KeepOpen(server_pb2.KeepOpenRequest())
        await keep.read()
        datasets = datasets_pb2_grpc.DatasetServiceStub(channel)
        watch = datasets.WatchDatasets(datasets_pb2.WatchDatasetsRequest(parent="catalogs/-"))
        first = asyncio.ensure_future(watch.read())
        await asyncio.wait([first], timeout=0.2)
        await asyncio.wait_for(process.stop(), 10)  # far sooner than the grace time
        for call in (keep, watch):
            assert await asyncio.wait_for(call.code(), 10) is grpc.StatusCode.UNAVAILABLE
        await asyncio.gather(first, return_exceptions=True)


async def test_a_private_server_is_unneeded_when_its_last_holder_has_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("measurand.server.process.LAST_HOLDER_SECONDS", 0.05)
    async with in_process(memory_config(private=True, data=tmp_path)) as process:
        unneeded = asyncio.ensure_future(process.wait_until_unneeded())
        async with grpc.aio.insecure_channel(str(process.address)) as channel:
            stub = server_pb2_grpc.ServerServiceStub(channel)
            one, other = (stub.KeepOpen(server_pb2.KeepOpenRequest()) for _ in range(2))
            await one.read()
            await other.read()
            one.cancel()
            assert not (await asyncio.wait([unneeded], timeout=0.2))[0]
            other.cancel()
            await asyncio.wait_for(unneeded, 10)


async def test_a_private_server_that_nobody_comes_for_is_unneeded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("measurand.server.process.FIRST_HOLDER_SECONDS", 0.05)
    async with in_process(memory_config(private=True, data=tmp_path)) as process:
        await asyncio.wait_for(process.wait_until_unneeded(), 10)
