"""The arrays service: unpack, call core, pack. The streams of chunks are in `array_streams`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Protocol

import grpc.aio
from google.protobuf.empty_pb2 import Empty

from measurand.core.arrays.appending import Appending
from measurand.core.arrays.arrays import Arrays
from measurand.core.arrays.chunks import Chunks
from measurand.core.arrays.documents import Array
from measurand.core.arrays.element_reading import ElementReading
from measurand.core.arrays.element_writing import ElementWriting
from measurand.core.arrays.resizing import Resizing
from measurand.core.arrays.watching import DEFAULT_INTERVAL, ArrayWatch
from measurand.core.arrays.writing import Writing
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.names import parse_array, parse_dataset
from measurand.core.paging import make_token, open_token, page_size
from measurand.core.ports import Position
from measurand.services import array_streams, principal
from measurand.services.array_messages import (
    ArrayPacking,
    chunk_message,
    edit_of,
    elements_message,
    new_array_of,
)
from measurand.services.array_selections import key_of
from measurand.services.file_messages import optional
from measurand.services.file_streams import check_data
from measurand.services.messages import span_of
from measurand.v1 import arrays_pb2, arrays_pb2_grpc, common_pb2
from measurand.wire.codec import pack, unpack
from measurand.wire.errors import PageTokenInvalid

__all__ = ["ArrayRooms", "ArrayService"]

Context = grpc.aio.ServicerContext[Any, Any]

_MOST_CHUNKS_LISTED = 10_000


class _Formed(Protocol):
    """A request that says in which form it wants documents."""

    @property
    def document_form(self) -> common_pb2.DocumentForm.ValueType: ...


@dataclass(frozen=True, slots=True)
class ArrayRooms:
    """What of core the service calls."""

    arrays: Arrays
    resizing: Resizing
    chunks: Chunks
    element_reading: ElementReading
    element_writing: ElementWriting
    appending: Appending
    writing: Writing
    watch: ArrayWatch


class ArrayService(arrays_pb2_grpc.ArrayServiceServicer):
    """Serves `measurand.v1.ArrayService`.

    Parameters
    ----------
    draining : asyncio.Event
        Set when the server is going away: writers then acknowledge what they have and end.
    """

    def __init__(self, rooms: ArrayRooms, means: Means, limits: Limits, draining: asyncio.Event) -> None:
        self._arrays = rooms.arrays
        self._resizing = rooms.resizing
        self._chunks = rooms.chunks
        self._element_reading = rooms.element_reading
        self._element_writing = rooms.element_writing
        self._appending = rooms.appending
        self._writing = rooms.writing
        self._watch = rooms.watch
        self._means = means
        self._limits = limits
        self._draining = draining

    # ------------------------------------------------------------------------------------------------------ the arrays

    async def CreateArray(self, request: arrays_pb2.CreateArrayRequest, context: Context) -> arrays_pb2.Array:
        array = await self._arrays.create(
            principal.current(),
            parse_dataset(request.parent, field="parent"),
            new_array_of(request),
            staged=request.staged,
            request_id=request.request_id,
        )
        return self._packing(request).array(array)

    async def CommitArray(self, request: arrays_pb2.CommitArrayRequest, context: Context) -> arrays_pb2.Array:
        array = await self._arrays.commit(
            principal.current(),
            parse_array(request.name),
            request.uid,
            if_etag=request.if_etag if request.HasField("if_etag") else None,
            request_id=request.request_id,
        )
        return self._packing(request).array(array)

    async def GetArray(self, request: arrays_pb2.GetArrayRequest, context: Context) -> arrays_pb2.Array:
        packing = ArrayPacking(self._means.now(), self._limits, request.document_form, read_mask=request.read_mask)
        array = await self._arrays.get(principal.current(), parse_array(request.name))
        stored_bytes = await self._arrays.stored_bytes(array) if packing.asks_for("stored_bytes") else 0
        return packing.array(array, stored_bytes=stored_bytes)

    async def ListArrays(
        self, request: arrays_pb2.ListArraysRequest, context: Context
    ) -> arrays_pb2.ListArraysResponse:
        parent = parse_dataset(request.parent, field="parent")
        asked = ["ListArrays", request.parent, request.prefix]
        start = open_token(request.page_token, request=asked, values=0, now=self._means.now())
        packing = ArrayPacking(
            self._means.now(), self._limits, request.document_form, read_mask=request.read_mask, is_list=True
        )
        page = await self._arrays.page(
            principal.current(),
            parent,
            prefix=request.prefix,
            after=start.after,
            limit=page_size(request.page_size, self._limits),
        )
        response = arrays_pb2.ListArraysResponse()
        after, size = page.after, 0
        for array in page.arrays:
            message = packing.array(array)
            size += message.ByteSize()
            if response.arrays and size > self._limits.page_bytes:
                break
            response.arrays.append(message)
        if len(response.arrays) < len(page.arrays):
            after = Position((), str(page.arrays[len(response.arrays) - 1].name))
        if after is not None:
            response.next_page_token = make_token(after, request=asked, now=start.now)
        return response

    async def UpdateArray(self, request: arrays_pb2.UpdateArrayRequest, context: Context) -> arrays_pb2.Array:
        array = await self._arrays.update(
            principal.current(),
            parse_array(request.array.name, field="array.name"),
            edit_of(request),
            etag=request.array.etag,
            request_id=request.request_id,
        )
        return self._packing(request).array(array)

    async def ResizeArray(self, request: arrays_pb2.ResizeArrayRequest, context: Context) -> arrays_pb2.Array:
        array = await self._resizing.resize(
            principal.current(),
            parse_array(request.name),
            tuple(request.shape),
            etag=request.etag,
            force=request.force,
            request_id=request.request_id,
        )
        return ArrayPacking(self._means.now(), self._limits).array(array)

    async def DeleteArray(self, request: arrays_pb2.DeleteArrayRequest, context: Context) -> Empty:
        await self._arrays.delete(principal.current(), parse_array(request.name), etag=request.etag, uid=request.uid)
        return Empty()

    # ---------------------------------------------------------------------------------------------------------- chunks

    async def WriteArrayChunks(  # type: ignore[override]  # reads and writes through the context, not as a generator
        self, request_iterator: AsyncIterator[arrays_pb2.WriteArrayChunksRequest], context: Context
    ) -> None:
        await array_streams.write_chunks(self._writing, self._limits, principal.current(), context, self._draining)

    async def WriteArrayChunk(
        self, request: arrays_pb2.WriteArrayChunkRequest, context: Context
    ) -> arrays_pb2.WriteArrayChunkResponse:
        head, data = unpack(request)
        check_data(data, self._limits)
        etag = await self._chunks.write(
            principal.current(),
            parse_array(head.name),
            head.uid,
            tuple(head.index),
            data,
            optional(head, "crc32c", head.crc32c),
            if_etag=head.if_chunk_etag if head.HasField("if_chunk_etag") else None,
            remove=head.remove,
        )
        return arrays_pb2.WriteArrayChunkResponse(chunk_etag=etag)

    async def ReadArrayChunks(
        self, request: arrays_pb2.ReadArrayChunksRequest, context: Context
    ) -> AsyncIterator[arrays_pb2.ReadArrayChunksResponse]:
        array, parts = await self._chunks.open(
            principal.current(),
            parse_array(request.name),
            request.uid,
            request.indexes,
            key_of(request.selection) if request.HasField("selection") else None,
        )
        first: arrays_pb2.Array | None = self._shown(array)
        async with aclosing(parts):
            async for part in parts:
                yield pack(chunk_message(part, first), part.data)
                first = None
        if first is not None:
            yield pack(arrays_pb2.ReadArrayChunksResponse(array=first))

    async def ReadArrayChunk(
        self, request: arrays_pb2.ReadArrayChunkRequest, context: Context
    ) -> arrays_pb2.ReadArrayChunksResponse:
        array, part = await self._chunks.read(
            principal.current(),
            parse_array(request.name),
            request.uid,
            tuple(request.index),
            offset=request.part_offset,
            etag=request.chunk_etag,
        )
        return pack(chunk_message(part, self._shown(array)), part.data)

    async def ListArrayChunks(
        self, request: arrays_pb2.ListArrayChunksRequest, context: Context
    ) -> arrays_pb2.ListArrayChunksResponse:
        asked = ["ListArrayChunks", request.name, request.uid]
        start = open_token(request.page_token, request=asked, values=0, now=self._means.now())
        limit = page_size(request.page_size, replace(self._limits, max_page_size=_MOST_CHUNKS_LISTED))
        array = await self._arrays.require(principal.current(), parse_array(request.name), request.uid)
        after = None if start.after is None else _index_of(start.after.key, array)
        page = await self._arrays.written(array, after=after, limit=limit)
        response = arrays_pb2.ListArrayChunksResponse()
        for chunk in page.chunks:
            response.chunks.add(index=chunk.index, size=chunk.size, chunk_etag=chunk.etag)
        if page.after is not None:
            token = Position((), "/".join(map(str, page.after)))
            response.next_page_token = make_token(token, request=asked, now=start.now)
        return response

    # -------------------------------------------------------------------------------------------------------- elements

    async def ReadArray(
        self, request: arrays_pb2.ReadArrayRequest, context: Context
    ) -> AsyncIterator[arrays_pb2.ReadArrayResponse]:
        opened = await self._element_reading.open(
            principal.current(),
            parse_array(request.name),
            key_of(request.selection),
            offset=request.offset,
            etag=request.etag,
            chunk_bytes=request.chunk_bytes,
        )
        first = self._shown(opened.array), opened.shape, opened.size
        is_first = True
        async with aclosing(opened.parts):
            async for part in opened.parts:
                yield pack(elements_message(part, *first) if is_first else elements_message(part), part.data)
                is_first = False
        if is_first:
            yield pack(elements_message(None, *first))

    async def ReadArrayRegion(
        self, request: arrays_pb2.ReadArrayRegionRequest, context: Context
    ) -> arrays_pb2.ReadArrayResponse:
        opened, part = await self._element_reading.read(
            principal.current(), parse_array(request.name), key_of(request.selection), etag=request.etag
        )
        return pack(elements_message(part, self._shown(opened.array), opened.shape, opened.size), part.data)

    async def WriteArrayRegion(
        self, request: arrays_pb2.WriteArrayRegionRequest, context: Context
    ) -> arrays_pb2.WriteArrayRegionResponse:
        head, data = unpack(request)
        check_data(data, self._limits)
        count = await self._element_writing.write(
            principal.current(),
            parse_array(head.name),
            key_of(head.selection),
            data,
            optional(head, "crc32c", head.crc32c),
        )
        return arrays_pb2.WriteArrayRegionResponse(chunks_written=count)

    async def AppendArray(
        self, request: arrays_pb2.AppendArrayRequest, context: Context
    ) -> arrays_pb2.AppendArrayResponse:
        head, data = unpack(request)
        check_data(data, self._limits)
        appended = await self._appending.append(
            principal.current(),
            parse_array(head.name),
            data,
            crc32c=optional(head, "crc32c", head.crc32c),
            expected_rows=optional(head, "expected_rows", head.expected_rows),
            force=head.force,
            request_id=head.request_id,
        )
        return arrays_pb2.AppendArrayResponse(
            first_row=appended.first_row, visible_rows=appended.array.shape[0], etag=appended.array.etag
        )

    # --------------------------------------------------------------------------------------------------------- watching

    async def WatchArray(
        self, request: arrays_pb2.WatchArrayRequest, context: Context
    ) -> AsyncIterator[arrays_pb2.ArrayChange]:
        interval = span_of(request, "min_interval", "min_interval")
        changes = self._watch.follow(
            principal.current(),
            parse_array(request.name),
            etag=request.etag,
            min_interval=DEFAULT_INTERVAL if interval is None else interval,
        )
        async with aclosing(changes):
            async for change in changes:
                yield self._packing(request).change(change)

    async def PollArray(self, request: arrays_pb2.PollArrayRequest, context: Context) -> arrays_pb2.ArrayChange:
        change = await self._watch.poll(
            principal.current(),
            parse_array(request.name),
            etag=request.etag,
            wait=span_of(request, "wait", "wait") or timedelta(),
        )
        return self._packing(request).change(change)

    def _packing(self, request: _Formed) -> ArrayPacking:
        return ArrayPacking(self._means.now(), self._limits, request.document_form)

    def _shown(self, array: Array) -> arrays_pb2.Array:
        """Return an array as it stands at the head of its bytes, in the form that costs least."""
        return ArrayPacking(self._means.now(), self._limits, common_pb2.DOCUMENT_FORM_JSON).array(array)


def _index_of(key: str, array: Array) -> tuple[int, ...]:
    """Return the chunk that a page token stands behind; whoever has forged one is told so."""
    numbers = key.split("/") if key else []
    if len(numbers) != len(array.shape) or not all(text.isdecimal() and text.isascii() for text in numbers):
        raise PageTokenInvalid("the page token is malformed; use one as it was answered, or begin again without one")
    return tuple(map(int, numbers))
