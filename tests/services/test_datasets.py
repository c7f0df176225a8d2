"""The dataset service over a real channel: documents in both forms, masks, batches, pages, watches, statuses."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.timestamp_pb2 import Timestamp
from tests.stores import EVERY
from tests.wire.awkward import DOCUMENTS

from measurand.core.dataset_documents import Dataset
from measurand.core.names import DatasetName
from measurand.services.dataset_messages import Packing
from measurand.v1 import common_pb2, datasets_pb2_grpc
from measurand.v1 import datasets_pb2 as pb
from measurand.wire.documents import decode, encode, equal
from measurand.wire.errors import TooLarge

from .dataset_calls import JSON, LAB, create, document, get, make_stub, update
from .refusals import refused

if TYPE_CHECKING:
    Stub = datasets_pb2_grpc.DatasetServiceAsyncStub

pytestmark = pytest.mark.stores(*EVERY)

MiB = 1024 * 1024


@pytest.fixture
async def stub(channel: grpc.aio.Channel) -> Stub:
    return await make_stub(channel)


async def test_every_awkward_document_comes_back_as_it_went_in(stub: Stub) -> None:
    for title, content in DOCUMENTS.items():
        made = await create(stub, encode(content), title=title)
        read = await get(stub, made.name)
        assert read == made and equal(decode(read.metadata.json), decode(encode(content))), title


async def test_a_document_may_be_typed_as_a_struct_and_is_answered_as_one(stub: Stub) -> None:
    typed = {"t": 0.012, "n": 5, "deep": {"a.b": [None, True, {"$numberLong": "9007199254740993"}]}}
    request = ParseDict({"parent": LAB, "dataset": {"metadata": {"fields": typed}}}, pb.CreateDatasetRequest())
    made = await stub.CreateDataset(request)
    assert MessageToDict(made)["metadata"]["fields"] == typed
    read = await get(stub, made.name)
    assert decode(read.metadata.json) == {"t": 0.012, "n": 5, "deep": {"a.b": [None, True, 2**53 + 1]}}


async def test_four_mebibytes_are_taken_and_more_refused_with_both_sizes(stub: Stub) -> None:
    exact = '{"a":"' + "x" * (4 * MiB - 8) + '"}'
    made = await create(stub, exact)
    assert (await get(stub, made.name)).metadata.json == exact
    code, info, _ = await refused(create(stub, exact.replace("x", "xx", 1)))
    assert (code, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "TOO_LARGE")
    assert (info.metadata["limit"], info.metadata["actual"]) == ("4194304", "4194305")


async def test_an_answer_too_large_as_a_struct_says_which_form_to_ask_for() -> None:
    now = datetime(2026, 11, 21, tzinfo=UTC)
    text = json.dumps({"a": [[0]] * 1000})
    name = DatasetName("lab", "run")
    dataset = Dataset(name, "", "run", (), (), text, len(text), 1, "users/local", now, now)
    assert (await Packing(JSON, most_bytes=10_000).one(dataset)).metadata.json == text
    with pytest.raises(TooLarge, match="DOCUMENT_FORM_JSON"):
        await Packing(common_pb2.DOCUMENT_FORM_STRUCT, most_bytes=10_000).one(dataset)


async def test_errors_carry_their_reason_and_facts(stub: Stub) -> None:
    run = await create(stub, dataset_id="run")
    wrong_start = pb.Dataset(start_time=Timestamp(seconds=10**15))
    cases: list[tuple[Any, grpc.StatusCode, str, dict[str, str]]] = [
        (get(stub, f"{LAB}/datasets/none"), grpc.StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND", {}),
        (get(stub, "run"), grpc.StatusCode.INVALID_ARGUMENT, "NAME_INVALID", {"name": "run"}),
        (create(stub, dataset_id="run"), grpc.StatusCode.ALREADY_EXISTS, "RESOURCE_EXISTS", {"resource": run.name}),
        (create(stub, "[1]"), grpc.StatusCode.INVALID_ARGUMENT, "DOCUMENT_INVALID", {"field": "dataset.metadata"}),
        (create(stub, '{"a\\u0000": 1}'), grpc.StatusCode.INVALID_ARGUMENT, "DOCUMENT_INVALID", {}),
        (create(stub, tags=["a,b"]), grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID", {"field": "dataset.tags"}),
        (
            stub.CreateDataset(pb.CreateDatasetRequest(parent=LAB, dataset=wrong_start)),
            grpc.StatusCode.INVALID_ARGUMENT,
            "FIELD_INVALID",
            {"field": "dataset.start_time"},
        ),
        (
            stub.ListDatasets(pb.ListDatasetsRequest(parent=LAB, filter="a ==")),
            grpc.StatusCode.INVALID_ARGUMENT,
            "FILTER_INVALID",
            {"position": "3"},
        ),
        (
            stub.ListDatasets(pb.ListDatasetsRequest(parent=LAB, page_token="x")),
            grpc.StatusCode.INVALID_ARGUMENT,
            "PAGE_TOKEN_INVALID",
            {},
        ),
        (
            stub.GetDatasetRevision(pb.GetDatasetRevisionRequest(name=f"{run.name}/revisions/9")),
            grpc.StatusCode.NOT_FOUND,
            "RESOURCE_NOT_FOUND",
            {"resource": f"{run.name}/revisions/9"},
        ),
        (update(stub, run.name, etag="x", patch={}), grpc.StatusCode.ABORTED, "ETAG_MISMATCH", {"etag": run.etag}),
        (
            stub.PurgeDataset(pb.PurgeDatasetRequest(name=run.name)),
            grpc.StatusCode.FAILED_PRECONDITION,
            "STATE_WRONG",
            {"state": "open"},
        ),
        (
            stub.PollDatasets(pb.PollDatasetsRequest(parent=LAB, wait=Duration(seconds=31))),
            grpc.StatusCode.INVALID_ARGUMENT,
            "FIELD_INVALID",
            {"field": "wait"},
        ),
    ]
    for call, code, reason, facts in cases:
        found, info, _ = await refused(call)
        assert (found, info.reason) == (code, reason)
        assert facts.items() <= dict(info.metadata).items()


async def test_masks_choose_the_fields_and_wrong_ones_are_named(stub: Stub) -> None:
    run = await create(stub, {"a": 1, "b": 2}, title="t", tags=["x"])
    mask = FieldMask(paths=["title", "metadata"])
    assert await get(stub, run.name, read_mask=mask, metadata_paths=["b"]) == pb.Dataset(
        title="t", metadata=document('{"b":2}')
    )
    page = await stub.ListDatasets(pb.ListDatasetsRequest(parent=LAB, read_mask=FieldMask(paths=["tags"])))
    assert list(page.datasets) == [pb.Dataset(tags=["x"])]
    wrong = FieldMask(paths=["title", "colour"])
    for call, field in [
        (get(stub, run.name, read_mask=wrong), "read_mask"),
        (update(stub, run.name, update_mask=wrong), "update_mask"),
        (update(stub, run.name, update_mask=FieldMask(paths=["revision"])), "update_mask"),
        (stub.ListDatasetRevisions(pb.ListDatasetRevisionsRequest(parent=run.name, read_mask=wrong)), "read_mask"),
    ]:
        code, info, faulty = await refused(call)
        assert (code, info.reason, faulty) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID", field)


async def test_without_a_mask_what_is_set_is_changed_unless_another_part_is(stub: Stub) -> None:
    run = await create(stub, {"a": 1}, title="old", kind="run")
    changed = await update(stub, run.name, dataset=pb.Dataset(title="new", metadata=document({"b": 1})), comment="so")
    assert (changed.title, changed.kind, changed.metadata.json) == ("new", "run", '{"b":1}')
    changed = await update(stub, run.name, dataset=pb.Dataset(title="ignored"), patch={"c": 2}, add_tags=["x"])
    assert (changed.title, changed.metadata.json, list(changed.tags)) == ("new", '{"b":1,"c":2}', ["x"])
    mask = FieldMask(paths=["kind", "start_time"])
    changed = await update(stub, run.name, dataset=pb.Dataset(title="ignored"), update_mask=mask)
    assert (changed.title, changed.kind, changed.revision) == ("new", "dataset", 4)


async def test_the_history_tells_who_changed_what_and_why(stub: Stub) -> None:
    run = await create(stub, {"a": 1})
    await update(stub, run.name, patch={"a": 2}, comment="better")
    request = pb.GetDatasetRevisionRequest(name=f"{run.name}/revisions/1", document_form=JSON)
    assert (await stub.GetDatasetRevision(request)).dataset == run
    mask = FieldMask(paths=["name", "author", "changed_paths", "comment"])
    page = await stub.ListDatasetRevisions(pb.ListDatasetRevisionsRequest(parent=run.name, read_mask=mask))
    assert list(page.revisions) == [
        pb.DatasetRevision(
            name=f"{run.name}/revisions/2", author="users/local", changed_paths=["metadata.a"], comment="better"
        ),
        pb.DatasetRevision(name=f"{run.name}/revisions/1", author="users/local"),
    ]


async def test_a_batch_answers_for_each_in_its_place(stub: Stub) -> None:
    requests = [
        pb.CreateDatasetRequest(dataset_id="a", dataset=pb.Dataset(title="A")),
        pb.CreateDatasetRequest(dataset_id="a"),
        pb.CreateDatasetRequest(parent=LAB, dataset=pb.Dataset(start_time=Timestamp(seconds=10**15))),
        pb.CreateDatasetRequest(dataset=pb.Dataset(title="B", metadata=document("{"))),
        pb.CreateDatasetRequest(dataset=pb.Dataset(title="C")),
    ]
    answer = await stub.BatchCreateDatasets(pb.BatchCreateDatasetsRequest(parent=LAB, requests=requests))
    assert [result.dataset.title or result.problem.reason for result in answer.results] == [
        "A",
        "RESOURCE_EXISTS",
        "FIELD_INVALID",
        "DOCUMENT_INVALID",
        "C",
    ]
    problem = answer.results[1].problem
    assert (problem.code, problem.details["resource"]) == (6, f"{LAB}/datasets/a") and "choose" in problem.message
    names = [answer.results[4].dataset.name, f"{LAB}/datasets/none", f"{LAB}/datasets/a"]
    got = await stub.BatchGetDatasets(pb.BatchGetDatasetsRequest(parent=LAB, names=names, document_form=JSON))
    assert [dataset.title for dataset in got.datasets] == ["C", "A"] and list(got.missing) == names[1:2]
    other = pb.CreateDatasetRequest(parent="catalogs/other")
    code, _, field = await refused(
        stub.BatchCreateDatasets(pb.BatchCreateDatasetsRequest(parent=LAB, requests=[other]))
    )
    assert (code, field) == (grpc.StatusCode.INVALID_ARGUMENT, "requests.parent")


async def test_a_search_is_paged_counted_and_tagged(stub: Stub) -> None:
    for number in range(5):
        await create(stub, {"n": number}, tags=["t1"] if number % 2 else ["t1", "t2"])
    names, token = [], ""
    while True:
        request = pb.ListDatasetsRequest(
            parent="catalogs/-", filter="n > 0", order_by="-n", page_size=3, page_token=token, document_form=JSON
        )
        page = await stub.ListDatasets(request)
        names += [decode(dataset.metadata.json)["n"] for dataset in page.datasets]
        token = page.next_page_token
        if not token:
            break
    assert names == [4, 3, 2, 1]
    count = await stub.CountDatasets(pb.CountDatasetsRequest(parent=LAB, filter='tags:"t2"'))
    assert (count.count, count.capped) == (3, False)
    count = await stub.CountDatasets(pb.CountDatasetsRequest(parent=LAB, max_count=2))
    assert (count.count, count.capped) == (2, True)
    tags = await stub.ListTags(pb.ListTagsRequest(parent=LAB))
    assert [(tag.tag, tag.dataset_count) for tag in tags.tags] == [("t1", 5), ("t2", 3)]


async def test_a_page_of_large_documents_stays_small_in_either_form(stub: Stub) -> None:
    for _ in range(10):
        await create(stub, {"x": list(range(40_000))})  # about 230 KiB as text, more as a Struct
    for form in (JSON, common_pb2.DOCUMENT_FORM_STRUCT):
        seen, token = 0, ""
        while True:
            page = await stub.ListDatasets(pb.ListDatasetsRequest(parent=LAB, page_token=token, document_form=form))
            assert page.ByteSize() < 2 * MiB
            seen, token = seen + len(page.datasets), page.next_page_token
            if not token:
                break
        assert seen == 10
    page = await stub.ListDatasets(pb.ListDatasetsRequest(parent=LAB, metadata_paths=["-x"], document_form=JSON))
    assert len(page.datasets) == 10 and page.ByteSize() < 4096


async def test_deleting_and_coming_back(stub: Stub) -> None:
    run = await create(stub, {"a": 1})
    deleted = await stub.DeleteDataset(pb.DeleteDatasetRequest(name=run.name, document_form=JSON))
    assert deleted.state == pb.DATASET_STATE_DELETED and deleted.HasField("purge_time")
    _, info, _ = await refused(get(stub, run.name))
    assert info.reason == "RESOURCE_DELETED"
    assert await get(stub, run.name, show_deleted=True) == deleted
    back = await stub.UndeleteDataset(pb.UndeleteDatasetRequest(name=run.name, document_form=JSON))
    assert (back.state, back.metadata) == (pb.DATASET_STATE_OPEN, run.metadata)
    await stub.PurgeDataset(pb.PurgeDatasetRequest(name=run.name, force=True))
    _, info, _ = await refused(get(stub, run.name, show_deleted=True))
    assert info.reason == "RESOURCE_NOT_FOUND"


async def test_a_watch_tells_what_stands_there_and_what_happens(stub: Stub) -> None:
    first = await create(stub, {"a": 1}, "first")
    request = pb.WatchDatasetsRequest(parent=LAB, filter="a = 1", include_existing=True, document_form=JSON)
    watch = stub.WatchDatasets(request)
    seen = [await read(watch)]
    await update(stub, first.name, patch={"b": 2})
    await create(stub, {"a": 1}, "second")
    await update(stub, first.name, patch={"a": 5})
    seen += [await read(watch) for _ in range(3)]
    watch.cancel()
    assert [(change.kind, change.dataset.name.rpartition("/")[2]) for change in seen] == [
        (common_pb2.CHANGE_KIND_EXISTING, "first"),
        (common_pb2.CHANGE_KIND_UPDATED, "first"),
        (common_pb2.CHANGE_KIND_CREATED, "second"),
        (common_pb2.CHANGE_KIND_DELETED, "first"),
    ]
    again = pb.WatchDatasetsRequest(parent=LAB, filter="a = 1", resume_token=seen[1].resume_token, document_form=JSON)
    watch = stub.WatchDatasets(again)
    assert [await read(watch), await read(watch)] == seen[2:]
    watch.cancel()
    poll = pb.PollDatasetsRequest(parent=LAB, filter="a = 1", resume_token=seen[1].resume_token, document_form=JSON)
    assert list((await stub.PollDatasets(poll)).changes) == seen[2:]


async def read(watch: Any) -> pb.DatasetChange:
    change = await asyncio.wait_for(watch.read(), 20)
    assert isinstance(change, pb.DatasetChange), await watch.code()
    return change


async def test_a_poll_waits_for_a_change(stub: Stub) -> None:
    start = await stub.PollDatasets(pb.PollDatasetsRequest(parent=LAB))
    assert not start.changes
    poll = pb.PollDatasetsRequest(parent=LAB, resume_token=start.resume_token, wait=Duration(seconds=20))
    waiting = asyncio.ensure_future(stub.PollDatasets(poll))
    await create(stub, dataset_id="new")
    (change,) = (await waiting).changes
    assert change.dataset.name == f"{LAB}/datasets/new"


async def test_repeated_requests_give_the_first_outcome(stub: Stub) -> None:
    request = pb.CreateDatasetRequest(parent=LAB, request_id="r", dataset=pb.Dataset(title="t"))
    first, second = await asyncio.gather(stub.CreateDataset(request), stub.CreateDataset(request))
    assert first == second
    change = pb.UpdateDatasetRequest(
        dataset=pb.Dataset(name=first.name, etag=first.etag), add_tags=["x"], request_id="u"
    )
    changed = await stub.UpdateDataset(change)
    assert await stub.UpdateDataset(change) == changed and changed.revision == 2
    request.dataset.title = "other"
    _, info, _ = await refused(stub.CreateDataset(request))
    assert info.reason == "REQUEST_ID_REUSED"


async def test_thirty_two_counters_with_etags_and_retries_lose_nothing(stub: Stub) -> None:
    run = await create(stub, {"n": 0})
    rounds = 1  # more by clients: tests/end_to_end/counting.py

    async def count() -> None:
        for _ in range(rounds):
            while True:
                present = await get(stub, run.name)
                patch = {"n": json.loads(present.metadata.json)["n"] + 1}
                change = pb.Dataset(name=run.name, etag=present.etag)
                call = stub.UpdateDataset(pb.UpdateDatasetRequest(dataset=change, metadata_patch=document(patch)))
                if await call.code() == grpc.StatusCode.OK:
                    break
                assert await call.code() == grpc.StatusCode.ABORTED

    await asyncio.gather(*(count() for _ in range(32)))
    final = await get(stub, run.name)
    assert json.loads(final.metadata.json) == {"n": 32 * rounds} and final.revision == 32 * rounds + 1
