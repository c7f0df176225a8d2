"""Small files many to a message: read in a thread, cut into batches, kept until each has its answer."""

from __future__ import annotations

from collections.abc import Generator, Iterator, MutableMapping
from dataclasses import dataclass

from measurand.client import names, problems
from measurand.client.hashing import Bytes, crc32c
from measurand.client.local import Entry, attributes_of
from measurand.client.sources import FileSource
from measurand.client.storage import Storage, storage_message
from measurand.v1 import common_pb2, files_pb2
from measurand.wire.errors import MeasurandError

__all__ = ["Batch", "Pending", "cut", "read_batches"]

BATCH_BYTES = 1 << 20
BATCH_FILES = 256
WINDOW_BYTES = 16 << 20
WINDOW_FILES = 8192


@dataclass(frozen=True, slots=True)
class Batch:
    """The files of one message.

    Parameters
    ----------
    files : list of SmallFile
        What they are.
    pieces : list of bytes-like
        Their bytes.
    """

    files: list[files_pb2.SmallFile]
    pieces: list[Bytes]

    @property
    def data(self) -> Bytes:
        """Their bytes, one behind the other."""
        return self.pieces[0] if len(self.pieces) == 1 else b"".join(self.pieces)


class Pending:
    """Files that were sent and have no answer yet."""

    def __init__(self) -> None:
        self._kept: dict[int, tuple[files_pb2.SmallFile, Bytes]] = {}
        self._size = 0

    def __bool__(self) -> bool:
        return bool(self._kept)

    @property
    def has_room(self) -> bool:
        """More may be sent before an answer comes."""
        return self._size < WINDOW_BYTES and len(self._kept) < WINDOW_FILES

    def add(self, batch: Batch) -> None:
        """Keep the files of a batch until they have their answers."""
        for file, data in zip(batch.files, batch.pieces, strict=True):
            self._kept[file.index] = (file, data)
            self._size += file.size

    def settle(self, index: int) -> files_pb2.SmallFile | None:
        """Forget a file that has its answer, and return it; None: it was forgotten before."""
        file, _ = self._kept.pop(index, (None, b""))
        self._size -= file.size if file is not None else 0
        return file

    def again(self) -> Iterator[Batch]:
        """Yield all that have no answer, in batches, for a new stream."""
        yield from cut(iter(list(self._kept.values())))


def read_batches(
    dataset: str,
    prefix: str,
    entries: list[Entry],
    failed: MutableMapping[str, MeasurandError],
    storage: str | Storage | None = None,
) -> Generator[Batch, None, None]:
    """Yield the files in batches; one that cannot be read goes to `failed` instead."""
    policy = None if storage is None else storage_message(storage)
    yield from cut(_read(dataset, prefix, entries, failed, policy))


def cut(files: Iterator[tuple[files_pb2.SmallFile, Bytes]]) -> Iterator[Batch]:
    """Yield files in batches of a message each."""
    batch = Batch([], [])
    size = 0
    for file, data in files:
        if batch.files and (size + len(data) > BATCH_BYTES or len(batch.files) == BATCH_FILES):
            yield batch
            batch, size = Batch([], []), 0
        batch.files.append(file)
        batch.pieces.append(data)
        size += len(data)
    if batch.files:
        yield batch


def _read(
    dataset: str,
    prefix: str,
    entries: list[Entry],
    failed: MutableMapping[str, MeasurandError],
    policy: common_pb2.StoragePolicy | None,
) -> Iterator[tuple[files_pb2.SmallFile, bytes]]:
    for index, entry in enumerate(entries):
        path = prefix + entry.name
        try:
            name = names.file_name(dataset, path)
            source = FileSource(entry.path)
            data = source.read_whole()
        except (MeasurandError, OSError) as error:
            failed[path] = problems.said_of(path, error)
            continue
        spec = files_pb2.FileSpec(
            name=name, attributes=attributes_of(source.mtime_ns, source.mode), storage_policy=policy
        )
        checksums = common_pb2.Checksums(crc32c=crc32c(data))
        yield files_pb2.SmallFile(index=index, file=spec, size=len(data), checksums=checksums), data
