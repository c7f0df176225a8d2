"""Servers with more to do than their store can take, and servers that are asked to end while callers wait."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import grpc
import psutil
import pytest
from tests.end_to_end.fleet import Servant, until
from tests.end_to_end.slowed import BYTES_PER_SECOND
from tests.stores import Site

from measurand.client import AsyncBuffer, AsyncClient, Client
from measurand.client.errors import Busy, Timeout
from measurand.core.buffers.queues import BUFFER_QUEUE_BYTES
from measurand.v1 import buffers_pb2, buffers_pb2_grpc

MiB = 1 << 20
WRITERS = 64
RECORD = bytes(64 * 1024)
SLOWED = 16_000_000
MESSAGE_BYTES = 2 * MiB
ROOM_BYTES = 160 * MiB
"""So much more than its queue may the server grow by."""

pytestmark = [pytest.mark.stores("embedded"), pytest.mark.usefixtures("_own_places")]


@contextmanager
def serving(site: Site, program: str = "measurand.server.run", *, at: str = "") -> Iterator[Servant]:
    servant = Servant(site, program=program)
    servant.address = at or servant.address
    servant.start()
    try:
        yield servant
    finally:
        servant.stop()


class Load:
    """Writers that never stop by themselves."""

    def __init__(self, servant: Servant, buffer: AsyncBuffer) -> None:
        self._servant = servant
        self._buffer = buffer
        self.written = Counter[int]()
        self.stop = asyncio.Event()
        self.largest_queue = self.largest_memory = 0

    async def write(self, number: int) -> None:
        async with self._buffer.writer(window_bytes=2 * MiB) as out:
            while not self.stop.is_set():
                await out.write(RECORD, {"writer": number, "number": self.written[number]})
                self.written[number] += 1

    async def look(self) -> None:
        """Note the size of the queue and of the process."""
        assert self._servant.process is not None
        page = await asyncio.to_thread(self._servant.process.page, "/metrics")
        (queue,) = (line.split()[-1] for line in page.splitlines() if line.startswith("measurand_queue_bytes"))
        self.largest_queue = max(self.largest_queue, int(float(queue)))
        memory = psutil.Process(self._servant.process.process.pid).memory_info().rss
        self.largest_memory = max(self.largest_memory, memory)


async def refused(buffer: AsyncBuffer, load: Load) -> Busy:
    """Append until that is refused at once."""
    while True:
        try:
            await buffer.append(b"late", timeout=0.5)
        except Timeout:
            pass  # it came at a moment when there was room, and waits behind all others
        except Busy as error:
            return error
        await load.look()


async def test_a_full_queue_slows_writers_refuses_appends_and_is_stored_before_the_end(site: Site) -> None:
    slow = replace(site, environment={BYTES_PER_SECOND: str(SLOWED)})
    with serving(slow, "tests.end_to_end.slowed") as servant:
        async with AsyncClient(servant.address) as client:
            buffer = await (await client.create_catalog("lab")).create_buffer("v1")
            await buffer.append(b"warm")
            load = Load(servant, buffer)
            await load.look()
            before = load.largest_memory
            writing = [asyncio.create_task(load.write(number)) for number in range(WRITERS)]
            while load.largest_queue < BUFFER_QUEUE_BYTES:
                await load.look()
            refusal = await refused(buffer, load)
            assert refusal.retry_seconds
            stopping = asyncio.create_task(asyncio.to_thread(servant.stop))
            load.stop.set()
            assert await stopping == 0
            assert load.largest_queue <= BUFFER_QUEUE_BYTES + MESSAGE_BYTES
            assert load.largest_memory - before < BUFFER_QUEUE_BYTES + ROOM_BYTES

            with serving(site, at=servant.address):
                await asyncio.gather(*writing)
                stored: dict[int, list[int]] = {}
                async for record in buffer.records(filter="metadata.writer >= 0"):
                    stored.setdefault(record.metadata["writer"], []).append(record.metadata["number"])
    assert stored == {number: list(range(count)) for number, count in load.written.items()}


def is_running(servant: Servant, method: str) -> bool:
    assert servant.process is not None
    label = f'measurand_calls_running{{method="/measurand.v1.BufferService/{method}"}} 1.0'
    return label in servant.process.page("/metrics")


def test_callers_that_wait_do_not_hold_up_the_end_of_a_server(site: Site) -> None:
    def fetch(address: str, group: str) -> grpc.StatusCode:
        request = buffers_pb2.FetchRecordsRequest(name=group, consumer="c")
        request.wait.FromSeconds(30)
        with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError) as ended:
            buffers_pb2_grpc.BufferServiceStub(channel).FetchRecords(request, timeout=60)
        code: grpc.StatusCode = ended.value.code()
        return code

    with serving(site) as servant, Client(servant.address) as client, ThreadPoolExecutor(2) as pool:
        buffer = client.create_catalog("lab").create_buffer("v1", freeze_after={"records": 1})
        with buffer.consume("g", timeout=0.1) as records:
            assert list(records) == []
        freezing = pool.submit(buffer.freeze, wait=600)
        fetching = pool.submit(fetch, servant.address, f"{buffer.name}/groups/g")
        until(lambda: all(is_running(servant, method) for method in ("FreezeBuffer", "FetchRecords")))
        assert servant.stop() == 0
        assert fetching.result() is grpc.StatusCode.UNAVAILABLE
        assert not freezing.done()
        servant.start()
        with Client(servant.address) as other:
            other.buffer("lab/v1").append(b"x")
        assert freezing.result(120).state == "FROZEN"
