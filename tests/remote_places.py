"""Places behind a blob service of the test's own event loop: each opening has a server, as if it were a process."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import grpc.aio
from tests.spreading import make_test_means

from measurand.core.ports import BlobStore
from measurand.server.crc32c import make_crc32c
from measurand.services.blobs import BlobService, Door
from measurand.services.interceptors import Calls
from measurand.services.principal import local_user
from measurand.storage.blobs.remote import Remote
from measurand.v1.blobs_pb2_grpc import BlobServiceStub, add_BlobServiceServicer_to_server
from measurand.wire.codec import codec_channel, codec_server

__all__ = ["BlobServer", "OpenDoor", "Served", "remote_at"]

DEPLOYMENT, CONTAINER = "01deployment", "01container"


def remote_at(port: int, **settings: float) -> Remote:
    """Return a store over what listens on a port of this machine."""
    return Remote(
        f"127.0.0.1:{port}",
        deployment_id=DEPLOYMENT,
        container_uid=CONTAINER,
        crc32c=make_crc32c(),
        **settings,
    )


class OpenDoor:
    """Lets everybody in. A `Door`."""

    def __init__(self, store: BlobStore) -> None:
        self._store = store

    def enter(self, deployment: str, container: str, *, new: str = "") -> BlobStore:
        return self._store


class _Silent:
    """Takes figures of calls and forgets them."""

    def begin(self, method: str) -> None: ...

    def end(self, method: str, code: str, reason: str, seconds: float) -> None: ...

    def received(self, size: int) -> None: ...

    def sent(self, size: int) -> None: ...


class BlobServer:
    """A server of one blob service, which takes calls as soon as the event loop turns. Stop it."""

    def __init__(self, door: Door, port: int = 0) -> None:
        calls = Calls(resolve=local_user, recorder=_Silent(), instance_id="test", most_at_once=1000, unary_seconds=60.0)
        self._server = grpc.aio.server(
            interceptors=[calls], options=[("grpc.max_receive_message_length", 16 << 20), ("grpc.so_reuseport", 0)]
        )
        self._service = BlobService(door, make_test_means(), note=lambda *_: None)
        add_BlobServiceServicer_to_server(self._service, codec_server(self._server))
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        self._starting = asyncio.ensure_future(self._server.start())

    def channel(self) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(f"127.0.0.1:{self.port}")

    async def stop(self) -> None:
        await self._starting
        await self._server.stop(0)
        await self._service.close()


class Served(Remote):
    """A `Remote` with the server that it speaks to."""

    def __init__(self, kept: BlobStore) -> None:
        self.server = BlobServer(OpenDoor(kept))
        self._kept = kept
        target = f"127.0.0.1:{self.server.port}"
        super().__init__(target, deployment_id=DEPLOYMENT, container_uid=CONTAINER, crc32c=make_crc32c())

    async def close(self) -> None:
        await super().close()
        await self.server.stop()
        await self._kept.close()


def stub_of(channel: grpc.aio.Channel) -> Any:
    """Return the methods of a blob service, as a server of another release might call them."""
    return BlobServiceStub(codec_channel(channel))


class Flipping:
    """A way to a server that changes one byte of the next bytes in which it finds `marker`, each way. Close it."""

    def __init__(self, port: int, marker: bytes) -> None:
        self._to = port
        self._marker = marker
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.left = 0
        """So many times it will do so."""
        self.is_open = asyncio.Event()
        """Cleared: it passes nothing on."""
        self.is_open.set()
        self.port = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.port = int(cast("Any", self._server.sockets[0]).getsockname()[1])

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward = await asyncio.open_connection("127.0.0.1", self._to)
        for source, target in ((reader, onward[1]), (onward[0], writer)):
            task = asyncio.ensure_future(self._pass(source, target))
            self._tasks.add(task)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 16):
                await self.is_open.wait()
                at = data.find(self._marker)
                if self.left and at >= 0:
                    self.left -= 1
                    data = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()
