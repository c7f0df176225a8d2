"""Many files and whole folders in one stream: each ends in exactly one result, and a fault of one stops no other."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from measurand.core.extents import Extent
from measurand.core.file_documents import FILES, File, file_of
from measurand.core.files import DatasetGate, Files
from measurand.core.limits import Limits
from measurand.core.names import DatasetName, FileName, parse_dataset, parse_file
from measurand.core.ports import Blob, BlobStore, Buffer, DocumentStore, Position
from measurand.core.principal import Principal
from measurand.core.reading import Reading
from measurand.wire.errors import (
    DataLoss,
    MeasurandError,
    NameInvalid,
    NotFound,
    PermissionDenied,
    TooLarge,
    Unavailable,
)

__all__ = ["Frame", "Quota", "ReadingMany", "Result"]

MAX_NAMES = 10_000
_BATCH = 256
_RUN_BYTES = 2 * 1024 * 1024


class Result(Enum):
    """How the reading of one file ended."""

    OK = "ok"
    NOT_FOUND = "not found"
    UNKNOWN_DATASET = "unknown dataset"
    OUTSIDE_DATASET = "outside of the dataset"
    NOT_A_FILE = "not a file"
    PERMISSION = "permission"
    TOO_LARGE = "too large"
    LIMIT_BYTES = "limit of bytes"
    LIMIT_FILES = "limit of files"
    CHANGED = "changed"
    IO_ERROR = "input or output error"


@dataclass(frozen=True, slots=True)
class Frame:
    """A part of a file, or its end, or both.

    Parameters
    ----------
    name : str
        Only in the first frame of a file, as is `file`.
    result : Result, optional
        Only in the last one.
    message : str
        What is wrong, in words, where the result is not OK.
    """

    name: str = ""
    file: File | None = None
    data: Buffer = b""
    crc32c: int | None = None
    result: Result | None = None
    message: str = ""


@dataclass(slots=True)
class Quota:
    """What one request may still be sent; 0 or less: any number."""

    max_file_bytes: int = 0
    max_bytes: int = 0
    max_files: int = 0
    sent_bytes: int = 0
    sent_files: int = 0

    def refusal(self, file: File) -> tuple[Result, str] | None:
        """Tell why a file is not to be sent, or take it into account."""
        if 0 < self.max_file_bytes < file.size:
            return Result.TOO_LARGE, f"it has {file.size} bytes; the limit for a file is {self.max_file_bytes}"
        if 0 < self.max_files <= self.sent_files:
            return Result.LIMIT_FILES, f"{self.max_files} files were sent; ask for the rest again"
        if 0 < self.max_bytes < self.sent_bytes + file.size:
            return Result.LIMIT_BYTES, f"{self.sent_bytes} bytes were sent of {self.max_bytes}; ask for it again"
        self.sent_files += 1
        self.sent_bytes += file.size
        return None


class ReadingMany:
    """Reads what is asked for by name, file or folder."""

    def __init__(
        self,
        documents: DocumentStore,
        blobs: BlobStore,
        datasets: DatasetGate,
        files: Files,
        reading: Reading,
        limits: Limits,
    ) -> None:
        self._documents = documents
        self._blobs = blobs
        self._datasets = datasets
        self._files = files
        self._reading = reading
        self._limits = limits

    async def read(self, principal: Principal, names: Sequence[str], quota: Quota) -> AsyncGenerator[Frame, None]:
        """Yield the frames of all files asked for, in the order of the names, folders by path.

        Raises
        ------
        TooLarge
            TOO_LARGE: more than 10,000 names. (Faults of single files are their results.)
        Unavailable
            STORE_UNAVAILABLE: the store does not answer.
        """
        if len(names) > MAX_NAMES:
            raise TooLarge(f"{len(names)} names; the most is {MAX_NAMES}", limit=MAX_NAMES, actual=len(names))
        open_datasets: dict[DatasetName, tuple[Result, str] | None] = {}
        for kind, group in _grouped(names):
            if kind == "folder":
                async for frame in self._folder(principal, group[0], quota, open_datasets):
                    yield frame
            else:
                async for frame in self._named(principal, group, quota, open_datasets):
                    yield frame

    async def _named(
        self,
        principal: Principal,
        names: Sequence[str],
        quota: Quota,
        open_datasets: dict[DatasetName, tuple[Result, str] | None],
    ) -> AsyncIterator[Frame]:
        parsed: dict[str, FileName] = {}
        faults: dict[str, tuple[Result, str]] = {}
        for name in names:
            try:
                parsed[name] = parse_file(name)
            except NameInvalid as error:
                faults[name] = Result.OUTSIDE_DATASET, error.message
                continue
            fault = await self._dataset_fault(principal, parsed[name].parent, open_datasets)
            if fault:
                faults[name] = fault
        found = await self._files.fetch_many([parsed[name] for name in names if name in parsed])
        files: list[tuple[str, File | None]] = []
        for name in names:
            document = found.get(name) if name not in faults else None
            if document is None and name not in faults:
                is_folder = await self._documents.find(FILES, key_prefix=f"{name}/", limit=1, with_text=False)
                faults[name] = (
                    (Result.NOT_A_FILE, "it is a folder; ask for it with a `/` at its end")
                    if is_folder
                    else (Result.NOT_FOUND, "there is no such file")
                )
            files.append((name, file_of(document) if document else None))
        async for frame in self._send(files, faults, quota):
            yield frame

    async def _folder(
        self,
        principal: Principal,
        name: str,
        quota: Quota,
        open_datasets: dict[DatasetName, tuple[Result, str] | None],
    ) -> AsyncIterator[Frame]:
        dataset_part, _, path = name.partition("/files/")
        try:
            dataset = parse_dataset(dataset_part)
            if path:
                parse_file(name.rstrip("/"))
        except NameInvalid as error:
            yield Frame(name, result=Result.OUTSIDE_DATASET, message=error.message)
            return
        fault = await self._dataset_fault(principal, dataset, open_datasets)
        if fault:
            yield Frame(name, result=fault[0], message=fault[1])
            return
        after: Position | None = None
        while True:
            found = await self._documents.find(FILES, scopes=[str(dataset)], key_prefix=name, after=after, limit=_BATCH)
            if not found and after is None and path:
                yield Frame(name, result=Result.NOT_FOUND, message="there is no such folder")
            async for frame in self._send([(item.document.key, file_of(item.document)) for item in found], {}, quota):
                yield frame
            if len(found) < _BATCH:
                return
            after = found[-1].position

    async def _dataset_fault(
        self,
        principal: Principal,
        dataset: DatasetName,
        open_datasets: dict[DatasetName, tuple[Result, str] | None],
    ) -> tuple[Result, str] | None:
        if dataset not in open_datasets:
            try:
                await self._datasets.require(principal, dataset)
                open_datasets[dataset] = None
            except NotFound as error:
                open_datasets[dataset] = Result.UNKNOWN_DATASET, error.message
            except PermissionDenied as error:
                open_datasets[dataset] = Result.PERMISSION, error.message
        return open_datasets[dataset]

    async def _send(
        self, files: Sequence[tuple[str, File | None]], faults: dict[str, tuple[Result, str]], quota: Quota
    ) -> AsyncIterator[Frame]:
        admitted: list[tuple[str, File | None, tuple[Result, str] | None]] = []
        for name, file in files:
            fault = faults.get(name) or (quota.refusal(file) if file else None)
            admitted.append((name, file, fault))
        for run in _runs(admitted):
            if len(run) > 1:
                async for frame in self._neighbours([(name, file) for name, file, _ in run if file]):
                    yield frame
                continue
            name, file, fault = run[0]
            if fault or file is None:
                result, message = fault or (Result.NOT_FOUND, "there is no such file")
                yield Frame(name, file, result=result, message=message)
            else:
                async for frame in self._one(name, file):
                    yield frame

    async def _neighbours(self, files: Sequence[tuple[str, File]]) -> AsyncIterator[Frame]:
        """Read small files that lie side by side in one blob at once."""
        first, last = files[0][1].extents[0], files[-1][1].extents[0]
        span = Extent(
            Blob(first.blob.key, last.offset + last.size), first.offset, last.offset + last.size - first.offset
        )
        try:
            pieces = [chunk async for chunk in self._blobs.open(span.blob, span.offset, span.size)]
        except Unavailable:  # no fault of these files: the stream ends, and the caller asks for the rest again
            raise
        except MeasurandError:
            # One by one, so that each gets the result that it deserves.
            for name, file in files:
                async for frame in self._one(name, file):
                    yield frame
            return
        data = memoryview(pieces[0]) if len(pieces) == 1 else memoryview(b"".join(pieces))
        for name, file in files:
            begin = file.extents[0].offset - span.offset
            piece = data[begin : begin + file.size]
            try:
                self._reading.prove(file, piece)
            except DataLoss as error:
                yield Frame(name, file, result=Result.IO_ERROR, message=error.message)
            else:
                yield Frame(name, file, piece, file.digests.crc32c, Result.OK)

    async def _one(self, name: str, file: File) -> AsyncIterator[Frame]:
        label, header = name, file
        try:
            async for part in self._reading.parts(file):
                yield Frame(label, header, part.data, part.crc32c)
                label, header = "", None  # type: ignore[assignment]  # only the first frame names the file
            yield Frame(label, header, result=Result.OK)
        except Unavailable:
            raise
        except NotFound as error:
            yield Frame(label, header, result=Result.CHANGED, message=error.message)
        except MeasurandError as error:
            yield Frame(label, header, result=Result.IO_ERROR, message=error.message)


def _grouped(names: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield folders one by one, and the files between them in batches."""
    batch: list[str] = []
    for name in names:
        if batch and (name.endswith("/") or len(batch) == _BATCH):
            yield "files", batch
            batch = []
        if name.endswith("/"):
            yield "folder", [name]
        else:
            batch.append(name)
    if batch:
        yield "files", batch


Admitted = tuple[str, File | None, tuple[Result, str] | None]


def _runs(admitted: Sequence[Admitted]) -> Iterator[list[Admitted]]:
    """Split files into runs that lie side by side in one blob and are small enough to be read at once."""
    run: list[Admitted] = []
    end: tuple[str, int] | None = None
    size = 0
    for item in admitted:
        file, fault = item[1], item[2]
        extent = file.extents[0] if file and not fault and len(file.extents) == 1 else None
        packed = extent is not None and extent.blob.checks is None
        joins = (
            packed
            and extent is not None
            and end == (extent.blob.key, extent.offset)
            and size + extent.size <= _RUN_BYTES
        )
        if run and not joins:
            yield run
            run, size = [], 0
        run.append(item)
        if packed and extent is not None:
            end, size = (extent.blob.key, extent.offset + extent.size), size + extent.size
        else:
            end = None
    if run:
        yield run
