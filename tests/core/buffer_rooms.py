"""The rooms of core that buffers need, beside those of `rooms`, and a look at what is stored, behind every reader."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tests.core.rooms import Rooms, make_rooms, prepare

from measurand.core.buffers.appending import Ack, Appending, BufferWriter
from measurand.core.buffers.buffers import BufferDraft, Buffers
from measurand.core.buffers.committing import Commits
from measurand.core.buffers.deciding import Stored
from measurand.core.buffers.documents import SEGMENTS, blob_key, index_of
from measurand.core.buffers.heads import Head, Policy, Segment
from measurand.core.buffers.leading import Leading
from measurand.core.buffers.live import Board
from measurand.core.buffers.records import Record, read_table
from measurand.core.buffers.standing import find_standing, stored
from measurand.core.buffers.windows import frozen
from measurand.core.limits import Limits
from measurand.core.names import BufferName
from measurand.core.ports import Blob
from measurand.core.principal import LOCAL_USER

__all__ = ["BufferRooms", "Kept", "start_buffers"]


@dataclass(frozen=True, slots=True)
class Kept:
    """A record as it lies in the store."""

    sequence: int
    window: int
    time: int
    writer: str
    data: bytes
    record: Record


@dataclass
class BufferRooms:
    """One server's worth of core for buffers, over the stores of `rooms`; `another` is one more over the same."""

    rooms: Rooms
    name: BufferName = field(default_factory=lambda: BufferName("lab", "live"))
    leading: Leading = field(default_factory=Leading)

    def __post_init__(self) -> None:
        rooms = self.rooms
        documents, means, limits = rooms.documents, rooms.means, rooms.limits
        self.board = Board(documents)
        self.buffers = Buffers(documents, rooms.catalogs, self.board, means, limits)
        self.commits = Commits(documents, rooms.blobs, self.board, means, limits, self.leading)
        self.appending = Appending(rooms.catalogs, self.commits, self.board, means, limits)
        self.acks: list[Ack] = []

    def another(self, leading: Leading | None = None, **stores: Any) -> BufferRooms:
        return BufferRooms(replace(self.rooms, **stores), self.name, leading or Leading())

    def record(self, data: bytes, **more: Any) -> Record:
        return Record(data, self.rooms.means.crc32c(data, 0), **more)

    async def create(self, policy: Policy | None = None) -> Head:
        draft = BufferDraft(self.name.buffer, policy=policy or Policy())
        return await self.buffers.create(LOCAL_USER, self.name.parent, draft)

    async def append(self, *data: bytes, **more: Any) -> Stored:
        return await self.appending.append(LOCAL_USER, self.name, [self.record(one) for one in data], **more)

    async def open(self, writer: str = "w", wait_while_frozen: float = 0.0) -> BufferWriter:
        async def acknowledge(ack: Ack) -> None:
            self.acks.append(ack)

        return await self.appending.open_writer(LOCAL_USER, self.name, writer, acknowledge, wait_while_frozen)

    async def head(self) -> Head:
        """Return the head as the store has it."""
        standing = await find_standing(self.rooms.documents, self.name)
        assert standing is not None
        return standing.head

    async def freeze(self, owner: str = "users/trainer") -> Head:
        """Freeze as another server does: by a write of the head that knows nothing of this process."""
        while True:
            standing = await find_standing(self.rooms.documents, self.name)
            assert standing is not None
            head = frozen(standing.head, self.rooms.means.now(), owner)
            if await stored(self.rooms.documents, standing, head) is not None:
                return head

    async def segments(self) -> Sequence[Segment]:
        """Return all segments, older ones too, each once."""
        head = await self.head()
        found = await self.rooms.documents.find(SEGMENTS, key_prefix=f"{head.uid}/", limit=10_000)
        older = [segment for item in found for segment in index_of(item.document).segments]
        by_first = {segment.first: segment for segment in (*older, *head.segments)}
        return [by_first[first] for first in sorted(by_first)]

    async def kept(self) -> list[Kept]:
        """Return all records, in the order of their sequence, having checked every sum there is."""
        head, records = await self.head(), []
        for segment in await self.segments():
            blob = Blob(blob_key(head.uid, segment.ulid), segment.size)
            data = b"".join([bytes(chunk) async for chunk in self.rooms.blobs.open(blob)])
            crc32c = self.rooms.means.crc32c
            table = read_table(data[: segment.table_size], segment.table_crc, crc32c, self.name)
            assert len(table.sizes) == segment.count
            for index in range(segment.count):
                part = data[table.offsets[index] : table.offsets[index + 1]]
                assert crc32c(part, 0) == table.crcs[index]
                records.append(
                    Kept(
                        segment.first + index,
                        segment.window,
                        segment.time,
                        table.writer(index),
                        part,
                        table.record(index, part),
                    )
                )
        return records

    async def check(self) -> list[Kept]:
        """Check what must hold of a buffer at any time, and return its records."""
        head, kept = await self.head(), await self.kept()
        assert [record.sequence for record in kept] == list(range(1, head.next_sequence))
        times, windows = [record.time for record in kept], [record.window for record in kept]
        assert times == sorted(times)
        assert windows == sorted(windows)
        assert all((record.sequence >= head.window_first) == (record.window == head.window) for record in kept)
        newest = [record for record in kept if record.window == head.window]
        assert head.window_records == len(newest)
        assert head.window_counted == sum(len(one.data) + len(one.record.metadata) for one in newest)
        assert head.window_first_time == (newest[0].time if newest else None)
        assert head.last_time == (kept[-1].time if kept else None)
        return kept

    async def close(self) -> None:
        await self.commits.close()
        await self.board.close()


async def start_buffers(policy: Policy | None = None, *, limits: Limits | None = None, seed: int = 0) -> BufferRooms:
    """Return rooms with an empty buffer."""
    rooms = make_rooms(limits, seed=seed)
    await prepare(rooms)
    buffers = BufferRooms(rooms)
    await buffers.create(policy)
    return buffers
