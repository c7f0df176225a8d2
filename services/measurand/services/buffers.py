"""The buffers service: unpack, call core, pack. Streams are in `buffer_streams`, groups in `buffer_consumers`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import grpc.aio
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message

from measurand.core.buffers.appending import Appending
from measurand.core.buffers.batches import Batches
from measurand.core.buffers.buffers import Buffers
from measurand.core.buffers.consuming import Consuming
from measurand.core.buffers.events import Events
from measurand.core.buffers.freezing import Freezing, UnfreezeAnswer
from measurand.core.buffers.groups import Groups
from measurand.core.buffers.reading import Records
from measurand.core.buffers.tailing import Tails
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.names import ANY, parse_buffer, parse_catalog, parse_group
from measurand.services import buffer_consumers, buffer_streams
from measurand.services.buffer_consumers import (
    given_up_message,
    group_message,
    settings_of,
    settlement_of,
)
from measurand.services.buffer_messages import (
    BufferPacking,
    batch_draft_of,
    draft_of,
    edited_fields,
    event_message,
    read_message,
    selection_of,
    source_name,
    source_of,
    wait_of,
)
from measurand.services.messages import span_of, time_of
from measurand.services.peers import Appends
from measurand.services.principal import current
from measurand.v1 import buffers_pb2, buffers_pb2_grpc, common_pb2

__all__ = ["BufferRooms", "BufferService"]

Context = grpc.aio.ServicerContext[Any, Any]
Shown = TypeVar("Shown", bound=Message)


class _Formed(Protocol):
    """A request that says in which form it wants documents."""

    @property
    def document_form(self) -> common_pb2.DocumentForm.ValueType: ...


@dataclass(frozen=True, slots=True)
class BufferRooms:
    """What the service calls."""

    buffers: Buffers
    appending: Appending
    appends: Appends
    records: Records
    tails: Tails
    freezing: Freezing
    batches: Batches
    events: Events
    groups: Groups
    consuming: Consuming


class BufferService(buffers_pb2_grpc.BufferServiceServicer):
    """Serves `measurand.v1.BufferService`.

    Parameters
    ----------
    draining : asyncio.Event
        Set when the server is going away: writers then acknowledge what they have and end, and so do those who wait.
    """

    def __init__(self, rooms: BufferRooms, means: Means, limits: Limits, draining: asyncio.Event) -> None:
        self._buffers = rooms.buffers
        self._appending = rooms.appending
        self._appends = rooms.appends
        self._records = rooms.records
        self._tails = rooms.tails
        self._freezing = rooms.freezing
        self._batches = rooms.batches
        self._events = rooms.events
        self._groups = rooms.groups
        self._consuming = rooms.consuming
        self._assembly = buffer_streams.Assembly()
        self._means = means
        self._limits = limits
        self._draining = draining

    # ----------------------------------------------------------------------------------------------------- the buffers

    async def CreateBuffer(self, request: buffers_pb2.CreateBufferRequest, context: Context) -> buffers_pb2.Buffer:
        head = await self._buffers.create(
            current(),
            parse_catalog(request.parent, field="parent"),
            draft_of(request.buffer, request.buffer_id),
            request_id=request.request_id,
        )
        return self._packing(request).buffer(head)

    async def GetBuffer(self, request: buffers_pb2.GetBufferRequest, context: Context) -> buffers_pb2.Buffer:
        return self._packing(request).buffer(await self._buffers.get(current(), parse_buffer(request.name)))

    async def ListBuffers(
        self, request: buffers_pb2.ListBuffersRequest, context: Context
    ) -> buffers_pb2.ListBuffersResponse:
        parent = None if request.parent == f"catalogs/{ANY}" else parse_catalog(request.parent, field="parent")
        packing = BufferPacking(self._means.now(), self._limits, request.document_form, read_mask=request.read_mask)

        async def page(size: int) -> tuple[Sequence[buffers_pb2.Buffer], str]:
            found = await self._buffers.page(current(), parent, size=size, page_token=request.page_token)
            return [packing.buffer(head) for head in found.heads], found.next_page_token

        buffers, token = await self._cut(page, request.page_size)
        return buffers_pb2.ListBuffersResponse(buffers=buffers, next_page_token=token)

    async def UpdateBuffer(self, request: buffers_pb2.UpdateBufferRequest, context: Context) -> buffers_pb2.Buffer:
        head = await self._buffers.update(
            current(),
            parse_buffer(request.buffer.name, field="buffer.name"),
            draft_of(request.buffer),
            edited_fields(request),
            patch=source_of(request.metadata_patch) if request.HasField("metadata_patch") else None,
            etag=request.buffer.etag,
            request_id=request.request_id,
        )
        return self._packing(request).buffer(head)

    async def DeleteBuffer(self, request: buffers_pb2.DeleteBufferRequest, context: Context) -> Empty:
        await self._buffers.delete(current(), parse_buffer(request.name), etag=request.etag, force=request.force)
        return Empty()

    async def FinishBuffer(self, request: buffers_pb2.FinishBufferRequest, context: Context) -> buffers_pb2.Buffer:
        head = await self._buffers.finish(current(), parse_buffer(request.name), request.next_buffer)
        return self._packing(request).buffer(head)

    # --------------------------------------------------------------------------------------------------------- records

    async def AppendRecords(  # type: ignore[override]  # reads and writes through the context, not as a generator
        self, request_iterator: AsyncIterator[buffers_pb2.AppendRecordsRequest], context: Context
    ) -> None:
        await buffer_streams.append_records(
            self._appending, self._assembly, self._means, self._limits, current(), context, self._draining
        )

    async def Append(self, request: buffers_pb2.AppendRequest, context: Context) -> buffers_pb2.AppendResponse:
        return await self._appends.append(request, context)

    async def TailBuffer(
        self, request: buffers_pb2.TailBufferRequest, context: Context
    ) -> AsyncIterator[buffers_pb2.TailBufferResponse]:
        async with aclosing(buffer_streams.tail_buffer(self._tails, self._means, current(), request)) as messages:
            async for message in messages:
                yield message

    async def ReadRecords(
        self, request: buffers_pb2.ReadRecordsRequest, context: Context
    ) -> buffers_pb2.ReadRecordsResponse:
        page = await self._records.read(
            current(),
            source_name(request.name),
            after=request.after_sequence,
            most=request.max_records,
            selection=selection_of(request),
            newest=request.newest,
            headers_only=request.headers_only,
            part_offset=request.part_offset,
            skip_trimmed=request.skip_trimmed,
            wait=wait_of(request),
        )
        return read_message(page, request.document_form, self._limits)

    # --------------------------------------------------------------------------------------------------------- windows

    async def FreezeBuffer(
        self, request: buffers_pb2.FreezeBufferRequest, context: Context
    ) -> buffers_pb2.FreezeBufferResponse:
        answer = await self._freezing.freeze(
            current(),
            parse_buffer(request.name),
            window=request.window,
            comment=request.comment,
            force=request.force,
            wait_seconds=wait_of(request).total_seconds(),
            lease=span_of(request, "lease", "lease"),
            token=request.freeze_token,
            request_id=request.request_id,
            leaving=self._draining,
        )
        return buffers_pb2.FreezeBufferResponse(
            buffer=self._packing(request).buffer(answer.head), waiting=answer.is_waiting, freeze_token=answer.token
        )

    async def UnfreezeBuffer(
        self, request: buffers_pb2.UnfreezeBufferRequest, context: Context
    ) -> buffers_pb2.UnfreezeBufferResponse:
        answer = await self._freezing.unfreeze(
            current(),
            parse_buffer(request.name),
            window=request.window,
            discard=request.discard,
            draft=batch_draft_of(request.batch) if request.HasField("batch") else None,
            token=request.freeze_token,
            force=request.force,
            allow_empty=request.allow_empty,
            request_id=request.request_id,
        )
        return self._unfrozen(answer, request)

    async def RotateBuffer(
        self, request: buffers_pb2.RotateBufferRequest, context: Context
    ) -> buffers_pb2.UnfreezeBufferResponse:
        answer = await self._freezing.rotate(
            current(),
            parse_buffer(request.name),
            window=request.window,
            draft=batch_draft_of(request.batch) if request.HasField("batch") else None,
            request_id=request.request_id,
        )
        return self._unfrozen(answer, request)

    async def ListBatches(
        self, request: buffers_pb2.ListBatchesRequest, context: Context
    ) -> buffers_pb2.ListBatchesResponse:
        parent, packing = parse_buffer(request.parent, field="parent"), self._packing(request)

        async def page(size: int) -> tuple[Sequence[buffers_pb2.Batch], str]:
            found = await self._batches.page(current(), parent, size=size, page_token=request.page_token)
            return [packing.batch(listed) for listed in found.batches], found.next_page_token

        batches, token = await self._cut(page, request.page_size)
        return buffers_pb2.ListBatchesResponse(batches=batches, next_page_token=token)

    # ---------------------------------------------------------------------------------------------------------- events

    async def AddBufferNote(
        self, request: buffers_pb2.AddBufferNoteRequest, context: Context
    ) -> buffers_pb2.BufferEvent:
        event = await self._buffers.note(
            current(), parse_buffer(request.name), request.message, request_id=request.request_id
        )
        return event_message(event)

    async def ListBufferEvents(
        self, request: buffers_pb2.ListBufferEventsRequest, context: Context
    ) -> buffers_pb2.ListBufferEventsResponse:
        page = await self._events.page(
            current(),
            parse_buffer(request.parent, field="parent"),
            size=request.page_size,
            page_token=request.page_token,
            after_number=request.after_number if request.HasField("after_number") else None,
            wait_seconds=wait_of(request).total_seconds(),
        )
        events = [event_message(event) for event in page.events]
        return buffers_pb2.ListBufferEventsResponse(events=events, next_page_token=page.next_page_token)

    async def TailBufferEvents(
        self, request: buffers_pb2.TailBufferEventsRequest, context: Context
    ) -> AsyncIterator[buffers_pb2.BufferEvent]:
        pages = self._events.follow(current(), parse_buffer(request.name), after_number=request.after_number)
        async with aclosing(pages):
            async for events in pages:
                for event in events:
                    yield event_message(event)
                if not events:
                    yield buffers_pb2.BufferEvent()  # a heartbeat

    # ---------------------------------------------------------------------------------------------------------- groups

    async def PutConsumerGroup(
        self, request: buffers_pb2.PutConsumerGroupRequest, context: Context
    ) -> buffers_pb2.ConsumerGroup:
        group = await self._groups.put(
            current(),
            parse_group(request.group.name, field="group.name"),
            settings_of(request.group),
            after_sequence=request.after_sequence,
        )
        return group_message(group)

    async def GetConsumerGroup(
        self, request: buffers_pb2.GetConsumerGroupRequest, context: Context
    ) -> buffers_pb2.ConsumerGroup:
        name = parse_group(request.name)
        return group_message(await self._groups.get(current(), name, with_unsettled=request.with_unsettled))

    async def ListConsumerGroups(
        self, request: buffers_pb2.ListConsumerGroupsRequest, context: Context
    ) -> buffers_pb2.ListConsumerGroupsResponse:
        parent = parse_buffer(request.parent, field="parent")
        page = await self._groups.page(current(), parent, size=request.page_size, page_token=request.page_token)
        groups = [group_message(group) for group in page.groups]
        return buffers_pb2.ListConsumerGroupsResponse(groups=groups, next_page_token=page.next_page_token)

    async def SeekConsumerGroup(
        self, request: buffers_pb2.SeekConsumerGroupRequest, context: Context
    ) -> buffers_pb2.ConsumerGroup:
        group = await self._groups.seek(
            current(),
            parse_group(request.name),
            after_sequence=request.after_sequence,
            time=time_of(request, "time", "time"),
            etag=request.etag,
        )
        return group_message(group)

    async def ListGivenUpRecords(
        self, request: buffers_pb2.ListGivenUpRecordsRequest, context: Context
    ) -> buffers_pb2.ListGivenUpRecordsResponse:
        parent = parse_group(request.parent, field="parent")
        page = await self._groups.given_up(current(), parent, size=request.page_size, page_token=request.page_token)
        records = [given_up_message(record) for record in page.records]
        return buffers_pb2.ListGivenUpRecordsResponse(records=records, next_page_token=page.next_page_token)

    async def DeleteConsumerGroup(self, request: buffers_pb2.DeleteConsumerGroupRequest, context: Context) -> Empty:
        await self._groups.delete(current(), parse_group(request.name))
        return Empty()

    async def ConsumeRecords(  # type: ignore[override]  # reads and writes through the context, not as a generator
        self, request_iterator: AsyncIterator[buffers_pb2.ConsumeRecordsRequest], context: Context
    ) -> None:
        await buffer_consumers.consume(
            self._consuming, self._records, self._means, self._limits, current(), context, self._draining
        )

    async def FetchRecords(
        self, request: buffers_pb2.FetchRecordsRequest, context: Context
    ) -> buffers_pb2.FetchRecordsResponse:
        return await buffer_consumers.fetch(self._consuming, self._limits, current(), request, self._draining)

    async def SettleRecords(
        self, request: buffers_pb2.SettleRecordsRequest, context: Context
    ) -> buffers_pb2.SettleRecordsResponse:
        answer = await self._consuming.settle(
            current(), parse_group(request.name), request.consumer, settlement_of(request.settlement)
        )
        return buffers_pb2.SettleRecordsResponse(not_held=answer.not_held, settled_sequence=answer.settled_sequence)

    # ---------------------------------------------------------------------------------------------------------- inside

    def _packing(self, request: _Formed) -> BufferPacking:
        return BufferPacking(self._means.now(), self._limits, request.document_form)

    def _unfrozen(self, answer: UnfreezeAnswer, request: _Formed) -> buffers_pb2.UnfreezeBufferResponse:
        packing = self._packing(request)
        return buffers_pb2.UnfreezeBufferResponse(
            buffer=packing.buffer(answer.head), batch=None if answer.batch is None else packing.batch(answer.batch)
        )

    async def _cut(
        self, page: Callable[[int], Awaitable[tuple[Sequence[Shown], str]]], size: int
    ) -> tuple[Sequence[Shown], str]:
        """Return a page and the token of the next, asked for again with fewer items where they make a large message."""
        items, token = await page(size)
        total = 0
        for fitting, item in enumerate(items):
            total += item.ByteSize()
            if fitting and total > self._limits.page_bytes:
                return await page(fitting)
        return items, token
