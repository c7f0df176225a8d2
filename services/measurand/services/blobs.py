"""The blob service, for servers that keep blobs in this process: unpack, call the store, pack."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import grpc.aio
from google.protobuf.empty_pb2 import Empty

from measurand.core.blob_rules import closing
from measurand.core.containers.ports import Direction
from measurand.core.means import Means
from measurand.core.ports import Blob, BlobStore, Buffer, Stage, StoredBlob
from measurand.services.blob_stages import Stages
from measurand.services.messages import time_message
from measurand.v1 import blobs_pb2, blobs_pb2_grpc
from measurand.wire.codec import pack, unpack
from measurand.wire.errors import (
    AlreadyExists,
    ChecksumMismatch,
    DataLoss,
    NotFound,
    OutOfRange,
    SizeMismatch,
    TooLarge,
)

__all__ = ["BlobService", "Door", "Note"]

Context = grpc.aio.ServicerContext[Any, Any]

MAX_DATA_BYTES = 2 << 20
_PAGE = 1000
_ANSWERS = (NotFound, AlreadyExists, OutOfRange, DataLoss)
"""Errors by which a store shows that it works."""


class Door(Protocol):
    """Says who may call, and hands out the store."""

    def enter(self, deployment: str, container: str, *, new: str = "") -> BlobStore:
        """Return the store for a call.

        Parameters
        ----------
        deployment, container : str
            What the caller takes this process for; empty: it has not said.
        new : str
            The key of a blob that is to be stored; empty: none is.

        Raises
        ------
        PermissionDenied
            The caller has not said who it is.
        FailedPrecondition
            STATE_WRONG: this is another container, or it takes no blobs.
        Unavailable
            There is no store yet.
        """
        ...


Note = Callable[[Direction, int, float, Exception | None], None]
"""Hears of each read and write: how many bytes, how many seconds, and the error if it failed."""


class BlobService(blobs_pb2_grpc.BlobServiceServicer):
    """Answers for the blobs of one store."""

    def __init__(self, door: Door, means: Means, *, note: Note) -> None:
        self._door = door
        self._means = means
        self._note = note
        self._stages = Stages(means.monotonic)

    async def close(self) -> None:
        """Let go of the staged writes that are open."""
        await self._stages.close_all()

    # ------------------------------------------------------------------------------------------------- whole blobs

    async def PutBlob(
        self, request_iterator: AsyncIterator[blobs_pb2.PutBlobRequest], context: Context
    ) -> blobs_pb2.Blob:
        put: _Put | None = None
        try:
            async for request in request_iterator:
                head, data = unpack(request)
                self._check(data, head.crc32c)
                if put is None:
                    store = self._enter(context, new=head.key or "-")
                    put = _Put(store, await store.stage(head.key), head.key, head.size)
                with self._noting("write", len(data)):
                    await put.append(data)
            if put is None:
                raise SizeMismatch("the stream ended before it named a blob", expected=1, actual=0)
            with self._noting("write", 0):
                blob = await put.finish()
        finally:
            if put is not None:
                await asyncio.shield(asyncio.ensure_future(put.close()))
        return blobs_pb2.Blob(key=blob.key, size=blob.size)

    async def PutBlobWhole(self, request: blobs_pb2.PutBlobWholeRequest, context: Context) -> blobs_pb2.Blob:
        head, data = unpack(request)
        self._check(data, head.crc32c)
        store = self._enter(context, new=head.key or "-")
        with self._noting("write", len(data)):
            blob = await store.put(head.key, [data])
        return blobs_pb2.Blob(key=blob.key, size=blob.size)

    async def GetBlob(
        self, request: blobs_pb2.GetBlobRequest, context: Context
    ) -> AsyncIterator[blobs_pb2.GetBlobResponse]:
        chunks = self._enter(context).open(Blob(request.key, request.size), request.offset, request.length)
        async with closing(chunks):
            while True:
                with self._noting("read", 0) as noted:
                    chunk = await anext(chunks, None)
                    if chunk is None:
                        return
                    noted.size = len(chunk)
                yield pack(blobs_pb2.GetBlobResponse(crc32c=self._means.crc32c(chunk, 0)), chunk)

    async def GetBlobChunk(self, request: blobs_pb2.GetBlobChunkRequest, context: Context) -> blobs_pb2.GetBlobResponse:
        if request.length > MAX_DATA_BYTES:
            raise _too_large(request.length)
        chunks = self._enter(context).open(Blob(request.key, request.size), request.offset, request.length)
        with self._noting("read", request.length):
            async with closing(chunks):
                held = [chunk async for chunk in chunks]
        data = held[0] if len(held) == 1 else b"".join(held)
        return pack(blobs_pb2.GetBlobResponse(crc32c=self._means.crc32c(data, 0)), data)

    async def StatBlob(self, request: blobs_pb2.StatBlobRequest, context: Context) -> blobs_pb2.Blob:
        return _message(await self._enter(context).stat(request.key))

    async def DeleteBlob(self, request: blobs_pb2.DeleteBlobRequest, context: Context) -> Empty:
        await self._enter(context).delete(request.key)
        return Empty()

    async def ScanBlobs(
        self, request: blobs_pb2.ScanBlobsRequest, context: Context
    ) -> AsyncIterator[blobs_pb2.ScanBlobsResponse]:
        page = blobs_pb2.ScanBlobsResponse()
        async with closing(self._enter(context).scan(request.prefix)) as found:
            async for blob in found:
                page.blobs.append(_message(blob))
                if len(page.blobs) == _PAGE:
                    yield page
                    page = blobs_pb2.ScanBlobsResponse()
        yield page

    # ------------------------------------------------------------------------------------------------ staged blobs

    async def StageBlob(self, request: blobs_pb2.StageBlobRequest, context: Context) -> Empty:
        await self._stages.begin(self._enter(context, new=request.key or "-"), request.key, request.stage_id)
        return Empty()

    async def AppendStagedBlob(self, request: blobs_pb2.AppendStagedBlobRequest, context: Context) -> Empty:
        head, data = unpack(request)
        self._check(data, head.crc32c)
        self._enter(context)
        with self._noting("write", len(data)):
            await self._stages.append(head.stage_id, head.sequence, head.offset, data)
        return Empty()

    async def PersistStagedBlob(
        self, request: blobs_pb2.PersistStagedBlobRequest, context: Context
    ) -> blobs_pb2.PersistStagedBlobResponse:
        self._enter(context)
        size = await self._stages.persist(request.stage_id, whole=request.whole)
        return blobs_pb2.PersistStagedBlobResponse(persisted_size=size)

    async def CloseStagedBlob(self, request: blobs_pb2.CloseStagedBlobRequest, context: Context) -> Empty:
        self._enter(context)
        await self._stages.close(request.stage_id)
        return Empty()

    async def FinishStagedBlob(self, request: blobs_pb2.FinishStagedBlobRequest, context: Context) -> Empty:
        await self._enter(context).finish(request.key, request.size)
        self._stages.over(request.key)
        return Empty()

    async def DiscardStagedBlob(self, request: blobs_pb2.DiscardStagedBlobRequest, context: Context) -> Empty:
        await self._enter(context).discard(request.key)
        self._stages.over(request.key)
        return Empty()

    # ------------------------------------------------------------------------------------------------------ inside

    def _enter(self, context: Context, *, new: str = "") -> BlobStore:
        said = dict(context.invocation_metadata() or ())
        deployment, container = said.get("measurand-deployment", ""), said.get("measurand-container", "")
        return self._door.enter(str(deployment), str(container), new=new)

    def _check(self, data: Buffer, crc32c: int) -> None:
        if len(data) > MAX_DATA_BYTES:
            raise _too_large(len(data))
        actual = self._means.crc32c(data, 0)
        if actual != crc32c:
            raise ChecksumMismatch("the bytes arrived damaged; send them again", expected=crc32c, actual=actual)

    @contextmanager
    def _noting(self, direction: Direction, size: int) -> Iterator[_Noted]:
        started, noted, failure = self._means.monotonic(), _Noted(size), None
        try:
            yield noted
        except _ANSWERS:
            raise
        except Exception as error:
            failure = error
            raise
        finally:
            self._note(direction, noted.size, self._means.monotonic() - started, failure)


class _Noted:
    """How many bytes it came to."""

    def __init__(self, size: int) -> None:
        self.size = size


class _Put:
    """A blob that comes as a stream. Nothing of it is left unless it was finished."""

    def __init__(self, store: BlobStore, stage: Stage, key: str, size: int) -> None:
        self._store = store
        self._stage = stage
        self._key = key
        self._size = size
        self._received = 0
        self._is_finished = False

    async def append(self, data: Buffer) -> None:
        await self._stage.append([data])
        self._received += len(data)

    async def finish(self) -> Blob:
        if self._received != self._size:
            raise SizeMismatch(
                f"{self._key}: {self._received} bytes came, and {self._size} were promised",
                expected=self._size,
                actual=self._received,
            )
        await self._stage.persist()
        blob = await self._store.finish(self._key, self._size)
        self._is_finished = True
        return blob

    async def close(self) -> None:
        await self._stage.close()
        if not self._is_finished:
            await self._store.discard(self._key)


def _message(blob: StoredBlob) -> blobs_pb2.Blob:
    return blobs_pb2.Blob(
        key=blob.key, size=blob.size, modify_time=time_message(blob.modified_time), staged=blob.staged
    )


def _too_large(size: int) -> TooLarge:
    return TooLarge(
        f"{size} bytes of data in one message; the most is {MAX_DATA_BYTES}", limit=MAX_DATA_BYTES, actual=size
    )
