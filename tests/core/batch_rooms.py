"""The rooms of core that windows need: freezing, batches, the event log, retention, beside those of `buffer_rooms`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tests.core.buffer_rooms import BufferRooms
from tests.core.rooms import Rooms, make_rooms, prepare

from measurand.core.buffers.batches import BATCHES, Batch, Batches, batch_of
from measurand.core.buffers.buffers import Buffers
from measurand.core.buffers.closing import Closings
from measurand.core.buffers.documents import BUFFERS, SEGMENTS, blob_key, index_of
from measurand.core.buffers.events import Events
from measurand.core.buffers.freezing import FreezeAnswer, Freezing, UnfreezeAnswer
from measurand.core.buffers.heads import Event, Policy
from measurand.core.buffers.leading import Leading
from measurand.core.buffers.reading import Records
from measurand.core.buffers.releasing import Releasing
from measurand.core.buffers.retention import Retention
from measurand.core.buffers.standing import is_gone
from measurand.core.dataset_documents import DATASETS
from measurand.core.datasets import Datasets
from measurand.core.limits import Limits
from measurand.core.names import DatasetName
from measurand.core.principal import LOCAL_USER
from measurand.server.patterns import compile_pattern
from measurand.wire.documents import decode

__all__ = ["BatchRooms", "check_batches", "start_batches"]


@dataclass
class BatchRooms(BufferRooms):
    """One server's worth of core for windows. `another` is one more over the same stores."""

    def __post_init__(self) -> None:
        super().__post_init__()
        rooms = self.rooms
        documents, means, limits = rooms.documents, rooms.means, rooms.limits
        self.releasing = Releasing(documents, self.board, means, limits)
        self.datasets = Datasets(
            documents,
            rooms.catalogs,
            means,
            limits,
            compile_pattern=compile_pattern,
            purge_also=[self.releasing.release],
            purge_catalog_also=[self.releasing.remove_all],
        )
        self.buffers = Buffers(
            documents, rooms.catalogs, self.board, means, limits, remove_also=[self.releasing.remove]
        )
        self.closings = Closings(documents, self.board, self.releasing, means, limits)
        self.batches = Batches(documents, rooms.catalogs, means, limits)
        self.freezing = Freezing(documents, rooms.catalogs, self.board, self.closings, self.batches, means, limits)
        self.events = Events(documents, rooms.catalogs, self.board, means, limits)
        self.retention = Retention(documents, self.board, self.releasing, self.datasets.purging, means)
        self.records = Records(
            documents, rooms.blobs, rooms.catalogs, self.board, means, limits, compile_pattern=compile_pattern
        )

    def another(self, leading: Leading | None = None, **stores: Any) -> BatchRooms:
        return BatchRooms(replace(self.rooms, **stores), self.name, leading or Leading())

    async def freeze_window(self, **more: Any) -> FreezeAnswer:
        return await self.freezing.freeze(LOCAL_USER, self.name, **more)

    async def unfreeze(self, **more: Any) -> UnfreezeAnswer:
        return await self.freezing.unfreeze(LOCAL_USER, self.name, **more)

    async def rotate(self, **more: Any) -> UnfreezeAnswer:
        return await self.freezing.rotate(LOCAL_USER, self.name, **more)

    async def cycle(self, *data: bytes) -> DatasetName:
        """Append, freeze, unfreeze, and return the dataset."""
        await self.append(*data)
        token = (await self.freeze_window(force=True)).token
        answer = await self.unfreeze(token=token)
        assert answer.batch is not None
        return answer.batch.dataset.name

    async def windows(self) -> list[Batch]:
        """Return what has become of all closed windows, as the store has it."""
        found = await self.rooms.documents.find(BATCHES, limit=1000)
        return [batch_of(item.document) for item in found]

    async def log(self) -> list[Event]:
        """Return the whole log, oldest first."""
        return list((await self.events.page(LOCAL_USER, self.name, after_number=0, size=1000)).events)

    async def read(self, name: DatasetName) -> list[tuple[int, bytes]]:
        """Return the records of a batch."""
        found: list[tuple[int, bytes]] = []
        while True:
            after = found[-1][0] if found else 0
            page = await self.records.read(LOCAL_USER, name, after=after, most=1000)
            found += [(one.sequence, bytes(one.record.data)) for one in page.records]
            if not page.records:
                return found

    async def named(self) -> set[str]:
        """Return the keys of all blobs that head and index name."""
        documents = self.rooms.documents
        heads = [item.document for item in await documents.find(BUFFERS, limit=1000)]
        keys = set()
        for document in heads:
            if not is_gone(document):
                head = await self.head()
                keys |= {blob_key(head.uid, segment.ulid) for segment in head.segments}
        for item in await documents.find(SEGMENTS, limit=1000):
            index = index_of(item.document)
            keys |= {blob_key(index.uid, segment.ulid) for segment in index.segments}
        return keys

    async def metadata(self, name: DatasetName) -> Mapping[str, object]:
        document = await self.rooms.documents.fetch(DATASETS, str(name))
        assert document is not None
        return decode(document.text)


async def check_batches(rooms: BatchRooms) -> list[bytes]:
    """Check that every sealed record is in exactly one batch, and return the records of all batches and the window."""
    head, position, found = await rooms.head(), 1, []
    listed = (await rooms.batches.page(LOCAL_USER, rooms.name, size=1000)).batches
    assert head.batch_count == len(listed)
    for one in reversed(listed):
        batch = one.batch
        assert (one.dataset.kind, one.dataset.state, one.dataset.stored_bytes) == ("batch", "sealed", batch.size)
        records = await rooms.read(one.dataset.name)
        assert [sequence for sequence, _ in records] == list(range(batch.first, batch.end))
        assert batch.first == position
        assert sum(len(data) for _, data in records) == batch.size
        position = batch.end
        found += [data for _, data in records]
    assert position == head.window_first
    open_records = [record.data for record in await rooms.kept() if record.window == head.window]
    assert len(open_records) == head.window_records
    return found + open_records


async def start_batches(
    policy: Policy | None = None, *, limits: Limits | None = None, rooms: Rooms | None = None
) -> BatchRooms:
    """Return rooms with an empty buffer."""
    rooms = rooms or make_rooms(limits)
    await prepare(rooms)
    batches = BatchRooms(rooms)
    await batches.create(policy)
    return batches
