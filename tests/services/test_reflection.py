"""Reflection, as grpcurl and its like use it: no proto files at hand, both versions of the protocol."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from measurand.server.process import Process
from measurand.server.reflection import V1, V1ALPHA

SERVICES = {
    "grpc.health.v1.Health",
    V1,
    V1ALPHA,
    "measurand.v1.ArrayService",
    "measurand.v1.BufferService",
    "measurand.v1.CatalogService",
    "measurand.v1.ContainerService",
    "measurand.v1.DatasetService",
    "measurand.v1.FileService",
    "measurand.v1.OperationService",
    "measurand.v1.PeerService",
    "measurand.v1.RegistryService",
    "measurand.v1.ServerService",
}
GRPCURL = shutil.which("grpcurl") or shutil.which(str(Path(__file__).resolve().parents[2] / ".tools/grpcurl"))
needs_grpcurl = pytest.mark.skipif(GRPCURL is None, reason="grpcurl is not there")


async def ask(channel: grpc.aio.Channel, service: str, **request: Any) -> reflection_pb2.ServerReflectionResponse:
    call = channel.stream_stream(
        f"/{service}/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )(iter([reflection_pb2.ServerReflectionRequest(**request)]))
    async for answer in call:
        return answer
    raise AssertionError("no answer")


def files_of(answer: reflection_pb2.ServerReflectionResponse) -> dict[str, descriptor_pb2.FileDescriptorProto]:
    raws = answer.file_descriptor_response.file_descriptor_proto
    return {file.name: file for file in map(descriptor_pb2.FileDescriptorProto.FromString, raws)}


def services_of(answer: reflection_pb2.ServerReflectionResponse) -> set[str]:
    return {service.name for service in answer.list_services_response.service}


@pytest.mark.parametrize("version", [V1, V1ALPHA])
async def test_all_services_are_listed(channel: grpc.aio.Channel, version: str) -> None:
    assert services_of(await ask(channel, version, list_services="")) == SERVICES


@pytest.mark.parametrize("version", [V1, V1ALPHA])
@pytest.mark.parametrize("service", sorted(SERVICES))
async def test_the_file_of_each_service_comes_with_all_it_needs(
    channel: grpc.aio.Channel, version: str, service: str
) -> None:
    files = files_of(await ask(channel, version, file_containing_symbol=service))
    pool = DescriptorPool()
    left = dict(files)
    while left:  # each after those it imports; a missing one would leave this without progress
        ready = [name for name, file in left.items() if not set(file.dependency) & left.keys()]
        assert ready
        for name in ready:
            pool.Add(left.pop(name))
    assert pool.FindServiceByName(service).methods


@pytest.mark.parametrize("version", [V1, V1ALPHA])
@pytest.mark.parametrize(
    ("symbol", "file"),
    [
        ("measurand.v1.FileService.PutFile", "measurand/v1/files.proto"),
        ("measurand.v1.File", "measurand/v1/files.proto"),
        ("measurand.v1.ErrorReason", "measurand/v1/common.proto"),
        (f"{V1}.ServerReflectionInfo", "grpc/reflection/v1/reflection.proto"),
    ],
)
async def test_a_method_and_a_message_are_found_too(
    channel: grpc.aio.Channel, version: str, symbol: str, file: str
) -> None:
    assert file in files_of(await ask(channel, version, file_containing_symbol=symbol))


@pytest.mark.parametrize("symbol", ["measurand.v1.Nothing", "measurand.v1.FileService.Nothing", ""])
async def test_what_there_is_not_is_not_found(channel: grpc.aio.Channel, symbol: str) -> None:
    answer = await ask(channel, V1, file_containing_symbol=symbol)
    assert answer.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


async def test_grpcs_own_reflection_client_understands_it(server: Process) -> None:
    def look() -> tuple[set[str], str]:
        with grpc.insecure_channel(str(server.address)) as channel:
            database = ProtoReflectionDescriptorDatabase(channel)
            service = DescriptorPool(database).FindServiceByName("measurand.v1.FileService")
            return set(database.get_services()), service.methods_by_name["PutFile"].output_type.full_name

    assert await asyncio.to_thread(look) == (SERVICES, "measurand.v1.File")


async def grpcurl(*arguments: str) -> tuple[int, str, str]:
    assert GRPCURL
    process = await asyncio.create_subprocess_exec(
        GRPCURL, "-plaintext", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode or 0, out.decode(), err.decode()


@needs_grpcurl
async def test_grpcurl_lists_describes_and_calls_without_proto_files(server: Process) -> None:
    address = str(server.address)
    assert set((await grpcurl(address, "list"))[1].split()) == SERVICES
    code, described, _ = await grpcurl(address, "describe", "measurand.v1.FileService.PutFile")
    assert code == 0 and "rpc PutFile" in described

    assert '"SERVING"' in (await grpcurl(address, "grpc.health.v1.Health/Check"))[1]

    async def call(method: str, request: object) -> Any:
        code, out, err = await grpcurl("-d", json.dumps(request), address, f"measurand.v1.{method}")
        assert code == 0, err
        return json.loads(out)

    await call("CatalogService/CreateCatalog", {"catalog_id": "lab"})
    made = {"title": "first light", "metadata": {"fields": {"temperature": 0.012}}}
    dataset = await call("DatasetService/CreateDataset", {"parent": "catalogs/lab", "dataset": made})
    name = f"{dataset['name']}/files/a.bin"
    await call("FileService/PutFile", {"file": {"name": name}, "data": "aGVsbG8="})
    assert (await call("FileService/ReadFileChunk", {"name": name}))["data"] == "aGVsbG8="
    found = await call("DatasetService/ListDatasets", {"parent": "catalogs/lab", "filter": "temperature < 0.02"})
    assert [one["title"] for one in found["datasets"]] == ["first light"]


@needs_grpcurl
async def test_grpcurl_shows_the_reason_of_an_error(server: Process) -> None:
    request = json.dumps({"name": "catalogs/none"})
    code, _, err = await grpcurl("-d", request, str(server.address), "measurand.v1.CatalogService/GetCatalog")
    assert code == 64 + grpc.StatusCode.NOT_FOUND.value[0]
    assert '"reason": "RESOURCE_NOT_FOUND"' in err and '"domain": "measurand"' in err
