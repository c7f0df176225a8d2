"""Files that come into a folder: where each belongs, what is there already, what went wrong. Runs in threads."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, MutableMapping
from pathlib import Path
from typing import IO

from measurand.client.file_frames import AGAIN, pieces
from measurand.client.hashing import Digest
from measurand.client.local import local_path, mtime_of, restore_attributes
from measurand.client.progress import Meter
from measurand.client.results import DownloadResult, File
from measurand.v1 import files_pb2

__all__ = ["Arrivals", "Landing"]

EXISTS = "EXISTS"
OUTSIDE = "OUTSIDE_FOLDER"
LOCAL = "LOCAL"


class Arrivals:
    """What becomes of the files of one download.

    Parameters
    ----------
    folder : Path
        Where they are written; resolved.
    prefix : str
        Is taken off their paths.
    overwrite : bool
        What is there and has other bytes is written over; else it is kept.
    """

    def __init__(self, folder: Path, prefix: str, *, overwrite: bool = False) -> None:
        self._overwrite = overwrite
        self._folder = folder
        self._prefix = prefix
        self._paths: dict[str, Path] = {}
        self._taken: dict[str, str] = {}
        self._inside: set[Path] = set()
        self._made: set[Path] = set()
        self._whole: list[File] = []
        self._skipped: list[str] = []
        self._failed: dict[str, str] = {}

    def choose(self, files: Iterable[File]) -> list[File]:
        """Return the files that are to be fetched: not those that are here, nor those that must not be written."""
        chosen = []
        for file in files:
            try:
                path = local_path(self._folder, file.path.removeprefix(self._prefix).lstrip("/"), inside=self._inside)
            except ValueError as error:
                self.note_failed(file.path, OUTSIDE, str(error))
                continue
            if (twin := self._taken.setdefault(os.path.normcase(path), file.path)) != file.path:
                self.note_failed(file.path, LOCAL, f"on this system it has the same name as {twin}")
                continue
            self._paths[file.path] = path
            if _is_here(path, file):
                self._skipped.append(file.path)
            elif path.is_file() and not self._overwrite:
                self.note_failed(file.path, EXISTS, f"{path} has other bytes; overwrite it, or move it away")
            else:
                chosen.append(file)
        return chosen

    def path_of(self, path: str) -> Path:
        """Return where a chosen file belongs."""
        return self._paths[path]

    def make_folder(self, folder: Path) -> None:
        """Make a folder for what comes, once."""
        if folder not in self._made:
            folder.mkdir(parents=True, exist_ok=True)
            self._made.add(folder)

    def begin(self, left: MutableMapping[str, File], meter: Meter) -> Landing:
        """Return what takes the frames of one stream; every file that has its result is taken out of `left`."""
        return Landing(self, left, meter)

    def note_whole(self, file: File) -> None:
        """Note that a file is written."""
        self._whole.append(file)

    def note_failed(self, path: str, reason: str, text: str) -> None:
        """Note why a file is not written."""
        self._failed[path] = f"{reason}: {text}" if text else reason

    def result(self) -> DownloadResult:
        """Return what became of all."""
        whole = sorted(self._whole, key=lambda file: file.path)
        return DownloadResult(tuple(whole), tuple(self._skipped), dict(sorted(self._failed.items())))


class Landing:
    """Takes the frames of one ReadFiles stream."""

    def __init__(self, arrivals: Arrivals, left: MutableMapping[str, File], meter: Meter) -> None:
        self._arrivals = arrivals
        self._left = left
        self._meter = meter
        self._name = ""
        self._file: files_pb2.File | None = None
        self._fault = ""
        self._open: IO[bytes] | None = None
        self._temporary = Path()

    def take(self, frames: Iterable[files_pb2.FileFrame], data: memoryview) -> None:
        """Write what a message holds."""
        for frame, piece in pieces(frames, data):
            if frame.name:
                self._begin(frame)
            if piece.nbytes:
                self._write(piece)
            if frame.result:
                self._end(frame)

    def close(self) -> None:
        """Leave no half file behind."""
        if self._open is not None:
            self._open.close()
            self._open = None
            self._temporary.unlink(missing_ok=True)

    def _begin(self, frame: files_pb2.FileFrame) -> None:
        self.close()
        self._name, self._fault = frame.name, ""
        self._file = frame.file if frame.HasField("file") else None
        wanted = self._left.get(frame.name)
        if self._file is None or wanted is None:
            return
        target = self._arrivals.path_of(wanted.path)
        self._temporary = target.with_name(f"{target.name[:100]}.{self._file.generation}.part")
        try:
            self._arrivals.make_folder(target.parent)
            self._open = self._temporary.open("wb", buffering=0)
        except OSError as error:
            self._fault = str(error)

    def _write(self, piece: memoryview) -> None:
        self._meter.add(piece.nbytes)
        if self._open is None:
            return
        try:
            while piece.nbytes:
                piece = piece[self._open.write(piece) :]
        except OSError as error:
            self._fault = str(error)
            self.close()

    def _end(self, frame: files_pb2.FileFrame) -> None:
        if frame.result in AGAIN:  # it stays among those that are left
            return
        wanted = self._left.pop(self._name, None)
        if wanted is None:
            return
        word = files_pb2.FileResult.Name(frame.result).removeprefix("FILE_RESULT_")
        if frame.result == files_pb2.FILE_RESULT_OK and self._file is not None and self._open is not None:
            self._put_in_place(wanted, self._file)
        elif self._fault:
            self._arrivals.note_failed(wanted.path, LOCAL, self._fault)
        else:
            self._arrivals.note_failed(wanted.path, word, frame.message)
        self.close()

    def _put_in_place(self, wanted: File, file: files_pb2.File) -> None:
        if self._open is None:
            return
        size = self._open.tell()
        self._open.close()
        self._open = None
        try:
            if size != file.size:
                self._arrivals.note_failed(wanted.path, "SIZE_MISMATCH", f"{size} of {file.size} bytes came")
                self._temporary.unlink()
                return
            restore_attributes(self._temporary, file.attributes)
            self._temporary.replace(self._arrivals.path_of(wanted.path))
        except OSError as error:
            self._arrivals.note_failed(wanted.path, LOCAL, str(error))
            with contextlib.suppress(OSError):
                self._temporary.unlink(missing_ok=True)
        else:
            self._arrivals.note_whole(File.of(file))


def _is_here(path: Path, file: File) -> bool:
    try:
        about = path.stat()
    except OSError:
        return False
    if about.st_size != file.size or not stat.S_ISREG(about.st_mode):
        return False
    if about.st_mtime_ns == mtime_of(file.attributes):
        return True
    try:
        is_same = Digest().update_mmap(path).hexdigest() == file.blake3
    except OSError:
        return False
    if is_same:
        restore_attributes(path, file.attributes)
    return is_same
