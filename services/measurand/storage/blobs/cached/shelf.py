"""The folder of a cache: one file for each unit, with a sum of its own. Each public method is one hop to a thread.

The folder itself is all that is known: what lies there, how large it is, and by the files' times when it was last
used. So any number of processes may share it, and what a crash leaves is found, counted and in its turn removed.
"""

from __future__ import annotations

import logging
import os
import secrets
import struct
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from measurand.core.ports import Buffer
from measurand.storage.blobs.cached.cuts import Unit

__all__ = ["Shelf"]

logger = logging.getLogger(__name__)

_HEADER = struct.Struct("<4sIId")
_MAGIC = b"mcu1"
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_UNPROVED_SECONDS = 600.0
"""Bytes that may have been damaged on their way are fetched anew after this time."""
_TOUCH_SECONDS = 60.0
_REFUSED_SECONDS = 60.0
_SAME_TIME = 64
"""Files that were used within so many seconds are of one age."""
_LEAST_BYTES = 64 << 10
"""A file is counted as at least so large, so that there are not too many to walk through."""


class Shelf:
    """Blocking; keeps at most `most_bytes` in the folder `root`, which it makes when it first writes.

    Never fails: what cannot be read is not there, and what cannot be written is not kept.

    Parameters
    ----------
    crc32c : callable
        As in `Means`.
    now : callable
        Seconds since 1970, as the files' times are.
    """

    def __init__(
        self, root: Path, *, most_bytes: int, crc32c: Callable[[Buffer, int], int], now: Callable[[], float]
    ) -> None:
        self._root = str(root)
        self._most_bytes = most_bytes
        self._crc32c = crc32c
        self._now = now
        self._room = 0
        self._taking = threading.Lock()
        self._sweeping = threading.Lock()
        self._refused_until = 0.0

    def read(self, key: str, unit: Unit) -> memoryview | None:
        """Return the bytes of a unit if they are here and right, and not too old where nobody can prove them."""
        path = self._path(key, unit)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            facts, size = os.fstat(descriptor), _HEADER.size + unit.size
            held = os.read(descriptor, size) if facts.st_size == size else b""
            if len(held) == size and self._is_right(path, held, unit.crc):
                if abs(self._now() - facts.st_mtime) > _TOUCH_SECONDS:
                    os.utime(descriptor, (self._now(), self._now()))
                return memoryview(held)[_HEADER.size :]
        except OSError:
            logger.warning("event=cache_unreadable path=%s", path, exc_info=True)
        finally:
            os.close(descriptor)
        _remove(path)
        return None

    def missing(self, key: str, units: Sequence[Unit]) -> int:
        """Return how many of the units, from the first on, are not here."""
        for index, unit in enumerate(units):
            if os.access(self._path(key, unit), os.F_OK):
                return index
        return len(units)

    def write(self, key: str, unit: Unit, pieces: Sequence[Buffer]) -> None:
        """Keep the bytes of a unit, unless they are not what they are known to be."""
        actual = 0
        for piece in pieces:
            actual = self._crc32c(piece, actual)
        cost = _cost(_HEADER.size + unit.size)
        if unit.crc not in (None, actual) or cost > self._most_bytes or self._now() < self._refused_until:
            return
        try:
            if not self._take_room(cost):
                with self._sweeping:
                    if not self._take_room(cost):  # nobody else has made some meanwhile
                        self._sweep(cost)
                        self._take_room(cost)
            self._write(Path(self._path(key, unit)), pieces, actual)
            if self._room < self._most_bytes // 96 and self._sweeping.acquire(blocking=False):
                try:
                    self._sweep(0)  # in time, so that others need not wait for it
                finally:
                    self._sweeping.release()
        except FileNotFoundError:
            return  # another process has made room just there
        except OSError as error:
            self._refused_until = self._now() + _REFUSED_SECONDS
            logger.warning("event=cache_refused path=%s message=%s", self._root, error)

    def drop(self, key: str) -> None:
        """Remove all units of a blob."""
        folder, _, name = self._prefix(key).rpartition("/")
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(name):
                    _remove(entry.path)

    def _path(self, key: str, unit: Unit) -> str:
        return f"{self._prefix(key)}{unit.begin:x}-{unit.end:x}"

    def _prefix(self, key: str) -> str:
        """Return how the paths of a blob begin. Keys have no plus and no at signs: each has paths of its own."""
        return f"{self._root}/{zlib.crc32(key.encode()) & 0xFF:02x}/{key.replace('/', '+')}@"

    def _seal(self, name: str, crc: int, time: float) -> int:
        """Return the sum of the header and of the name, so that no file is taken for another one."""
        return self._crc32c(f"{name} {crc} {time!r}".encode(), 0)

    def _is_right(self, path: str, held: bytes, crc: int | None) -> bool:
        actual: int
        time: float
        magic, seal, actual, time = _HEADER.unpack_from(held)
        name = path.rpartition("/")[2]
        if magic != _MAGIC or seal != self._seal(name, actual, time) or crc not in (None, actual):
            return False
        if crc is None and not 0.0 <= self._now() - time <= _UNPROVED_SECONDS:
            return False
        return self._crc32c(memoryview(held)[_HEADER.size :], 0) == actual

    def _write(self, path: Path, pieces: Sequence[Buffer], crc: int) -> None:
        draft, time = path.with_name(f"@{secrets.token_hex(8)}"), self._now()
        for folder in (path.parent.parent, path.parent):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            _write(draft, [_HEADER.pack(_MAGIC, self._seal(path.name, crc, time), crc, time), *pieces], time)
            draft.rename(path)  # not synced: what a crash tears does not fit its sum
        finally:
            _remove(draft)

    def _take_room(self, cost: int) -> bool:
        """Tell whether so much may be written before the files are looked at again."""
        with self._taking:
            is_there = cost <= self._room
            if is_there:
                self._room -= cost
        return is_there

    def _sweep(self, cost: int) -> None:
        """Remove the files that were used the longest time ago, so that there is room for `cost` and some more.

        Other processes write too, unseen until the next sweep. So of the eighth that is made free each process takes a
        sixth before it looks again: with what it may take during a sweep, four of them stay within the bound.
        """
        free = max(self._most_bytes // 8, cost)
        self._remove_all_but(self._most_bytes - free)
        with self._taking:
            self._room = max(free // 6, cost)

    def _remove_all_but(self, most_bytes: int) -> None:
        ages: dict[int, int] = {}
        for _, age, cost in self._files():
            ages[age] = ages.get(age, 0) + cost
        excess = sum(ages.values()) - most_bytes
        surplus: dict[int, int] = {}
        for age in sorted(ages):
            if excess <= 0:
                break
            surplus[age] = min(excess, ages[age])
            excess -= ages[age]
        if surplus:
            for path, age, cost in self._files():
                if surplus.get(age, 0) > 0:
                    surplus[age] -= cost
                    _remove(path)

    def _files(self) -> Iterator[tuple[str, int, int]]:
        """Yield the path, the age and the cost of each file, drafts that a crash has left included."""
        newest = self._now() + _SAME_TIME  # later times were written by a clock that was wrong
        for shard in range(256):
            try:
                entries = os.scandir(f"{self._root}/{shard:02x}")
            except OSError:
                continue
            with entries:
                for entry in entries:
                    if "@" in entry.name:
                        with suppress(OSError):
                            facts = entry.stat(follow_symlinks=False)
                            used = facts.st_mtime if facts.st_mtime <= newest else 0.0
                            yield entry.path, int(used) // _SAME_TIME, _cost(facts.st_size)


def _cost(size: int) -> int:
    """Return how much of the room a file takes: whole pages of the disk."""
    return max(_LEAST_BYTES, -(-size // 4096) * 4096)


def _write(path: Path, pieces: Sequence[Buffer], time: float) -> None:
    descriptor = os.open(path, _NEW, 0o600)
    try:
        for piece in pieces:
            rest = memoryview(piece)
            while len(rest):
                rest = rest[os.write(descriptor, rest) :]
        os.utime(descriptor, (time, time))
    finally:
        os.close(descriptor)


def _remove(path: str | Path) -> None:
    with suppress(OSError):
        os.unlink(path)  # noqa: PTH108  # the paths of many files are plain text
