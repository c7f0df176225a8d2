"""The arrays of a dataset as zarr-python sees them: a store that reads through the service, and writes nothing."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, Protocol

from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.core.buffer import Buffer, BufferPrototype

from measurand.chunks.grid import chunk_key
from measurand.chunks.trees import METADATA
from measurand.client.array_layouts import Layout
from measurand.client.zarr_tree import Tree
from measurand.wire.errors import NotFound

__all__ = ["DatasetStore", "Reading"]

KEPT_SHARDS = 16
"""So many shards are kept from the reading of their index on: what is read of one is then of one write of it."""

Keys = list[str]


class Reading(Protocol):
    """What the store needs: reads the arrays of one dataset, from any thread; it can be pickled."""

    def tree(self) -> Tree:
        """Return the arrays as they are now."""
        ...

    def chunk(self, layout: Layout, index: Sequence[int]) -> Any:
        """Return an encoded chunk, or None if it was never written."""
        ...

    def written(self, layout: Layout) -> list[tuple[int, ...]]:
        """Return the index of every chunk that was written."""
        ...

    def close(self) -> None:
        """Let the connection go."""
        ...


class DatasetStore(Store):
    """A read-only Zarr store over the arrays of a dataset.

    Chunks come as they are stored, and zarr decodes them; unwritten ones are missing, which reads as fill. Opening a
    group or an array anew shows how it has grown.

    Parameters
    ----------
    reading : Reading
        Of the dataset.
    name : str
        The dataset's resource name.
    """

    supports_writes = False
    supports_deletes = False
    supports_listing = True

    def __init__(self, reading: Reading, name: str) -> None:
        super().__init__(read_only=True)
        self._reading = reading
        self._name = name
        self._tree: Tree | None = None
        self._shown: set[str] = set()
        self._kept: OrderedDict[str, Any] = OrderedDict()
        self._lock = threading.Lock()

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        data = await asyncio.to_thread(self._read, key, byte_range)
        return None if data is None else prototype.buffer.from_bytes(_part(data, byte_range))

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        return list(await asyncio.gather(*(self.get(key, prototype, part) for key, part in key_ranges)))

    async def exists(self, key: str) -> bool:
        return await asyncio.to_thread(self._read, key, None) is not None

    async def list(self) -> AsyncIterator[str]:
        async for key in self.list_prefix(""):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        for key in await asyncio.to_thread(self._keys, prefix):
            yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        below = f"{prefix.rstrip('/')}/" if prefix else ""
        seen = set()
        for key in await asyncio.to_thread(self._keys, below, folders_only=True):
            name = key[len(below) :].partition("/")[0]
            if name not in seen:
                seen.add(name)
                yield name

    async def set(self, key: str, value: Buffer) -> None:
        self._check_writable()

    async def delete(self, key: str) -> None:
        self._check_writable()

    def close(self) -> None:
        super().close()
        self._reading.close()

    def with_read_only(self, read_only: bool = False) -> Store:
        if not read_only:
            raise ValueError(f"{self} can only be read; write by `run[name] = …`")
        return DatasetStore(self._reading, self._name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DatasetStore) and self._name == other._name and self._reading == other._reading

    __hash__ = None  # type: ignore[assignment]  # as other stores of zarr

    def __reduce__(self) -> tuple[Any, ...]:
        return DatasetStore, (self._reading, self._name)

    def __str__(self) -> str:
        return f"measurand://{self._name}"

    def __repr__(self) -> str:
        return f"DatasetStore('{self}')"

    def _read(self, key: str, byte_range: ByteRequest | None) -> Any:
        if key.rpartition("/")[2] == METADATA:
            text = self._documents(key).get(key)
            return None if text is None else text.encode()
        found = self._chunk_of(key)
        if found is None:
            return None
        with self._lock:
            if isinstance(byte_range, RangeByteRequest) and key in self._kept:
                return self._kept[key]
        data = self._fetch(*found)
        if isinstance(byte_range, SuffixByteRequest):  # the index of a shard: its parts will be asked for next
            with self._lock:
                self._kept[key] = data
                self._kept.move_to_end(key)
                if len(self._kept) > KEPT_SHARDS:
                    self._kept.popitem(last=False)
        return data

    def _documents(self, key: str) -> dict[str, str]:
        """Return every `zarr.json`; as they are now if this one was asked for before."""
        with self._lock:
            if self._tree is None or key in self._shown:
                self._tree = self._reading.tree()
                self._shown.clear()
            self._shown.add(key)
            return self._tree.documents

    def _layouts(self) -> dict[str, Layout]:
        with self._lock:
            if self._tree is None:
                self._tree = self._reading.tree()
            return self._tree.layouts

    def _chunk_of(self, key: str) -> tuple[Layout, tuple[int, ...]] | None:
        """Return which chunk of which array a key names."""
        parts = key.split("/")
        layouts = self._layouts()
        for place, part in enumerate(parts):
            layout = layouts.get("/".join(parts[:place])) if part == "c" else None
            if layout is not None:
                numbers = parts[place + 1 :]
                index = tuple(int(number) for number in numbers if number.isdecimal())
                is_one = len(index) == len(numbers) and layout.grid.contains(index) and chunk_key(index) in key
                return (layout, index) if is_one else None
        return None

    def _fetch(self, layout: Layout, index: tuple[int, ...]) -> Any:
        try:
            return self._reading.chunk(layout, index)
        except NotFound as error:
            raise FileNotFoundError(error.message) from error

    def _keys(self, prefix: str, *, folders_only: bool = False) -> Keys:
        """Return the keys that begin so; with `folders_only` chunks are looked for only where the prefix asks."""
        with self._lock:
            tree = self._tree = self._reading.tree()
        keys = [key for key in tree.documents if key.startswith(prefix)]
        for name, layout in tree.layouts.items():
            chunks = f"{name}/c"
            if folders_only and chunks.startswith(prefix) and chunks != prefix:
                keys.append(chunks)
            elif chunks.startswith(prefix) or prefix.startswith(f"{chunks}/"):
                written = (f"{name}/{chunk_key(index)}" for index in self._reading.written(layout))
                keys += [key for key in written if key.startswith(prefix)]
        return sorted(keys)


def _part(data: Any, byte_range: ByteRequest | None) -> bytes:
    view = memoryview(data)
    if isinstance(byte_range, RangeByteRequest):
        view = view[byte_range.start : byte_range.end]
    elif isinstance(byte_range, OffsetByteRequest):
        view = view[byte_range.offset :]
    elif isinstance(byte_range, SuffixByteRequest):
        view = view[max(0, view.nbytes - byte_range.suffix) :]
    return bytes(view)
