"""The catalog service over a real channel: statuses with their details, masks and defaults."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from tests.stores import EVERY

from measurand.v1 import catalogs_pb2 as pb
from measurand.v1 import catalogs_pb2_grpc

from .refusals import refused

if TYPE_CHECKING:
    Stub = catalogs_pb2_grpc.CatalogServiceAsyncStub

pytestmark = pytest.mark.stores(*EVERY)


@pytest.fixture
async def stub(channel: grpc.aio.Channel) -> Stub:
    return catalogs_pb2_grpc.CatalogServiceStub(channel)


async def create(stub: Stub, catalog_id: str = "lab", **fields: Any) -> pb.Catalog:
    return await stub.CreateCatalog(pb.CreateCatalogRequest(catalog_id=catalog_id, catalog=pb.Catalog(**fields)))


async def test_a_catalog_goes_there_and_back(stub: Stub) -> None:
    made = await create(stub, title="Lab", labels={"a": "b"}, undelete_window=Duration(seconds=60))
    assert (made.name, made.title, dict(made.labels), made.undelete_window.seconds) == (
        "catalogs/lab",
        "Lab",
        {"a": "b"},
        60,
    )
    assert made.etag and made.HasField("create_time") and not made.HasField("delete_time")
    read = await stub.GetCatalog(pb.GetCatalogRequest(name="catalogs/lab"))
    assert read.HasField("usage")
    read.ClearField("usage")
    assert read == made


async def test_a_mask_chooses_the_fields_and_a_wrong_one_is_named(stub: Stub) -> None:
    await create(stub, title="Lab")
    request = pb.GetCatalogRequest(name="catalogs/lab", read_mask=FieldMask(paths=["title"]))
    assert await stub.GetCatalog(request) == pb.Catalog(title="Lab")
    request.read_mask.paths.append("colour")
    code, info, field = await refused(stub.GetCatalog(request))
    assert (code, info.reason, field) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID", "read_mask")
    page = await stub.ListCatalogs(pb.ListCatalogsRequest())
    assert page.catalogs[0].title == "Lab" and not page.catalogs[0].HasField("usage")


async def test_without_a_mask_what_is_set_is_changed(stub: Stub) -> None:
    await create(stub, title="Lab", description="old")
    changed = await stub.UpdateCatalog(pb.UpdateCatalogRequest(catalog=pb.Catalog(name="catalogs/lab", title="New")))
    assert (changed.title, changed.description) == ("New", "old")
    mask = FieldMask(paths=["description"])
    request = pb.UpdateCatalogRequest(catalog=pb.Catalog(name="catalogs/lab", title="x"), update_mask=mask)
    changed = await stub.UpdateCatalog(request)
    assert (changed.title, changed.description) == ("New", "")


async def test_errors_carry_their_reason_and_facts(stub: Stub) -> None:
    made = await create(stub)
    old = pb.Catalog(name="catalogs/lab", title="x", etag="old")
    cases: list[tuple[Any, grpc.StatusCode, str, dict[str, str]]] = [
        (
            create(stub),
            grpc.StatusCode.ALREADY_EXISTS,
            "RESOURCE_EXISTS",
            {"resource": "catalogs/lab"},
        ),
        (
            stub.GetCatalog(pb.GetCatalogRequest(name="catalogs/attic")),
            grpc.StatusCode.NOT_FOUND,
            "RESOURCE_NOT_FOUND",
            {"resource": "catalogs/attic"},
        ),
        (
            stub.GetCatalog(pb.GetCatalogRequest(name="attic")),
            grpc.StatusCode.INVALID_ARGUMENT,
            "NAME_INVALID",
            {"field": "name", "name": "attic"},
        ),
        (
            stub.UpdateCatalog(pb.UpdateCatalogRequest(catalog=old)),
            grpc.StatusCode.ABORTED,
            "ETAG_MISMATCH",
            {"resource": "catalogs/lab", "etag": made.etag},
        ),
        (
            stub.UndeleteCatalog(pb.UndeleteCatalogRequest(name="catalogs/lab")),
            grpc.StatusCode.FAILED_PRECONDITION,
            "STATE_WRONG",
            {"resource": "catalogs/lab", "state": "open"},
        ),
    ]
    for call, code, reason, facts in cases:
        found, info, _ = await refused(call)
        assert (found, info.reason, info.domain, dict(info.metadata)) == (code, reason, "measurand", facts)


async def test_a_deleted_catalog_comes_back(stub: Stub) -> None:
    await create(stub)
    deleted = await stub.DeleteCatalog(pb.DeleteCatalogRequest(name="catalogs/lab"))
    assert deleted.HasField("purge_time")
    code, info, _ = await refused(stub.GetCatalog(pb.GetCatalogRequest(name="catalogs/lab")))
    assert (code, info.reason) == (grpc.StatusCode.NOT_FOUND, "RESOURCE_DELETED")
    assert datetime.fromisoformat(info.metadata["purge_time"]) == deleted.purge_time.ToDatetime(tzinfo=UTC)
    page = await stub.ListCatalogs(pb.ListCatalogsRequest(show_deleted=True))
    assert [catalog.name for catalog in page.catalogs] == ["catalogs/lab"]
    await stub.UndeleteCatalog(pb.UndeleteCatalogRequest(name="catalogs/lab"))
    assert (await stub.GetCatalog(pb.GetCatalogRequest(name="catalogs/lab"))).name == "catalogs/lab"
