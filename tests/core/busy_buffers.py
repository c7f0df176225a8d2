"""What a laboratory at work does with buffers, and what must hold of all buffers and batches of a store."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta

from tests.core.batch_rooms import BatchRooms
from tests.core.rooms import Rooms

from measurand.core.buffers.batches import BATCHES, KIND, LIVE, batch_of
from measurand.core.buffers.changing import change_head
from measurand.core.buffers.documents import BUFFERS, head_of
from measurand.core.buffers.group_documents import (
    GIVEN_UP,
    GROUPS,
    GivenUp,
    Group,
    Settings,
    given_up_document,
    group_document,
    group_of,
)
from measurand.core.buffers.heads import Policy
from measurand.core.buffers.remembering import Moved, Remembering, without
from measurand.core.buffers.standing import GONE
from measurand.core.dataset_documents import DATASETS, is_purging
from measurand.core.filters.tree import Exists, Not
from measurand.core.names import BufferName, GroupName
from measurand.core.principal import LOCAL_USER
from measurand.core.times import microseconds

__all__ = ["BusyBuffers", "check_buffers"]

POLICY = Policy(keep_batches=4, keep_sealed=timedelta(seconds=20))


@dataclass
class BusyBuffers:
    """Appends, freezes, seals, forgets and removes.

    Attributes
    ----------
    sent : set
        The bytes of all records that were ever sent.
    """

    chance: random.Random
    sent: set[bytes] = field(default_factory=set)
    name: BufferName = field(default_factory=lambda: BufferName("lab", "live"))

    async def begin(self, rooms: Rooms) -> None:
        """Make a buffer to work with, and one that is left alone, of which something has moved out of its head."""
        buffers = BatchRooms(rooms, self.name)
        await buffers.create(POLICY)
        await buffers.append(self._record())
        await buffers.close()
        buffers = BatchRooms(rooms, BufferName(self.name.catalog, "kept"))
        await buffers.create()
        await buffers.cycle(self._record())
        for number in range(3):
            record = buffers.record(self._record(), id=f"id {number}")
            await buffers.appending.append(LOCAL_USER, buffers.name, [record])
        head = await buffers.head()
        moved = Moved(head.segments[:2], head.events[:2], dict(head.ids))
        await Remembering(rooms.documents, rooms.means, rooms.limits).move(head, moved)
        await change_head(rooms.documents, buffers.board, rooms.means, buffers.name, lambda one: without(one, moved))
        await self._consume(buffers)
        await buffers.close()

    async def step(self, rooms: Rooms) -> None:
        """Do something with the buffer."""
        buffers = BatchRooms(rooms, self.name)
        verbs: list[tuple[int, Callable[[BatchRooms], Awaitable[object]]]] = [
            (10, self._append),
            (2, self._rotate),
            (2, self._freeze),
            (1, self._throw_away),
            (2, self._consume),
            (1, self._forget),
            (1, self._purge),
        ]
        [verb] = self.chance.choices([verb for _, verb in verbs], [weight for weight, _ in verbs])
        try:
            await verb(buffers)
        finally:
            await buffers.close()

    async def _append(self, buffers: BatchRooms) -> None:
        for number in range(self.chance.randrange(1, 12)):
            data = self._record()
            record = buffers.record(data, id=f"id {data.hex()}" if number % 2 else "")
            await buffers.appending.append(LOCAL_USER, self.name, [record])

    async def _rotate(self, buffers: BatchRooms) -> None:
        await buffers.rotate()

    async def _freeze(self, buffers: BatchRooms) -> None:
        token = (await buffers.freeze_window(force=True)).token
        await buffers.unfreeze(token=token)

    async def _throw_away(self, buffers: BatchRooms) -> None:
        token = (await buffers.freeze_window(force=True)).token
        await buffers.unfreeze(token=token, discard=True)

    async def _consume(self, buffers: BatchRooms) -> None:
        """Let a group come to the end, as consumers do; it has given up a record."""
        documents, head = buffers.rooms.documents, await buffers.head()
        name = GroupName(buffers.name.catalog, buffers.name.buffer, "train")
        group = Group(name, head.uid, head.uid, head.create_time, Settings(), head.next_sequence, given_up=1)
        kept = await documents.fetch(GROUPS, str(name))
        if kept is None:
            given_up = given_up_document(group, GivenUp(1, 5, microseconds(head.create_time), "c"))
            await documents.insert_many(GIVEN_UP, [given_up])
            await documents.insert_many(GROUPS, [group_document(group)])
        else:
            await documents.replace(GROUPS, group_document(group), expected_revision=kept.revision)

    async def _forget(self, buffers: BatchRooms) -> None:
        await buffers.retention.run_once()

    async def _purge(self, buffers: BatchRooms) -> None:
        listed = (await buffers.batches.page(LOCAL_USER, self.name)).batches
        if listed:
            await buffers.datasets.purge(LOCAL_USER, self.chance.choice(listed).dataset.name, force=True)

    def _record(self) -> bytes:
        data = self.chance.randbytes(self.chance.randrange(8, 60))
        self.sent.add(data)
        return data


async def check_buffers(rooms: Rooms, sent: set[bytes]) -> None:
    """Check that all that heads, batches and groups say can be read, bytes that were sent, and nothing is ahead."""
    documents = rooms.documents
    for item in await documents.find(BUFFERS, where=Not(Exists(GONE)), limit=1000):
        head = head_of(item.document)
        buffers = BatchRooms(rooms, head.name)
        page = await buffers.records.read(LOCAL_USER, head.name, after=head.first_sequence - 1, most=10_000)
        assert [one.sequence for one in page.records] == list(range(head.first_sequence, head.next_sequence))
        assert {bytes(one.record.data) for one in page.records} <= sent
        log = await buffers.log()
        assert [event.number for event in log] == list(range(1, head.next_event))
        for group in await documents.find(GROUPS, scopes=[str(head.name)], limit=1000):
            assert group_of(group.document).next <= head.next_sequence
        await buffers.close()
    for item in await documents.find(BATCHES, where=Exists(LIVE), limit=10_000):
        batch = batch_of(item.document)
        assert batch.dataset is not None
        buffers = BatchRooms(rooms, batch.buffer)
        standing = await documents.fetch(BUFFERS, str(batch.buffer))
        closing = [] if standing is None else [one.window for one in head_of(standing).closing]
        dataset = await documents.fetch(DATASETS, str(batch.dataset))
        if dataset is None:
            assert batch.window in closing
        elif not is_purging(dataset):
            page = await buffers.records.read(LOCAL_USER, batch.dataset, after=0, most=10_000)
            assert [one.sequence for one in page.records] == list(range(batch.first, batch.end))
        await buffers.close()
    found = await documents.find(BATCHES, where=Exists(LIVE), limit=10_000)
    live = {str(batch_of(item.document).dataset) for item in found}
    for item in await documents.find(DATASETS, limit=10_000):
        if item.document.body["kind"] == KIND and not is_purging(item.document):
            assert item.document.key in live
