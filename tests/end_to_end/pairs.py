"""Two servers over the same stores, each reached by itself, of which one may stand still."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import grpc.aio
import psutil
from tests.end_to_end.serving import channel_to, instance, make_run
from tests.end_to_end.stalling import FLAG
from tests.servers import Server
from tests.stores import Site

from measurand.v1 import arrays_pb2_grpc
from measurand.wire.codec import codec_channel

if TYPE_CHECKING:
    from tests.services.array_calls import Stub

__all__ = ["Pair", "two_servers"]


class Pair:
    """Two servers over the same stores."""

    def __init__(self, servers: list[Server]) -> None:
        self.servers = servers

    def stopped(self) -> list[int]:
        """Return the process ids of those that stand still."""
        found = []
        for server in self.servers:
            parent = psutil.Process(server.process.pid)
            found += [one.pid for one in (parent, *parent.children()) if one.status() == psutil.STATUS_STOPPED]
        return found

    def wake(self) -> None:
        """Let them go on."""
        for pid in self.stopped():
            os.kill(pid, signal.SIGCONT)

    async def make_run(self) -> None:
        """Make the dataset that calls of the arrays service are about."""
        async with channel_to(self.servers[0]) as channel:
            await make_run(channel)

    @asynccontextmanager
    async def reach(self, *, but: str = "") -> AsyncIterator[tuple[Stub, str]]:
        """Call one of the servers that answer, which has another instance id than `but`."""
        for number in range(100):
            async with channel_to(self.servers[number % len(self.servers)]) as channel:
                try:
                    async with asyncio.timeout(2):  # one that stands still takes connections, and says nothing
                        found = await instance(channel)
                except (TimeoutError, grpc.aio.AioRpcError):
                    continue
                if found == but:
                    continue
                yield arrays_pb2_grpc.ArrayServiceStub(codec_channel(channel)), found
                return
        raise AssertionError("no server answers")


@contextmanager
def two_servers(site: Site, other: Site | None = None, *, program: str = "measurand.server.run") -> Iterator[Pair]:
    """Start two servers of one store; over a directory they are the two workers of one.

    Parameters
    ----------
    other : Site, optional
        The same stores as the second server is told of them. None: as the first.
    """
    if site.kind == "embedded":
        sites, options = [site], ["--workers", "2"]
    else:
        sites, options = [site, other or site.beside(site.folder.with_name("other"))], []
    servers: list[Server] = []
    try:
        for each in sites:
            environment = {**each.environment, FLAG: str(site.folder.with_name("stalled"))}
            started = Server(each.folder, *each.options, *options, environment=environment, program=program)
            servers.append(started)
            started.wait_until_serving()
        yield Pair(servers)
    finally:
        Pair(servers).wake()
        for server in servers:
            server.stop()
