"""A fleet on this machine: a MongoDB replica set, an S3 store, some servers, and one address in front of them; beside
them, if asked for, sites with a data container each.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 60.0
STOP_SECONDS = 60.0
LOOK_SECONDS = 0.5
DATABASE = BUCKET = "measurand"

sys.path.insert(0, str(ROOT))
from tests.mongod import Mongod, free_port  # noqa: E402  # found through the line above
from tests.seaweed import Seaweed  # noqa: E402


class FleetError(Exception):
    """The fleet cannot start. The message says why."""


class Program:
    """A process of ours that takes calls at an address, which is the same after a restart."""

    def __init__(self, name: str, folder: Path, module: str, options: Sequence[str], environment: Mapping[str, str]):
        self.name = name
        self.address = f"127.0.0.1:{free_port()}"
        self.log = folder / f"{name.replace(' ', '-')}.log"
        data = folder / name.replace(" ", "-")
        self._command = [sys.executable, "-m", module, "--listen", self.address, "--data", str(data), *options]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("MEASURAND_")}
        self._environment = {**clean, **environment}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def ended(self) -> int | None:
        """The exit code, once the process has ended."""
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        """Start it, and return at once."""
        with self.log.open("ab") as log:
            # A session of its own: what a terminal sends to all processes shall reach them in the right order, from us.
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,
            )

    async def wait_until_serving(self) -> None:
        """Return when it takes calls."""
        async with asyncio.timeout(START_SECONDS):
            while not await self._is_serving():
                if self.ended is not None:
                    raise FleetError(f"{self.name} ended with {self.ended}; see {self.log}")
                await asyncio.sleep(0.1)

    def ask_to_end(self) -> None:
        if self._process is not None and self.ended is None:
            self._process.terminate()

    def wait(self) -> None:
        """Return when it has ended; one that does not end is killed."""
        if self._process is not None:
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    async def _is_serving(self) -> bool:
        probe = (sys.executable, "-m", "measurand.server.health_probe", self.address)
        quiet = asyncio.subprocess.DEVNULL
        return await (await asyncio.create_subprocess_exec(*probe, stdout=quiet, stderr=quiet)).wait() == 0


class Server(Program):
    """A `measurand serve` process."""

    def __init__(self, number: int, folder: Path, options: Sequence[str], environment: Mapping[str, str]) -> None:
        self.http = f"127.0.0.1:{free_port()}"
        options = ("--http", self.http, *options)
        super().__init__(f"server {number}", folder, "measurand.server.run", options, environment)


class Site(Program):
    """A `measurand container serve` process, in a zone of its own."""

    def __init__(self, number: int, folder: Path, servers: Sequence[Server]) -> None:
        options = [word for server in servers for word in ("--of", server.address)]
        options += ["--name", f"site-{number}", "--zone", f"site-{number}"]
        super().__init__(f"site {number}", folder, "measurand.server.container.run", options, {})


class Front:
    """One address for all servers: each connection is passed on to the next of them that takes it."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self._turns = itertools.cycle(servers)
        self._count = len(servers)
        self._open: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None

    async def start(self, port: int) -> str:
        """Listen, and return the address. Port 0: any free one."""
        try:
            self._listener = await asyncio.start_server(self._take, "127.0.0.1", port)
        except OSError as error:
            raise FleetError(f"--port {port}: {error.strerror}; choose another one, or 0 for any") from error
        return "{}:{}".format(*self._listener.sockets[0].getsockname())

    async def stop(self) -> None:
        if self._listener is not None:
            self._listener.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            for server in itertools.islice(self._turns, self._count):
                with suppress(OSError):
                    host, _, port = server.address.rpartition(":")
                    onward = await asyncio.open_connection(host, int(port))
                    await _join((reader, writer), onward)
                    return
        except asyncio.CancelledError:
            pass  # we end
        finally:
            writer.close()
            self._open.discard(task)


async def _join(
    one: tuple[asyncio.StreamReader, asyncio.StreamWriter], other: tuple[asyncio.StreamReader, asyncio.StreamWriter]
) -> None:
    """Pass on what either side sends until one of them ends."""
    passing = [asyncio.ensure_future(_pass(one[0], other[1])), asyncio.ensure_future(_pass(other[0], one[1]))]
    try:
        await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in passing:
            task.cancel()
        await asyncio.gather(*passing, return_exceptions=True)
        other[1].close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 18):
        writer.write(data)
        await writer.drain()


async def run(folder: Path, count: int, site_count: int, port: int, say: Callable[[str], None]) -> None:
    """Start everything, tell where it is, and end all of it, in the opposite order, on a signal."""
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with AsyncExitStack() as opening:
        mongod, seaweed = await _start_stores(folder, opening)
        await asyncio.to_thread(seaweed.make_bucket, BUCKET)
        stores = ("--documents", mongod.url_of(DATABASE), "--blobs", seaweed.url_of(BUCKET))
        servers = [Server(number, folder, stores, seaweed.environment) for number in range(1, count + 1)]
        sites = [Site(number, folder, servers) for number in range(1, site_count + 1)]
        programs = [*servers, *sites]
        opening.push_async_callback(_stop, servers)
        opening.push_async_callback(_stop, sites)
        for program in programs:
            program.start()
        await asyncio.gather(*(program.wait_until_serving() for program in programs))
        front = Front(servers)
        opening.push_async_callback(front.stop)
        address = await front.start(port)
        _tell(folder, address, servers, sites, stores, say)
        while not stopping.is_set():
            for program in programs:
                if program.ended is not None:
                    say(f"{program.name} ended with {program.ended} and is started again")
                    program.start()
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), LOOK_SECONDS)
        say("ending …")


async def _start_stores(folder: Path, opening: AsyncExitStack) -> tuple[Mongod, Seaweed]:
    """Start both at the same time. If one does not start, the other is ended again."""

    def start_mongod() -> Mongod:
        mongod = Mongod(folder / "mongo", port=_kept_port(folder / "mongo"))
        opening.callback(mongod.stop)
        return mongod

    def start_seaweed() -> Seaweed:
        seaweed = Seaweed(folder / "s3")
        opening.callback(seaweed.stop)
        return seaweed

    # Both come to their end before either error is raised, so that nothing starts behind the back of `opening`.
    mongod, seaweed = await asyncio.gather(
        asyncio.to_thread(start_mongod), asyncio.to_thread(start_seaweed), return_exceptions=True
    )
    for fault in mongod, seaweed:
        if isinstance(fault, BaseException):
            raise FleetError(f"a store does not start: {fault}") from fault
    assert isinstance(mongod, Mongod) and isinstance(seaweed, Seaweed)
    return mongod, seaweed


async def _stop(programs: Sequence[Program]) -> None:
    for program in programs:
        program.ask_to_end()
    for program in programs:
        await asyncio.to_thread(program.wait)


def _kept_port(folder: Path) -> int:
    """Return the port of the last time: a replica set knows its members by their addresses."""
    kept = folder / "port"
    if not kept.exists():
        folder.mkdir(parents=True, exist_ok=True)
        kept.write_text(f"{free_port()}\n")
    return int(kept.read_text())


def _tell(
    folder: Path,
    address: str,
    servers: Sequence[Server],
    sites: Sequence[Site],
    stores: Sequence[str],
    say: Callable[[str], None],
) -> None:
    say(f"listening on {address}, in front of")
    for server in servers:
        say(f"  {server.name}  {server.address}  metrics http://{server.http}/metrics  process {server.pid}")
    for site in sites:
        say(f"  {site.name}  containers/{site.name.replace(' ', '-')}  {site.address}  process {site.pid}")
    say(f"stores: {' '.join(stores)}")
    say(f"logs and data in {folder}")
    say("try next:")
    if sites:
        say(f"  MEASURAND_URL={address} measurand catalog create lab --storage losses:1")
        say(f"  MEASURAND_URL={address} measurand container ls")
    say(f"  MEASURAND_URL={address} measurand put FOLDER lab --create")
    say(f"  kill -9 {[*servers, *sites][-1].pid}    and see that nothing is lost")
    say("Ctrl-C ends all of it")


def main(arguments: Sequence[str]) -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/fleet", description=__doc__)
    parser.add_argument("--servers", metavar="N", type=int, default=2, help="how many servers (default: 2)")
    parser.add_argument("--sites", metavar="N", type=int, default=0, help="how many data containers (default: none)")
    parser.add_argument("--port", type=int, default=50051, help="of the address in front (default: 50051; 0: any)")
    parser.add_argument("--data", metavar="DIR", type=Path, help="keep everything there (default: nothing is kept)")
    chosen = parser.parse_args(arguments)
    if chosen.servers < 1:
        parser.error("--servers: at least one")
    if chosen.sites < 0:
        parser.error("--sites: none, or some")

    def say(line: str) -> None:
        print(line, flush=True)

    with tempfile.TemporaryDirectory(prefix="measurand-fleet-", ignore_cleanup_errors=True) as passing:
        folder = chosen.data.absolute() if chosen.data else Path(passing)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            asyncio.run(run(folder, chosen.servers, chosen.sites, chosen.port, say))
        except FleetError as error:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
