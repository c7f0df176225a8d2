"""Records on this machine's disk until they are somewhere safe: in order, each once, and never more than a bound.

A folder holds `about.json` (what the records are), `done` (how far they are safe elsewhere), `lock`, and segments:
files of records, one behind the other, each named by the number of its first. What a killed process has written half is
recognised and cut off by the next one that opens the folder.
"""

from __future__ import annotations

import json
import os
import sqlite3
import struct
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from measurand.client.hashing import Bytes, crc32c
from measurand.client.parts import sync_folder
from measurand.wire.errors import DataLoss, FailedPrecondition, InvalidArgument, StoreFull

__all__ = ["Record", "Spool"]

FORMAT = 1
HEAD = struct.Struct("<QQII")
"""Number and size of a record, its CRC-32C, and that of these three."""
DONE = struct.Struct("<QI")
SEGMENT_BYTES = 16 << 20
SYNC_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Record:
    """A record as it was appended.

    Parameters
    ----------
    number : int
        1, 2, 3, … over the life of the folder.
    data : memoryview
        Its parts, joined.
    """

    number: int
    data: memoryview


@dataclass(slots=True)
class _Segment:
    path: Path
    file: BinaryIO
    first: int
    offsets: list[int] = field(default_factory=list)
    size: int = 0
    is_dirty: bool = False

    @property
    def end(self) -> int:
        """The number behind its last record."""
        return self.first + len(self.offsets)


class Spool:
    """The spool in a folder, which is made if need be. Several threads may use one object.

    A record survives the death of the process as soon as `append` has returned, and that of the machine a second later,
    or when `sync` has returned.

    Parameters
    ----------
    folder : Path
        Nobody else may use it at the same time.
    about : mapping
        What the records are, as JSON can hold it. A folder that has records of something else is refused.
    most_bytes : int
        So much of the disk is taken at most.

    Raises
    ------
    FailedPrecondition
        STATE_WRONG: another process uses the folder.
    InvalidArgument
        FIELD_INVALID: it holds records of something else, or a newer release has written it.
    """

    def __init__(self, folder: Path, about: Mapping[str, Any], *, most_bytes: int) -> None:
        self.folder = folder
        self.most_bytes = most_bytes
        self.acknowledged = 0
        """Records up to this number are safe elsewhere."""
        self.is_new = True
        """Nobody has had this folder for the same records before."""
        self._segment_bytes = min(SEGMENT_BYTES, max(1, most_bytes // 4))
        self._guard = threading.Lock()
        self._segments: deque[_Segment] = deque()
        self._has_new_files = True
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "lock").touch()
        except OSError as error:
            raise _unwritable(folder, error) from error
        self._lock = _locked(folder)
        try:
            self._done = (folder / "done").open("r+b" if (folder / "done").exists() else "w+b", buffering=0)
            self._scan()
            self._check_about({"format": FORMAT, **about})
        except BaseException:
            self._close_files()
            raise
        self._fault: OSError | None = None
        self._ended = threading.Event()
        self._syncer = threading.Thread(target=self._sync_regularly, name="measurand-spool", daemon=True)
        self._syncer.start()

    def __repr__(self) -> str:
        return f"<Spool {self.folder}: {self.last - self.acknowledged} records wait>"

    @property
    def last(self) -> int:
        """Number of the last record; 0 if there never was one."""
        with self._guard:
            return max(self._segments[-1].end - 1 if self._segments else 0, self.acknowledged)

    @property
    def size(self) -> int:
        """Bytes that it takes on the disk, about."""
        with self._guard:
            return sum(segment.size for segment in self._segments)

    def append(self, *parts: Bytes) -> int:
        """Add a record made of these parts and return its number.

        Raises
        ------
        StoreFull
            STORE_FULL: there is no room, by the bound or on the disk. Nothing was added.
        """
        size = sum(memoryview(part).nbytes for part in parts)
        checksum = 0
        for part in parts:
            checksum = crc32c(part, checksum)
        with self._guard:
            self._check_open()
            if self._fault is not None:
                raise _unwritable(self.folder, self._fault) from self._fault
            number = max(self._segments[-1].end if self._segments else 1, self.acknowledged + 1)
            taken = sum(segment.size for segment in self._segments)
            if taken + HEAD.size + size > self.most_bytes:
                raise StoreFull(
                    f"the spool {self.folder} is full ({taken} of {self.most_bytes} bytes): wait until the server has "
                    "taken some of it, or give it more room with spool_bytes=",
                    needed_bytes=size,
                )
            segment = self._segment_for(number)
            head = HEAD.pack(number, size, checksum, _head_checksum(number, size, checksum))
            try:
                segment.file.seek(segment.size)
                for part in (head, *parts):
                    _write_whole(segment.file, part)
            except OSError as error:
                # Behind the half record nothing else may be written.
                segment.file.truncate(segment.size)
                raise _unwritable(self.folder, error) from error
            segment.offsets.append(segment.size)
            segment.size += HEAD.size + size
            segment.is_dirty = True
            return number

    def next(self, after: int) -> Record | None:
        """Return the first record with a larger number, or None if there is none yet.

        Raises
        ------
        DataLoss
            STORED_DATA_CORRUPT: the disk has changed it.
        """
        with self._guard:
            self._check_open()
            number = max(after, self.acknowledged) + 1
            for segment in self._segments:
                if segment.end > number:
                    number = max(number, segment.first)
                    return self._read(segment, segment.offsets[number - segment.first])
            return None

    def last_record(self) -> Record | None:
        """Return the last record that is still here, acknowledged or not."""
        with self._guard:
            for segment in reversed(self._segments):
                if segment.offsets:
                    return self._read(segment, segment.offsets[-1])
            return None

    def acknowledge(self, number: int) -> None:
        """Note that the records up to this one are safe elsewhere; the room of whole segments is free again."""
        with self._guard:
            if number <= self.acknowledged:
                return
            self.acknowledged = number
            self._done.seek(0)
            self._done.write(DONE.pack(number, crc32c(number.to_bytes(8, "little"))))
            # The last one stays: it tells which number comes next, and what the last record was.
            while len(self._segments) > 1 and self._segments[0].end <= number + 1 and self._segments[1].offsets:
                segment = self._segments.popleft()
                segment.file.close()
                segment.path.unlink()

    def sync(self) -> None:
        """Return when every record that was appended survives the death of the machine."""
        with self._guard:
            dirty = [os.dup(segment.file.fileno()) for segment in self._segments if segment.is_dirty]
            for segment in self._segments:
                segment.is_dirty = False
            has_new_files, self._has_new_files = self._has_new_files, False
        try:
            for descriptor in dirty:
                os.fsync(descriptor)
            if has_new_files:
                sync_folder(self.folder)
        finally:
            for descriptor in dirty:
                os.close(descriptor)

    def close(self) -> None:
        """Sync, and let others use the folder."""
        if self._ended.is_set():
            return
        self._ended.set()
        self._syncer.join()
        self.sync()
        with self._guard:
            self._close_files()

    def remove(self) -> None:
        """Close it and remove what it holds: it was all acknowledged, or is of no more use."""
        self.close()
        for path in (*self.folder.glob("*.segment"), self.folder / "done", self.folder / "about.json"):
            path.unlink(missing_ok=True)
        (self.folder / "lock").unlink(missing_ok=True)
        try:
            self.folder.rmdir()
        except OSError:  # the folder was there before, and has other things in it
            return

    # ---------------------------------------------------------------------------------------------------------- inside

    def _check_open(self) -> None:
        if self._ended.is_set():
            raise FailedPrecondition(f"the spool {self.folder} is closed; open it anew", state="closed")

    def _check_about(self, about: dict[str, Any]) -> None:
        path = self.folder / "about.json"
        if path.exists():
            try:
                there = json.loads(path.read_text("utf-8"))
            except ValueError:
                there = None
            if not isinstance(there, dict) or "format" not in there:
                raise InvalidArgument(f"{self.folder} is no spool; name another folder", field="spool")
            if there == json.loads(json.dumps(about)):
                self.is_new = False
                return
            if self._segments and self._segments[-1].end - 1 > self.acknowledged:
                different = sorted(key for key in {*there, *about} if there.get(key) != about.get(key))
                raise InvalidArgument(
                    f"the spool {self.folder} holds records of something else ({', '.join(different)}: "
                    f"{[there.get(key) for key in different]}): send those first, or name another folder",
                    field="spool",
                )
            self._forget()
        temporary = path.with_suffix(".new")
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(about, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)

    def _forget(self) -> None:
        """Begin anew: what is here was of something else, and all of it is acknowledged."""
        while self._segments:
            segment = self._segments.pop()
            segment.file.close()
            segment.path.unlink()
        self._done.truncate(0)
        self.acknowledged = 0

    def _scan(self) -> None:
        """Find the records that are here, and cut off what was not wholly written."""
        raw = self._done.read(DONE.size)
        if len(raw) == DONE.size:
            number, checksum = DONE.unpack(raw)
            self.acknowledged = number if checksum == crc32c(number.to_bytes(8, "little")) else 0
        paths = sorted(self.folder.glob("*.segment"))
        for path in paths:
            segment = _Segment(path, path.open("r+b", buffering=0), int(path.stem))
            self._segments.append(segment)
            while (size := self._size_at(segment)) is not None:
                segment.offsets.append(segment.size)
                segment.size += HEAD.size + size
            segment.file.truncate(segment.size)

    def _size_at(self, segment: _Segment) -> int | None:
        """Return the size of the record at the end of what is known of a segment; None: there is no whole one."""
        segment.file.seek(segment.size)
        raw = segment.file.read(HEAD.size)
        if len(raw) < HEAD.size:
            return None
        number, size, checksum, head_checksum = HEAD.unpack(raw)
        if head_checksum != _head_checksum(number, size, checksum) or number != segment.end:
            return None
        data = segment.file.read(size)
        return size if len(data) == size and crc32c(data) == checksum else None

    def _segment_for(self, number: int) -> _Segment:
        """Return the segment that the next record goes to."""
        if self._segments and self._segments[-1].size < self._segment_bytes and self._segments[-1].end == number:
            return self._segments[-1]
        path = self.folder / f"{number:020d}.segment"
        try:
            file = path.open("w+b", buffering=0)
        except OSError as error:
            raise _unwritable(self.folder, error) from error
        segment = _Segment(path, file, number)
        self._segments.append(segment)
        self._has_new_files = True
        return segment

    def _read(self, segment: _Segment, offset: int) -> Record:
        segment.file.seek(offset)
        number, size, checksum, _ = HEAD.unpack(segment.file.read(HEAD.size))
        data = segment.file.read(size)
        if len(data) != size or crc32c(data) != checksum:
            raise DataLoss(
                f"{segment.path}: record {number} is damaged; look at the disk that it lies on", resource=segment.path
            )
        return Record(number, memoryview(data))

    def _sync_regularly(self) -> None:
        while not self._ended.wait(SYNC_SECONDS):
            try:
                self.sync()
            except OSError as error:  # whoever appends next is told
                self._fault = error

    def _close_files(self) -> None:
        for segment in self._segments:
            segment.file.close()
        if hasattr(self, "_done"):
            self._done.close()
        self._lock.close()


def _unwritable(folder: Path, error: OSError) -> StoreFull:
    return StoreFull(f"the spool {folder} cannot be written: {error.strerror}; make room on that disk")


def _head_checksum(number: int, size: int, checksum: int) -> int:
    return crc32c(struct.pack("<QQI", number, size, checksum))


def _write_whole(file: BinaryIO, part: Bytes) -> None:
    view = memoryview(part).cast("B")
    while view:
        view = view[file.write(view) :]


def _locked(folder: Path) -> sqlite3.Connection:
    """Hold the lock of a folder; closing what is returned, or the end of the process, frees it.

    SQLite's locks are those of the system, and the same on every one; nothing is ever written.
    """
    lock = sqlite3.connect(folder / "lock", timeout=0.0, isolation_level=None, check_same_thread=False)
    try:
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        lock.close()
        raise FailedPrecondition(
            f"the spool {folder} is in use by another process; end that one, or name another folder", state="in use"
        ) from error
    return lock
