"""Index documents: which blob holds which chunk. One covers a block of at most 256 neighbouring chunks.

A block is a tile of the grid of chunks whose shape never changes, so no change of the array's shape moves an entry. The
key of a blob names the block whose index document names it: whether anybody names a blob is one look at one document.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from measurand.core.arrays.documents import Array
from measurand.core.names import ArrayName, parse_array
from measurand.core.ports import Blob, Document, Json
from measurand.core.searchable import entries
from measurand.core.view import View

__all__ = [
    "BLOCKS",
    "Block",
    "Entry",
    "Index",
    "blob_key",
    "block_document",
    "block_key",
    "block_of",
    "block_of_blob",
    "block_of_chunk",
    "block_view",
    "chunk_text",
    "chunks_text",
    "names",
    "new_block",
]

BLOCKS = "array_chunks"
"""The collection of the index documents: key the array's uid and the block's place, scope the dataset's name."""

BLOBS = "arrays/"
"""What the keys of the blobs of chunks begin with."""

Index = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """Where the bytes of one chunk lie, as they were last written.

    Parameters
    ----------
    blob : str
        The key of the blob.
    offset, size : int
        Which part of it.
    crc32c : int
        Of these bytes, which proves them.
    """

    blob: str
    offset: int
    size: int
    crc32c: int

    @property
    def etag(self) -> str:
        """Changes with every write of the chunk."""
        return f"{self.blob.rpartition('/')[2]}-{self.offset}"


@dataclass(frozen=True, slots=True)
class Block:
    """The chunks of one block that were written.

    Parameters
    ----------
    array : ArrayName
        The name that the array had when the block was first written.
    index : tuple of int
        Place of the block in the grid of blocks.
    entries : mapping
        By the index of the chunk.
    epoch : int
        The newest appender that has written here: an older one may not any more.
    is_sealed : bool
        It does not change any more.
    """

    array: ArrayName
    uid: str
    index: Index
    entries: Mapping[Index, Entry] = field(default_factory=dict)
    epoch: int = 0
    is_sealed: bool = False

    @property
    def size(self) -> int:
        """Bytes of its chunks."""
        return sum(entry.size for entry in self.entries.values())

    @property
    def blobs(self) -> Sequence[Blob]:
        """The blobs that it stands on, each as far as it is needed."""
        sizes: dict[str, int] = {}
        for entry in self.entries.values():
            sizes[entry.blob] = max(sizes.get(entry.blob, 0), entry.offset + entry.size)
        return [Blob(key, size) for key, size in sizes.items()]


def new_block(array: Array, index: Index) -> Block:
    """Return a block without chunks."""
    return Block(array.name, array.uid, index)


def block_of_chunk(array: Array, chunk: Index) -> Index:
    """Return the place of the block that a chunk lies in."""
    return tuple(at // step for at, step in zip(chunk, array.block_shape, strict=True))


def block_key(uid: str, index: Index) -> str:
    """Return the key of an index document; those of one array sort as their blocks lie, in C order."""
    return "/".join((uid, "c", *(f"{at:012d}" for at in index)))


def blob_key(uid: str, index: Index, ulid: str) -> str:
    """Return the key of a new blob for chunks of one block."""
    return f"{BLOBS}{uid}/{'.'.join(('c', *map(str, index)))}/{ulid.lower()}"


def block_of_blob(key: str) -> tuple[str, Index] | None:
    """Return the array's uid and the place of the block that a blob is of; None: it is not of an array."""
    if not key.startswith(BLOBS):
        return None
    uid, _, rest = key.removeprefix(BLOBS).partition("/")
    place = rest.partition("/")[0].split(".")
    if place[0] != "c" or not all(part.isdecimal() and part.isascii() for part in place[1:]):
        return None
    return uid, tuple(map(int, place[1:]))


def names(document: Document, blob: str) -> bool:
    """Tell whether the index document of the block that a blob is of names it, without taking it apart."""
    body: Mapping[str, Any] = document.body
    ulid = blob.rpartition("/")[2]
    return any(entry[0] == ulid for entry in body["chunks"].values())


def chunk_text(block: Block, index: Index) -> str:
    """Return which chunk of which array it is, for people."""
    return f"{block.array} chunk {'/'.join(map(str, index))}"


def chunks_text(block: Block, blob: str) -> str:
    """Return which chunks lie in a blob, for people: the first, and how many more there are."""
    indexes = [index for index, entry in block.entries.items() if entry.blob == blob]
    more = f" and {len(indexes) - 1} more" if len(indexes) > 1 else ""
    return f"{chunk_text(block, indexes[0])}{more}" if indexes else str(block.array)


def block_document(block: Block) -> Document:
    """Return the index document of a block."""
    body: dict[str, Json] = {
        "array": str(block.array),
        "uid": block.uid,
        "block": list(block.index),
        "epoch": block.epoch,
        "sealed": block.is_sealed,
        "chunks": {
            "/".join(map(str, index)): [entry.blob.rpartition("/")[2], entry.offset, entry.size, entry.crc32c]
            for index, entry in block.entries.items()
        },
    }
    return Document(block_key(block.uid, block.index), str(block.array.parent), body, view=block_view(block))


def block_of(document: Document) -> Block:
    """Return the block that an index document is of."""
    body: Mapping[str, Any] = document.body
    uid, index = body["uid"], tuple(body["block"])
    return Block(
        array=parse_array(body["array"]),
        uid=uid,
        index=index,
        entries={
            _index(chunk): Entry(blob_key(uid, index, ulid), offset, size, crc32c)
            for chunk, (ulid, offset, size, crc32c) in body["chunks"].items()
        },
        epoch=body["epoch"],
        is_sealed=body["sealed"],
    )


def block_view(block: Block) -> View:
    """Return what a block can be found by: whose it is, and how much it holds."""
    return [*entries(uid=block.uid, size=block.size, chunks=len(block.entries))]


def _index(text: str) -> Index:
    return tuple(map(int, text.split("/"))) if text else ()
