"""Drafts and sealed datasets over the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import grpc.aio
import pytest
from tests.stores import EVERY

from measurand.v1 import common_pb2, datasets_pb2_grpc
from measurand.v1 import datasets_pb2 as pb

from .dataset_calls import LAB, create, document, get, make_stub
from .refusals import refused

if TYPE_CHECKING:
    Stub = datasets_pb2_grpc.DatasetServiceAsyncStub

pytestmark = pytest.mark.stores(*EVERY)

MiB = 1024 * 1024


@pytest.fixture
async def stub(channel: grpc.aio.Channel) -> Stub:
    return await make_stub(channel)


async def test_a_draft_is_shown_by_its_commit(stub: Stub) -> None:
    start = await stub.PollDatasets(pb.PollDatasetsRequest(parent=LAB))
    content = pb.Dataset(title="t", tags=["x"], metadata=document({"a": 1}))
    request = pb.CreateDatasetRequest(parent=LAB, dataset=content, draft=True, request_id="r")
    made = await stub.CreateDataset(request)
    assert made.state == pb.DATASET_STATE_DRAFT
    assert await stub.CreateDataset(request) == made
    for asked in ("", "a = 1", "NOT a = 2", "deleted:*", "file_count >= 0", "NOT state = deleted"):
        for order_by in ("", "-created,title", "metadata.a"):
            listed = pb.ListDatasetsRequest(parent=LAB, show_deleted=True, filter=asked, order_by=order_by)
            assert not (await stub.ListDatasets(listed)).datasets
        counted = pb.CountDatasetsRequest(parent="catalogs/-", filter=asked, show_deleted=True)
        assert (await stub.CountDatasets(counted)).count == 0
    assert not (await stub.ListTags(pb.ListTagsRequest(parent=LAB))).tags
    answer = await stub.BatchGetDatasets(pb.BatchGetDatasetsRequest(parent=LAB, names=[made.name]))
    assert list(answer.missing) == [made.name]
    assert (await get(stub, made.name)).state == pb.DATASET_STATE_DRAFT
    committed = await stub.CommitDataset(pb.CommitDatasetRequest(name=made.name))
    assert (committed.state, committed.revision) == (pb.DATASET_STATE_OPEN, 1)
    assert await stub.CommitDataset(pb.CommitDatasetRequest(name=made.name)) == committed
    assert list((await stub.ListDatasets(pb.ListDatasetsRequest(parent=LAB))).datasets) == [committed]
    other = await stub.CreateDataset(pb.CreateDatasetRequest(parent=LAB, draft=True))
    await stub.PurgeDataset(pb.PurgeDatasetRequest(name=other.name, force=True))
    poll = await stub.PollDatasets(pb.PollDatasetsRequest(parent=LAB, resume_token=start.resume_token))
    assert [(change.kind, change.dataset.name) for change in poll.changes] == [
        (common_pb2.CHANGE_KIND_CREATED, made.name)
    ]
    code, info, _ = await refused(stub.CommitDataset(pb.CommitDatasetRequest(name=f"{LAB}/datasets/none")))
    assert (code, info.reason) == (grpc.StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND")


async def test_a_batch_makes_no_drafts(stub: Stub) -> None:
    requests = [pb.CreateDatasetRequest(draft=True), pb.CreateDatasetRequest()]
    answer = await stub.BatchCreateDatasets(pb.BatchCreateDatasetsRequest(parent=LAB, requests=requests))
    assert [result.WhichOneof("outcome") for result in answer.results] == ["problem", "dataset"]
    assert "draft" in answer.results[0].problem.message


async def test_a_sealed_dataset_says_what_to_do_instead(stub: Stub) -> None:
    run = await create(stub, {"n": 0})
    code, info, _ = await refused(stub.PublishDataset(pb.PublishDatasetRequest(name=run.name)))
    assert (code, info.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "STATE_WRONG")
    code, info, _ = await refused(stub.SealDataset(pb.SealDatasetRequest(name=run.name, etag="old")))
    assert (code, info.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
    sealed = await stub.SealDataset(pb.SealDatasetRequest(name=run.name, etag=run.etag, request_id="s"))
    assert (sealed.state, sealed.revision) == (pb.DATASET_STATE_SEALED, 2)
    assert await stub.SealDataset(pb.SealDatasetRequest(name=run.name, etag=run.etag, request_id="s")) == sealed
    change = pb.UpdateDatasetRequest(dataset=pb.Dataset(name=run.name), metadata_patch=document({"n": 1}))
    code, info, _ = await refused(stub.UpdateDataset(change))
    assert (code, info.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "DATASET_SEALED")
    assert info.metadata["resource"] == run.name
    found = await stub.ListDatasets(pb.ListDatasetsRequest(parent=LAB, filter="state = sealed"))
    assert list(found.datasets) == [sealed]
