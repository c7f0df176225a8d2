"""One server process: started, waited for, and drained so that no acknowledged work is lost."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import signal
import sys
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from functools import partial

from measurand.server.addresses import reachable
from measurand.server.background import Background, Job
from measurand.server.compose import compose
from measurand.server.config import Address, Config
from measurand.server.folder import Presence, open_folder
from measurand.server.greeting import greeting, say
from measurand.server.listener import Listener
from measurand.server.memory import search_garbage_less
from measurand.server.metrics import Metrics
from measurand.server.probing import Probe
from measurand.server.stores import Renew
from measurand.server.watching import open_watching
from measurand.server.web import Page, Web
from measurand.services.interceptors import Calls
from measurand.services.principal import local_user
from measurand.services.server_info import Holders

__all__ = ["FIRST_HOLDER_SECONDS", "LAST_HOLDER_SECONDS", "Process", "run"]

FIRST_HOLDER_SECONDS = 30.0
"""How long a private server waits for the client that started it."""
LAST_HOLDER_SECONDS = 2.0
"""How long it lives on without one, for a client that only reconnects."""
NOT_SERVING_SECONDS = 0.05
"""How long those that watch the health have to hear of its end before their streams are ended."""

PROBE_SECONDS = 3.0

logger = logging.getLogger(__name__)


class Process:
    """A server in this process.

    Parameters
    ----------
    is_worker : bool
        One of several on the same port; their parent is the one that is found in the data folder.
    """

    def __init__(self, config: Config, *, is_worker: bool = False) -> None:
        self._config = config
        self._is_worker = is_worker
        self._started = AsyncExitStack()
        self._draining = asyncio.Event()
        self._holders = Holders()
        self._renew: Renew | None = None
        self.instance_id = secrets.token_hex(8)
        self.metrics = Metrics()
        self.address = config.listen
        self.http_address: Address | None = None

    async def start(self) -> None:
        """Serve from now on. What was opened is closed again if it fails; raises ConfigError."""
        async with AsyncExitStack() as opening:
            await self._start(opening)
            self._started = opening.pop_all()

    async def _start(self, opening: AsyncExitStack) -> None:
        """Open one thing after the other; they are closed in the opposite order."""
        config = self._config
        # A private server over memory keeps nothing in its folder, and is found there all the same.
        has_folder = config.uses_folder or config.private
        if has_folder:
            open_folder(config.data)
        watching = open_watching(config.tracing.endpoint, self.metrics, opening, instance_id=self.instance_id)
        has_peers = self._is_worker or config.documents_place.is_shared
        parts = await compose(
            config,
            watching.meter,
            opening,
            instance_id=self.instance_id,
            draining=self._draining,
            holders=self._holders,
            has_peers=has_peers,
        )
        self._renew = parts.renew
        self.metrics.show(parts.own_figures)

        if config.http is not None:
            web = Web({"/metrics": Page("text/plain; version=0.0.4; charset=utf-8", self.metrics.page)})
            self.http_address = web.start(config.http)
            opening.push_async_callback(asyncio.to_thread, web.stop)

        calls = Calls(
            resolve=local_user,
            recorder=self.metrics,
            instance_id=self.instance_id,
            most_at_once=config.max_calls,
            unary_seconds=config.unary_seconds,
        )
        listener = Listener(
            parts.services,
            watching.around(calls),
            limits=parts.limits,
            max_streams=config.max_streams_per_connection,
            shares_port=self._is_worker,
        )
        # The kernel gives the calls to a shared port to any of its processes; other servers mean this one.
        own = listener.add(Address(config.listen.host, 0)) if self._is_worker else None
        self.address = await listener.start(config.listen)
        if has_peers:
            parts.leading.address = reachable(config.advertise, self.address, own)
        opening.push_async_callback(self._drain, listener, calls)

        jobs = list(parts.jobs)
        if has_folder and not self._is_worker:
            presence = Presence(
                config.data, address=str(self.address), instance_id=self.instance_id, is_private=config.private
            )
            opening.callback(presence.release)
            await presence.claim()
            jobs.append(Job("presence", 2.0, presence.claim))
        if parts.probe is not None:
            jobs.append(Job("probe stores", PROBE_SECONDS, partial(_probe, parts.probe, listener)))
        background = Background(jobs, lease=parts.lease)
        background.start()
        self.metrics.follow(lambda: background.is_leading, parts.shared_figures)
        opening.push_async_callback(background.stop)

    async def renew(self) -> None:
        """Take up renewed certificates. What cannot be used is logged, and the old ones stay in use."""
        if self._renew is None:
            return
        try:
            await self._renew()
        except Exception:
            logger.exception("event=not_renewed")
        else:
            logger.info("event=renewed")

    async def _drain(self, listener: Listener, calls: Calls) -> None:
        """Let what runs come to a good end: uploads acknowledge what they have, watches end, reads finish."""
        logger.info("event=draining calls=%d grace_seconds=%g", calls.running, self._config.grace_seconds)
        await listener.health.drain()
        self._draining.set()
        await asyncio.sleep(NOT_SERVING_SECONDS)
        calls.drain()
        await listener.stop(self._config.grace_seconds)

    async def stop(self) -> None:
        """Drain, and close what was opened. Calls that still run after the grace time are ended."""
        await self._started.aclose()

    async def wait_until_unneeded(self) -> None:
        """Return when nobody holds the server open any longer; a server that is not private is always needed."""
        if not self._config.private:
            await asyncio.Event().wait()
        await self._holders.wait_until_unneeded(first_seconds=FIRST_HOLDER_SECONDS, after_seconds=LAST_HOLDER_SECONDS)
        logger.info("event=unneeded")


async def run(config: Config, *, is_worker: bool = False) -> None:
    """Serve until a signal, or until a private server is not needed any longer. A second signal ends it at once."""
    process = Process(config, is_worker=is_worker)
    signals = asyncio.Queue[str]()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.put_nowait, number.name)
    renewals = set[asyncio.Task[None]]()

    def renew() -> None:
        task = asyncio.create_task(process.renew(), name="renew")
        renewals.add(task)
        task.add_done_callback(renewals.discard)

    loop.add_signal_handler(signal.SIGHUP, renew)
    await process.start()
    search_garbage_less()
    announce(config, process, is_worker=is_worker)
    reasons: list[Awaitable[object]] = [signals.get(), process.wait_until_unneeded()]
    if is_worker:
        reasons.append(_end_of_input())
    await _first(*reasons)
    await _first(process.stop(), signals.get())
    logger.info("event=stopped")


def announce(config: Config, process: Process, *, is_worker: bool) -> None:
    """Say on standard output that the server serves: to a person, or to the parent of workers."""
    if is_worker:
        http = str(process.http_address) if process.http_address else ""
        say(json.dumps({"address": str(process.address), "http": http}))
        return
    say(*greeting(config, process.address))
    logger.info(
        "event=serving address=%s http=%s instance=%s", process.address, process.http_address, process.instance_id
    )


async def _probe(probe: Probe, listener: Listener) -> None:
    was_well = probe.is_well
    is_well = await probe.run()
    if is_well != was_well:
        logger.log(logging.INFO if is_well else logging.ERROR, "event=stores_%s", "back" if is_well else "away")
        await listener.tell(is_well=is_well)


async def _first(*reasons: Awaitable[object]) -> None:
    """Return when one of them is done; the others are cancelled."""
    tasks = [asyncio.ensure_future(reason) for reason in reasons]
    done, running = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    for task in done:
        task.result()


async def _end_of_input() -> None:
    """Return when the parent has ended, however: its end of our standard input is closed then."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()
