"""The catalog service: unpack, call core, pack."""

from __future__ import annotations

import grpc.aio

from measurand.core.catalog_documents import Catalog, CatalogDraft
from measurand.core.catalogs import EDITABLE, Catalogs
from measurand.core.names import parse_catalog
from measurand.services.messages import keep_fields, mask_fields, span_of, time_message
from measurand.services.policy_messages import policy_message, policy_of
from measurand.services.principal import current
from measurand.v1 import catalogs_pb2, catalogs_pb2_grpc

__all__ = ["CatalogService"]

_CATALOG = catalogs_pb2.Catalog.DESCRIPTOR


class CatalogService(catalogs_pb2_grpc.CatalogServiceServicer):
    """Answers for catalogs."""

    def __init__(self, catalogs: Catalogs) -> None:
        self._catalogs = catalogs

    async def CreateCatalog(
        self,
        request: catalogs_pb2.CreateCatalogRequest,
        context: grpc.aio.ServicerContext[catalogs_pb2.CreateCatalogRequest, catalogs_pb2.Catalog],
    ) -> catalogs_pb2.Catalog:
        catalog = await self._catalogs.create(
            current(), request.catalog_id, _draft(request.catalog), request_id=request.request_id
        )
        return _message(catalog)

    async def GetCatalog(
        self,
        request: catalogs_pb2.GetCatalogRequest,
        context: grpc.aio.ServicerContext[catalogs_pb2.GetCatalogRequest, catalogs_pb2.Catalog],
    ) -> catalogs_pb2.Catalog:
        fields = mask_fields(request.read_mask, _CATALOG)
        name = parse_catalog(request.name)
        catalog = await self._catalogs.get(current(), name, with_usage=fields is None or "usage" in fields)
        return _message(catalog, fields)

    async def ListCatalogs(
        self,
        request: catalogs_pb2.ListCatalogsRequest,
        context: grpc.aio.ServicerContext[catalogs_pb2.ListCatalogsRequest, catalogs_pb2.ListCatalogsResponse],
    ) -> catalogs_pb2.ListCatalogsResponse:
        fields = mask_fields(request.read_mask, _CATALOG)
        page = await self._catalogs.find(
            current(),
            size=request.page_size,
            page_token=request.page_token,
            filter_text=request.filter,
            order_by=request.order_by,
            show_deleted=request.show_deleted,
            with_usage=fields is not None and "usage" in fields,
        )
        return catalogs_pb2.ListCatalogsResponse(
            catalogs=[_message(catalog, fields) for catalog in page.catalogs], next_page_token=page.next_page_token
        )

    async def UpdateCatalog(
        self,
        request: catalogs_pb2.UpdateCatalogRequest,
        context: grpc.aio.ServicerContext[catalogs_pb2.UpdateCatalogRequest, catalogs_pb2.Catalog],
    ) -> catalogs_pb2.Catalog:
        wanted = request.catalog
        given = {field.name for field, _ in wanted.ListFields()}
        fields = mask_fields(request.update_mask, _CATALOG, field="update_mask") or given.intersection(EDITABLE)
        catalog = await self._catalogs.update(
            current(),
            parse_catalog(wanted.name, field="catalog.name"),
            _draft(wanted),
            sorted(fields),
            etag=wanted.etag,
            request_id=request.request_id,
        )
        return _message(catalog)

    async def DeleteCatalog(
        self,
        request: catalogs_pb2.DeleteCatalogRequest,
        context: grpc.aio.ServicerContext[catalogs_pb2.DeleteCatalogRequest, catalogs_pb2.Catalog],
    ) -> catalogs_pb2.Catalog:
        name = parse_catalog(request.name)
        catalog = await self._catalogs.delete(
            current(), name, etag=request.etag, force=request.force, request_id=request.request_id
        )
        return _message(catalog)

    async def UndeleteCatalog(
        self,
        request: catalogs_pb2.UndeleteCatalogRequest,
        context: grpc.aio.ServicerContext[catalogs_pb2.UndeleteCatalogRequest, catalogs_pb2.Catalog],
    ) -> catalogs_pb2.Catalog:
        name = parse_catalog(request.name)
        return _message(await self._catalogs.undelete(current(), name, request_id=request.request_id))


def _draft(message: catalogs_pb2.Catalog) -> CatalogDraft:
    return CatalogDraft(
        title=message.title,
        description=message.description,
        labels=dict(message.labels),
        undelete_window=span_of(message, "undelete_window", "catalog.undelete_window"),
        storage_policy=(
            policy_of(message.storage_policy, "catalog.storage_policy") if message.HasField("storage_policy") else None
        ),
    )


def _message(catalog: Catalog, fields: frozenset[str] | None = None) -> catalogs_pb2.Catalog:
    message = catalogs_pb2.Catalog(
        name=str(catalog.name),
        title=catalog.title,
        description=catalog.description,
        labels=catalog.labels,
        etag=catalog.etag,
        create_time=time_message(catalog.create_time),
        update_time=time_message(catalog.update_time),
        delete_time=time_message(catalog.delete_time),
        purge_time=time_message(catalog.purge_time),
        storage_policy=policy_message(catalog.storage_policy),
    )
    if catalog.undelete_window is not None:
        message.undelete_window.FromTimedelta(catalog.undelete_window)
    if catalog.usage is not None:
        message.usage.stored_bytes = catalog.usage.stored_bytes
        message.usage.dataset_count = catalog.usage.dataset_count
        message.usage.file_count = catalog.usage.file_count
        message.usage.SetInParent()
    keep_fields(message, fields)
    return message
