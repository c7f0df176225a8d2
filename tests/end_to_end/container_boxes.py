"""Containers that can be hurt: folders, processes that serve a folder, and a prefix in a bucket."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Literal, Protocol

from tests.seaweed import Seaweed

from measurand.client import Client

__all__ = ["Box", "BucketBox", "FolderBox", "Harm", "ServedBox", "small_disk"]

Harm = Literal["wipe", "damage", "lose", "unmount", "full", "kill", "freeze", "slow"]

STOP_SECONDS = 30.0
FROZEN_SECONDS, AWAKE_SECONDS = 0.3, 0.05
"""What is slow stands still for so long, and then runs for so long."""


class Box(Protocol):
    """A container.

    Parameters
    ----------
    harms : sequence of Harm
        What can be done to it.
    """

    name: str
    harms: Sequence[Harm]

    def join(self, client: Client) -> None:
        """Become a container of a deployment."""
        ...

    def hurt(self, harm: Harm, chance: random.Random) -> None: ...

    def heal(self, client: Client) -> None:
        """Undo what can be undone; bytes that were damaged or wiped stay so."""
        ...

    def held_bytes(self) -> int:
        """Return how much lies in it, past every store."""
        ...

    def close(self) -> None: ...


class FolderBox:
    """A folder that the servers reach themselves.

    Parameters
    ----------
    is_disk : bool
        It is a small disk of its own, which can be full.
    """

    def __init__(self, folder: Path, *, is_disk: bool = False) -> None:
        self.name = folder.name
        self.folder = folder
        self.harms: Sequence[Harm] = ("wipe", "damage", "full") if is_disk else ("wipe", "damage", "lose", "unmount")
        self._away = folder.with_name(f"{folder.name}-away")
        self._harm: Harm | None = None

    def join(self, client: Client) -> None:
        client.containers.add(self.name, self.folder.as_uri())

    def hurt(self, harm: Harm, chance: random.Random) -> None:
        self._harm = harm
        match harm:
            case "wipe":
                wipe(self.folder)
            case "damage":
                damage(self.folder, chance)
            case "lose":
                self.folder.rename(self._away)
                self.folder.mkdir()
                shutil.rmtree(self._away)
            case "unmount":
                self.folder.rename(self._away)
                self.folder.mkdir()
            case _:
                _fill(self.folder)

    def heal(self, client: Client) -> None:
        harm, self._harm = self._harm, None
        match harm:
            case "lose":
                client.containers.remove(self.name, force=True)
                self.join(client)
            case "unmount":
                self.folder.rmdir()  # fails where somebody has written below the mount point
                self._away.rename(self.folder)
            case "full":
                (self.folder / "ballast").unlink()

    def held_bytes(self) -> int:
        return _held(self.folder)

    def close(self) -> None:
        """Leave it to whoever made the folder."""


class ServedBox:
    """A process that serves a folder: `measurand container serve`.

    Parameters
    ----------
    servers : sequence of str
        `host:port` of those that it registers at.
    """

    harms: Sequence[Harm] = ("wipe", "damage", "kill", "freeze", "slow")

    def __init__(self, folder: Path, servers: Sequence[str]) -> None:
        self.name = folder.name
        self.folder = folder
        self._servers = servers
        self._process: subprocess.Popen[bytes] | None = None
        self._is_well = threading.Event()
        self._slowing: threading.Thread | None = None

    @property
    def log(self) -> str:
        """All that it has written so far."""
        return self._log_path.read_text() if self._log_path.exists() else ""

    @property
    def _log_path(self) -> Path:
        return self.folder.with_name(f"{self.name}.log")

    def join(self, client: Client) -> None:  # it does so by itself
        self.start()

    def start(self) -> None:
        """Run it; it is used when the servers hear of it."""
        asked = [f"--of=grpc://{server}" for server in self._servers]
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "measurand.server.container.run", f"--data={self.folder}", *asked],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def kill(self) -> None:
        """Kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_SECONDS)
            self._process = None

    def hurt(self, harm: Harm, chance: random.Random) -> None:
        self._is_well.clear()
        match harm:
            case "wipe":
                wipe(self.folder)
            case "damage":
                damage(self.folder, chance)
            case "kill":
                self.kill()
            case "freeze":
                self._signal(signal.SIGSTOP)
            case _:
                self._slowing = threading.Thread(target=self._slow, name=f"slows {self.name}")
                self._slowing.start()

    def heal(self, client: Client) -> None:  # nobody is asked
        self._wake()
        if self._process is None:
            self.start()
        code = self._process.poll() if self._process is not None else None
        assert code is None, f"{self.name} has ended by itself with {code}: {self.log}"

    def held_bytes(self) -> int:
        return _held(self.folder)

    def close(self) -> None:
        self._wake()
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            finally:
                self.kill()

    def _wake(self) -> None:
        self._is_well.set()
        if self._slowing is not None:
            self._slowing.join()
            self._slowing = None
        self._signal(signal.SIGCONT)

    def _slow(self) -> None:
        while not self._is_well.wait(AWAKE_SECONDS):
            self._signal(signal.SIGSTOP)
            self._is_well.wait(FROZEN_SECONDS)
            self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)


class BucketBox:
    """A prefix in a bucket of an S3 server that is hurt as a whole."""

    name = "bucket"
    harms: Sequence[Harm] = ("kill", "freeze")

    def __init__(self, seaweed: Seaweed, bucket: str, prefix: str) -> None:
        self._seaweed = seaweed
        self._bucket, self._prefix = bucket, prefix
        self._harm: Harm | None = None

    def join(self, client: Client) -> None:
        client.containers.add(self.name, self._seaweed.url_of(self._bucket, self._prefix))

    def hurt(self, harm: Harm, chance: random.Random) -> None:  # nothing is chosen
        self._harm = harm
        if harm == "kill":
            self._seaweed.kill()
        else:
            self._seaweed.pause()

    def heal(self, client: Client) -> None:  # nobody is asked
        harm, self._harm = self._harm, None
        if harm == "kill":
            self._seaweed.start()
        elif harm == "freeze":
            self._seaweed.resume()

    def held_bytes(self) -> int:
        with closing(self._seaweed.client()) as client:
            pages = client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
            found = [item for page in pages for item in page.get("Contents", ())]
        return sum(item["Size"] for item in found if "/blobs/p~" in item["Key"])

    def close(self) -> None:
        """Leave it to whoever started the server."""


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[bool]:
    """Make a folder that is a disk of so many bytes, such as `64m`. False: that is not allowed here; it is a folder."""
    folder.mkdir()
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    is_disk = is_root and not subprocess.run(command, check=False, capture_output=True).returncode
    try:
        yield is_disk
    finally:
        if is_disk:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


def wipe(folder: Path) -> None:
    """Remove all bytes that it holds, and leave the marks that say whose it is."""
    for path in _parts(folder):
        path.unlink(missing_ok=True)


def damage(folder: Path, chance: random.Random) -> None:
    """Flip bits in some of the parts, cut others off, and take some for one another."""
    paths = sorted(path for path in _parts(folder) if _size(path))
    chance.shuffle(paths)
    for path in paths[: len(paths) // 2 + 1]:
        with _vanishing(), path.open("r+b") as file:
            size = _size(path)
            match chance.choice(["flip", "flip", "cut", "swap"]):
                case "flip":
                    place = chance.randrange(max(size, 1))
                    file.seek(place)
                    was = file.read(1)
                    file.seek(place)
                    file.write(bytes(byte ^ (1 << chance.randrange(8)) for byte in was))
                case "cut":
                    file.truncate(chance.randrange(max(size, 1)))
                case _:
                    other = chance.choice(paths)
                    mine, theirs = path.read_bytes(), other.read_bytes()
                    path.write_bytes(theirs)
                    other.write_bytes(mine)


@contextmanager
def _vanishing() -> Iterator[None]:
    """What is removed meanwhile needs no harm."""
    try:
        yield
    except FileNotFoundError:
        return


def _parts(folder: Path) -> Iterator[Path]:
    return (folder / "blobs").glob("*/p+*")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _held(folder: Path) -> int:
    return sum(map(_size, [*_parts(folder), *(folder / "staging").glob("p+*")]))


def _fill(folder: Path) -> None:
    """Take all the room that there is, while others write."""
    with (folder / "ballast").open("ab") as file:
        while (found := os.statvfs(folder)).f_bavail:
            with suppress(OSError):  # somebody else has taken some of it meanwhile
                os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), found.f_bavail * found.f_frsize)
