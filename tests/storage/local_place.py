"""A local store in a folder, and ways to look at it and to make it fail."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from tests.conformance.blobs import local, local_path

from measurand.core.ports import BlobStore

__all__ = ["LocalPlace", "in_thread", "names", "open_files", "raising"]

Result = TypeVar("Result")


class LocalPlace:
    """A folder, as any number of processes may open it, and what lies in it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def open(self) -> BlobStore:
        return local(self.root)

    def path(self, key: str) -> Path:
        return local_path(self.root, key)

    def look(self) -> dict[str, bytes]:
        return {path.name.replace("+", "/"): path.read_bytes() for path in self.root.glob("blobs/*/*")}

    def leftovers(self) -> int:
        """Return how many files lie anywhere beside finished blobs."""
        return sum(path.is_file() for path in self.root.rglob("*")) - len(self.look())


def in_thread(work: Callable[..., Result], /, *args: object) -> Awaitable[Result]:
    return asyncio.get_running_loop().run_in_executor(None, work, *args)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def open_files() -> int:
    """Return how many files this process has open."""
    return len(names(Path("/dev/fd")))


def raising(number: int) -> Callable[..., bytes]:
    def call(*_: object, **__: object) -> bytes:
        raise OSError(number, os.strerror(number))

    return call
