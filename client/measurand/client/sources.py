"""Where the bytes of an upload come from, cut into chunks and hashed on the way; runs in a thread."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import IO, Any

from measurand.client.hashing import Bytes, Digest, crc32c
from measurand.client.replay import Chunk
from measurand.wire.errors import FailedPrecondition, InvalidArgument

__all__ = ["FileSource", "MemorySource", "Source", "StreamSource", "source_of"]

SMALL_READS = 1 << 20


class FileSource:
    """A file of this machine, as it is when it is opened; changing it meanwhile is an error."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.digest = Digest()
        stat = path.stat()
        self.size: int | None = stat.st_size
        self.mtime_ns = stat.st_mtime_ns
        self.mode = stat.st_mode & 0o7777

    def chunks(self, start: int, chunk_bytes: int) -> Generator[Chunk, None, None]:
        """Yield the bytes from `start` on; those before it are hashed only."""
        with self.path.open("rb", buffering=0) as file:
            yield from _cut(file, start, chunk_bytes, self.digest)
            self._check(os.fstat(file.fileno()))

    def read_whole(self) -> bytes:
        """Return all the bytes of a small file."""
        with self.path.open("rb") as file:
            data = file.read()
            self._check(os.fstat(file.fileno()))
        self.digest.update(data)
        return data

    def _check(self, stat: os.stat_result) -> None:
        if (stat.st_size, stat.st_mtime_ns) != (self.size, self.mtime_ns):
            raise FailedPrecondition(
                f"{self.path} changed while it was sent (from {self.size} to {stat.st_size} bytes); "
                "upload it again when it is complete",
                resource=self.path,
                state="changed",
            )


class MemorySource:
    """Bytes in memory; nobody may change them before the upload is done."""

    def __init__(self, data: Any) -> None:
        self.digest = Digest()
        view = memoryview(data)
        self._data = view.cast("B") if view.nbytes else memoryview(b"")
        self.size: int | None = len(self._data)

    def chunks(self, start: int, chunk_bytes: int) -> Generator[Chunk, None, None]:
        """Yield the bytes from `start` on; those before it are hashed only."""
        self.digest.update(self._data[:start])
        for offset in range(start, len(self._data), chunk_bytes):
            piece = self._data[offset : offset + chunk_bytes]
            self.digest.update(piece)
            yield Chunk(offset, piece, crc32c(piece))

    def read_whole(self) -> Bytes:
        """Return all the bytes."""
        self.digest.update(self._data)
        return self._data


class StreamSource:
    """Whatever has `read`, from where it stands. It is read once: the upload keeps what may have to be sent again."""

    def __init__(self, file: IO[bytes]) -> None:
        self.digest = Digest()
        self.size: int | None = None
        self._file = file

    def chunks(self, start: int, chunk_bytes: int) -> Generator[Chunk, None, None]:
        """Yield the bytes from `start` on; those before it are hashed only."""
        yield from _cut(self._file, start, chunk_bytes, self.digest)


Source = FileSource | MemorySource | StreamSource


def source_of(given: Any) -> Source:
    """Return the source for a path, for bytes or anything with a buffer, or for an open binary file.

    Raises
    ------
    InvalidArgument
        FIELD_INVALID: it is a folder, or nothing that holds bytes.
    """
    if isinstance(given, (str, os.PathLike)):
        path = Path(given)
        if path.is_dir():
            raise InvalidArgument(f"{path} is a folder; use upload_dir", field="source")
        return FileSource(path)
    if hasattr(given, "read"):
        return StreamSource(given)
    try:
        return MemorySource(given)
    except TypeError:
        raise InvalidArgument(
            f"a {type(given).__name__} holds no bytes to upload; give a path, bytes, or an open binary file",
            field="source",
        ) from None


def _cut(file: Any, start: int, chunk_bytes: int, digest: Digest) -> Generator[Chunk, None, None]:
    offset = 0
    while offset < start:
        data = file.read(min(SMALL_READS, start - offset))
        if not data:
            raise FailedPrecondition(
                f"the source ends at {offset} but {start} bytes of it were sent before; upload it anew",
                state="changed",
            )
        digest.update(data)
        offset += len(data)
    while data := _read_full(file, chunk_bytes):
        digest.update(data)
        yield Chunk(offset, data, crc32c(data))
        offset += len(data)


def _read_full(file: Any, size: int) -> bytes:
    """Return so many bytes; fewer only at the end: a pipe gives them in small pieces."""
    data: bytes = file.read(size)
    if not data or len(data) == size:
        return data
    pieces = [data]
    left = size - len(data)
    while left and (piece := file.read(left)):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)
