"""The standard gRPC health service: SERVING for every service, NOT_SERVING from the moment the server drains."""

from __future__ import annotations

from collections.abc import Sequence

import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

__all__ = ["Health"]


class Health:
    """Answers whether this server takes calls."""

    def __init__(self) -> None:
        self._servicer = health.aio.HealthServicer()

    def add_to(self, server: grpc.aio.Server) -> None:
        """Put the service into a server that has not started."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def serve(self, services: Sequence[str]) -> None:
        """Say SERVING for the server as a whole (the empty name) and for each of its services."""
        for name in ("", *services):
            await self._servicer.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def drain(self) -> None:
        """Say NOT_SERVING from now on, to callers of Check and to those that watch."""
        await self._servicer.enter_graceful_shutdown()
