"""The blob service on a real channel: what it refuses, and what may be sent again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
from tests.remote_places import CONTAINER, DEPLOYMENT, BlobServer, stub_of

from measurand.core.ports import Blob
from measurand.server.container.door import ContainerDoor
from measurand.server.crc32c import make_crc32c
from measurand.storage.blobs.memory import Memory
from measurand.storage.blobs.remote import error_of
from measurand.v1 import blobs_pb2
from measurand.wire.codec import pack, unpack
from measurand.wire.errors import (
    AlreadyExists,
    ChecksumMismatch,
    FailedPrecondition,
    MeasurandError,
    OffsetGap,
    PermissionDenied,
    SizeMismatch,
    TooLarge,
    Unavailable,
)

OWN = (("measurand-deployment", DEPLOYMENT), ("measurand-container", CONTAINER))
crc32c = make_crc32c()


class Site:
    """A container, and what is called in it."""

    def __init__(self) -> None:
        self.kept = Memory()
        self.door = ContainerDoor("c1")
        self.server = BlobServer(self.door)
        self.channel = self.server.channel()
        self.stub = stub_of(self.channel)

    def open(self) -> None:
        self.door.open(self.kept, DEPLOYMENT)
        self.door.belong_to(CONTAINER)

    async def call(self, method: str, request: object, metadata: Any = OWN) -> Any:
        try:
            return await getattr(self.stub, method)(request, metadata=metadata, timeout=30)
        except grpc.aio.AioRpcError as failure:
            error: MeasurandError = error_of(failure, "c1")
        raise error

    async def put(self, key: str, data: bytes, metadata: Any = OWN) -> Any:
        head = blobs_pb2.PutBlobWholeRequest(key=key, crc32c=crc32c(data, 0))
        return await self.call("PutBlobWhole", pack(head, data), metadata)

    async def append(self, sequence: int, offset: int, data: bytes) -> None:
        head = blobs_pb2.AppendStagedBlobRequest(stage_id="w", sequence=sequence, offset=offset, crc32c=crc32c(data, 0))
        await self.call("AppendStagedBlob", pack(head, data))

    async def content(self, key: str, size: int) -> bytes:
        return b"".join([bytes(chunk) async for chunk in self.kept.open(Blob(key, size))])


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    made = Site()
    made.open()
    yield made
    await made.channel.close()
    await made.server.stop()


def every_call() -> list[tuple[str, Any]]:
    data = b"x"
    return [
        ("PutBlobWhole", pack(blobs_pb2.PutBlobWholeRequest(key="a", crc32c=crc32c(data, 0)), data)),
        ("GetBlobChunk", blobs_pb2.GetBlobChunkRequest(key="a", size=1, length=1)),
        ("StatBlob", blobs_pb2.StatBlobRequest(key="a")),
        ("DeleteBlob", blobs_pb2.DeleteBlobRequest(key="a")),
        ("StageBlob", blobs_pb2.StageBlobRequest(key="a", stage_id="w")),
        ("AppendStagedBlob", pack(blobs_pb2.AppendStagedBlobRequest(stage_id="w"), b"")),
        ("PersistStagedBlob", blobs_pb2.PersistStagedBlobRequest(stage_id="w")),
        ("CloseStagedBlob", blobs_pb2.CloseStagedBlobRequest(stage_id="w")),
        ("FinishStagedBlob", blobs_pb2.FinishStagedBlobRequest(key="a")),
        ("DiscardStagedBlob", blobs_pb2.DiscardStagedBlobRequest(key="a")),
    ]


@pytest.mark.parametrize(
    ("metadata", "error"),
    [
        ((), PermissionDenied),
        (OWN[:1], PermissionDenied),
        (OWN[1:], PermissionDenied),
        ((("measurand-deployment", "other"), OWN[1]), FailedPrecondition),
        ((OWN[0], ("measurand-container", "other")), FailedPrecondition),
    ],
)
async def test_only_servers_of_its_own_deployment_and_registration_are_let_in(
    site: Site, metadata: Any, error: type[MeasurandError]
) -> None:
    await site.kept.put("a", [b"1"])
    for method, request in every_call():
        with pytest.raises(error):
            await site.call(method, request, metadata)
    assert await site.content("a", 1) == b"1"


async def test_a_container_that_has_found_no_server_yet_is_unavailable() -> None:
    site = Site()
    with pytest.raises(Unavailable):
        await site.put("a", b"1")
    site.open()
    await site.put("a", b"1")
    await site.channel.close()
    await site.server.stop()


async def test_while_it_is_registered_its_own_deployment_may_try_it_out(site: Site) -> None:
    site.door.belong_to("")
    await site.put("a", b"1", (OWN[0], ("measurand-container", "of which it has not heard yet")))


@pytest.mark.parametrize("state", ["read_only", "draining", "drained"])
async def test_what_takes_no_blobs_gives_those_that_it_has(site: Site, state: Any) -> None:
    await site.put("a", b"123")
    await site.call("StageBlob", blobs_pb2.StageBlobRequest(key="b", stage_id="w"))
    site.door.state = state
    with pytest.raises(FailedPrecondition, match=state):
        await site.put("c", b"1")
    with pytest.raises(FailedPrecondition, match=state):
        await site.call("StageBlob", blobs_pb2.StageBlobRequest(key="c", stage_id="v"))
    await site.append(1, 0, b"what was begun is finished")
    await site.call("FinishStagedBlob", blobs_pb2.FinishStagedBlobRequest(key="b", size=26))
    read = await site.call("GetBlobChunk", blobs_pb2.GetBlobChunkRequest(key="a", size=3, length=3))
    assert bytes(unpack(read).data) == b"123"
    await site.put("probes/1", b"to try it out")


async def test_bytes_that_came_damaged_are_refused(site: Site) -> None:
    await site.call("StageBlob", blobs_pb2.StageBlobRequest(key="b", stage_id="w"))
    for method, head in (
        ("PutBlobWhole", blobs_pb2.PutBlobWholeRequest(key="a", crc32c=1)),
        ("AppendStagedBlob", blobs_pb2.AppendStagedBlobRequest(stage_id="w", sequence=1, crc32c=1)),
    ):
        with pytest.raises(ChecksumMismatch):
            await site.call(method, pack(head, b"x"))
    assert [(blob.key, blob.size) async for blob in site.kept.scan()] == [("b", 0)]


async def test_more_than_2_mib_in_one_message_are_refused(site: Site) -> None:
    with pytest.raises(TooLarge):
        await site.put("a", bytes((2 << 20) + 1))
    with pytest.raises(TooLarge):
        await site.call("GetBlobChunk", blobs_pb2.GetBlobChunkRequest(key="a", size=1 << 30, length=(2 << 20) + 1))


async def test_a_stream_that_ends_early_leaves_nothing(site: Site) -> None:
    async def messages() -> AsyncIterator[Any]:
        yield pack(blobs_pb2.PutBlobRequest(key="a", size=10, crc32c=crc32c(b"12345", 0)), b"12345")

    with pytest.raises(SizeMismatch):
        await site.call("PutBlob", messages())
    assert [blob async for blob in site.kept.scan()] == []
    await site.put("a", b"1")
    with pytest.raises(AlreadyExists):
        await site.call("PutBlob", messages())
    assert await site.content("a", 1) == b"1"


async def test_what_is_sent_again_is_taken_once(site: Site) -> None:
    for _ in range(2):
        await site.call("StageBlob", blobs_pb2.StageBlobRequest(key="a", stage_id="w"))
    with pytest.raises(AlreadyExists):
        await site.call("StageBlob", blobs_pb2.StageBlobRequest(key="a", stage_id="v"))
    for _ in range(2):
        await site.append(1, 0, b"123")
    for _ in range(2):
        await site.append(2, 3, b"456")
    for sequence, offset in ((1, 0), (4, 6), (3, 5), (3, 7)):
        with pytest.raises(OffsetGap):
            await site.append(sequence, offset, b"x")
    answer = await site.call("PersistStagedBlob", blobs_pb2.PersistStagedBlobRequest(stage_id="w", whole=True))
    assert answer.persisted_size == 6
    for _ in range(2):
        await site.call("FinishStagedBlob", blobs_pb2.FinishStagedBlobRequest(key="a", size=6))
    assert await site.content("a", 6) == b"123456"


async def test_a_write_that_is_not_open_here_says_so(site: Site) -> None:
    with pytest.raises(Unavailable, match="started anew"):
        await site.append(1, 0, b"x")
    with pytest.raises(Unavailable, match="started anew"):
        await site.call("PersistStagedBlob", blobs_pb2.PersistStagedBlobRequest(stage_id="w"))
    await site.call("CloseStagedBlob", blobs_pb2.CloseStagedBlobRequest(stage_id="w"))
