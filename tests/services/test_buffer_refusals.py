"""Appends that make no sense: refused with the field's name, and nothing is stored (BU-8)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from tests.services.buffer_calls import LAB, LIVE, append, get, make, record
from tests.services.refusals import refused
from tests.stores import Site

from measurand.v1 import buffers_pb2, common_pb2
from measurand.v1.buffers_pb2 import ArrayLayout, SetPart

if TYPE_CHECKING:
    from tests.services.buffer_calls import Stub

INVALID, LOST, MISSING = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.DATA_LOSS, grpc.StatusCode.NOT_FOUND
HEADER = "records[0].header"


def said(json: str) -> common_pb2.Document:
    return common_pb2.Document(json=json)


def layout(data_type: str, *shape: int) -> ArrayLayout:
    return ArrayLayout(data_type=data_type, shape=shape)


HEADERS: list[tuple[dict[str, Any], str, str]] = [
    ({"size": 7}, "FIELD_INVALID", f"{HEADER}.size"),
    ({"crc32c": 1}, "CHECKSUM_MISMATCH", ""),
    ({"array": layout("float64", 2)}, "FIELD_INVALID", f"{HEADER}.array.shape"),
    ({"array": layout("float32", 3)}, "FIELD_INVALID", f"{HEADER}.array.shape"),
    ({"array": layout("uint8", -8, -1)}, "FIELD_INVALID", f"{HEADER}.array.shape"),
    ({"array": layout("uint8", *[1] * 32, 8)}, "FIELD_INVALID", f"{HEADER}.array.shape"),
    ({"array": layout("uint8", 2**62, 2**62)}, "FIELD_INVALID", f"{HEADER}.array.shape"),
    ({"array": layout("float128", 1)}, "FIELD_INVALID", f"{HEADER}.array.data_type"),
    ({"array": layout("", 8)}, "FIELD_INVALID", f"{HEADER}.array.data_type"),
    ({"array": layout("string", 1)}, "FIELD_INVALID", f"{HEADER}.array.data_type"),
    ({"array": layout("{" * 9000, 1)}, "FIELD_INVALID", f"{HEADER}.array.data_type"),
    ({"metadata": said('{"a\\u0000b": 1}')}, "DOCUMENT_INVALID", f"{HEADER}.metadata"),
    ({"metadata": said("[]")}, "DOCUMENT_INVALID", f"{HEADER}.metadata"),
    ({"metadata": said('{"a": 1, "a": 2}')}, "DOCUMENT_INVALID", f"{HEADER}.metadata"),
    ({"metadata": said('{"t0": NaN}')}, "DOCUMENT_INVALID", f"{HEADER}.metadata"),
    ({"metadata": said('{"a": "%s"}' % ("x" * 65536))}, "TOO_LARGE", f"{HEADER}.metadata"),
    ({"event_time": Timestamp(seconds=2**40)}, "FIELD_INVALID", f"{HEADER}.event_time"),
    ({"event_time": Timestamp(nanos=-1)}, "FIELD_INVALID", f"{HEADER}.event_time"),
    ({"id": "x" * 65}, "FIELD_INVALID", f"{HEADER}.id"),
    ({"id": "Ω"}, "FIELD_INVALID", f"{HEADER}.id"),
    ({"id": "a\nb"}, "FIELD_INVALID", f"{HEADER}.id"),
    ({"part": SetPart(set="s", index=2, count=2)}, "FIELD_INVALID", f"{HEADER}.part.index"),
    ({"part": SetPart(set="s", index=0, count=1)}, "FIELD_INVALID", f"{HEADER}.part.count"),
    ({"part": SetPart(set="s", index=0, count=1001)}, "FIELD_INVALID", f"{HEADER}.part.count"),
    ({"part": SetPart(index=0, count=2)}, "FIELD_INVALID", f"{HEADER}.part.set"),
    ({"part": SetPart(set="s" * 65, index=0, count=2)}, "FIELD_INVALID", f"{HEADER}.part.set"),
]
REQUESTS: list[tuple[dict[str, Any], grpc.StatusCode, str, str]] = [
    ({"records": []}, INVALID, "FIELD_INVALID", "records"),
    ({"name": ""}, INVALID, "NAME_INVALID", "name"),
    ({"name": "catalogs/lab/datasets/run"}, INVALID, "NAME_INVALID", "name"),
    ({"name": f"{LAB}/buffers/nobody"}, MISSING, "RESOURCE_NOT_FOUND", ""),
    ({"name": "catalogs/nobody/buffers/live"}, MISSING, "RESOURCE_NOT_FOUND", ""),
    ({"writer": "w" * 65, "first_writer_sequence": 1}, INVALID, "FIELD_INVALID", "writer"),
    ({"writer": "w"}, INVALID, "FIELD_INVALID", "first_writer_sequence"),
    ({"writer": "w", "first_writer_sequence": -1}, INVALID, "FIELD_INVALID", "first_writer_sequence"),
    ({"writer": "w", "first_writer_sequence": 1, "request_id": "r"}, INVALID, "FIELD_INVALID", "request_id"),
    ({"records": [record(bytes(2**20))] * 3}, INVALID, "TOO_LARGE", ""),
    ({"records": [record()] * 10_001}, INVALID, "TOO_LARGE", "records"),
]


def stored(site: Site) -> set[str]:
    """Return the files of the blobs of buffers."""
    folder = Path(site.config().data)
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and "buffers" in path.parts}


@pytest.mark.parametrize(("header", "reason", "field"), HEADERS)
async def test_a_record_that_cannot_be_is_refused_and_so_are_those_with_it(
    buffers: Stub, site: Site, header: dict[str, Any], reason: str, field: str
) -> None:
    await make(buffers)
    await append(buffers, b"there")
    before, files = await get(buffers), stored(site)
    bad = record(b"8 bytes!", **header)
    code, info, fault = await refused(append(buffers, bad, b"good"))
    assert (code, info.reason) == (LOST if reason == "CHECKSUM_MISMATCH" else INVALID, reason)
    assert info.metadata.get("field", fault) == field
    assert (await get(buffers)).stats.next_sequence == before.stats.next_sequence == 2
    assert stored(site) == files


@pytest.mark.parametrize(("request_", "code", "reason", "field"), REQUESTS)
async def test_an_append_that_cannot_be_stores_nothing(
    buffers: Stub, site: Site, request_: dict[str, Any], code: grpc.StatusCode, reason: str, field: str
) -> None:
    await make(buffers)
    await append(buffers, b"there")
    files = stored(site)
    found, info, fault = await refused(append(buffers, b"x", **request_))
    assert (found, info.reason) == (code, reason)
    if field:
        assert info.metadata.get("field", fault) == field
    assert (await get(buffers)).stats.next_sequence == 2
    assert stored(site) == files


BUFFERS: list[tuple[str, dict[str, Any], str, str]] = [
    ("Capitals", {}, "NAME_INVALID", "buffer_id"),
    ("", {}, "NAME_INVALID", "buffer_id"),
    ("x", {"metadata": said("[]")}, "DOCUMENT_INVALID", "buffer.metadata"),
    ("x", {"metadata": said('{"a": "%s"}' % ("x" * 65536))}, "TOO_LARGE", "buffer.metadata"),
    ("x", {"description": "x" * 10_001}, "FIELD_INVALID", "buffer.description"),
    ("x", {"policy": {"freeze_after_records": -1}}, "FIELD_INVALID", "buffer.policy.freeze_after_records"),
    ("x", {"policy": {"freeze_after_age": {"seconds": -1}}}, "FIELD_INVALID", "buffer.policy.freeze_after_age"),
    ("x", {"policy": {"keep_sealed": {"seconds": 2**62}}}, "FIELD_INVALID", "buffer.policy.keep_sealed"),
]


@pytest.mark.parametrize(("buffer_id", "fields", "reason", "field"), BUFFERS)
async def test_a_buffer_that_cannot_be_is_not_made(
    buffers: Stub, buffer_id: str, fields: dict[str, Any], reason: str, field: str
) -> None:
    code, info, fault = await refused(make(buffers, buffer_id, **fields))
    assert (code, info.reason) == (INVALID, reason)
    assert info.metadata.get("field", fault) == field
    assert not (await buffers.ListBuffers(buffers_pb2.ListBuffersRequest(parent=LAB))).buffers
    code, info, _ = await refused(get(buffers, LIVE))
    assert info.reason == "RESOURCE_NOT_FOUND"
