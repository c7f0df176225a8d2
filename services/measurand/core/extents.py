"""Where the bytes of a file lie: one or several pieces of blobs, in order.

An upload that was resumed has one piece for each writer it had, and many small files share one blob. So a commit copies
no bytes, and no writer ever writes into a blob that another one has begun.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from measurand.core.ports import Blob, Checks, Json

__all__ = ["Extent", "cut", "extents_from_json", "extents_to_json", "whole"]


@dataclass(frozen=True, slots=True)
class Extent:
    """A piece of a blob.

    Parameters
    ----------
    blob : Blob
        With its checks, where the piece is the whole blob; without, where the file's own crc32c proves the bytes.
    offset : int
        Where the piece begins in the blob.
    size : int
        How long it is.
    """

    blob: Blob
    offset: int
    size: int


def whole(blob: Blob) -> Extent:
    """Return the extent that is all of a blob."""
    return Extent(blob, 0, blob.size)


def cut(extents: Iterable[Extent], offset: int, length: int) -> Iterator[Extent]:
    """Yield the pieces that hold `length` bytes from `offset` of the file; they must lie within it."""
    begin = 0
    for extent in extents:
        first, last = max(offset, begin), min(offset + length, begin + extent.size)
        if first < last:
            yield Extent(extent.blob, extent.offset + first - begin, last - first)
        begin += extent.size


def extents_to_json(extents: Sequence[Extent]) -> Json:
    """Return extents as they stand in the body of a document."""
    return [_to_json(extent) for extent in extents]


def extents_from_json(value: Json) -> tuple[Extent, ...]:
    """Return the extents that stand in the body of a document."""
    assert isinstance(value, Sequence)
    return tuple(_from_json(item) for item in value if isinstance(item, Mapping))


def _to_json(extent: Extent) -> Json:
    value: dict[str, Json] = {"blob": extent.blob.key, "offset": extent.offset, "size": extent.size}
    if extent.blob.checks is not None:
        crcs = extent.blob.checks.crcs
        value["blob_size"] = extent.blob.size
        value["block_bytes"] = extent.blob.checks.block_bytes
        value["crcs"] = base64.b64encode(struct.pack(f"<{len(crcs)}I", *crcs)).decode()
    return value


def _from_json(value: Mapping[str, Json]) -> Extent:
    key, offset, size = str(value["blob"]), _integer(value["offset"]), _integer(value["size"])
    checks, blob_size = None, offset + size
    if "crcs" in value:
        packed = base64.b64decode(str(value["crcs"]))
        checks = Checks(_integer(value["block_bytes"]), struct.unpack(f"<{len(packed) // 4}I", packed))
        blob_size = _integer(value["blob_size"])
    return Extent(Blob(key, blob_size, checks), offset, size)


def _integer(value: Json) -> int:
    assert isinstance(value, int)
    return value
