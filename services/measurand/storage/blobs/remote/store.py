"""Blobs that another measurand process keeps, as of a container on another host."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import UTC

from measurand.core.blob_rules import check_key, check_range, closing, short
from measurand.core.placement.policies import Policy
from measurand.core.ports import Blob, Buffer, Stage, StoredBlob
from measurand.storage.blobs.remote.calls import Calls
from measurand.storage.blobs.remote.faults import Unanswered, port_error
from measurand.storage.blobs.remote.pieces import pieces
from measurand.storage.blobs.remote.stage import RemoteStage
from measurand.v1 import blobs_pb2
from measurand.wire.codec import pack, unpack
from measurand.wire.errors import ChecksumMismatch, MeasurandError

__all__ = ["Remote"]

_SMALL_BYTES = 2 << 20
"""What is not larger goes in one message, without a stream."""
_TRIES = 2
"""So often is a read begun again without a byte of progress."""
_SCAN_SECONDS = 60.0


class Remote:
    """The store behind a `BlobService`.

    Parameters
    ----------
    target : str
        `host:port` of the process.
    deployment_id, container_uid : str
        Whose blobs it must hold, and under which registration.
    crc32c : callable
        As in `Means`: guards each message on its way.
    answer_seconds : float
        A process that says nothing for so long is taken for gone. Whoever has other places to go to waits less.
    """

    def __init__(
        self,
        target: str,
        *,
        deployment_id: str,
        container_uid: str,
        crc32c: Callable[[Buffer, int], int],
        answer_seconds: float = 10.0,
    ) -> None:
        self._calls = Calls(
            target, deployment_id=deployment_id, container_uid=container_uid, answer_seconds=answer_seconds
        )
        self._crc32c = crc32c

    def __repr__(self) -> str:
        return f"remote({self._calls.target!r})"

    async def put(self, key: str, chunks: Iterable[Buffer], *, policy: Policy | None = None) -> Blob:
        """Store it; whether it is there after a broken connection is not known, so it is not sent again then."""
        check_key(key)
        held = [chunk for chunk in chunks if len(chunk)]
        size = sum(map(len, held))
        if size > _SMALL_BYTES:
            await self._calls.repeated(lambda: self._calls.put(self._messages(key, size, held)))
        else:
            data = held[0] if len(held) == 1 else b"".join(held)
            head = blobs_pb2.PutBlobWholeRequest(key=key, crc32c=self._crc32c(data, 0))
            await self._calls.repeated(lambda: self._calls.once(self._calls.stub.PutBlobWhole, pack(head, data)))
        return Blob(key, size)

    async def open(self, blob: Blob, offset: int = 0, length: int | None = None) -> AsyncIterator[Buffer]:
        check_key(blob.key)
        end = offset + check_range(blob, offset, length)
        if end - offset <= _SMALL_BYTES:
            data = await self._calls.repeated(lambda: self._chunk(blob, offset, end - offset), when=(Unanswered,))
            if len(data):
                yield data
            return
        left = _TRIES
        while offset < end:
            try:
                async with closing(self._read(blob, offset, end - offset)) as chunks:
                    async for chunk in chunks:
                        yield chunk
                        offset += len(chunk)
                        left = _TRIES
            except (Unanswered, ChecksumMismatch) as error:
                left -= 1
                if not left:
                    raise port_error(error, self._calls.target) from error
            except MeasurandError as error:
                raise port_error(error, self._calls.target) from error

    async def stat(self, key: str) -> StoredBlob:
        check_key(key)
        return _stored(await self._calls.unary(self._calls.stub.StatBlob, blobs_pb2.StatBlobRequest(key=key)))

    async def delete(self, key: str) -> None:
        check_key(key)
        await self._calls.unary(self._calls.stub.DeleteBlob, blobs_pb2.DeleteBlobRequest(key=key))

    async def scan(self, prefix: str = "") -> AsyncIterator[StoredBlob]:
        request = blobs_pb2.ScanBlobsRequest(prefix=prefix)
        try:
            pages = self._calls.stream(self._calls.stub.ScanBlobs, request, seconds=_SCAN_SECONDS)
            async with closing(pages) as answers:
                async for page in answers:
                    for blob in page.blobs:
                        yield _stored(blob)
        except MeasurandError as error:
            raise port_error(error, self._calls.target) from error

    async def stage(self, key: str, *, policy: Policy | None = None) -> Stage:
        check_key(key)
        stage_id = secrets.token_hex(8)
        await self._calls.unary(self._calls.stub.StageBlob, blobs_pb2.StageBlobRequest(key=key, stage_id=stage_id))
        return RemoteStage(stage_id, self._calls, crc32c=self._crc32c)

    async def finish(self, key: str, size: int) -> Blob:
        check_key(key)
        request = blobs_pb2.FinishStagedBlobRequest(key=key, size=size)
        await self._calls.unary(self._calls.stub.FinishStagedBlob, request)
        return Blob(key, size)

    async def discard(self, key: str) -> None:
        check_key(key)
        await self._calls.unary(self._calls.stub.DiscardStagedBlob, blobs_pb2.DiscardStagedBlobRequest(key=key))

    async def close(self) -> None:
        await self._calls.close()

    def _messages(self, key: str, size: int, chunks: Iterable[Buffer]) -> Iterable[blobs_pb2.PutBlobRequest]:
        head = {"key": key, "size": size}
        for piece in pieces(chunks):
            yield pack(blobs_pb2.PutBlobRequest(crc32c=self._crc32c(piece, 0), **head), piece)  # type: ignore[arg-type]
            head = {}

    async def _chunk(self, blob: Blob, offset: int, length: int) -> Buffer:
        request = blobs_pb2.GetBlobChunkRequest(key=blob.key, size=blob.size, offset=offset, length=length)
        data = self._checked(await self._calls.once(self._calls.stub.GetBlobChunk, request))
        if len(data) < length:
            raise short(blob.key, offset + length, offset + len(data))
        return data

    async def _read(self, blob: Blob, offset: int, length: int) -> AsyncIterator[Buffer]:
        request = blobs_pb2.GetBlobRequest(key=blob.key, size=blob.size, offset=offset, length=length)
        async with closing(self._calls.stream(self._calls.stub.GetBlob, request)) as answers:
            async for answer in answers:
                data = self._checked(answer)
                yield data
                length -= len(data)
                offset += len(data)
        if length:
            raise short(blob.key, offset + length, offset)

    def _checked(self, answer: blobs_pb2.GetBlobResponse) -> Buffer:
        head, data = unpack(answer)
        actual = self._crc32c(data, 0)
        if actual != head.crc32c:
            raise ChecksumMismatch(f"{self._calls.target}: bytes arrived damaged", expected=head.crc32c, actual=actual)
        return data


def _stored(blob: blobs_pb2.Blob) -> StoredBlob:
    return StoredBlob(blob.key, blob.size, blob.modify_time.ToDatetime(tzinfo=UTC), staged=blob.staged)
