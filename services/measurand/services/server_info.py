"""The server service: what this server is and can do, and who holds a private one open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import grpc.aio

from measurand.core.limits import Limits
from measurand.v1 import server_pb2, server_pb2_grpc

__all__ = ["About", "Holders", "ServerService"]


@dataclass(frozen=True, slots=True)
class About:
    """What a server tells of itself.

    Parameters
    ----------
    deployment_id : str
        The same for all servers over one document store.
    instance_id : str
        Of this process.
    document_store, blob_store : str
        One word for each.
    """

    version: str
    deployment_id: str
    instance_id: str
    document_store: str
    blob_store: str
    features: tuple[str, ...] = ()
    auth_methods: tuple[str, ...] = ("none",)


class Holders:
    """The callers that hold a private server open."""

    def __init__(self) -> None:
        self._count = 0
        self._came = asyncio.Event()
        self._none_left = asyncio.Event()

    @property
    def count(self) -> int:
        """How many there are."""
        return self._count

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Count one more holder inside the block."""
        self._count += 1
        self._came.set()
        self._none_left.clear()
        try:
            yield
        finally:
            self._count -= 1
            if not self._count:
                self._none_left.set()

    async def wait_until_unneeded(self, *, first_seconds: float, after_seconds: float) -> None:
        """Return when nobody came within the first seconds, or `after_seconds` after the last one left."""
        try:
            async with asyncio.timeout(first_seconds):
                await self._came.wait()
        except TimeoutError:
            return
        while True:
            await self._none_left.wait()
            self._came.clear()
            if self._count:  # one came between the two
                continue
            try:
                async with asyncio.timeout(after_seconds):
                    await self._came.wait()
            except TimeoutError:
                return


class ServerService(server_pb2_grpc.ServerServiceServicer):
    """Answers for the server itself."""

    def __init__(self, about: About, limits: Limits, now: Callable[[], datetime], holders: Holders) -> None:
        self._about = about
        self._limits = limits
        self._now = now
        self._holders = holders

    async def GetCapabilities(
        self,
        request: server_pb2.GetCapabilitiesRequest,
        context: grpc.aio.ServicerContext[server_pb2.GetCapabilitiesRequest, server_pb2.Capabilities],
    ) -> server_pb2.Capabilities:
        about = self._about
        capabilities = server_pb2.Capabilities(
            server_version=about.version,
            api_versions=["v1"],
            deployment_id=about.deployment_id,
            instance_id=about.instance_id,
            limits=_limits_message(self._limits),
            features=about.features,
            auth_methods=about.auth_methods,
            document_store=about.document_store,
            blob_store=about.blob_store,
        )
        capabilities.server_time.FromDatetime(self._now())
        return capabilities

    async def KeepOpen(
        self,
        request: server_pb2.KeepOpenRequest,
        context: grpc.aio.ServicerContext[server_pb2.KeepOpenRequest, server_pb2.KeepOpenResponse],
    ) -> AsyncIterator[server_pb2.KeepOpenResponse]:
        with self._holders.holding():
            while True:
                yield server_pb2.KeepOpenResponse()
                await asyncio.sleep(self._limits.heartbeat.total_seconds())


def _limits_message(limits: Limits) -> server_pb2.Limits:
    message = server_pb2.Limits(
        max_message_bytes=limits.max_message_bytes,
        max_data_bytes=limits.max_data_bytes,
        preferred_chunk_bytes=limits.preferred_chunk_bytes,
        max_put_file_bytes=limits.max_put_file_bytes,
        max_document_bytes=limits.max_document_bytes,
        max_page_size=limits.max_page_size,
        window_bytes=limits.window_bytes,
    )
    lasting: dict[str, timedelta] = {
        "max_wait": limits.max_wait,
        "request_id_lifetime": limits.request_id_lifetime,
        "upload_lifetime": limits.upload_lifetime,
    }
    for field, duration in lasting.items():
        getattr(message, field).FromTimedelta(duration)
    return message
