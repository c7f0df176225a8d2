"""Traces: what a collector is sent of a server's calls, and that a server without one knows nothing of them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.collector import Collector, collecting
from tests.servers import in_process, memory_config

from measurand.server.config import ConfigError
from measurand.server.process import Process
from measurand.server.tracing import MOST_STORE_SPANS
from measurand.v1 import (
    catalogs_pb2,
    catalogs_pb2_grpc,
    datasets_pb2,
    datasets_pb2_grpc,
    files_pb2,
    files_pb2_grpc,
)
from measurand.wire.codec import codec_channel, pack

GET = "measurand.v1.CatalogService/GetCatalog"
PUT = "measurand.v1.FileService/PutFile"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@asynccontextmanager
async def traced(collector: Collector) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a server whose spans have all come to the collector when the block has ended."""
    config = memory_config(tracing={"endpoint": collector.url})
    async with in_process(config) as process, grpc.aio.insecure_channel(str(process.address)) as channel:
        yield channel


async def make_run(channel: grpc.aio.Channel) -> None:
    catalogs = catalogs_pb2_grpc.CatalogServiceStub(channel)
    await catalogs.CreateCatalog(catalogs_pb2.CreateCatalogRequest(catalog_id="lab"))
    datasets = datasets_pb2_grpc.DatasetServiceStub(channel)
    await datasets.CreateDataset(datasets_pb2.CreateDatasetRequest(parent="catalogs/lab", dataset_id="run"))


async def put(channel: grpc.aio.Channel) -> None:
    spec = files_pb2.FileSpec(name="catalogs/lab/datasets/run/files/a.bin")
    stub = files_pb2_grpc.FileServiceStub(codec_channel(channel))
    await stub.PutFile(pack(files_pb2.PutFileRequest(file=spec), b"12345"))


async def get_what_is_missing(channel: grpc.aio.Channel, *metadata: tuple[str, str]) -> None:
    stub = catalogs_pb2_grpc.CatalogServiceStub(channel)
    with pytest.raises(grpc.aio.AioRpcError):
        await stub.GetCatalog(catalogs_pb2.GetCatalogRequest(name="catalogs/none"), metadata=metadata)


async def test_a_call_is_a_span_and_what_it_asks_of_the_stores_are_spans_below_it(collector: Collector) -> None:
    async with traced(collector) as channel:
        await make_run(channel)
        await put(channel)
    (call,) = collector.named(PUT)
    assert call.attributes["rpc.system.name"] == "grpc"
    assert call.attributes["rpc.response.status_code"] == "OK"
    assert not call.is_fault
    below = collector.below(call)
    assert {"fetch datasets", "put blobs", "insert_many files"} <= {span.name for span in below}
    for span in below:
        assert span.trace_id == call.trace_id
        assert call.span.start_time_unix_nano <= span.span.end_time_unix_nano <= call.span.end_time_unix_nano
    (blob,) = (span for span in below if span.name == "put blobs")
    assert blob.attributes == {"measurand.store": "memory", "measurand.verb": "put"}
    assert call.attributes["measurand.store_calls"] == len(below)


async def test_what_the_caller_began_is_gone_on_with(collector: Collector) -> None:
    async with traced(collector) as channel:
        await get_what_is_missing(channel, ("traceparent", f"00-{TRACE}-{PARENT}-01"), ("x-request-id", "abc-7"))
    (call,) = collector.named(GET)
    assert (call.trace_id, call.parent_id) == (TRACE, PARENT)
    assert call.attributes["measurand.request_id"] == "abc-7"


async def test_what_the_caller_does_not_sample_is_not_sent(collector: Collector) -> None:
    async with traced(collector) as channel:
        await get_what_is_missing(channel, ("traceparent", f"00-{TRACE}-{PARENT}-00"))
    assert collector.taken == []


async def test_an_error_stands_in_its_span_by_its_reason_and_is_no_fault_of_the_server(collector: Collector) -> None:
    async with traced(collector) as channel:
        await get_what_is_missing(channel)
    (call,) = collector.named(GET)
    assert call.attributes["rpc.response.status_code"] == "NOT_FOUND"
    assert call.attributes["error.type"] == "RESOURCE_NOT_FOUND"
    assert not call.is_fault


async def test_a_call_shows_the_first_of_its_many_store_calls_and_tells_how_many_there_were(
    collector: Collector,
) -> None:
    async with traced(collector) as channel:
        await make_run(channel)
        stub = files_pb2_grpc.FileServiceStub(codec_channel(channel))
        spec = files_pb2.FileSpec(name="catalogs/lab/datasets/run/files/a.bin")
        upload = await stub.CreateUpload(files_pb2.CreateUploadRequest(file=spec))
        call = stub.WriteUpload()
        await call.write(pack(files_pb2.WriteUploadRequest(name=upload.name)))
        await call.read()
        for number in range(MOST_STORE_SPANS):
            await call.write(pack(files_pb2.WriteUploadRequest(offset=number, flush=True), b"1"))
            await call.read()
        await call.done_writing()
        while await call.read() is not grpc.aio.EOF:
            pass
    (write,) = collector.named("measurand.v1.FileService/WriteUpload")
    assert len(collector.below(write)) == MOST_STORE_SPANS
    assert int(write.attributes["measurand.store_calls"]) > 2 * MOST_STORE_SPANS


async def test_the_health_is_asked_without_a_span(collector: Collector) -> None:
    async with traced(collector) as channel:
        await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    assert collector.taken == []


async def test_the_server_says_who_it_is_unless_the_environment_says_otherwise(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with traced(collector) as channel:
        await get_what_is_missing(channel)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "beamline-7")
    async with traced(collector) as channel:
        await get_what_is_missing(channel)
    first, second = collector.named(GET)
    assert (first.resource["service.name"], second.resource["service.name"]) == ("measurand", "beamline-7")
    assert first.resource["service.instance.id"] != second.resource["service.instance.id"]


async def test_the_usual_variable_names_the_collector_too(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    async with in_process(memory_config()) as process, grpc.aio.insecure_channel(str(process.address)) as channel:
        await get_what_is_missing(channel)
    assert len(collector.named(GET)) == 1


async def test_figures_are_counted_with_traces_as_without(collector: Collector) -> None:
    async with in_process(memory_config(tracing={"endpoint": collector.url})) as process:
        async with grpc.aio.insecure_channel(str(process.address)) as channel:
            await make_run(channel)
            await put(channel)
        page = await asyncio.to_thread(process.metrics.page)
    assert 'measurand_blob_seconds_count{store="memory",verb="put"} 1.0' in page.decode()
    assert (
        'measurand_document_seconds_count{collection="catalogs",store="memory",verb="insert_many"} 1.0' in page.decode()
    )


async def test_a_collector_that_is_not_there_does_not_hold_up_the_end(
    unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("measurand.server.tracing.LAST_SECONDS", 0.1)
    config = memory_config(tracing={"endpoint": f"http://127.0.0.1:{unused_tcp_port}"})
    async with in_process(config) as process, grpc.aio.insecure_channel(str(process.address)) as channel:
        await make_run(channel)
        await put(channel)


async def test_without_the_packages_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "measurand.server.tracing")
    monkeypatch.setitem(sys.modules, "opentelemetry.context", None)
    with pytest.raises(ConfigError, match=r"tracing\.endpoint: .* pip install 'measurand\[tracing\]'"):
        await Process(memory_config(tracing={"endpoint": "http://localhost:4318"})).start()


def test_an_endpoint_is_a_url() -> None:
    with pytest.raises(ConfigError, match=r"'collector:4317' is no URL"):
        memory_config(tracing={"endpoint": "collector:4317"})


def test_a_server_without_a_collector_does_not_import_what_traces_need() -> None:
    script = (
        "import asyncio, sys; from tests.servers import in_process, memory_config\n"
        "async def main():\n"
        "    async with in_process(memory_config()): pass\n"
        "asyncio.run(main()); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60)
    loaded = set(done.stdout.split())
    assert "measurand.server.process" in loaded
    assert not {name for name in loaded if name.startswith(("opentelemetry", "measurand.server.tracing", "requests"))}
