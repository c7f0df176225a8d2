"""What calls give back that is no handle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from measurand.client import names
from measurand.client.storage import Storage
from measurand.v1 import datasets_pb2, files_pb2
from measurand.wire.errors import MeasurandError

__all__ = ["DownloadResult", "File", "FileLocation", "NewDataset", "Revision", "UploadResult", "time_of"]


def time_of(message: Any, name: str) -> datetime | None:
    """Return a time of a message as an aware datetime in UTC, to the microsecond; None: it is unset."""
    if not message.HasField(name):
        return None
    stamp: Timestamp = getattr(message, name)
    return stamp.ToDatetime(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class File:
    """What is known about a file, without its bytes.

    Parameters
    ----------
    path : str
        Its path in the dataset, with `/` between folders on every system.
    size : int
        Number of bytes.
    blake3 : str
        BLAKE3 of all the bytes, in hexadecimal.
    crc32c : int
        CRC-32C of all the bytes.
    generation : int
        Goes up with every upload to the path; path and generation together never change.
    content_type : str
        A media type.
    attributes : mapping
        What was kept with it, such as `mtime` and `mode`.
    created : datetime
        When it was committed.
    creator : str
        Who committed it.
    is_superseded : bool
        A newer generation has taken its place.
    dataset : str
        The id of the dataset it lies in.
    """

    path: str
    size: int
    blake3: str
    crc32c: int
    generation: int
    content_type: str
    attributes: Mapping[str, str]
    created: datetime | None
    creator: str = ""
    is_superseded: bool = False
    dataset: str = ""

    @classmethod
    def of(cls, message: files_pb2.File) -> File:
        """Return the file that a message tells of."""
        return cls(
            path=names.path_of(message.name),
            size=message.size,
            blake3=message.checksums.blake3,
            crc32c=message.checksums.crc32c,
            generation=message.generation,
            content_type=message.content_type,
            attributes=dict(message.attributes),
            created=time_of(message, "create_time"),
            creator=message.creator,
            is_superseded=message.superseded,
            dataset=message.name.split("/")[3],
        )


@dataclass(frozen=True, slots=True)
class FileLocation:
    """Where the bytes of a file lie.

    Parameters
    ----------
    file : File
        What is known about it; check what you read by its `crc32c` or `blake3`.
    spans : sequence of (str, int)
        URLs for GET, in order, and how many bytes from the start of each belong to the file.
    expires : datetime
        Until when the URLs are good.
    """

    file: File
    spans: Sequence[tuple[str, int]]
    expires: datetime | None

    @classmethod
    def of(cls, message: files_pb2.FileLocation) -> FileLocation:
        """Return the location that a message tells of."""
        spans = tuple((span.url, span.size) for span in message.spans)
        return cls(File.of(message.file), spans, time_of(message, "expire_time"))


@dataclass(frozen=True, slots=True)
class Revision:
    """One change of a dataset.

    Parameters
    ----------
    number : int
        1 at creation, one more with every change.
    author : str
        Who made it, `users/{user}`.
    created : datetime
        When.
    changed_paths : tuple of str
        What changed, such as `title` and `metadata.temperature`.
    comment : str
        What the author said about it.
    """

    number: int
    author: str
    created: datetime | None
    changed_paths: tuple[str, ...]
    comment: str

    @classmethod
    def of(cls, message: datasets_pb2.DatasetRevision) -> Revision:
        """Return the revision that a message tells of."""
        return cls(
            message.revision,
            message.author,
            time_of(message, "create_time"),
            tuple(message.changed_paths),
            message.comment,
        )


@dataclass(frozen=True, slots=True)
class NewDataset:
    """A dataset to be made by `create_many`; the same fields as `create` takes."""

    title: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    kind: str = ""
    tags: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()
    id: str | None = None
    started: datetime | None = None
    ended: datetime | None = None
    storage: str | Storage | None = None


@dataclass(frozen=True, slots=True)
class UploadResult:
    """What became of a folder that was sent.

    Parameters
    ----------
    files : tuple of File
        What was stored now.
    skipped : tuple of str
        Paths that were there already, with the same size and time.
    failed : mapping
        The error of each path that was not stored.
    """

    files: tuple[File, ...]
    skipped: tuple[str, ...]
    failed: Mapping[str, MeasurandError]

    @property
    def size(self) -> int:
        """Bytes that were stored now."""
        return sum(file.size for file in self.files)

    def __iter__(self) -> Iterator[File]:
        return iter(self.files)

    def __repr__(self) -> str:
        return _counted("UploadResult", len(self.files), self.size, self.skipped, self.failed)


@dataclass(frozen=True, slots=True)
class DownloadResult:
    """What became of files that were asked for.

    Parameters
    ----------
    files : tuple of File
        What was written now.
    skipped : tuple of str
        Paths that were there already, with the same size and time.
    failed : mapping
        For each path that was not written, why: a word such as `NOT_FOUND` or `OUTSIDE_FOLDER`, and a sentence.
    """

    files: tuple[File, ...]
    skipped: tuple[str, ...]
    failed: Mapping[str, str]

    @property
    def size(self) -> int:
        """Bytes that were written now."""
        return sum(file.size for file in self.files)

    def __iter__(self) -> Iterator[File]:
        return iter(self.files)

    def __repr__(self) -> str:
        return _counted("DownloadResult", len(self.files), self.size, self.skipped, self.failed)


def _counted(kind: str, files: int, size: int, skipped: tuple[str, ...], failed: Mapping[str, Any]) -> str:
    parts = [f"{files} files", f"{size:,} bytes"]
    parts += [f"{len(skipped)} skipped"] if skipped else []
    parts += [f"{len(failed)} FAILED: {', '.join(list(failed)[:3])}"] if failed else []
    return f"<{kind} {', '.join(parts)}>"
