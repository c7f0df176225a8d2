"""`scripts/fleet`: real stores, servers and one address in front, started together and all gone together."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from measurand.client import Client

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 120.0


class Fleet:
    """A running fleet, as it tells of itself."""

    def __init__(self, *options: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "scripts/fleet.py"), "--port", "0", *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.printed = ""
        self._said = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.wait_for("Ctrl-C ends all of it")

    @property
    def address(self) -> str:
        """The one in front."""
        return self.printed.removeprefix("listening on ").partition(",")[0]

    def server(self, number: int) -> tuple[str, int]:
        """Return the address and the process of one server."""
        found = re.search(rf"^  server {number}  (\S+)  .* process (\d+)$", self.printed, re.MULTILINE)
        assert found is not None, self.printed
        return found[1], int(found[2])

    def figure(self, number: int, name: str) -> float:
        """Return what a server's metrics say."""
        page = re.findall(rf"^  server {number} .*metrics (\S+)", self.printed, re.MULTILINE)[-1]
        with urllib.request.urlopen(page, timeout=SECONDS) as answer:
            lines = dict(line.rsplit(" ", 1) for line in str(answer.read(), "utf-8").splitlines() if line[0] != "#")
        return float(lines[name])

    def wait_for(self, text: str) -> None:
        """Return when it has said that."""
        with self._said:
            assert self._said.wait_for(lambda: text in self.printed or self._is_over, SECONDS), self.printed
        assert text in self.printed, self.printed

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        code = self.process.wait(SECONDS)
        self._reader.join(SECONDS)
        return code

    @property
    def _is_over(self) -> bool:
        return self.process.poll() is not None

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                with self._said:
                    self.printed += line
                    self._said.notify_all()
        with self._said:
            self.process.wait()
            self._said.notify_all()


def eventually(holds: Callable[[], bool]) -> None:
    """Return as soon as it holds."""
    end = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.1)


@contextmanager
def fleet(*options: str) -> Iterator[Fleet]:
    started = Fleet(*options)
    everything = psutil.Process(started.process.pid).children(recursive=True)
    try:
        yield started
    finally:
        code = started.stop()
        _, left = psutil.wait_procs(everything, timeout=SECONDS)
    assert code == 0, started.printed
    assert not left


def test_what_goes_in_at_one_server_is_read_at_the_other_and_by_the_address_in_front_also_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    data = os.urandom(3 * 1024 * 1024)
    with fleet("--servers", "2", "--data", str(tmp_path / "kept")) as running:
        (one, pid), (other, _) = running.server(1), running.server(2)
        with Client(one) as client:
            run = client.create_catalog("lab").create("first light", {"n": 1})
            run.write_bytes("a.bin", data)
        with Client(other) as client:
            assert client.catalog("lab").get(run.id).read_bytes("a.bin") == data
        eventually(lambda: sum(running.figure(number, "measurand_leading") for number in (1, 2)) == 1)
        assert running.figure(1, 'measurand_blob_bytes_written_total{store="s3"}') >= len(data)
        assert running.figure(2, 'measurand_blob_bytes_read_total{store="s3"}') >= len(data)
        assert running.figure(1, "measurand_blob_retries_total") == 0
        with Client(running.address) as client:
            os.kill(pid, signal.SIGKILL)
            running.wait_for("server 1 ended with -9 and is started again")
            assert client.catalog("lab").get(run.id).read_bytes("a.bin") == data
    with fleet("--servers", "1", "--data", str(tmp_path / "kept")) as running, Client(running.address) as client:
        assert client.catalog("lab").get(run.id).read_bytes("a.bin") == data


def test_sites_are_containers_and_without_a_folder_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with fleet("--servers", "1", "--sites", "2") as running, Client(running.address) as client:
        assert [path.name for path in tmp_path.glob("measurand-fleet-*")]
        eventually(lambda: [one.state for one in client.containers.list("kind = remote")] == ["active", "active"])
    assert not list(tmp_path.glob("measurand-fleet-*"))


def test_a_fleet_of_no_servers_is_a_mistake() -> None:
    command = [sys.executable, str(ROOT / "scripts/fleet.py"), "--servers", "0"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=SECONDS)
    assert (done.returncode, "--servers" in done.stderr) == (2, True)
