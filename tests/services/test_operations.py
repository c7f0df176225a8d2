"""Operations over the wire: listed, followed to their end, cancelled, forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from google.protobuf.duration_pb2 import Duration
from tests.operating import counting
from tests.servers import in_process
from tests.services.refusals import refused
from tests.stores import EVERY, Site

from measurand.core.operations.operations import Operations
from measurand.core.principal import LOCAL_USER
from measurand.server import compose as composing
from measurand.v1 import operations_pb2 as pb
from measurand.v1 import operations_pb2_grpc

if TYPE_CHECKING:
    Stub = operations_pb2_grpc.OperationServiceAsyncStub

WAIT = Duration(seconds=30)


class Desk:
    """One server that counts, and what begins operations in it."""

    def __init__(self, stub: Stub, operations: Operations, folder: Path) -> None:
        self.stub = stub
        self.gate = folder / "gate"
        self._operations = operations

    async def begin(self, *targets: str, request_id: str = "", **arguments: Any) -> str:
        """Begin to count to 3, or further, and return the name of the operation."""
        asked = {"steps": 3, **arguments}
        made = await self._operations.create(
            LOCAL_USER, "count", targets=targets, arguments=asked, request_id=request_id
        )
        return made.name

    async def end(self, name: str) -> pb.Operation:
        """Return an operation when it has ended."""
        return await self.stub.WaitOperation(pb.WaitOperationRequest(name=name, wait=WAIT))

    async def until_step(self, name: str, step: int) -> None:
        async for seen in self.stub.WatchOperation(pb.WatchOperationRequest(name=name)):
            if seen.progress.done >= step:
                return
        raise AssertionError("it ended first")


@pytest.fixture
async def desk(site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Desk]:
    for name, value in site.environment.items():
        monkeypatch.setenv(name, value)
    kept: list[Operations] = []

    def keep(*arguments: Any, **more: Any) -> Operations:
        kept.append(Operations(*arguments, **more))
        return kept[-1]

    monkeypatch.setattr(composing, "Operations", keep)
    with counting():
        async with (
            in_process(site.config()) as process,
            grpc.aio.insecure_channel(str(process.address)) as channel,
        ):
            yield Desk(operations_pb2_grpc.OperationServiceStub(channel), kept[0], tmp_path)


async def test_one_is_done_and_says_what_came_of_it(desk: Desk) -> None:
    name = await desk.begin("containers/a", lost="containers/b")
    done = await desk.end(name)
    assert (done.name, done.kind, done.state) == (name, "count", pb.OPERATION_STATE_SUCCEEDED)
    assert (done.attempt, done.creator, list(done.targets)) == (1, "users/local", ["containers/a"])
    assert done.progress == pb.Progress(done=3, total=3, unit="steps", message="counting")
    response = pb.Progress()
    assert done.response.Unpack(response)
    assert response == pb.Progress(done=3, unit="steps")
    assert not done.HasField("problem")
    [failed] = done.target_problems
    assert (failed.target, failed.problem.reason) == ("containers/b", "RESOURCE_NOT_FOUND")
    assert dict(failed.problem.details) == {"resource": "containers/b"}
    times = [done.create_time, done.start_time, done.end_time, done.expire_time]
    assert sorted(times, key=lambda time: (time.seconds, time.nanos)) == times
    assert done.update_time == done.end_time
    assert done.expire_time.seconds - done.end_time.seconds == 30 * 24 * 3600
    assert await desk.stub.GetOperation(pb.GetOperationRequest(name=name)) == done


async def test_one_that_fails_says_why(desk: Desk) -> None:
    done = await desk.end(await desk.begin(error="no room; free some"))
    assert done.state == pb.OPERATION_STATE_FAILED
    assert not done.HasField("response")
    assert (done.problem.code, done.problem.reason) == (8, "STORE_FULL")
    assert (done.problem.message, dict(done.problem.details)) == ("no room; free some", {"needed_bytes": "7"})


@pytest.mark.stores(*EVERY)
async def test_one_is_followed_and_cancelled(desk: Desk) -> None:
    name = await desk.begin(steps=1000, gate=str(desk.gate))
    watch = desk.stub.WatchOperation(pb.WatchOperationRequest(name=name))
    seen = []
    async for message in watch:
        seen.append(message)
        if message.progress.done == 1:
            break
    assert seen[-1].state == pb.OPERATION_STATE_RUNNING
    asked = await desk.stub.CancelOperation(pb.CancelOperationRequest(name=name))
    assert asked.state == pb.OPERATION_STATE_CANCELLING
    last = [message async for message in watch][-1]
    assert (last.state, last.progress.done) == (pb.OPERATION_STATE_CANCELLED, 1)
    assert await desk.stub.CancelOperation(pb.CancelOperationRequest(name=name)) == last


@pytest.mark.parametrize("asked", [{"steps": None}, {"unit": 5}])
async def test_a_fault_of_the_server_is_told_by_its_incident(
    desk: Desk, caplog: pytest.LogCaptureFixture, asked: dict[str, Any]
) -> None:
    """The handler breaks down, or gives a response that is none."""
    name = await desk.begin(**asked)
    done = await desk.end(name)
    assert (done.state, done.problem.reason) == (pb.OPERATION_STATE_FAILED, "INTERNAL")
    incident = done.problem.details["incident"]
    [told] = [record for record in caplog.records if incident in record.getMessage()]
    assert f"operation={name.removeprefix('operations/')} kind=count attempt=1" in told.getMessage()
    assert told.exc_info is not None
    assert (await desk.end(await desk.begin())).state == pb.OPERATION_STATE_SUCCEEDED


async def test_a_wait_has_an_end_and_a_deletion_its_time(desk: Desk) -> None:
    name = await desk.begin(gate=str(desk.gate))
    await desk.until_step(name, 1)
    running = await desk.stub.WaitOperation(pb.WaitOperationRequest(name=name, wait=Duration(nanos=1_000_000)))
    assert running.state == pb.OPERATION_STATE_RUNNING
    code, info, _ = await refused(desk.stub.DeleteOperation(pb.DeleteOperationRequest(name=name)))
    assert (code, info.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "STATE_WRONG")
    assert info.metadata["state"] == "running"
    desk.gate.touch()
    assert (await desk.end(name)).state == pb.OPERATION_STATE_SUCCEEDED
    await desk.stub.DeleteOperation(pb.DeleteOperationRequest(name=name))
    for call in (
        desk.stub.GetOperation(pb.GetOperationRequest(name=name)),
        desk.stub.WaitOperation(pb.WaitOperationRequest(name=name)),
        desk.stub.CancelOperation(pb.CancelOperationRequest(name=name)),
        desk.stub.DeleteOperation(pb.DeleteOperationRequest(name=name)),
        desk.stub.WatchOperation(pb.WatchOperationRequest(name=name)).read(),
    ):
        code, info, _ = await refused(call)
        assert (code, info.reason, info.metadata["resource"]) == (
            grpc.StatusCode.NOT_FOUND,
            "RESOURCE_NOT_FOUND",
            name,
        )


@pytest.mark.stores(*EVERY)
async def test_they_are_listed_newest_first_by_page_and_filter(desk: Desk) -> None:
    names = [await desk.begin(f"containers/{number % 2}", request_id=f"r{number}") for number in range(5)]
    assert await desk.begin("containers/0", request_id="r4") == names[4]
    await asyncio.gather(*(desk.end(name) for name in names))
    found, token = [], ""
    while True:
        page = await desk.stub.ListOperations(pb.ListOperationsRequest(page_size=2, page_token=token))
        found += [one.name for one in page.operations]
        token = page.next_page_token
        if not token:
            break
    assert found == names[::-1]
    asked = 'kind = count AND state = succeeded AND targets:"containers/1" AND created > ago("1h")'
    page = await desk.stub.ListOperations(pb.ListOperationsRequest(filter=asked))
    assert [one.name for one in page.operations] == [names[3], names[1]]
    assert page.operations[0].HasField("response")


async def test_what_cannot_be_asked_says_which_field(desk: Desk) -> None:
    name = await desk.begin()
    for call, field in [
        (desk.stub.GetOperation(pb.GetOperationRequest(name="operations/x")), "name"),
        (desk.stub.GetOperation(pb.GetOperationRequest(name="catalogs/x")), "name"),
        (desk.stub.WaitOperation(pb.WaitOperationRequest(name=name, wait=Duration(seconds=31))), "wait"),
        (
            desk.stub.WatchOperation(pb.WatchOperationRequest(name=name, min_interval=Duration(seconds=-1))).read(),
            "min_interval",
        ),
        (desk.stub.ListOperations(pb.ListOperationsRequest(page_size=-1)), "page_size"),
    ]:
        code, _, faulty = await refused(call)
        assert (code, faulty) == (grpc.StatusCode.INVALID_ARGUMENT, field)
    code, info, _ = await refused(desk.stub.ListOperations(pb.ListOperationsRequest(filter="checkpoint = 1")))
    assert (code, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FILTER_INVALID")


async def test_a_page_stays_below_the_size_of_a_message(desk: Desk) -> None:
    targets = [f"catalogs/lab/datasets/{'x' * 900}{number}" for number in range(1000)]
    names = [await desk.begin(*targets, request_id=f"r{number}") for number in range(4)]
    found, token, pages = [], "", 0
    while not pages or token:
        page = await desk.stub.ListOperations(pb.ListOperationsRequest(page_token=token))
        assert page.ByteSize() < 3 << 20
        found += [one.name for one in page.operations]
        token, pages = page.next_page_token, pages + 1
    assert found == names[::-1] and pages > 1
