"""What a backup says of itself: which parts belong to it, and what they come to. Written last, so that it is whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from measurand.core.blob_rules import closing
from measurand.core.moving.contents import CONTENTS
from measurand.core.moving.copying import Cut
from measurand.core.moving.damages import Damage
from measurand.core.ports import Blob, BlobStore
from measurand.wire.errors import DataLoss

__all__ = ["PREFIX", "Manifest", "Part", "Section", "list_backups", "read_part", "write_manifest"]

PREFIX = "backups/"
_NAME = "manifest.json"


@dataclass(frozen=True, slots=True)
class Part:
    """A blob that holds some lines of a backup."""

    key: str
    count: int
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Section:
    """All lines of one kind.

    Parameters
    ----------
    sha256 : str
        Of all lines together.
    """

    count: int
    sha256: str
    parts: Sequence[Part]


_NOTHING = Section(0, hashlib.sha256().hexdigest(), ())


@dataclass(frozen=True, slots=True)
class Manifest:
    """One backup.

    Parameters
    ----------
    deployment : str
        The id of what was backed up.
    format : int
        Of its documents.
    began, ended : datetime
        When the backup was made.
    cut : Cut
        When the documents are from.
    documents : mapping
        A section for each collection.
    blobs : Section
        What the documents name: `key` and `size` of each.
    blob_bytes : int
        How large they are together.
    damaged : sequence of Damage
        Files whose bytes were damaged in the store already.
    """

    id: str
    deployment: str
    format: int
    began: datetime
    ended: datetime
    cut: Cut
    documents: Mapping[str, Section]
    blobs: Section
    blob_bytes: int
    damaged: Sequence[Damage] = ()

    @property
    def key(self) -> str:
        """The blob that it is kept in."""
        return f"{PREFIX}{self.id}/{_NAME}"

    def to_json(self) -> bytes:
        """Return it as it is kept."""
        return (json.dumps(asdict(self), default=_plain, indent=1) + "\n").encode()

    @classmethod
    def from_json(cls, key: str, text: bytes) -> Manifest:
        """Return the manifest that a blob holds. Raises DataLoss."""
        try:
            value: dict[str, Any] = json.loads(text)
            return cls(
                **{
                    **value,
                    "began": datetime.fromisoformat(value["began"]),
                    "ended": datetime.fromisoformat(value["ended"]),
                    "cut": Cut(
                        datetime.fromisoformat(value["cut"]["first"]),
                        datetime.fromisoformat(value["cut"]["last"]),
                        value["cut"]["is_exact"],
                    ),
                    # One that was made before there was a collection has nothing of it.
                    "documents": {content.name: _NOTHING for content in CONTENTS}
                    | {name: _section(section) for name, section in value["documents"].items()},
                    "blobs": _section(value["blobs"]),
                    "damaged": [Damage(**damage) for damage in value["damaged"]],
                }
            )
        except (ValueError, KeyError, TypeError) as error:
            raise DataLoss(
                f"{key}: this manifest is damaged; remove it to use the other backups", resource=key
            ) from error


async def write_manifest(blobs: BlobStore, manifest: Manifest) -> None:
    """Make a backup of what has been written. Durable when it returns."""
    await blobs.put(manifest.key, [manifest.to_json()])


async def list_backups(blobs: BlobStore) -> Sequence[Manifest]:
    """Return the whole backups, oldest first."""
    async with closing(blobs.scan(PREFIX)) as stored:
        whole = [blob async for blob in stored if blob.key.endswith(f"/{_NAME}") and not blob.staged]
    found = [Manifest.from_json(blob.key, await _read(blobs, blob.key, blob.size)) for blob in whole]
    return sorted(found, key=lambda manifest: (manifest.began, manifest.id))


async def read_part(blobs: BlobStore, part: Part) -> Sequence[bytes]:
    """Return the lines of a part. Raises DataLoss when they are not those that were written."""
    data = await _read(blobs, part.key, part.size)
    if hashlib.sha256(data).hexdigest() != part.sha256:
        raise DataLoss(f"{part.key}: this part of the backup is damaged; use another backup", resource=part.key)
    return data.splitlines(keepends=True)


async def _read(blobs: BlobStore, key: str, size: int) -> bytes:
    async with closing(blobs.open(Blob(key, size))) as chunks:
        return b"".join([bytes(chunk) async for chunk in chunks])


def _section(value: Mapping[str, Any]) -> Section:
    return Section(value["count"], value["sha256"], [Part(**part) for part in value["parts"]])


def _plain(value: object) -> str:
    assert isinstance(value, datetime)
    return value.isoformat()
