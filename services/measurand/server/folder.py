"""The data folder: its format, and the file in it that tells clients which server serves it."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

from measurand.server.config import ConfigError

__all__ = ["FORMAT", "Presence", "open_folder"]

FORMAT = 1
"""The format of the data folder as a whole; the document store has a version of its own."""


def open_folder(path: Path) -> None:
    """Make the folder, or check that what made it is no newer than this release. Raises ConfigError."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        mark = path / "format"
        if not mark.exists():
            write_whole(mark, f"{FORMAT}\n")
        text = mark.read_text().strip()
    except OSError as error:
        raise ConfigError(f"--data {path}: {error.strerror}; name a folder that can be written to") from error
    if not text.isdecimal() or int(text) > FORMAT:
        raise ConfigError(
            f"--data {path}: the folder has format {text[:20]!r}, and this release reads formats up to {FORMAT}; "
            f"install the newer release that made it"
        )


class Presence:
    """`server.json`, by which a client of this machine finds the server of a folder.

    Several servers may serve one folder; the one that holds the lock is told of. The lock goes with its process however
    that ends, so a file that a killed server left is overwritten by the next one.
    """

    def __init__(self, folder: Path, *, address: str, instance_id: str, is_private: bool) -> None:
        self._lock_path = folder / "server.lock"
        self._path = folder / "server.json"
        self._content = {"address": address, "pid": os.getpid(), "instance_id": instance_id, "private": is_private}
        self._lock: int | None = None

    async def claim(self) -> bool:
        """Tell of this server unless another one is told of, and return whether this one is. Tried again and again."""
        if self._lock is not None:
            return True
        lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            return False
        self._lock = lock
        write_whole(self._path, json.dumps(self._content) + "\n")
        return True

    def release(self) -> None:
        """Take the file away, if it is this server's."""
        if self._lock is None:
            return
        self._path.unlink(missing_ok=True)
        os.close(self._lock)
        self._lock = None


def write_whole(path: Path, text: str) -> None:
    """Write a file so that others see all of it or nothing."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.write_text(text)
    draft.replace(path)
