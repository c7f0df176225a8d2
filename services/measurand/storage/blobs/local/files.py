"""The files of a local store, and what is done with them: each public method is one hop to a thread.

`blobs/<shard>/<key>` holds what is finished, `staging/<key>` what is being written; a slash in a key is a plus sign in
its file name, so every key is one name in one folder. A file gets its final name by a hard link, which cannot take the
place of another one, and only after its bytes are on the disk; the folder is synced before the answer.
"""

from __future__ import annotations

import errno
import os
import stat as modes
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from measurand.core.blob_rules import check_key, missing, short, taken
from measurand.core.ports import Buffer, StoredBlob
from measurand.storage.blobs.local.disk import Descriptor, make_durable, read, read_at_once, translating, write
from measurand.storage.blobs.local.folders import Folders
from measurand.wire.errors import AlreadyExists, DataLoss, NameInvalid

__all__ = ["Files"]

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # not to wait for ever at a pipe that somebody has put there
_NO_LINK = (errno.EXDEV, errno.EMLINK, errno.EPERM, errno.EOPNOTSUPP)


class Files:
    """Blocking; keeps nothing but the folders."""

    def __init__(self, root: Path) -> None:
        self._folders = Folders(root)

    def put(self, key: str, chunks: Iterable[Buffer]) -> int:
        """Store a blob and return its size."""
        name = _name(key)
        with (
            translating(key),
            self._folders.staging() as staging,
            self._folders.shard(_shard(key), create=True) as shard,
        ):
            descriptor = _claim(key, staging)
            try:
                size = write(descriptor, chunks)
                make_durable(descriptor)
                _link(key, staging, shard)
                make_durable(shard, is_folder=True)
            finally:
                os.close(descriptor)
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=staging)
        return size

    def room(self) -> tuple[int, int]:
        """Return how many bytes the disk has, and how many are free for us. Raises Unavailable if a folder is gone."""
        with self._folders.staging(), self._folders.blobs() as blobs:
            disk = os.fstatvfs(blobs)
        return disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize

    def open(self, file: Descriptor, key: str, offset: int, size: int, end: int) -> bytes:
        """Open a blob that has `end` bytes or more, and return `size` of them."""
        with translating(key, is_reading=True):
            try:
                with self._folders.shard(_shard(key)) as shard:
                    file.opened(os.open(_name(key), os.O_RDONLY | _OLD, dir_fd=shard))
            except FileNotFoundError:
                raise missing(key) from None
            with file.use() as descriptor:
                found = os.fstat(descriptor)
                _check_regular(key, found)
                if found.st_size < end:
                    raise short(key, end, found.st_size)
        return self.read(file, key, offset, size) if size else b""

    def read_cached(self, key: str, offset: int, size: int, end: int) -> bytearray | None:
        """Return `size` bytes if the system has them in memory; None if the disk would have to be waited for.

        For the event loop's own thread: to open, read and close takes some 30 µs, to wake a thread for it several times
        that.
        """
        file = Descriptor()
        try:
            self.open(file, key, offset, 0, end)
            with translating(key, is_reading=True), file.use() as descriptor:
                return read_at_once(descriptor, offset, size)
        finally:
            file.close()

    def read(self, file: Descriptor, key: str, offset: int, size: int) -> bytes:
        """Return `size` bytes."""
        with translating(key, is_reading=True), file.use() as descriptor:
            data = read(descriptor, offset, size)
        if len(data) < size:
            raise short(key, offset + size, offset + len(data))
        return data

    def stat(self, key: str) -> StoredBlob:
        with translating(key, is_reading=True):
            try:
                with self._folders.shard(_shard(key)) as shard:
                    found = os.stat(_name(key), dir_fd=shard, follow_symlinks=False)
            except FileNotFoundError:
                raise missing(key) from None
        _check_regular(key, found)
        return _stored(key, found)

    def delete(self, key: str) -> None:
        with translating(key), suppress(FileNotFoundError), self._folders.shard(_shard(key)) as shard:
            with self._folders.staging() as staging:
                if _is_same(key, staging, shard):  # a crash came between its two names
                    os.unlink(_name(key), dir_fd=staging)
            os.unlink(_name(key), dir_fd=shard)

    def stage(self, file: Descriptor, key: str) -> None:
        """Begin a staged write. The name in `staging` is the claim to the key; then it must not be finished."""
        with translating(key), self._folders.staging() as staging:
            file.opened(_claim(key, staging))
            is_free = False
            try:
                is_free = not self._is_finished(key)
            finally:
                if not is_free:
                    with suppress(FileNotFoundError):
                        os.unlink(_name(key), dir_fd=staging)
        if not is_free:
            raise taken(key)

    def make_staging_durable(self) -> None:
        with self._folders.staging() as staging:
            make_durable(staging, is_folder=True)

    def finish(self, key: str, size: int) -> None:
        """Cut a staged write to `size` and give it its final name; do what is left of that if it was begun before."""
        name = _name(key)
        with (
            translating(key),
            self._folders.staging() as staging,
            self._folders.shard(_shard(key), create=True) as shard,
        ):
            if not _is_there(key, shard):
                with suppress(FileNotFoundError):  # another process was quicker, or has discarded it
                    descriptor = os.open(name, os.O_WRONLY | _OLD, dir_fd=staging)
                    try:
                        there = os.fstat(descriptor).st_size
                        if there < size:
                            raise short(key, size, there)
                        if there > size:
                            os.ftruncate(descriptor, size)
                        make_durable(descriptor)
                    finally:
                        os.close(descriptor)
                    with suppress(AlreadyExists):
                        _link(key, staging, shard)
            try:
                found = os.stat(name, dir_fd=shard, follow_symlinks=False)
            except FileNotFoundError:
                raise missing(key) from None
            if found.st_size < size:
                raise short(key, size, found.st_size)
            make_durable(shard, is_folder=True)  # the link is the commit point, whoever made it
            if _is_same(key, staging, shard):
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=staging)

    def link(self, key: str, size: int, target: Path) -> bool:
        """Give the file of a blob one more name, and let nobody write to it any more.

        False: the blob has not just `size` bytes, or there it cannot have a name.
        """
        with translating(key, is_reading=True):
            try:
                with self._folders.shard(_shard(key)) as shard:
                    found = os.stat(_name(key), dir_fd=shard, follow_symlinks=False)
                    _check_regular(key, found)
                    if found.st_size != size:
                        return False
                    os.link(_name(key), target, src_dir_fd=shard, follow_symlinks=False)
            except FileNotFoundError:
                raise missing(key) from None
            except OSError as error:
                if error.errno not in _NO_LINK:
                    raise
                return False
            target.chmod(modes.S_IMODE(found.st_mode) & ~0o222)
        return True

    def discard(self, key: str) -> None:
        with translating(key), suppress(FileNotFoundError), self._folders.staging() as staging:
            os.unlink(_name(key), dir_fd=staging)

    def staged(self, prefix: str) -> list[StoredBlob]:
        """Return the staged blobs; not those that are finished already and only kept this name by a crash."""
        found = []
        with translating("staging"), self._folders.listing("staging") as staging:
            for key, facts in _files_of(staging, prefix):
                if facts.st_nlink > 1:
                    with suppress(FileNotFoundError), self._folders.shard(_shard(key)) as shard:
                        if _is_same(key, staging, shard):
                            continue
                found.append(replace(_stored(key, facts), staged=True))
        return found

    def shards(self) -> list[str]:
        with translating("blobs"), self._folders.listing("blobs") as blobs:
            return sorted(name for name in os.listdir(blobs) if len(name) == 2)  # noqa: PTH208  # an open folder has no path

    def finished(self, shard: str, prefix: str) -> list[StoredBlob]:
        with translating(shard):
            try:
                with self._folders.shard(shard) as folder:
                    found = [_stored(key, facts) for key, facts in _files_of(folder, prefix)]
            except (FileNotFoundError, NotADirectoryError):  # gone, or not ours
                return []
        return [blob for blob in found if _shard(blob.key) == shard]

    def close(self) -> None:
        """Let go of the folders."""
        self._folders.close()

    def _is_finished(self, key: str) -> bool:
        with suppress(FileNotFoundError), self._folders.shard(_shard(key)) as shard:
            return _is_there(key, shard)
        return False


def _claim(key: str, staging: int) -> int:
    """Begin a file that has the key for itself, and return its open number."""
    try:
        return os.open(_name(key), _NEW, 0o666, dir_fd=staging)
    except FileExistsError:
        raise taken(key) from None


def _link(key: str, staging: int, shard: int) -> None:
    """Give a staged file its final name as well; another file with this name stays as it is."""
    try:
        os.link(_name(key), _name(key), src_dir_fd=staging, dst_dir_fd=shard, follow_symlinks=False)
    except FileExistsError:
        raise taken(key) from None


def _is_there(key: str, folder: int) -> bool:
    try:
        os.stat(_name(key), dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _is_same(key: str, staging: int, shard: int) -> bool:
    """Tell whether the staged file is the finished one, under its first name."""
    try:
        one = os.stat(_name(key), dir_fd=staging, follow_symlinks=False)
        other = os.stat(_name(key), dir_fd=shard, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(one, other)


def _files_of(folder: int, prefix: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the key and the facts of each file that can be a blob; strangers' files are passed over."""
    with os.scandir(folder) as entries:
        for entry in entries:
            key = entry.name.replace("+", "/")
            if not key.startswith(prefix):
                continue
            with suppress(FileNotFoundError, NameInvalid):
                check_key(key)
                facts = entry.stat(follow_symlinks=False)
                if modes.S_ISREG(facts.st_mode):
                    yield key, facts


def _name(key: str) -> str:
    """Return the file name of a key. Keys begin with a letter or digit and have no plus signs: each has its own."""
    return key.replace("/", "+")


def _shard(key: str) -> str:
    """Return the folder that a key lies in, one of 256."""
    return f"{zlib.crc32(key.encode()) & 0xFF:02x}"


def _check_regular(key: str, facts: os.stat_result) -> None:
    if not modes.S_ISREG(facts.st_mode):
        raise DataLoss(f"{key}: something else lies in the place of its file; restore it from a copy", resource=key)


def _stored(key: str, facts: os.stat_result) -> StoredBlob:
    return StoredBlob(key, facts.st_size, datetime.fromtimestamp(facts.st_mtime, UTC))
