"""One process that serves one container: its folder, its port, and its word to the servers that it is alive."""

from __future__ import annotations

import asyncio
import logging
import resource
import secrets
import signal
from collections.abc import Awaitable
from contextlib import AsyncExitStack

from measurand.core.containers.figures import Figures
from measurand.core.containers.ports import Direction
from measurand.core.containers.sites import Room
from measurand.core.limits import Limits
from measurand.server.config import Address, Place
from measurand.server.container.door import ContainerDoor
from measurand.server.container.folder import Folder
from measurand.server.container.reporting import Reporting
from measurand.server.container.settings import Settings
from measurand.server.greeting import say
from measurand.server.listener import Listener, serving
from measurand.server.means import in_threads, make_means, make_threads
from measurand.server.memory import search_garbage_less
from measurand.server.metrics import Metrics
from measurand.server.stores import RawBlobs, open_raw_blobs
from measurand.server.web import Page, Web
from measurand.services.blobs import BlobService
from measurand.services.interceptors import Calls
from measurand.services.principal import local_user
from measurand.storage.blobs.measured import Measured
from measurand.v1 import containers_pb2
from measurand.v1.blobs_pb2_grpc import add_BlobServiceServicer_to_server as add_blobs

__all__ = ["ContainerProcess", "run"]

logger = logging.getLogger(__name__)

MOST_CALLS = 1000
OPEN_FILES = 16_384
MOST_STREAMS = 1000
UNARY_SECONDS = 300.0
NOT_SERVING_SECONDS = 0.05


class ContainerProcess:
    """A container in this process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._started = AsyncExitStack()
        self._door = ContainerDoor(settings.name)
        self._figures = Figures()
        self._raw: RawBlobs | None = None
        self._reporting: Reporting | None = None
        self._metrics = Metrics()
        self._storing = make_threads("store", 4)
        self._hashing = make_threads("hash")
        self._means = make_means(self._hashing)
        self.address = settings.listen

    async def start(self) -> None:
        """Take calls from now on. What was opened is closed again if it fails.

        Raises
        ------
        ConfigError, LeaseHeld
            As `Folder.open`, or the address is taken.
        """
        async with AsyncExitStack() as opening:
            await self._start(opening)
            self._started = opening.pop_all()

    async def report(self) -> None:
        """Register the container, and tell that it is alive, until cancelled. Raises what no waiting will mend."""
        assert self._reporting is not None
        await self._reporting.run()

    async def stop(self) -> None:
        """Drain, and close what was opened."""
        await self._started.aclose()

    async def _start(self, opening: AsyncExitStack) -> None:
        settings = self._settings
        for threads in (self._hashing, self._storing):
            opening.push_async_callback(asyncio.to_thread, threads.shutdown)
        folder = await asyncio.to_thread(Folder.open, settings.folder, settings.name)
        opening.callback(folder.close)
        opening.push_async_callback(self._close_store)
        if folder.deployment_id:  # it was in use before, and can be used before a server is found
            await self._open_store(folder.deployment_id)
        service = BlobService(self._door, self._means, note=self._note)
        opening.push_async_callback(service.close)
        calls = Calls(
            resolve=local_user,
            recorder=self._metrics,
            instance_id=secrets.token_hex(8),
            most_at_once=MOST_CALLS,
            unary_seconds=UNARY_SECONDS,
        )
        if settings.http is not None:
            web = Web({"/metrics": Page("text/plain; version=0.0.4; charset=utf-8", self._metrics.page)})
            web.start(settings.http)
            opening.push_async_callback(asyncio.to_thread, web.stop)
        listener = Listener(
            [("measurand.v1.BlobService", serving(add_blobs, service))],
            calls,
            limits=Limits(),
            max_streams=MOST_STREAMS,
        )
        self.address = await listener.start(settings.listen)
        opening.push_async_callback(self._drain, listener, calls)
        self._reporting = Reporting(
            settings.servers,
            self._draft(),
            folder,
            self._door,
            self._figures,
            self._means,
            open_store=self._open_store,
            look=self._look,
        )
        opening.push_async_callback(self._reporting.close)

    def _draft(self) -> containers_pb2.Container:
        settings = self._settings
        reached = Address(settings.advertise.host, settings.advertise.port or self.address.port)
        return containers_pb2.Container(
            name=f"containers/{settings.name}",
            title=settings.title,
            uri=f"grpc://{reached}",
            zone=settings.zone,
            labels=dict(settings.labels),
            weight=settings.weight,
            max_bytes=settings.max_bytes,
        )

    async def _open_store(self, deployment_id: str) -> None:
        place = Place("file", self._settings.folder)
        self._raw = await open_raw_blobs(place, deployment_id, in_threads(self._storing))
        store = Measured(self._raw.store, store="container", metrics=self._metrics, monotonic=self._means.monotonic)
        self._door.open(store, deployment_id)

    async def _close_store(self) -> None:
        if self._raw is not None:
            await self._raw.store.close()

    async def _look(self) -> Room:
        assert self._raw is not None
        return await self._raw.look()

    def _note(self, direction: Direction, size: int, seconds: float, error: Exception | None) -> None:
        self._figures.note(self._means.monotonic(), direction, size, seconds, error)

    async def _drain(self, listener: Listener, calls: Calls) -> None:
        logger.info("event=draining calls=%d grace_seconds=%g", calls.running, self._settings.grace_seconds)
        await listener.health.drain()
        await asyncio.sleep(NOT_SERVING_SECONDS)
        calls.drain()
        await listener.stop(self._settings.grace_seconds)


async def run(settings: Settings) -> None:
    """Serve until a signal; a second one ends it at once. Raises what no waiting will mend."""
    _allow_open_files()
    process = ContainerProcess(settings)
    signals = asyncio.Queue[str]()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, signals.put_nowait, number.name)
    await process.start()
    search_garbage_less()
    say(
        f"listening on {process.address}",
        f"containers/{settings.name} in {settings.folder}, of {', '.join(settings.servers)}",
    )
    try:
        await _first(signals.get(), process.report())
    finally:
        await _first(process.stop(), signals.get())
        logger.info("event=stopped")


def _allow_open_files() -> None:
    """Let this process have as many files open as the system lets it: each staged write is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _first(*reasons: Awaitable[object]) -> None:
    """Return when one of them is done, or raise what it raises; the others are cancelled."""
    tasks = [asyncio.ensure_future(reason) for reason in reasons]
    done, running = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    for task in done:
        task.result()
