"""The rooms of core that arrays need, beside those of `rooms`, and chunks that are easily told from each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.core.rooms import Rooms

from measurand.core.arrays.arrays import Arrays
from measurand.core.arrays.blocks import Index
from measurand.core.arrays.chunk_writes import ChunkWrite
from measurand.core.arrays.committing import Commits
from measurand.core.arrays.documents import Array
from measurand.core.arrays.making import NewArray
from measurand.core.arrays.reading import ChunkReading
from measurand.core.arrays.resizing import Resizing
from measurand.core.arrays.writers import Ack, ArrayWriter
from measurand.core.arrays.writing import Writing
from measurand.core.names import ArrayName
from measurand.core.principal import LOCAL_USER
from measurand.server.elements import NumpyElements

__all__ = ["ArrayRooms"]


@dataclass
class ArrayRooms:
    """One server's worth of core for arrays, over the stores of `rooms`."""

    rooms: Rooms
    acks: list[Ack] = field(default_factory=list)

    def __post_init__(self) -> None:
        rooms = self.rooms
        documents, means, limits = rooms.documents, rooms.means, rooms.limits
        self.arrays = Arrays(documents, rooms.datasets, means, limits)
        self.resizing = Resizing(documents, rooms.blobs, rooms.datasets, NumpyElements(), means, limits)
        self.commits = Commits(documents, rooms.blobs, means, limits)
        self.writing = Writing(documents, rooms.datasets, self.arrays, self.resizing, self.commits, means, limits)
        self.reading = ChunkReading(documents, rooms.blobs, means)

    def name(self, array: str = "a") -> ArrayName:
        return ArrayName(self.rooms.name.catalog, self.rooms.name.dataset, array)

    async def create(
        self, array: str = "a", shape: Index = (4,), chunk_shape: Index = (1,), *, staged: bool = False, **more: Any
    ) -> Array:
        draft = NewArray(array, shape, "uint8", chunk_shape, **more)
        return await self.arrays.create(LOCAL_USER, self.rooms.name, draft, staged=staged)

    async def write(self, array: Array, index: Index, data: bytes | None, **more: Any) -> str:
        """Write one chunk and return its etag."""
        crc32c = 0 if data is None else self.rooms.means.crc32c(data, 0)
        return await self.commits.submit(array, ChunkWrite(index, data, crc32c, **more))

    async def open(self, array: Array, *, append: bool = False, **more: Any) -> ArrayWriter:
        async def acknowledge(ack: Ack) -> None:
            self.acks.append(ack)

        return await self.writing.open(LOCAL_USER, array.name, array.uid, acknowledge, append=append, **more)

    async def now(self, array: Array) -> Array:
        return await self.arrays.require(LOCAL_USER, array.name, array.uid)

    async def read(self, array: Array, *indexes: Index) -> list[bytes | None]:
        """Return what the chunks are, all of the grid unless some are named."""
        array = await self.now(array)
        return [
            None if chunk.data is None else bytes(chunk.data)
            async for chunk in self.reading.chunks(array, indexes or tuple(array.grid.indexes()))
        ]
