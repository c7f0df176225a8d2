"""Plain Zarr in the folder of a local store: `sealed/{catalog}/{dataset}.zarr`, whose chunks are the blobs' own files.

A layout is made in a folder beside it with a dot before its name, which is locked while somebody is at work in it, and
gets its name when all of it is on the disk. What is found there without a lock was left by a crash, and is removed.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from measurand.core.arrays.plain_places import Chunk, Item
from measurand.core.means import Threads
from measurand.core.ports import Buffer
from measurand.storage.blobs.local.disk import Descriptor, make_durable, translating, write
from measurand.storage.blobs.local.files import Files
from measurand.wire.errors import DataLoss, NameInvalid, Unavailable

__all__ = ["LocalPlain"]

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_PIECE_BYTES = 8 << 20


class LocalPlain:
    """Layouts in the folder of a store, made of its files.

    A chunk that is a blob of its own is one more name of the blob's file, which nobody may write to any more; if the
    disk has no room for another name, as one that lies elsewhere, it is a copy, as chunks are that share a blob.
    """

    objects = None

    def __init__(self, root: Path, files: Files, *, in_thread: Threads, crc32c: Callable[[Buffer, int], int]) -> None:
        self._root = root / "sealed"
        self._files = files
        self._in_thread = in_thread
        self._crc32c = crc32c

    def __repr__(self) -> str:
        return f"local_plain({str(self._root)!r})"

    async def lay_out(self, path: str, items: AsyncIterator[Sequence[Item]]) -> str:
        draft = _Draft(self._place(path))
        try:
            await self._in_thread(draft.begin)
            async for part in items:
                await self._in_thread(self._take, draft, part)
            await self._in_thread(draft.finish)
        finally:
            await self._in_thread(draft.close)
        return self._place(path).absolute().as_uri()

    async def is_laid_out(self, path: str) -> bool:
        return await self._in_thread(self._place(path).is_dir)

    async def remove(self, path: str) -> None:
        await self._in_thread(_remove, self._place(path))

    def _place(self, path: str) -> Path:
        return _within(self._root, f"{path}.zarr")

    def _take(self, draft: _Draft, items: Sequence[Item]) -> None:
        with draft.open():
            for item in items:
                target = draft.target(item.path)
                with translating(item.path):
                    if not isinstance(item, Chunk):
                        _write(target, [item.content])
                    elif item.offset or not self._files.link(item.blob, item.size, target):
                        _write(target, self._pieces(item))

    def _pieces(self, chunk: Chunk) -> Iterator[bytes]:
        file, crc32c = Descriptor(), 0
        end = chunk.offset + chunk.size
        try:
            self._files.open(file, chunk.blob, 0, 0, end)
            for offset in range(chunk.offset, end, _PIECE_BYTES):
                piece = self._files.read(file, chunk.blob, offset, min(_PIECE_BYTES, end - offset))
                crc32c = self._crc32c(piece, crc32c)
                yield piece
        finally:
            file.close()
        if crc32c != chunk.crc32c:
            raise DataLoss(
                f"{chunk.path}: its bytes are not those that were stored; restore {chunk.blob} from a copy",
                resource=chunk.blob,
            )


class _Draft:
    """A layout while it is being made. Blocking; what a caller began who was cancelled ends before it is closed."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._folder = _aside(place)
        self._using = threading.Lock()
        self._is_closed = False
        self._lock: int | None = None

    def begin(self) -> None:
        place = self._place
        with self.open(), translating(place.name):
            _make_folders(place.parent)
            with _locked(place.parent):
                left = _leftovers(place)
                self._folder.mkdir()
                self._lock = os.open(self._folder, _FOLDER)
                fcntl.flock(self._lock, fcntl.LOCK_EX)
            _clear(left)

    @contextmanager
    def open(self) -> Iterator[None]:
        """Keep it from being closed for the block."""
        with self._using:
            if self._is_closed:
                raise Unavailable(f"{self._place.name}: nobody waits for it any more", store="local")
            yield

    def target(self, path: str) -> Path:
        """Return where an item belongs; its folder is there."""
        target = _within(self._folder, path)
        with translating(path):
            target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def finish(self) -> None:
        """Give it its name when all of it is on the disk."""
        place = self._place
        with self.open(), translating(place.name):
            _sync(self._folder)
            with _locked(place.parent):
                if place.exists():
                    place.rename(_aside(place))
                self._folder.rename(place)
                _sync_folder(place.parent)
                left = _leftovers(place)
            _clear(left)

    def close(self) -> None:
        """Remove what was not finished."""
        with self._using:
            self._is_closed = True
            shutil.rmtree(self._folder, ignore_errors=True)
            if self._lock is not None:
                os.close(self._lock)


def _remove(place: Path) -> None:
    with translating(place.name), suppress(FileNotFoundError):
        with _locked(place.parent):
            with suppress(FileNotFoundError):
                place.rename(_aside(place))
                _sync_folder(place.parent)
            left = _leftovers(place)
        _clear(left)


def _aside(place: Path) -> Path:
    """Return a name for what is to be removed: half of it must not be seen either."""
    return place.with_name(f".{place.name}.{secrets.token_hex(8)}")


def _leftovers(place: Path) -> Mapping[Path, int]:
    """Return drafts that nobody works at and what was put aside, each locked by its open number."""
    found: dict[Path, int] = {}
    for left in place.parent.glob(f".{place.name}.*"):
        with suppress(FileNotFoundError, NotADirectoryError):
            folder = os.open(left, _FOLDER | os.O_NOFOLLOW)
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(folder)
            else:
                found[left] = folder
    return found


def _clear(leftovers: Mapping[Path, int]) -> None:
    """Remove them, which may take a while: nobody is kept waiting for it."""
    for left, folder in leftovers.items():
        shutil.rmtree(left, ignore_errors=True)  # the next one tries again
        os.close(folder)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep others from beginning and ending drafts in a folder."""
    descriptor = os.open(folder, _FOLDER)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _within(folder: Path, path: str) -> Path:
    """Return the place of a path in a folder, or raise NameInvalid where it would not lie in it."""
    segments = path.split("/")
    if any(segment in ("", ".", "..") or "\0" in segment for segment in segments):
        raise NameInvalid(f"{path!r} is no path within a folder", field="path", name=path)
    return folder.joinpath(*segments)


def _make_folders(folder: Path) -> None:
    """Make a folder and those above it so that they survive the loss of power."""
    if not folder.is_dir():
        _make_folders(folder.parent)
        with suppress(FileExistsError):
            folder.mkdir()
        _sync_folder(folder.parent)


def _write(target: Path, pieces: Iterator[Buffer] | Sequence[Buffer]) -> None:
    descriptor = os.open(target, _NEW, 0o444)
    try:
        write(descriptor, pieces)
    finally:
        os.close(descriptor)


def _sync(folder: Path) -> None:
    """Return when all below a folder is durable. Names of blobs are of files that are."""
    for place, _, names in os.walk(folder, topdown=False):
        opened = os.open(place, _FOLDER)
        try:
            for name in names:
                if os.stat(name, dir_fd=opened).st_nlink == 1:  # not a blob's
                    descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=opened)
                    try:
                        make_durable(descriptor)
                    finally:
                        os.close(descriptor)
            make_durable(opened, is_folder=True)
        finally:
            os.close(opened)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, _FOLDER)
    try:
        make_durable(descriptor, is_folder=True)
    finally:
        os.close(descriptor)
