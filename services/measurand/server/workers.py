"""Several server processes on one port: started, watched, started again when one dies, and drained together.

They are spawned, never forked: gRPC does not survive a fork. The kernel spreads connections over the processes that
listen with SO_REUSEPORT. Their parent takes no calls and imports no gRPC; it holds the port and is in `server.json`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from measurand.server.addresses import hold
from measurand.server.background import Background, Job
from measurand.server.config import Address, Config, ConfigError
from measurand.server.folder import Presence, open_folder
from measurand.server.greeting import greeting, say
from measurand.server.web import Page, Web
from measurand.server.worker_metrics import WorkerMetrics

__all__ = ["run_workers"]

START_SECONDS = 60.0
STEADY_SECONDS = 10.0
"""A worker that ran for so long died of something new; one that did not is started again more and more slowly."""
LONGEST_PAUSE_SECONDS = 30.0
BEYOND_GRACE_SECONDS = 10.0
"""How much longer than the grace time a worker may take to end before it is killed."""

logger = logging.getLogger(__name__)


class Worker:
    """One of the processes. It is started again whenever it dies, until `stop`.

    Parameters
    ----------
    arguments : sequence of str
        What its command line says behind `serve`.
    environment : mapping
        What it is told by variables: others can read command lines, and URLs may hold passwords.
    """

    def __init__(
        self, number: int, arguments: Sequence[str], environment: Mapping[str, str], *, grace_seconds: float
    ) -> None:
        self.number = number
        self.http = ""
        self._arguments = arguments
        self._environment = environment
        self._grace_seconds = grace_seconds
        self._process: Process | None = None
        self._is_stopping = False
        self._watch: asyncio.Task[None] | None = None

    @property
    def has_started(self) -> bool:
        """There is, or was, a process."""
        return self._process is not None

    async def start(self) -> None:
        """Start the process and wait until it serves. Raises ConfigError when it does not; its log says why."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "measurand.server.run"),
            *self._arguments,
            stdin=PIPE,  # closed when the parent ends, however it ends: workers outlive nobody
            stdout=PIPE,
            env={**os.environ, **self._environment},
            start_new_session=True,  # what a terminal sends to all of its processes comes once, from the parent
        )
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(START_SECONDS):
                line = await self._process.stdout.readline()
        except TimeoutError as error:
            await self._end(signal.SIGKILL)
            raise ConfigError(f"--workers: worker {self.number} did not serve within {START_SECONDS:g} s") from error
        if not line:
            await self._process.wait()
            raise ConfigError(f"--workers: worker {self.number} did not start; see above")
        self.http = json.loads(line)["http"]

    def keep_alive(self) -> None:
        """Start it again from now on when it dies."""
        self._watch = asyncio.create_task(self._keep_alive(), name=f"worker {self.number}")

    async def _keep_alive(self) -> None:
        loop = asyncio.get_running_loop()
        pause, began = 0.0, loop.time()
        while True:
            assert self._process is not None
            code = await self._process.wait()
            if self._is_stopping:
                return
            pause = 0.0 if loop.time() - began > STEADY_SECONDS else min(2 * pause + 0.5, LONGEST_PAUSE_SECONDS)
            text = "event=worker_died worker=%d code=%d restart_seconds=%g"
            logger.warning(text, self.number, code, pause)
            await asyncio.sleep(pause)
            began = loop.time()
            try:
                await self.start()
            except ConfigError as error:
                logger.error("event=worker_not_started worker=%d message=%s", self.number, error)  # noqa: TRY400

    def renew(self) -> None:
        """Have it take up renewed certificates."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGHUP)

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Let it drain, and return its exit code. One that does not end is killed."""
        self._is_stopping = True
        code = await self._end(number)
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        return code

    def hurry(self) -> None:
        """Ask once more: it then ends without waiting for its calls."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)

    async def _end(self, number: signal.Signals) -> int:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(number)
            try:
                async with asyncio.timeout(self._grace_seconds + BEYOND_GRACE_SECONDS):
                    await self._process.wait()
            except TimeoutError:
                logger.error("event=worker_killed worker=%d", self.number)  # noqa: TRY400  # where does not matter
                self._process.kill()
        return await self._process.wait()


async def run_workers(config: Config, file: Path | None) -> int:
    """Serve by several processes until a signal, and return the exit code: 0 when all of them ended well."""
    signals = asyncio.Queue[signal.Signals]()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, signals.put_nowait, number)
    async with AsyncExitStack() as opening:
        if config.uses_folder:
            open_folder(config.data)
        held, address = hold(config.listen)
        opening.callback(held.close)
        arguments = _arguments(config, address, file)
        places = {"MEASURAND_DOCUMENTS": config.documents, "MEASURAND_BLOBS": config.blobs}
        environment = {name: place.written for name, place in places.items() if place is not None}
        environment |= {"MEASURAND_CONTAINERS": str(config.containers)} if config.containers else {}
        workers = [Worker(n, arguments, environment, grace_seconds=config.grace_seconds) for n in range(config.workers)]
        codes: list[int] = []
        opening.push_async_callback(_stop_all, workers, signals, codes)
        await asyncio.gather(*(worker.start() for worker in workers))
        for worker in workers:
            worker.keep_alive()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _renew_all, workers)
        http = _show_metrics(config, workers, opening)
        if config.uses_folder:
            await _be_present(config, address, opening)
        say(*greeting(config, address))
        logger.info("event=serving address=%s http=%s workers=%d", address, http, len(workers))
        await signals.get()
    logger.info("event=stopped codes=%s", ",".join(map(str, codes)))
    return int(any(codes))


def _renew_all(workers: Sequence[Worker]) -> None:
    for worker in workers:
        worker.renew()


async def _stop_all(workers: Sequence[Worker], signals: asyncio.Queue[signal.Signals], codes: list[int]) -> None:
    """Stop all of them together; a second signal is passed on, which ends them at once."""
    stopping = asyncio.gather(*(worker.stop() for worker in workers if worker.has_started))
    again = asyncio.create_task(_hurry(workers, signals))
    codes += await stopping
    again.cancel()


async def _hurry(workers: Sequence[Worker], signals: asyncio.Queue[signal.Signals]) -> None:
    while await signals.get():
        for worker in workers:
            worker.hurry()


def _arguments(config: Config, address: Address, file: Path | None) -> list[str]:
    """Return the command line of a worker; what only the file or the environment says, it reads there itself."""
    arguments = ["--as-worker", "--workers", "1", "--listen", str(address), "--data", str(config.data)]
    arguments += ["--http", "off" if config.http is None else "127.0.0.1:0", "--log-level", config.log_level]
    arguments += ["--config", str(file)] if file else []
    return [*arguments, "--insecure"] if config.insecure else arguments


def _show_metrics(config: Config, workers: Sequence[Worker], opening: AsyncExitStack) -> Address | None:
    if config.http is None:
        return None
    metrics = WorkerMetrics(lambda: [(worker.number, worker.http) for worker in workers if worker.http])
    web = Web({"/metrics": Page(metrics.content_type, metrics.page)})
    address = web.start(config.http)
    opening.push_async_callback(asyncio.to_thread, web.stop)
    return address


async def _be_present(config: Config, address: Address, opening: AsyncExitStack) -> None:
    presence = Presence(config.data, address=str(address), instance_id=secrets.token_hex(8), is_private=False)
    opening.callback(presence.release)
    await presence.claim()
    background = Background([Job("presence", 2.0, presence.claim)])
    background.start()
    opening.push_async_callback(background.stop)
