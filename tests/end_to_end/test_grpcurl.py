"""What a person does with grpcurl and no proto files: all of it goes by reflection."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.end_to_end.grpcurl import COMMAND, call, grpcurl, refused, told
from tests.servers import Server
from tests.stores import open_site

from measurand.v1 import (
    arrays_pb2,
    buffers_pb2,
    catalogs_pb2,
    datasets_pb2,
    files_pb2,
    operations_pb2,
    registry_pb2,
    server_pb2,
)

pytestmark = pytest.mark.skipif(COMMAND is None, reason="grpcurl is neither on the PATH nor in .tools")

SERVICES = [
    service
    for module in (
        arrays_pb2,
        buffers_pb2,
        catalogs_pb2,
        datasets_pb2,
        files_pb2,
        operations_pb2,
        registry_pb2,
        server_pb2,
    )
    for service in module.DESCRIPTOR.services_by_name.values()
]
UNARY = [
    f"{service.full_name}/{method.name}"
    for service in SERVICES
    for method in service.methods
    if not method.client_streaming and not method.server_streaming
]
RUN = "catalogs/lab/datasets/run"


@pytest.fixture(scope="module")
def server(stores: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with open_site(stores, tmp_path_factory.mktemp("grpcurl")) as site, site.running() as server:
        yield server


def dataset(action: str) -> str:
    return f"measurand.v1.DatasetService/{action}"


def file(action: str) -> str:
    return f"measurand.v1.FileService/{action}"


@pytest.fixture(scope="module")
def made(server: Server) -> dict[str, Any]:
    """A catalog and a dataset in it."""
    catalog = call(server, "measurand.v1.CatalogService/CreateCatalog", {"catalog_id": "lab"})
    assert catalog["name"] == "catalogs/lab"
    metadata = {
        "frequency": 5.5,
        "nothing": {"$numberDouble": "NaN"},
        "count": {"$numberLong": "9007199254740993"},
        "nested": {"list": [1, "two", None, True]},
    }
    new = {"title": "a run", "tags": ["x"], "metadata": {"fields": metadata}}
    answer = call(server, dataset("CreateDataset"), {"parent": "catalogs/lab", "dataset_id": "run", "dataset": new})
    assert answer["name"] == RUN
    assert answer["metadata"]["fields"] == metadata
    return answer


@pytest.mark.stores("embedded")  # no store has a part in it
def test_it_lists_the_services_and_their_methods(server: Server) -> None:
    services = told(server, "list").split()
    assert {service.full_name for service in SERVICES} < set(services)
    assert "grpc.health.v1.Health" in services
    for service in SERVICES:
        expected = {f"{service.full_name}.{method.name}" for method in service.methods}
        assert set(told(server, "list", service.full_name).split()) == expected


@pytest.mark.stores("embedded")  # no store has a part in it
@pytest.mark.parametrize(
    ("symbol", "shown"),
    [
        ("measurand.v1.CatalogService", r"service CatalogService \{"),
        ("measurand.v1.CatalogService.GetCatalog", r"rpc GetCatalog \( \.measurand\.v1\.GetCatalogRequest \)"),
        ("measurand.v1.Dataset", r"\.measurand\.v1\.Document metadata = 6;"),
        ("measurand.v1.ErrorReason", r"ERROR_REASON_STORE_FULL = 92;"),
        ("google.rpc.ErrorInfo", r"string reason = 1;"),
    ],
)
def test_it_describes_services_methods_and_messages(server: Server, symbol: str, shown: str) -> None:
    assert re.search(shown, told(server, "describe", symbol))


def test_health_can_be_asked_for(server: Server) -> None:
    for service in ("", "measurand.v1.FileService"):
        assert call(server, "grpc.health.v1.Health/Check", {"service": service}) == {"status": "SERVING"}


def test_metadata_is_written_and_read_as_plain_json(server: Server, made: dict[str, Any]) -> None:
    assert call(server, dataset("GetDataset"), {"name": RUN}) == made
    request = {"name": RUN, "document_form": "DOCUMENT_FORM_JSON"}
    text = call(server, dataset("GetDataset"), request)["metadata"]["json"]
    assert json.loads(text)["count"] == {"$numberLong": "9007199254740993"}
    assert json.loads(text)["nothing"] == {"$numberDouble": "NaN"}


@pytest.mark.parametrize(
    ("condition", "is_found"),
    [
        ("frequency > 5", True),
        ("frequency > 6", False),
        ("count = 9007199254740993", True),
        ("count = 9007199254740992", False),
        ('tags = "x" AND title = "a run"', True),
    ],
)
def test_it_searches_with_a_filter(server: Server, made: dict[str, Any], condition: str, is_found: bool) -> None:
    found = call(server, dataset("ListDatasets"), {"parent": "catalogs/lab", "filter": condition})
    assert found.get("datasets", []) == ([made] if is_found else [])


def test_a_small_file_is_put_read_and_listed(server: Server, made: dict[str, Any]) -> None:
    data = base64.b64encode(bytes(range(256))).decode()
    name = f"{RUN}/files/raw/trace.bin"
    put = call(server, file("PutFile"), {"file": {"name": name}, "data": data})
    assert (put["name"], put["size"]) == (name, "256")
    assert call(server, file("ReadFileChunk"), {"name": name, "length": "1000"})["data"] == data
    assert call(server, file("ReadFile"), {"name": name})["data"] == data  # a stream of one message
    listed = call(server, file("ListFiles"), {"parent": made["name"]})
    assert listed["files"] == [put]


def array(action: str) -> str:
    return f"measurand.v1.ArrayService/{action}"


def numbers(data: str) -> list[int]:
    """Return the little-endian 16-bit integers that grpcurl shows as base64."""
    raw = base64.b64decode(data)
    return [int.from_bytes(raw[at : at + 2], "little", signed=True) for at in range(0, len(raw), 2)]


def shown(*values: int) -> str:
    """Return what grpcurl takes for these integers."""
    return base64.b64encode(b"".join(value.to_bytes(2, "little", signed=True) for value in values)).decode()


def test_an_array_is_made_written_read_grown_and_removed(server: Server, made: dict[str, Any]) -> None:
    name = f"{RUN}/arrays/sweep/iq"
    new = {"shape": [4, 3], "data_type": "int16", "chunk_shape": [2, 2], "dimension_names": ["shot", "point"]}
    created = call(server, array("CreateArray"), {"parent": RUN, "array_id": "sweep/iq", "array": new})
    assert created["shape"] == ["4", "3"]
    assert json.loads(created["zarr_metadata"])["data_type"] == "int16"
    everything = {"name": name, "data": shown(*range(12))}
    assert call(server, array("WriteArrayRegion"), everything) == {"chunks_written": "4"}
    ends = {"axes": [{"slice": {"start": "1", "step": "2"}}, {"index": "-1"}]}
    patch = {"name": name, "selection": ends, "data": shown(-7)}
    assert call(server, array("WriteArrayRegion"), patch) == {"chunks_written": "2"}
    region = call(server, array("ReadArrayRegion"), {"name": name, "selection": {"axes": [{"slice": {"step": "-1"}}]}})
    assert region["result_shape"] == ["4", "3"]
    assert numbers(region["data"]) == [9, 10, -7, 6, 7, 8, 3, 4, -7, 0, 1, 2]
    assert numbers(call(server, array("ReadArray"), {"name": name})["data"])[:3] == [0, 1, 2]  # one message

    rows = {"name": name, "expected_rows": "4", "data": shown(90, 91, 92), "request_id": "a-row"}
    for _ in range(2):
        answer = call(server, array("AppendArray"), rows)
        assert (answer["first_row"], answer["visible_rows"]) == ("4", "5")
    found = call(server, array("GetArray"), {"name": name})
    assert (found["shape"], found["uid"]) == (["5", "3"], created["uid"])
    polled = call(server, array("PollArray"), {"name": name, "etag": created["etag"], "wait": "10s"})
    assert polled["array"]["etag"] == found["etag"]

    listed = call(server, array("ListArrayChunks"), {"name": name})["chunks"]
    assert [chunk.get("index") for chunk in listed] == [
        [str(row), str(column)] for row in range(3) for column in range(2)
    ]
    chunk = call(server, array("ReadArrayChunk"), {"name": name, "index": ["1", "0"]})
    assert chunk["chunk_etag"] == listed[2]["chunk_etag"]
    again = {"name": name, "index": ["0", "1"], "data": chunk["data"], "if_chunk_etag": listed[1]["chunk_etag"]}
    assert call(server, array("WriteArrayChunk"), again)["chunk_etag"] != listed[1]["chunk_etag"]

    resized = call(server, array("ResizeArray"), {"name": name, "shape": ["2", "3"]})
    update = {"array": {"name": name, "etag": resized["etag"], "attributes": {"fields": {"unit": "V"}}}}
    assert call(server, array("UpdateArray"), update)["attributes"] == {"fields": {"unit": "V"}}
    staged = {"parent": RUN, "array_id": "sweep/iq", "array": new, "staged": True}
    uid = call(server, array("CreateArray"), staged)["uid"]
    assert call(server, array("CommitArray"), {"name": name, "uid": uid})["uid"] == uid
    assert [one["uid"] for one in call(server, array("ListArrays"), {"parent": RUN})["arrays"]] == [uid]
    assert call(server, array("DeleteArray"), {"name": name}) == {}
    assert refused(server, array("GetArray"), {"name": name})["code"] == 5


def buffer(action: str) -> str:
    return f"measurand.v1.BufferService/{action}"


def test_records_go_in_and_out_and_a_window_becomes_a_batch(server: Server, made: dict[str, Any]) -> None:
    name = "catalogs/lab/buffers/live"
    policy = {"freeze_after_records": "5", "freeze_after_age": "3600s"}
    new = {
        "parent": "catalogs/lab",
        "buffer_id": "live",
        "buffer": {"policy": policy, "metadata": {"fields": {"a": 1}}},
    }
    created = call(server, buffer("CreateBuffer"), new)
    assert (created["state"], created["window"]) == ("BUFFER_STATE_ACTIVE", "1")
    header = {
        "event_time": "2026-11-21T10:00:00.000001Z",
        "metadata": {"fields": {"t0": {"$numberDouble": "NaN"}}},
        "array": {"data_type": "int16", "shape": ["2"]},
        "part": {"set": "e", "index": 0, "count": 2},
    }
    records = [{"header": header, "data": shown(1, -1)}, {"data": shown(7)}]
    appended = call(server, buffer("Append"), {"name": name, "records": records, "request_id": "r"})
    assert appended == {"first_sequence": "1", "count": "2", "window": "1"}
    update = {"buffer": {"name": name, "description": "strain"}}
    assert call(server, buffer("UpdateBuffer"), update)["metadata"] == {"fields": {"a": 1}}
    found = call(server, buffer("GetBuffer"), {"name": name})
    assert (found["description"], found["stats"]["next_sequence"], found["stats"]["window_records"]) == (
        "strain",
        "3",
        "2",
    )
    assert [one["name"] for one in call(server, buffer("ListBuffers"), {"parent": "catalogs/-"})["buffers"]] == [name]

    page = call(server, buffer("ReadRecords"), {"name": name, "wait": "1s", "selection": {"filter": "size = 4"}})
    (record,) = page["records"]
    assert (record["data"], page["next_sequence"], page["read_sequence"]) == (shown(1, -1), "3", "2")
    assert record["header"]["event_time"] == "2026-11-21T10:00:00.000001Z"
    assert record["header"]["metadata"] == header["metadata"]
    tailed = call(server, buffer("TailBuffer"), {"name": name, "stop_at_end": True})  # a stream of one message
    assert (len(tailed["headers"]), tailed["data"]) == (2, shown(1, -1, 7))

    group = f"{name}/groups/train"
    put = call(server, buffer("PutConsumerGroup"), {"group": {"name": group, "ack_deadline": "30s"}})
    assert (put["lag"], put["ack_deadline"]) == ("2", "30s")
    fetch = {"name": group, "consumer": "me", "max_records": 2}
    fetched = call(server, buffer("FetchRecords"), fetch)
    assert [one["sequence"] for one in fetched["deliveries"]] == ["1", "2"]
    settle = {"name": group, "consumer": "me", "settlement": {"acknowledge": ["1"], "give_back": ["2"]}}
    assert call(server, buffer("SettleRecords"), settle) == {"settled_sequence": "1"}
    assert call(server, buffer("GetConsumerGroup"), {"name": group, "with_unsettled": True})["unsettled"] == ["2"]
    consumed = call(server, buffer("ListConsumerGroups"), {"parent": name})
    assert [one["name"] for one in consumed["groups"]] == [group]
    assert call(server, buffer("SeekConsumerGroup"), {"name": group, "after_sequence": "-1"})["settled_sequence"] == "2"
    assert call(server, buffer("ListGivenUpRecords"), {"parent": group}) == {}
    assert call(server, buffer("DeleteConsumerGroup"), {"name": group}) == {}

    assert call(server, buffer("FreezeBuffer"), {"name": name})["waiting"]
    frozen = call(server, buffer("FreezeBuffer"), {"name": name, "force": True, "lease": "900s"})
    status = refused(server, buffer("Append"), {"name": name, "records": [{}]})
    assert (status["code"], status["details"][0]["reason"]) == (9, "BUFFER_FROZEN")
    unfreeze = {"name": name, "freeze_token": frozen["freeze_token"], "batch": {"title": "t", "tags": ["x"]}}
    batch = call(server, buffer("UnfreezeBuffer"), unfreeze)["batch"]
    assert (batch["records"], batch["size"], batch["title"], batch["tags"]) == (
        "2",
        found["stats"]["window_bytes"],
        "t",
        ["x"],
    )
    assert call(server, buffer("ListBatches"), {"parent": name})["batches"] == [batch]
    assert len(call(server, buffer("ReadRecords"), {"name": batch["dataset"]})["records"]) == 2
    assert "batch" not in call(server, buffer("RotateBuffer"), {"name": name})  # there is nothing in it

    note = call(server, buffer("AddBufferNote"), {"name": name, "message": "beam off"})
    events = call(server, buffer("ListBufferEvents"), {"parent": name})["events"]
    assert events[0] == note
    assert [one["kind"].removeprefix("BUFFER_EVENT_KIND_") for one in events[::-1]] == [
        "CREATED", "UPDATED", "WAITING", "FROZEN", "REFUSED", "OPENED", "SEALED", "NOTE"
    ]  # fmt: skip
    finished = call(server, buffer("FinishBuffer"), {"name": name, "next_buffer": "catalogs/lab/buffers/v2"})
    assert (finished["state"], finished["next_buffer"]) == ("BUFFER_STATE_FINISHED", "catalogs/lab/buffers/v2")
    assert call(server, buffer("DeleteBuffer"), {"name": name, "force": True}) == {}
    assert refused(server, buffer("GetBuffer"), {"name": name})["code"] == 5


@pytest.mark.stores("embedded")  # the services' tests know the other stores
def test_containers_are_added_used_explained_and_taken_out(
    server: Server, made: dict[str, Any], tmp_path: Path
) -> None:
    def container(action: str) -> str:
        return f"measurand.v1.ContainerService/{action}"

    for number in range(3):
        said = {"name": f"containers/c{number}", "uri": (tmp_path / f"c{number}").as_uri(), "zone": f"z{number}"}
        added = call(server, container("RegisterContainer"), {"container": said})
        assert added["container"]["state"] == "CONTAINER_STATE_ACTIVE"
        assert added["heartbeat_interval"] == "5s"
    listed = call(server, container("ListContainers"), {"filter": 'zone = "z1"'})["containers"]
    assert [one["name"] for one in listed] == ["containers/c1"]
    assert listed[0]["kind"] == "CONTAINER_KIND_DIRECTORY" and int(listed[0]["stats"]["capacity_bytes"]) > 0
    policy = {"replicas": 2, "zones": ["z0", "z1"]}
    name, data = f"{RUN}/files/kept/twice", base64.b64encode(b"twice").decode()
    call(server, file("PutFile"), {"file": {"name": name, "storage_policy": policy}, "data": data})
    explained = call(server, container("ExplainPlacement"), {"resource": name})
    assert sorted(part["container"] for part in explained["parts"]) == ["containers/c0", "containers/c1"]
    asked = {"policy": {"losses": 9}, "size": "1000000", "seed": "7"}
    nowhere = call(server, container("ExplainPlacement"), asked)
    assert nowhere["problem"]["reason"] == "CONTAINERS_UNAVAILABLE"
    assert len(nowhere["candidates"]) == 4 and all(one["reasons"] for one in nowhere["candidates"])
    assert call(server, container("CheckContainer"), {"name": "containers/c0"})["healthy"]
    update = {"container": {"name": "containers/c2", "title": "spare", "read_only": True}}
    changed = call(server, container("UpdateContainer"), update)
    assert (changed["title"], changed["state"]) == ("spare", "CONTAINER_STATE_READ_ONLY")
    assert call(server, container("GetContainer"), {"name": "containers/c2"})["etag"] == changed["etag"]
    guess = {"name": "containers/c2", "lease_id": "guessed"}
    assert refused(server, container("HeartbeatContainer"), guess)["details"][0]["reason"] == "LEASE_LOST"
    drain = call(server, container("DrainContainer"), {"name": "containers/c2"})
    assert (drain["kind"], drain["targets"]) == ("drain", ["containers/c2"])
    assert call(server, container("UndrainContainer"), {"name": "containers/c2"})["read_only"]
    repair = {"containers": ["containers/c0"], "verify_bytes": True, "validate_only": True}
    assert call(server, container("RepairContainers"), repair)["kind"] == "repair"
    assert call(server, container("RebalanceContainers"), {"validate_only": True})["kind"] == "rebalance"
    assert call(server, container("RecodeBlobs"), {"parent": RUN, "validate_only": True})["kind"] == "recode"
    held = refused(server, container("RemoveContainer"), {"name": "containers/c0"})
    assert (held["code"], held["details"][0]["reason"]) == (9, "RESOURCE_IN_USE")
    assert call(server, container("RemoveContainer"), {"name": "containers/c2"}) == {}


def test_an_error_says_what_is_wrong_in_words_and_in_details(server: Server, made: dict[str, Any]) -> None:
    status = refused(server, dataset("GetDataset"), {"name": "catalogs/lab/datasets/nope"})
    assert status["code"] == 5
    assert "there is no such dataset" in status["message"]
    assert status["details"] == [
        {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "domain": "measurand",
            "reason": "RESOURCE_NOT_FOUND",
            "metadata": {"resource": "catalogs/lab/datasets/nope"},
        }
    ]
    status = refused(server, dataset("ListDatasets"), {"parent": "catalogs/lab", "filter": "title = ="})
    assert status["code"] == 3
    (info,) = [detail for detail in status["details"] if detail["@type"].endswith("ErrorInfo")]
    assert (info["reason"], info["metadata"]["position"]) == ("FILTER_INVALID", "8")


@pytest.mark.stores("embedded")  # no store has a part in it
@pytest.mark.parametrize("method", UNARY)
def test_every_unary_method_can_be_called(server: Server, method: str) -> None:
    """With an empty request most are refused; but by us, with a reason, and not as a fault of the server."""
    outcome = grpcurl(server, "-format-error", "-d={}", method)
    if outcome.returncode == 0:
        json.loads(outcome.stdout)
        return
    status = json.loads(outcome.stderr)
    (info,) = [detail for detail in status["details"] if detail["@type"].endswith("google.rpc.ErrorInfo")]
    assert info["domain"] == "measurand"
    assert info["reason"] not in ("", "INTERNAL"), status
    assert status["code"] not in (2, 12, 13), status  # UNKNOWN, UNIMPLEMENTED, INTERNAL
