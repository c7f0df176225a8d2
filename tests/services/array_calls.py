"""Calls of the arrays service as tests make them: over a real channel, with the dataset `run` of the fixture."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

import grpc.aio
import numpy as np
import numpy.typing as npt
from tests.services.file_calls import crc

from measurand.chunks.codecs import Pipeline
from measurand.chunks.dtypes import data_type_of, dtype_of
from measurand.chunks.spec import spec_of
from measurand.v1 import arrays_pb2, arrays_pb2_grpc
from measurand.wire.codec import pack, unpack

DATASET = "catalogs/lab/datasets/run"
ARRAYS = f"{DATASET}/arrays"
PLAIN = json.dumps([{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}])
"""Codecs that leave the bytes as they are."""

if TYPE_CHECKING:
    Stub = arrays_pb2_grpc.ArrayServiceAsyncStub

Values = npt.NDArray[Any]


def name(path: str) -> str:
    return f"{ARRAYS}/{path}"


async def make(
    stub: Stub, path: str, shape: Sequence[int], dtype: str = "int32", chunks: Sequence[int] = (), **more: Any
) -> arrays_pb2.Array:
    """Make an array; what is not of its message is of the request."""
    of_array = {key: more.pop(key) for key in list(more) if key in arrays_pb2.Array.DESCRIPTOR.fields_by_name}
    array = arrays_pb2.Array(
        shape=shape, data_type=data_type_of(np.dtype(dtype)), chunk_shape=chunks, **{"codecs": PLAIN, **of_array}
    )
    return await stub.CreateArray(arrays_pb2.CreateArrayRequest(parent=DATASET, array_id=path, array=array, **more))


async def get(stub: Stub, path: str) -> arrays_pb2.Array:
    return await stub.GetArray(arrays_pb2.GetArrayRequest(name=name(path)))


def pipeline(array: arrays_pb2.Array) -> Pipeline:
    return Pipeline.of(spec_of(array.zarr_metadata))


def encoded(array: arrays_pb2.Array, chunk: npt.ArrayLike) -> bytes:
    """Return a chunk as the array's codecs write it; a number stands for a chunk full of it."""
    full = np.broadcast_to(np.asarray(chunk, dtype_of(array.data_type)), array.chunk_shape)
    return bytes(pipeline(array).encode(np.ascontiguousarray(full).reshape(array.chunk_shape)))


async def write_chunk(
    stub: Stub, array: arrays_pb2.Array, index: Sequence[int], chunk: npt.ArrayLike, **more: Any
) -> str:
    data = encoded(array, chunk)
    request = arrays_pb2.WriteArrayChunkRequest(name=array.name, index=index, crc32c=crc(data), **more)
    return (await stub.WriteArrayChunk(pack(request, data))).chunk_etag


def selection(key: Any) -> arrays_pb2.Selection:
    """Return what stands between square brackets as a message."""
    message = arrays_pb2.Selection()
    for part in key if isinstance(key, tuple) else (key,):
        axis = message.axes.add()
        if isinstance(part, slice):
            axis.slice.CopyFrom(arrays_pb2.Slice(start=part.start, stop=part.stop, step=part.step or 0))
        else:
            axis.index = part
    return message


async def read(stub: Stub, path: str, key: Any = (), **more: Any) -> Values:
    """Read elements by the stream, and hold what comes to what is promised."""
    request = arrays_pb2.ReadArrayRequest(name=name(path), selection=selection(key), **more)
    first: arrays_pb2.ReadArrayResponse | None = None
    offset, pieces = request.offset, list[bytes]()
    async for message in stub.ReadArray(request):
        head, data = unpack(message)
        if first is None:
            first = head
        else:
            assert not head.HasField("array")
        if len(data):
            assert head.offset == offset
            assert head.crc32c == crc(bytes(data))
        offset += len(data)
        pieces.append(bytes(data))
    assert first is not None
    assert offset == first.result_size
    whole = b"".join(pieces)
    if request.offset:
        return np.frombuffer(whole, np.uint8)
    return np.frombuffer(whole, dtype_of(first.array.data_type)).reshape(first.result_shape)


async def read_at_once(stub: Stub, path: str, key: Any = (), **more: Any) -> Values:
    request = arrays_pb2.ReadArrayRegionRequest(name=name(path), selection=selection(key), **more)
    head, data = unpack(await stub.ReadArrayRegion(request))
    assert head.result_size == len(data)
    assert not len(data) or head.crc32c == crc(bytes(data))
    return np.frombuffer(bytes(data), dtype_of(head.array.data_type)).reshape(head.result_shape)


async def write(stub: Stub, path: str, key: Any, values: Values, **more: Any) -> int:
    data = np.ascontiguousarray(values).tobytes()
    request = arrays_pb2.WriteArrayRegionRequest(name=name(path), selection=selection(key), crc32c=crc(data), **more)
    return (await stub.WriteArrayRegion(pack(request, data))).chunks_written


async def append(stub: Stub, path: str, rows: Values, **more: Any) -> arrays_pb2.AppendArrayResponse:
    data = np.ascontiguousarray(rows).tobytes()
    return await stub.AppendArray(pack(arrays_pb2.AppendArrayRequest(name=name(path), crc32c=crc(data), **more), data))


async def chunks(stub: Stub, **request: Any) -> AsyncIterator[tuple[tuple[int, ...], str, bytes]]:
    """Yield the index, the etag and the bytes of chunks, put together from their parts."""
    asked = arrays_pb2.ReadArrayChunksRequest(**request)
    index, etag, size, have = tuple[int, ...](), "", 0, b""
    is_first = True
    async for message in stub.ReadArrayChunks(asked):
        head, data = unpack(message)
        assert head.HasField("array") == is_first
        is_first = False
        if head.HasField("array") and not len(data) and not head.index and head.array.shape:
            continue
        if not head.part_offset:
            assert len(have) == size
            index, etag, size, have = tuple(head.index), head.chunk_etag, head.chunk_size, b""
        assert (tuple(head.index), head.part_offset) == (index, len(have))
        assert not len(data) or head.crc32c == crc(bytes(data))
        have += bytes(data)
        if len(have) == size:
            yield index, etag, have


class Writer:
    """A WriteArrayChunks stream by hand."""

    def __init__(self, stub: Stub, array: arrays_pb2.Array, **first: Any) -> None:
        self.array = array
        self.call = stub.WriteArrayChunks()
        self._first = arrays_pb2.WriteArrayChunksRequest(name=array.name, uid=array.uid, **first)

    async def open(self) -> arrays_pb2.WriteArrayChunksResponse:
        await self.call.write(pack(self._first))
        return await self.answer()

    async def send(self, sequence: int, index: Sequence[int] = (), data: bytes = b"", **more: Any) -> None:
        if len(data):
            more.setdefault("crc32c", crc(data))
        await self.call.write(pack(arrays_pb2.WriteArrayChunksRequest(sequence=sequence, index=index, **more), data))

    async def put(self, sequence: int, index: Sequence[int], chunk: npt.ArrayLike, **more: Any) -> None:
        await self.send(sequence, index, encoded(self.array, chunk), **more)

    async def answer(self) -> arrays_pb2.WriteArrayChunksResponse:
        answer = await self.call.read()
        assert isinstance(answer, arrays_pb2.WriteArrayChunksResponse), await self.call.code()
        return answer

    async def acknowledged(self, sequence: int) -> arrays_pb2.WriteArrayChunksResponse:
        """Wait until everything up to here is acknowledged."""
        before = 0
        while True:
            answer = await self.answer()
            assert answer.acknowledged_sequence >= before
            before = answer.acknowledged_sequence
            if before >= sequence:
                return answer

    async def drained(self) -> None:
        """Read to the end; raises what the stream has failed with."""
        while await self.call.read() is not grpc.aio.EOF:
            pass

    async def open_and_drain(self) -> None:
        """Open it, and read to the end; raises what the stream has failed with."""
        await self.call.write(pack(self._first))
        await self.drained()

    async def end(self) -> int:
        """Say that nothing more comes, and return how far all is acknowledged."""
        await self.call.done_writing()
        acknowledged = 0
        while (answer := await self.call.read()) is not grpc.aio.EOF:
            assert isinstance(answer, arrays_pb2.WriteArrayChunksResponse)
            acknowledged = answer.acknowledged_sequence
        return acknowledged
