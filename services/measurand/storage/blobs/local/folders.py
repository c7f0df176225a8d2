"""The folders of a local store: made once, entered without following links, so that nothing lands outside the root.

`blobs` and `staging` stay open, which makes small blobs a quarter faster; but before each use the path is looked at. A
folder that was moved, replaced or unmounted is thus noticed: bytes must not go on into what nobody will look at again.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Literal

from measurand.storage.blobs.local.disk import Descriptor, make_durable
from measurand.wire.errors import Unavailable

__all__ = ["Folders"]

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Folders:
    """Gives the number of an open folder for a block; several threads may use it at once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._paths = {name: str(root / name) for name in ("blobs", "staging")}
        self._lock = threading.Lock()
        self._is_prepared = False
        self._kept: dict[str, tuple[Descriptor, os.stat_result]] = {}
        self._shards: set[str] = set()

    def staging(self) -> AbstractContextManager[int]:
        return self._enter("staging")

    def blobs(self) -> AbstractContextManager[int]:
        return self._enter("blobs")

    def listing(self, name: Literal["blobs", "staging"]) -> AbstractContextManager[int]:
        """Open a folder for this block alone: whoever lists an open folder moves the place where others go on."""
        self._prepare()
        return _opened(self._paths[name])

    @contextmanager
    def shard(self, name: str, *, create: bool = False) -> Iterator[int]:
        with self._enter("blobs") as blobs:
            if create and name not in self._shards:
                with suppress(FileExistsError):
                    os.mkdir(name, dir_fd=blobs)
                # Also when another process made it, which may not have come to this yet.
                make_durable(blobs, is_folder=True)
                self._shards.add(name)
            try:
                descriptor = os.open(name, _FOLDER, dir_fd=blobs)
            except FileNotFoundError:
                self._shards.discard(name)  # somebody has tidied up
                raise
            try:
                yield descriptor
            finally:
                os.close(descriptor)

    def close(self) -> None:
        """Let go of the folders. A call that comes later opens them for itself."""
        with self._lock:
            while self._kept:
                _, (kept, _) = self._kept.popitem()
                kept.close()

    def _enter(self, name: str) -> AbstractContextManager[int]:
        self._prepare()
        path, kept = self._paths[name], self._kept.get(name)
        return kept[0].use() if kept is not None and _leads_to(path, kept[1]) else _opened(path)

    def _prepare(self) -> None:
        """Make the folders once. If they go away later, that is a disk that is gone, not an empty store."""
        if not self._is_prepared:
            with self._lock:
                self._make()
                self._is_prepared = True

    def _make(self) -> None:
        new = [folder for folder in (self._root, *self._root.absolute().parents) if not folder.exists()]
        for path in self._paths.values():
            Path(path).mkdir(parents=True, exist_ok=True)
        for folder in (self._root, *(made.absolute().parent for made in new)):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                make_durable(descriptor, is_folder=True)
            finally:
                os.close(descriptor)
        for name, path in self._paths.items():
            if name not in self._kept:  # several threads may come here at the start, one after the other
                descriptor, kept = os.open(path, _FOLDER), Descriptor()
                kept.opened(descriptor)
                self._kept[name] = kept, os.fstat(descriptor)


def _leads_to(path: str, folder: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.lstat(path), folder)
    except FileNotFoundError:
        return False


@contextmanager
def _opened(path: str) -> Iterator[int]:
    try:
        descriptor = os.open(path, _FOLDER)
    except FileNotFoundError:
        raise Unavailable(f"{path}: the folder is gone; see that its disk is there", store="local") from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)
