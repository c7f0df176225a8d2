"""Gateways that renew their leases: what that costs the server."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import grpc.aio
from benchmarks import product
from benchmarks.harness import Turn
from benchmarks.peers import bare
from benchmarks.product import Kind

from measurand.v1 import registry_pb2, registry_pb2_grpc

__all__ = ["beats", "empty_calls", "watched"]

TTL_SECONDS = 30
CHANNELS = 50
CALLERS = 16
SECONDS = 10.0
"""So long is looked at: each gateway beats once in it."""
TICKS = os.sysconf("SC_CLK_TCK")

if TYPE_CHECKING:
    Stub = registry_pb2_grpc.RegistryServiceAsyncStub


@contextmanager
def beats(gateways: int, kind: Kind = "disk") -> Iterator[Turn]:
    """So many gateways beat every ten seconds; the figure is the server's share of one core, in percent."""
    with product.serving(kind) as (address, pid):
        yield _turn(address, pid, gateways)


@contextmanager
def empty_calls(gateways: int) -> Iterator[Turn]:
    """As often is a server called that does nothing."""
    with bare.serving() as (address, pid):
        yield _turn(address, pid, gateways)


@contextmanager
def watched(entries: int, watchers: int, kind: Kind = "disk") -> Iterator[Turn]:
    """So many entries come while so many clients watch; the figure is how many changes a second they are told."""
    with product.serving(kind) as (address, _):
        numbers = itertools.count()
        yield lambda: asyncio.run(_told(address, entries, watchers, next(numbers)))


async def _told(address: str, entries: int, watchers: int, number: int) -> float:
    parent = f"registry/watched-{number}"
    async with _stubs(address) as stubs:
        start = await stubs[0].PollRegistrations(registry_pb2.PollRegistrationsRequest(parent=parent))

        async def see_all(stub: Stub) -> None:
            request = registry_pb2.WatchRegistrationsRequest(parent=parent, resume_token=start.resume_token)
            call = stub.WatchRegistrations(request)
            for _ in range(entries):
                await call.read()
            call.cancel()

        async def put(indices: Iterator[int]) -> None:
            for index in indices:
                registration = registry_pb2.Registration(name=f"{parent}/registrations/e{index}", endpoint="grpc://a:1")
                await stubs[index % len(stubs)].Register(registry_pb2.RegisterRequest(registration=registration))

        begun = time.monotonic()
        indices = iter(range(entries))
        watching = [see_all(stubs[watcher % len(stubs)]) for watcher in range(watchers)]
        await asyncio.gather(*watching, *(put(indices) for _ in range(CALLERS)))
        return entries * watchers / (time.monotonic() - begun)


def _turn(address: str, pid: int, gateways: int) -> Turn:
    numbers = itertools.count()
    return lambda: asyncio.run(_share(address, pid, gateways, next(numbers)))


async def _share(address: str, pid: int, gateways: int, number: int) -> float:
    async with _stubs(address) as stubs:
        held: list[tuple[Stub, registry_pb2.RenewRegistrationRequest]] = []
        for gateway in range(gateways):
            stub = stubs[gateway % len(stubs)]
            name = f"registry/gateway-{number}/registrations/g{gateway}"
            registration = registry_pb2.Registration(name=name, endpoint=f"grpc://host{gateway}:50051")
            registration.ttl.FromSeconds(TTL_SECONDS)
            answer = await stub.Register(registry_pb2.RegisterRequest(registration=registration))
            held.append((stub, registry_pb2.RenewRegistrationRequest(name=name, lease_id=answer.lease_id)))
        before, begun = _cpu_seconds(pid), time.monotonic()

        async def beat(index: int) -> None:
            await asyncio.sleep(begun + index * SECONDS / gateways - time.monotonic())
            stub, request = held[index]
            await stub.RenewRegistration(request)

        await asyncio.gather(*(beat(index) for index in range(gateways)))
        return 100 * (_cpu_seconds(pid) - before) / (time.monotonic() - begun)


@asynccontextmanager
async def _stubs(address: str) -> AsyncIterator[list[Stub]]:
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(address, options=options) for _ in range(CHANNELS)]
    try:
        yield [registry_pb2_grpc.RegistryServiceStub(channel) for channel in channels]
    finally:
        for channel in channels:
            await channel.close()


def _cpu_seconds(pid: int) -> float:
    """Return the time that a process and its threads have had a core."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS
