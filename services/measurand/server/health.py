"""The standard gRPC health service: SERVING, but while a store is away and from when the server drains."""

from __future__ import annotations

from collections.abc import Sequence

import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

__all__ = ["ALIVE", "Health"]

ALIVE = "alive"
"""The name by which to ask whether the process answers at all: a server whose store is away must not be restarted."""


class Health:
    """Answers whether this server takes calls."""

    def __init__(self) -> None:
        self._servicer = health.aio.HealthServicer()

    def add_to(self, server: grpc.aio.Server) -> None:
        """Put the service into a server that has not started."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def serve(self, services: Sequence[str], *, is_well: bool = True) -> None:
        """Say for the server as a whole (the empty name) and for each of its services whether it can do its work."""
        status = health_pb2.HealthCheckResponse.SERVING if is_well else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", *services):
            await self._servicer.set(name, status)
        await self._servicer.set(ALIVE, health_pb2.HealthCheckResponse.SERVING)

    async def drain(self) -> None:
        """Say NOT_SERVING from now on, to callers of Check and to those that watch."""
        await self._servicer.enter_graceful_shutdown()
