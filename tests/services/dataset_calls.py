"""Calls of the dataset service as tests make them: over a real channel, in the catalog `lab`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import grpc.aio

from measurand.v1 import catalogs_pb2, catalogs_pb2_grpc, common_pb2, datasets_pb2_grpc
from measurand.v1 import datasets_pb2 as pb

if TYPE_CHECKING:
    Stub = datasets_pb2_grpc.DatasetServiceAsyncStub

LAB = "catalogs/lab"
JSON = common_pb2.DOCUMENT_FORM_JSON


async def make_stub(channel: grpc.aio.Channel) -> Stub:
    catalogs = catalogs_pb2_grpc.CatalogServiceStub(channel)
    await catalogs.CreateCatalog(catalogs_pb2.CreateCatalogRequest(catalog_id="lab"))
    return datasets_pb2_grpc.DatasetServiceStub(channel)


def document(content: object) -> common_pb2.Document:
    return common_pb2.Document(json=content if isinstance(content, str) else json.dumps(content))


async def create(stub: Stub, content: object = "{}", dataset_id: str = "", **fields: Any) -> pb.Dataset:
    dataset = pb.Dataset(metadata=document(content), **fields)
    request = pb.CreateDatasetRequest(parent=LAB, dataset=dataset, dataset_id=dataset_id, document_form=JSON)
    return await stub.CreateDataset(request)


async def get(stub: Stub, name: str, **more: Any) -> pb.Dataset:
    return await stub.GetDataset(pb.GetDatasetRequest(name=name, document_form=JSON, **more))


async def update(stub: Stub, name: str, *, etag: str = "", patch: object = None, **more: Any) -> pb.Dataset:
    if patch is not None:
        more["metadata_patch"] = document(patch)
    dataset = more.pop("dataset", pb.Dataset())
    dataset.name, dataset.etag = name, etag
    return await stub.UpdateDataset(pb.UpdateDatasetRequest(dataset=dataset, document_form=JSON, **more))
