"""A download that is not whole yet: a file beside its target, named after the generation, put in place at the end."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import IO

from measurand.client.hashing import Digest
from measurand.client.local import restore_attributes
from measurand.v1 import files_pb2
from measurand.wire.errors import DigestMismatch, SizeMismatch

__all__ = ["Part"]

READ_BYTES = 1 << 20
LONGEST_NAME = 200


class Part:
    """One download to one path. The name of its file says which generation it holds a part of, so that a later run can
    go on with it.

    Parameters
    ----------
    target : Path
        Where the whole file shall be.
    file : File
        What is downloaded.
    """

    def __init__(self, target: Path, file: files_pb2.File) -> None:
        self.target = target
        self.path = target.with_name(f"{short(target.name)}.{file.generation}.part")
        self.size = 0
        self.was_resumed = False
        self._file = file
        self._digest = Digest()
        self._open: IO[bytes] | None = None

    def open(self) -> None:
        """Open what there is, and hash it; `size` is where to go on."""
        self.target.parent.mkdir(parents=True, exist_ok=True)
        self._digest = Digest()
        self.size = 0
        self._open = self.path.open("r+b" if self.path.exists() else "w+b", buffering=0)
        while data := self._open.read(READ_BYTES):
            self._digest.update(data)
            self.size += len(data)
        if self.size > self._file.size:
            self._digest = Digest()
            self.size = 0
            self._open.seek(0)
            self._open.truncate()
        self.was_resumed = self.size > 0

    def write(self, data: memoryview) -> None:
        """Add bytes at the end."""
        if self._open is None:
            raise ValueError(f"{self.path} is not open")
        self._digest.update(data)
        left = data
        while left:
            left = left[self._open.write(left) :]
        self.size += len(data)

    def finish(self) -> None:
        """Verify the whole, make it durable, and put it in place in one step."""
        if self._open is None:
            raise ValueError(f"{self.path} is not open")
        if self.size != self._file.size:
            raise SizeMismatch(
                f"{self._file.name}: {self.size} bytes came instead of {self._file.size}",
                expected=self._file.size,
                actual=self.size,
            )
        actual = self._digest.hexdigest()
        if actual != self._file.checksums.blake3:
            raise DigestMismatch(
                f"{self._file.name}: what came has the BLAKE3 {actual} instead of {self._file.checksums.blake3}; "
                "download it again, and if that fails run `measurand doctor` on the server",
                algorithm="blake3",
                expected=self._file.checksums.blake3,
                actual=actual,
            )
        os.fsync(self._open.fileno())
        self.close()
        restore_attributes(self.path, self._file.attributes)
        self.path.replace(self.target)
        sync_folder(self.target.parent)

    def discard(self) -> None:
        """Leave nothing behind."""
        self.close()
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file; what was written stays for a later run."""
        if self._open is not None:
            self._open.close()
            self._open = None


def short(name: str) -> str:
    """Return a name that leaves room for more behind it in the 255 bytes that file systems allow."""
    if len(name.encode("utf-8", "surrogateescape")) <= LONGEST_NAME:
        return name
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable, where the system can."""
    if os.name == "nt":  # folders cannot be opened there, and a rename is journalled
        return
    with contextlib.suppress(OSError):  # network folders that refuse
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
