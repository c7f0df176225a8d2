"""What this machine's disk needs of whoever keeps bytes on it: whole writes, real syncs, errors that say what to do."""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from measurand.core.ports import Buffer
from measurand.wire.errors import DataLoss, MeasurandError, StoreFull, Unavailable

if sys.platform == "darwin":
    import fcntl

__all__ = ["Descriptor", "make_durable", "read", "read_at_once", "translating", "write"]

_MOST_AT_ONCE = 512
"""Buffers in one call of the system; POSIX promises 16, Linux and macOS take 1024."""
_MOST_BYTES_AT_ONCE = 8 << 20

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_DAMAGED = (errno.EIO, errno.ELOOP)
_PASSING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EBUSY)


class Descriptor:
    """An open file that several threads may use, and that is closed when the last of them is done with it.

    It exists before it is opened, so that whoever waits for the opening can close it even after being cancelled; a
    number that is closed too early would become some other file's.
    """

    __slots__ = ("_is_closed", "_lock", "_number", "_users")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._number: int | None = None
        self._users = 0
        self._is_closed = False

    def opened(self, number: int) -> None:
        """Take over an open file; close it at once if nobody wants it any more."""
        with self._lock:
            self._number = number
            self._let_go()

    @contextmanager
    def use(self) -> Iterator[int]:
        """Keep the file open for the block."""
        with self._lock:
            if self._number is None or self._is_closed:
                raise RuntimeError("the file is closed")
            self._users += 1
        try:
            yield self._number
        finally:
            with self._lock:
                self._users -= 1
                self._let_go()

    def close(self) -> None:
        """Close the file as soon as nobody uses it; may be called again."""
        with self._lock:
            self._is_closed = True
            self._let_go()

    def _let_go(self) -> None:
        if self._is_closed and not self._users and self._number is not None:
            number, self._number = self._number, None
            os.close(number)


def write(descriptor: int, chunks: Iterable[Buffer]) -> int:
    """Write all chunks one after the other and return how many bytes that was."""
    total = 0
    for group in _groups(chunks):
        rest = group
        while rest:
            written = os.writev(descriptor, rest)
            total += written
            rest = _behind(rest, written)
    return total


def read(descriptor: int, offset: int, size: int) -> bytes:
    """Return `size` bytes from `offset`, fewer only if the file ends before."""
    data = os.pread(descriptor, size, offset)
    while 0 < len(data) < size:
        more = os.pread(descriptor, size - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data


def read_at_once(descriptor: int, offset: int, size: int) -> bytearray | None:
    """Return `size` bytes from `offset` if that needs no waiting for the disk, else None. Not every system can tell."""
    if sys.platform != "linux":
        return None
    data = bytearray(size)
    try:
        count = os.preadv(descriptor, [data], offset, os.RWF_NOWAIT)
    except OSError:  # not in memory, or a file system that does not know the question
        return None
    return data if count == size else None


def make_durable(descriptor: int, *, is_folder: bool = False) -> None:
    """Return when a file's bytes and size, or a folder's names, survive the loss of power."""
    if sys.platform == "darwin":
        # There fsync leaves the bytes in the drive's cache. Network and foreign file systems do not know the other.
        with suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
        os.fsync(descriptor)
    elif is_folder:  # whether fdatasync takes new names along is up to the file system
        os.fsync(descriptor)
    else:
        os.fdatasync(descriptor)


@contextmanager
def translating(key: str, *, is_reading: bool = False) -> Iterator[None]:
    """Turn the system's errors of the block, which handles the blob `key`, into the port's."""
    try:
        yield
    except OSError as error:
        raise _translated(error, key, is_reading=is_reading) from error


def _translated(error: OSError, key: str, *, is_reading: bool) -> MeasurandError:
    why = error.strerror or type(error).__name__
    if error.errno in _FULL:
        return StoreFull(f"{key}: there is no room for it ({why}); free some space on the disk, then try again")
    if is_reading and error.errno in _DAMAGED:
        return DataLoss(f"{key}: its bytes cannot be read ({why}); restore it from a copy", resource=key)
    return Unavailable(
        f"{key}: the disk does not take or give it ({why}); see that the folder is there and may be written",
        retry_seconds=1.0 if error.errno in _PASSING else 5.0,
        store="local",
    )


def _groups(chunks: Iterable[Buffer]) -> Iterator[list[Buffer]]:
    """Yield as many chunks at a time as are written in one call; no more are drawn from `chunks` than that."""
    group: list[Buffer] = []
    size = 0
    for chunk in chunks:
        if not len(chunk):
            continue
        group.append(chunk)
        size += len(chunk)
        if len(group) == _MOST_AT_ONCE or size >= _MOST_BYTES_AT_ONCE:
            yield group
            group, size = [], 0
    if group:
        yield group


def _behind(chunks: list[Buffer], written: int) -> list[Buffer]:
    """Return what is left of the chunks after so many bytes."""
    for index, chunk in enumerate(chunks):
        if written < len(chunk):
            return [memoryview(chunk)[written:], *chunks[index + 1 :]]
        written -= len(chunk)
    return []
