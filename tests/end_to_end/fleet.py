"""Two real servers over a real MongoDB and a real S3 server: any of them can be killed, frozen and started again."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Literal

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.end_to_end.passing import Proxy, proxy
from tests.end_to_end.serving import until
from tests.mongod import Mongod, free_port
from tests.seaweed import Seaweed
from tests.servers import Server
from tests.stores import Site, fleet_options

__all__ = [
    "SERVERS",
    "STORES",
    "VICTIMS",
    "Fleet",
    "Servant",
    "Victim",
    "health_of",
    "start_fleet",
    "start_stores",
    "until",
]

Victim = Literal["mongod", "s3", "a", "b"]
STORES: tuple[Victim, ...] = ("mongod", "s3")
SERVERS: tuple[Victim, ...] = ("a", "b")
VICTIMS: tuple[Victim, ...] = (*STORES, *SERVERS)
BUCKET = "chaos"
START_SECONDS = 60.0


class Servant:
    """A server at one address for good, in one process after the other."""

    def __init__(self, site: Site, *options: str, program: str) -> None:
        self._site = site
        self._options = options
        self._program = program
        self.address = f"127.0.0.1:{free_port()}"
        self.process: Server | None = None
        self.logs: list[str] = []
        """What its processes wrote, but for the present one."""

    @property
    def log(self) -> str:
        """All that it has written so far."""
        return "".join([*self.logs, self.process.log if self.process else ""])

    def start(self) -> None:
        """Start it, again where a store is away that it needs, and return when it serves."""
        assert self.process is None
        end = time.monotonic() + START_SECONDS
        while self.process is None:
            server = Server(
                self._site.folder,
                *self._site.options,
                *("--listen", self.address, "--http", "127.0.0.1:0"),
                *self._options,
                environment=self._site.environment,
                program=self._program,
            )
            try:
                self.process = server.wait_until_serving()
            except AssertionError:
                if server.stop() != 1 or "Traceback" in server.log or time.monotonic() > end:
                    raise

    def kill(self) -> None:
        """Kill -9."""
        if self.process is not None:
            self.process.kill()
            self.logs.append(self.process.log)
            self.process = None

    def stop(self) -> int:
        """Ask it to end, and return its exit code; 0 where there is none."""
        server, self.process = self.process, None
        if server is None:
            return 0
        code = server.stop()
        self.logs.append(server.log)
        return code

    def pause(self) -> None:
        """Freeze it."""
        assert self.process is not None
        self.process.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        if self.process is not None:
            self.process.signal(signal.SIGCONT)


class Fleet:
    """Two servers, their stores, and one address in front of the servers."""

    def __init__(self, mongod: Mongod, seaweed: Seaweed, servants: dict[Victim, Servant], site: Site, passing: Proxy):
        self.mongod = mongod
        self.seaweed = seaweed
        self.servants = servants
        self.site = site
        self.passing = passing

    @property
    def address(self) -> str:
        """Where clients go; the connections are spread over the servers."""
        return self.passing.address

    def of(self, victim: Victim) -> Mongod | Seaweed | Servant:
        """Return one of the four."""
        if victim == "mongod":
            return self.mongod
        return self.seaweed if victim == "s3" else self.servants[victim]

    def pids(self) -> dict[Victim, int]:
        """Return the process ids of the servers that run."""
        running = {name: servant.process for name, servant in self.servants.items()}
        return {name: server.process.pid for name, server in running.items() if server is not None}

    def wait_until_well(self, seconds: float = 30.0) -> None:
        """Return when both servers say that they serve."""
        for servant in self.servants.values():
            until(partial(_is_well, servant.address), seconds)


def health_of(address: str) -> str:
    """Return what a server says of its health; "" when it does not answer."""
    with grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
        except grpc.RpcError:
            return ""
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def _is_well(address: str) -> bool:
    return health_of(address) == "SERVING"


@contextmanager
def start_stores(folder: Path, environment: dict[str, str] | None = None) -> Iterator[tuple[Mongod, Seaweed, Site]]:
    """Start a MongoDB and an S3 server of the test's own, empty; they end afterwards."""
    with ExitStack() as ending:
        mongod = Mongod(folder / "mongod")
        ending.callback(mongod.stop)
        seaweed = Seaweed(folder / "seaweed")
        ending.callback(seaweed.stop)
        seaweed.make_bucket(BUCKET)
        options = fleet_options(mongod, seaweed, "chaos", bucket=BUCKET)
        yield mongod, seaweed, Site("fleet", folder / "a", options, {**seaweed.environment, **(environment or {})})


@contextmanager
def start_fleet(
    folder: Path, *options: str, program: str = "tests.end_to_end.hasty", environment: dict[str, str] | None = None
) -> Iterator[Fleet]:
    """Start it all, and end it afterwards."""
    with ExitStack() as ending:
        mongod, seaweed, site = ending.enter_context(start_stores(folder, environment))
        passing = ending.enter_context(proxy())
        servants = {name: Servant(site.beside(folder / name), *options, program=program) for name in SERVERS}
        fleet = Fleet(mongod, seaweed, servants, site, passing)
        for servant in servants.values():
            ending.callback(servant.stop)
            ending.callback(servant.resume)  # the last registered is called first
            servant.start()
        passing.lead_to(*(servant.address for servant in servants.values()))
        yield fleet
