"""What watches over stored bytes knows those of buffers: the collector, the checkup, copies, and the counts."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.core.batch_rooms import BatchRooms, start_batches
from tests.core.rooms import make_rooms

from measurand.core.buffers.changing import change_head
from measurand.core.buffers.documents import BUFFERS, SEGMENTS, blob_key
from measurand.core.buffers.heads import Head, Segment
from measurand.core.buffers.remembering import Moved, Remembering, without
from measurand.core.checkup import Checkup, Trouble
from measurand.core.counters import Counters
from measurand.core.dataset_documents import DATASETS
from measurand.core.moving.sweeping import Sweeping
from measurand.core.moving.tally import Tally
from measurand.core.naming import is_named, namers_of
from measurand.core.ports import Blob
from measurand.core.principal import LOCAL_USER

FAST = 1e12
RECORDS = (b"first record", b"", b"second record")


async def move_out(rooms: BatchRooms) -> None:
    """Move the oldest segment out of the head."""
    head, documents, means = await rooms.head(), rooms.rooms.documents, rooms.rooms.means
    moved = Moved(head.segments[:1])
    await Remembering(documents, means, rooms.rooms.limits).move(head, moved)

    def leave(now: Head) -> Head:
        return without(now, moved)

    await change_head(documents, rooms.board, means, rooms.name, leave)


async def filled() -> BatchRooms:
    """Return rooms with a segment in the index and one in the head."""
    rooms = await start_batches()
    await rooms.append(*RECORDS)
    await move_out(rooms)
    await rooms.append(*RECORDS)
    return rooms


async def look(rooms: BatchRooms, *, with_bytes: bool = False) -> tuple[list[Trouble], int]:
    found: list[Trouble] = []
    core = rooms.rooms
    checkup = Checkup(core.documents, core.blobs, core.means, core.limits, tell=found.append)
    seen = await checkup.run(bytes_per_second=FAST if with_bytes else None)
    return found, seen.orphans


async def keys(rooms: BatchRooms) -> list[tuple[str, Segment]]:
    head = await rooms.head()
    return [(blob_key(head.uid, segment.ulid), segment) for segment in await rooms.segments()]


async def damage(rooms: BatchRooms, key: str, place: int) -> None:
    """Put a blob with one other bit in the place of one."""
    blobs = rooms.rooms.blobs
    size = (await blobs.stat(key)).size
    data = bytearray(b"".join([bytes(chunk) async for chunk in blobs.open(Blob(key, size))]))
    data[place] ^= 1
    await blobs.delete(key)
    await blobs.put(key, [bytes(data)])


async def test_segments_are_named_by_head_and_index_and_are_not_collected() -> None:
    rooms = await filled()
    (old, _), (new, _) = await keys(rooms)
    documents = rooms.rooms.documents
    assert [collection for collection, _ in await namers_of(documents, old)] == [SEGMENTS]
    assert [collection for collection, _ in await namers_of(documents, new)] == [BUFFERS]
    assert not await is_named(documents, old + "x")
    await rooms.rooms.blobs.put(old + "x", [b"of a server that died"])
    for _ in range(3):
        rooms.rooms.clock.move(timedelta(hours=1))
        await rooms.rooms.collector.run_once()
    assert {blob.key async for blob in rooms.rooms.blobs.scan()} == {old, new}
    assert len(await rooms.check()) == 6
    await rooms.close()


async def test_all_is_well_and_nobody_is_an_orphan() -> None:
    rooms = await filled()
    await rooms.rotate()
    await rooms.buffers.delete(LOCAL_USER, rooms.name)
    rooms.rooms.clock.move(timedelta(hours=2))
    assert await look(rooms, with_bytes=True) == ([], 0)
    await rooms.close()


@pytest.mark.parametrize("number", [0, 1])
async def test_a_segment_that_is_gone_is_told_for_the_buffer(number: int) -> None:
    rooms = await filled()
    key, _ = (await keys(rooms))[number]
    await rooms.rooms.blobs.delete(key)
    [trouble], _ = await look(rooms)
    assert (trouble.kind, trouble.resource) == ("missing", str(rooms.name))
    await rooms.close()


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("where", ["table", "record"])
async def test_other_bytes_are_found_when_they_are_read_and_only_then(number: int, where: str) -> None:
    rooms = await filled()
    key, segment = (await keys(rooms))[number]
    await damage(rooms, key, 20 if where == "table" else segment.size - 1)
    assert await look(rooms) == ([], 0)
    [trouble], _ = await look(rooms, with_bytes=True)
    assert (trouble.kind, trouble.resource) == ("damaged", str(rooms.name))
    if where == "record":
        assert f"record {segment.end - 1}" in trouble.text
    await rooms.close()


@pytest.mark.parametrize("where", ["nowhere", "table", "record"])
async def test_a_copy_of_damaged_records_says_so(where: str) -> None:
    rooms, target = await filled(), make_rooms().blobs
    key, segment = (await keys(rooms))[0]
    if where != "nowhere":
        await damage(rooms, key, 20 if where == "table" else segment.size - 1)
    core = rooms.rooms
    swept = await Sweeping(core.documents, core.blobs, target, core.means, Tally()).sweep(core.documents)
    assert swept.copied == 2
    if where == "nowhere":
        assert not swept.damaged
    else:
        [told] = swept.damaged.values()
        assert (told.collection, told.blob) == (SEGMENTS, key)
        assert "records 1 to 3" in told.what
    await rooms.close()


async def test_counting_anew_leaves_a_batch_its_bytes() -> None:
    rooms = await start_batches()
    name = await rooms.cycle(b"one", b"two")
    counters = Counters(rooms.rooms.documents, rooms.rooms.means, rooms.rooms.limits)
    await counters.run_once()
    document = await rooms.rooms.documents.fetch(DATASETS, str(name))
    assert document is not None and document.body["stored_bytes"] == 6
    usage = (await rooms.rooms.catalogs.get(LOCAL_USER, rooms.name.parent)).usage
    assert usage is not None and usage.stored_bytes == 6
    await rooms.close()
