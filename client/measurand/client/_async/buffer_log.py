"""The event log of a buffer: who froze it, what was sealed, who was refused."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from measurand.client import methods, retries
from measurand.client._async.calls import AsyncCalls
from measurand.client.buffer_facts import BufferEvent
from measurand.v1 import buffers_pb2
from measurand.wire.errors import MeasurandError

__all__ = ["follow_log", "read_log"]

PAGE = 1000


async def read_log(calls: AsyncCalls, name: str, after: int, limit: int | None) -> AsyncGenerator[BufferEvent, None]:
    """Yield the entries after a number, oldest first, up to the newest."""
    request = buffers_pb2.ListBufferEventsRequest(parent=name, page_size=PAGE, after_number=after)
    left = limit
    while left is None or left > 0:
        if left is not None:
            request.page_size = min(left, PAGE)
        page = await calls.unary(methods.LIST_BUFFER_EVENTS, request)
        for message in page.events:
            yield BufferEvent.of(message)
        if left is not None:
            left -= len(page.events)
        if not page.events or not page.next_page_token:
            return
        request.after_number = page.events[-1].number
        request.page_token = ""


async def follow_log(calls: AsyncCalls, name: str, after: int) -> AsyncGenerator[BufferEvent, None]:
    """Yield the entries after a number, and each new one as it happens, over lost connections."""
    request = buffers_pb2.TailBufferEventsRequest(name=name, after_number=after)
    transport = await calls.transport()
    tries = calls.tries()
    while True:
        try:
            async with aclosing(transport.stream(methods.TAIL_BUFFER_EVENTS, request)) as events:
                async for message in events:
                    tries.progress()
                    if message.number:
                        request.after_number = message.number
                        yield BufferEvent.of(message)
        except MeasurandError as error:
            if not retries.may_reopen(error):
                raise
            await calls.pause(tries, error)
