"""Sealed datasets made by hand: zarr-python encodes, and the chunks are put into blobs and index documents."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import zarr
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import MemoryStore

from measurand.chunks.grid import chunk_key
from measurand.chunks.spec import ArraySpec, block_shape, spec_of
from measurand.core.arrays.blocks import BLOCKS, Block, Entry, Index, blob_key, block_document, block_of_chunk
from measurand.core.arrays.documents import ARRAYS, Array, array_document
from measurand.core.dataset_documents import DATASETS, Dataset, Note, dataset_document
from measurand.core.names import ArrayName, DatasetName
from measurand.core.ports import BlobStore, DocumentStore
from measurand.server.crc32c import make_crc32c

__all__ = ["NAME", "SealedDataset", "same"]

NAME = DatasetName("lab", "run")
START = datetime(2026, 11, 21, 12, tzinfo=UTC)
crc32c = make_crc32c()


@dataclass
class SealedDataset:
    """A dataset in two stores, and what its arrays are."""

    documents: DocumentStore
    blobs: BlobStore
    name: DatasetName = NAME
    created: datetime = START
    arrays: dict[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    _count: int = 0

    async def make(self, *, is_sealed: bool = True) -> SealedDataset:
        """Make the dataset, without arrays."""
        dataset = Dataset(
            name=self.name,
            title="Night sweep",
            kind="dataset",
            tags=(),
            parents=(),
            metadata="{}",
            metadata_bytes=2,
            revision=1,
            creator="users/local",
            create_time=self.created,
            update_time=self.created,
            is_sealed=is_sealed,
        )
        await self.documents.insert(DATASETS, dataset_document(dataset, (), Note("users/local"), None))
        return self

    async def add(
        self,
        path: str,
        values: np.ndarray[Any, Any],
        chunks: tuple[int, ...],
        *,
        own: bool = False,
        unwritten: Collection[Index] = (),
        unsealed: Collection[Index] = (),
        late: Mapping[Index, bytes] | None = None,
        blocks: tuple[int, ...] | None = None,
        garbage: bytes = b"",
        **more: Any,
    ) -> Array:
        """Store an array.

        Parameters
        ----------
        own : bool
            Each chunk is a blob of its own. Else those of a block share one.
        unwritten : collection of index
            Chunks that are not stored.
        unsealed : collection of index
            Blocks whose index documents a late writer has made behind the sealing.
        late : mapping, optional
            Chunks beyond the shape, which an appender has left.
        garbage : bytes
            What else lies behind the chunks in their blobs, of chunks that were written again.
        """
        spec, encoded = await _encode(values, chunks, more)
        uid = self._new_uid()
        array = Array(
            name=ArrayName(self.name.catalog, self.name.dataset, path),
            uid=uid,
            shape=spec.shape,
            data_type=spec.data_type,
            chunk_shape=spec.chunk_shape,
            block_shape=blocks or block_shape(spec.shape, spec.chunk_shape),
            fill_value=spec.fill_value,
            codecs=spec.codecs,
            creator="users/local",
            create_time=self.created,
            update_time=self.created,
            dimension_names=spec.dimension_names,
            attributes=more.get("text", '{"unit": "V"}'),
            is_sealed=True,
        )
        written = {index: data for index, data in encoded.items() if index not in unwritten} | dict(late or {})
        by_block: dict[Index, dict[Index, bytes]] = {}
        for index, data in written.items():
            by_block.setdefault(block_of_chunk(array, index), {})[index] = data
        for place, parts in by_block.items():
            entries: dict[Index, Entry] = {}
            for group in [{index: data} for index, data in parts.items()] if own else [parts]:
                entries |= await self._put(blob_key(uid, place, self._new_uid()), group, garbage)
            block = Block(array.name, uid, place, entries, is_sealed=place not in unsealed)
            await self.documents.insert(BLOCKS, block_document(block))
        await self.documents.insert(ARRAYS, array_document(array))
        self.arrays[path] = values
        return array

    async def _put(self, key: str, parts: Mapping[Index, bytes], garbage: bytes) -> dict[Index, Entry]:
        await self.blobs.put(key, [*parts.values(), garbage])
        entries, offset = {}, 0
        for index, data in parts.items():
            entries[index] = Entry(key, offset, len(data), crc32c(data, 0))
            offset += len(data)
        return entries

    def _new_uid(self) -> str:
        self._count += 1
        return f"01jd{zlib.crc32(str(self.name).encode()):010d}{self._count:012d}"


def same(found: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any]) -> bool:
    """Tell whether two arrays are the same bit for bit, NaN payloads and signed zeros too."""
    if found.dtype != wanted.dtype or found.shape != wanted.shape:
        return False
    if found.dtype.kind in "OT":
        return bool(np.array_equal(found, wanted))
    return found.tobytes() == wanted.tobytes()


async def _encode(
    values: np.ndarray[Any, Any], chunks: Sequence[int], more: Mapping[str, Any]
) -> tuple[ArraySpec, dict[Index, bytes]]:
    """Return what zarr-python stores: the array, and the bytes of its chunks."""
    store = MemoryStore()
    settings = {"config": {"write_empty_chunks": True}, **{key: more[key] for key in more if key != "text"}}
    array = zarr.create_array(store, shape=values.shape, dtype=values.dtype, chunks=tuple(chunks), **settings)
    if values.size:
        array[...] = values
    prototype = default_buffer_prototype()
    metadata = await store.get("zarr.json", prototype)
    assert metadata is not None
    spec = replace(spec_of(metadata.to_bytes().decode()), attributes={})
    found: dict[Index, bytes] = {}
    for index in np.ndindex(
        tuple(-(-length // chunk) for length, chunk in zip(values.shape, spec.chunk_shape, strict=True))
    ):
        data = await store.get(chunk_key(index), prototype)
        if data is not None:
            found[index] = data.to_bytes()
    return spec, found
