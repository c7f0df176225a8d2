"""Servers for tests: the real command in its own process, and one in the test's own event loop over memory stores."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import IO, Any

from measurand.server.config import Config, load
from measurand.server.process import Process

START_SECONDS = 60.0
STOP_SECONDS = 60.0


class Server:
    """A `measurand serve` process.

    Parameters
    ----------
    folder : Path
        Its data folder.
    options : str
        More of its command line, such as `--workers 2`.
    environment : mapping, optional
        Variables that it has beside those of this process.
    program : str
        The module that is run.
    """

    def __init__(
        self,
        folder: Path,
        *options: str,
        environment: Mapping[str, str] | None = None,
        program: str = "measurand.server.run",
    ) -> None:
        self.folder = folder
        command = [sys.executable, "-m", program, "--data", str(folder), "--listen", "127.0.0.1:0"]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("MEASURAND_")}
        self.process = subprocess.Popen(
            [*command, *(() if "--http" in options else ("--http", "off")), *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**clean, **(environment or {})},
        )
        self._log: list[str] = []
        self._printed: list[str] = []
        self._greeted = threading.Event()
        assert self.process.stdout is not None and self.process.stderr is not None
        # Read all the time: a process whose pipe is full stands still.
        self._readers = [
            threading.Thread(target=self._read, args=(self.process.stdout, self._printed), daemon=True),
            threading.Thread(target=self._read, args=(self.process.stderr, self._log), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: IO[str], lines: list[str]) -> None:
        with stream:
            for line in stream:
                lines.append(line)
                if lines is self._printed and line.strip().endswith("ls lab"):
                    self._greeted.set()
        if lines is self._printed:
            self._greeted.set()

    def wait_until_serving(self) -> Server:
        """Return when it has said where it listens."""
        assert self._greeted.wait(START_SECONDS), f"the server did not start: {self.log}"
        if not self._printed:
            self.process.wait(STOP_SECONDS)
            raise AssertionError(f"the server ended with {self.process.returncode}: {self.log}")
        return self

    @property
    def printed(self) -> str:
        """What it wrote to standard output."""
        return "".join(self._printed)

    @property
    def log(self) -> str:
        """What it wrote to standard error."""
        return "".join(self._log)

    @property
    def address(self) -> str:
        return self._printed[0].removeprefix("listening on ").strip()

    @property
    def http(self) -> str:
        """The address of its HTTP port, from the log, which is read beside the greeting."""
        end = time.monotonic() + START_SECONDS
        while not (lines := [line for line in self._log if "event=serving" in line]):
            assert time.monotonic() < end, f"the server does not say where: {self.log}"
            time.sleep(0.01)
        return lines[0].partition("http=")[2].split()[0]

    def page(self, path: str) -> str:
        with urllib.request.urlopen(f"http://{self.http}{path}", timeout=10) as answer:
            return str(answer.read(), "utf-8")

    @property
    def presence(self) -> dict[str, Any]:
        """What `server.json` says."""
        found: dict[str, Any] = json.loads((self.folder / "server.json").read_text())
        return found

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """Kill -9."""
        self.process.kill()
        self._ended()

    def wait(self) -> int:
        """Return the exit code, when it has ended."""
        self._ended()
        return int(self.process.returncode)

    def stop(self) -> int:
        """Ask it to end, and return its exit code."""
        if self.process.poll() is None:
            self.signal()
        return self.wait()

    def _ended(self) -> None:
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(STOP_SECONDS)
            raise AssertionError(f"the server did not end: {self.log}") from None
        for reader in self._readers:
            reader.join(STOP_SECONDS)


def start(folder: Path, *options: str, environment: Mapping[str, str] | None = None) -> Server:
    """Start a server on a free port, and return when it serves."""
    return Server(folder, *options, environment=environment).wait_until_serving()


@contextmanager
def running(folder: Path, *options: str, environment: Mapping[str, str] | None = None) -> Iterator[Server]:
    """A server for the time of the block."""
    server = Server(folder, *options, environment=environment)
    try:
        yield server.wait_until_serving()
    finally:
        server.stop()


def free_config(**settings: object) -> Config:
    """Return settings of a server on a free port."""
    return load({"listen": "127.0.0.1:0", "http": "off", "grace_seconds": 5.0, **settings})


def memory_config(**settings: object) -> Config:
    """Return the settings of a server that keeps nothing, on a free port."""
    return free_config(**{"documents": "memory:", **settings})


@asynccontextmanager
async def in_process(config: Config) -> AsyncIterator[Process]:
    """A server in this event loop for the time of the block."""
    process = Process(config)
    await process.start()
    try:
        yield process
    finally:
        await process.stop()
