"""How a process registers its container at the servers, and tells them that it is alive."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any

import grpc.aio

from measurand.core.containers.documents import State
from measurand.core.containers.figures import Figures
from measurand.core.containers.sites import BEAT_SECONDS, Room
from measurand.core.means import Means
from measurand.server.container.door import ContainerDoor
from measurand.server.container.folder import Folder
from measurand.storage.blobs.remote import error_of
from measurand.v1 import containers_pb2, server_pb2
from measurand.v1.containers_pb2_grpc import ContainerServiceStub
from measurand.v1.server_pb2_grpc import ServerServiceStub
from measurand.wire.errors import Busy, Contention, Internal, MeasurandError, Timeout, Unavailable

__all__ = ["Reporting"]

logger = logging.getLogger(__name__)

REGISTER_SECONDS = 20.0
BEAT_ANSWER_SECONDS = 3.0
AGAIN_SECONDS = 1.0
_PASSING = (Unavailable, Busy, Contention, Timeout, Internal)

_OPTIONS = (
    # A server that comes up is found at once: gRPC's own pauses grow to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 2_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.use_local_subchannel_pool", 1),
)
_STATES: dict[int, State] = {
    containers_pb2.CONTAINER_STATE_READ_ONLY: "read_only",
    containers_pb2.CONTAINER_STATE_DRAINING: "draining",
    containers_pb2.CONTAINER_STATE_DRAINED: "drained",
}


class Reporting:
    """Runs beside the service of one container.

    Parameters
    ----------
    draft : Container
        As it is to be registered.
    open_store : callable
        Opens the door for a deployment.
    look : callable
        Tells how full the folder is; raises OSError if it is gone.
    """

    def __init__(
        self,
        servers: Sequence[str],
        draft: containers_pb2.Container,
        folder: Folder,
        door: ContainerDoor,
        figures: Figures,
        means: Means,
        *,
        open_store: Callable[[str], Awaitable[None]],
        look: Callable[[], Awaitable[Room]],
    ) -> None:
        self._servers = list(servers)
        self._channels = [grpc.aio.insecure_channel(server, options=_OPTIONS) for server in servers]
        self._turn = 0
        self._draft = draft
        self._folder = folder
        self._door = door
        self._figures = figures
        self._means = means
        self._open_store = open_store
        self._look = look

    async def run(self) -> None:
        """Register, then beat, until cancelled. Raises what no waiting will mend."""
        await self._until_done(self._join, "register")
        while True:
            started = self._means.monotonic()
            interval = await self._until_done(self._beat, "beat")
            await asyncio.sleep(max(0.0, interval - (self._means.monotonic() - started)))

    async def close(self) -> None:
        """Let go of the servers."""
        for channel in self._channels:
            await channel.close()

    # ---------------------------------------------------------------------------------------------------------- inside

    async def _until_done(self, work: Callable[[], Awaitable[float]], name: str) -> float:
        told = ""
        while True:
            try:
                return await work()
            except (*_PASSING, OSError) as error:
                if type(error).__name__ != told:
                    logger.warning("event=container_%s_failed message=%s", name, error)
                    told = type(error).__name__
                self._turn += 1
                await asyncio.sleep(AGAIN_SECONDS)

    async def _join(self) -> float:
        told = await self._call(ServerServiceStub, "GetCapabilities", server_pb2.GetCapabilitiesRequest())
        await asyncio.to_thread(self._folder.belong_to, told.deployment_id)
        if not self._door.is_open:
            await self._open_store(told.deployment_id)
        self._door.belong_to("")
        membership = self._folder.membership
        if not membership.lease_id:
            request_id = membership.request_id or str(uuid.uuid4())
            await self._keep(request_id=request_id)  # if the answer is lost, asking again gives the same lease
            await self._register(request_id)
        if membership.lease_id or membership.request_id:
            await self._register("")  # the address, and whatever else was said, may be new
        self._door.belong_to(self._folder.membership.uid)
        logger.info("event=container_registered container=%s", self._draft.name)
        return 0.0

    async def _register(self, request_id: str) -> None:
        membership = self._folder.membership
        request = containers_pb2.RegisterContainerRequest(
            container=self._draft, lease_id=membership.lease_id, request_id=request_id
        )
        answer = await self._call(ContainerServiceStub, "RegisterContainer", request, seconds=REGISTER_SECONDS)
        uid = answer.container.etag.rpartition("-")[0]
        if (uid, answer.lease_id) != (membership.uid, membership.lease_id):
            await self._keep(uid=uid, lease_id=answer.lease_id)
        self._door.state = _STATES.get(answer.container.state, "active")

    async def _beat(self) -> float:
        room = await self._look()
        stats = containers_pb2.ContainerStats(
            capacity_bytes=room.capacity_bytes,
            free_bytes=room.free_bytes,
            failure_rate=self._figures.failure_rate(self._means.monotonic()),
            write_bandwidth=self._figures.bandwidth("write"),
            read_bandwidth=self._figures.bandwidth("read"),
        )
        stats.write_latency.FromTimedelta(timedelta(seconds=self._figures.latency("write")))
        stats.read_latency.FromTimedelta(timedelta(seconds=self._figures.latency("read")))
        request = containers_pb2.HeartbeatContainerRequest(
            name=self._draft.name, lease_id=self._folder.membership.lease_id, stats=stats
        )
        answer = await self._call(ContainerServiceStub, "HeartbeatContainer", request, seconds=BEAT_ANSWER_SECONDS)
        state = _STATES.get(answer.state, "active")
        if state != self._door.state:
            logger.info("event=container_state state=%s", state)
            self._door.state = state
        return float(answer.heartbeat_interval.ToTimedelta().total_seconds()) or BEAT_SECONDS

    async def _keep(self, **changes: str) -> None:
        await asyncio.to_thread(lambda: self._folder.keep(**changes))

    async def _call(self, stub: Callable[[Any], Any], method: str, request: object, *, seconds: float = 5.0) -> Any:
        turn = self._turn % len(self._channels)
        try:
            return await getattr(stub(self._channels[turn]), method)(request, timeout=seconds)
        except grpc.aio.AioRpcError as failure:
            error: MeasurandError = error_of(failure, self._servers[turn])
        raise error
