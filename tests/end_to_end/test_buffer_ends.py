"""A server that goes away in the middle of streams of records: what was acknowledged is there, and nothing twice."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc.aio
import pytest
from tests.servers import Server
from tests.services.buffer_calls import Writer, get, make, read
from tests.stores import Site

from measurand.v1 import buffers_pb2_grpc, catalogs_pb2, catalogs_pb2_grpc
from measurand.wire.codec import codec_channel

if TYPE_CHECKING:
    from tests.services.buffer_calls import Stub

WRITERS = 8
AT_ONCE = 10
ENOUGH = 400
"""So many acknowledged records of each writer, before the server is told to go."""


@asynccontextmanager
async def connected(server: Server) -> AsyncIterator[Stub]:
    async with grpc.aio.insecure_channel(server.address) as channel:
        catalogs = catalogs_pb2_grpc.CatalogServiceStub(channel)
        if not (await catalogs.ListCatalogs(catalogs_pb2.ListCatalogsRequest())).catalogs:
            await catalogs.CreateCatalog(catalogs_pb2.CreateCatalogRequest(catalog_id="lab"))
        yield buffers_pb2_grpc.BufferServiceStub(codec_channel(channel))


def said(writer: str, number: int) -> bytes:
    return f"{writer} {number} ".encode() * 40


class Source:
    """Sends records until the server does not take them any more."""

    def __init__(self, stub: Stub, name: str) -> None:
        self.name = name
        self.writer = Writer(stub, writer=name)
        self.has_enough = asyncio.Event()

    async def run(self) -> None:
        sending = asyncio.ensure_future(self._send())
        try:
            await self._listen()
        except grpc.aio.AioRpcError:
            pass
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def _send(self) -> None:
        number = 1
        while True:
            batch = [said(self.name, number + one) for one in range(AT_ONCE)]
            await self.writer.send(*batch, first_writer_sequence=number)
            number += AT_ONCE

    async def _listen(self) -> None:
        for number in range(1, 1 << 62):
            await self.writer.until(number)
            if number >= ENOUGH:
                self.has_enough.set()


async def everything(stub: Stub) -> list[Any]:
    records: list[Any] = []
    while page := await read(stub, after_sequence=len(records), max_records=10_000):
        records += page
    return records


@pytest.mark.stores("embedded")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_what_was_acknowledged_is_stored_once_and_in_order(site: Site, how: signal.Signals) -> None:
    server = site.start()
    try:
        async with connected(server) as stub:
            await make(stub)
            sources = [Source(stub, f"w{number}") for number in range(WRITERS)]
            running = [asyncio.ensure_future(source.run()) for source in sources]
            for source in sources:
                await source.has_enough.wait()
            server.signal(how)
            await asyncio.gather(*running)
        assert await asyncio.to_thread(server.wait) == (0 if how is signal.SIGTERM else -how)
        server = site.start()
        async with connected(server) as stub:
            records = await everything(stub)
            stats = (await get(stub)).stats
    finally:
        server.stop()
    assert [one.header.sequence for one in records] == list(range(1, len(records) + 1))
    assert stats.window_records == len(records)
    assert stats.window_bytes == sum(len(one.data) for one in records)
    count = Counter[str]()
    for one in records:
        count[one.header.writer] += 1
        assert one.data == said(one.header.writer, count[one.header.writer])
    for source in sources:
        stored, acknowledged = count[source.name], source.writer.acknowledged
        assert ENOUGH <= acknowledged <= stored
        if how is signal.SIGTERM:
            # The last answer may be cut off by the end of a stream that somebody still writes to.
            assert stored - acknowledged <= AT_ONCE
