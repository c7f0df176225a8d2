"""A servicer that does what a test says, behind the interceptor and on a real channel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc.aio
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from measurand.core.limits import Limits
from measurand.server.config import Address
from measurand.server.listener import Listener, serving
from measurand.server.metrics import Metrics
from measurand.services.interceptors import Calls
from measurand.services.principal import Resolver, local_user
from measurand.v1 import server_pb2, server_pb2_grpc

Answer = Callable[[], Awaitable[None]]


@dataclass
class Probe(server_pb2_grpc.ServerServiceServicer):
    """Stands in for any service: one unary call and one stream of three messages."""

    act: Answer
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    async def GetCapabilities(
        self, request: server_pb2.GetCapabilitiesRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> server_pb2.Capabilities:
        await self.act()
        return server_pb2.Capabilities(instance_id="probe")

    async def KeepOpen(
        self, request: server_pb2.KeepOpenRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[server_pb2.KeepOpenResponse]:
        try:
            for _ in range(3):
                yield server_pb2.KeepOpenResponse()
            await self.act()
        finally:
            self.closed.set()


@dataclass
class Probed:
    """A running probe."""

    probe: Probe
    calls: Calls
    listener: Listener
    metrics: Metrics
    channel: grpc.aio.Channel
    address: Address

    @property
    def stub(self) -> server_pb2_grpc.ServerServiceAsyncStub:
        return server_pb2_grpc.ServerServiceStub(self.channel)

    async def ask(self, **options: Any) -> server_pb2.Capabilities:
        return await self.stub.GetCapabilities(server_pb2.GetCapabilitiesRequest(), **options)

    async def fail(self, **options: Any) -> grpc.aio.AioRpcError:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.ask(**options)
        return caught.value

    async def fail_in_stream(self) -> grpc.aio.AioRpcError:
        call = self.stub.KeepOpen(server_pb2.KeepOpenRequest())
        for _ in range(3):
            assert isinstance(await call.read(), server_pb2.KeepOpenResponse)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        return caught.value


@asynccontextmanager
async def probing(
    act: Answer, *, resolve: Resolver = local_user, most_at_once: int = 100, unary_seconds: float = 60.0
) -> AsyncIterator[Probed]:
    metrics = Metrics()
    calls = Calls(
        resolve=resolve,
        recorder=metrics,
        instance_id="instance",
        most_at_once=most_at_once,
        unary_seconds=unary_seconds,
    )
    probe = Probe(act)
    adder = serving(server_pb2_grpc.add_ServerServiceServicer_to_server, probe)
    listener = Listener([("measurand.v1.ServerService", adder)], calls, limits=Limits(), max_streams=100)
    address = await listener.start(Address("127.0.0.1", 0))
    async with grpc.aio.insecure_channel(str(address)) as channel:
        yield Probed(probe, calls, listener, metrics, channel, address)
    await listener.stop(0)


@dataclass
class Details:
    """What came with an error."""

    info: ErrorInfo
    retry: RetryInfo | None
    fault: BadRequest | None


def trailers(error: grpc.aio.AioRpcError) -> dict[str, Any]:
    return dict(error.trailing_metadata() or ())


def details(error: grpc.aio.AioRpcError) -> Details:
    status = Status.FromString(trailers(error)["grpc-status-details-bin"])
    assert status.code == error.code().value[0]
    assert status.message == error.details()
    found: dict[type, Any] = {}
    for packed in status.details:
        for kind in (ErrorInfo, RetryInfo, BadRequest):
            if packed.Is(kind.DESCRIPTOR):
                found[kind] = kind()
                packed.Unpack(found[kind])
    return Details(found[ErrorInfo], found.get(RetryInfo), found.get(BadRequest))
