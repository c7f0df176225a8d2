"""What is left of arrays that went: nothing; what is left of the others: all. What is lost or damaged is told."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from tests.core.array_rooms import ArrayRooms
from tests.core.dataset_rooms import whole
from tests.core.rooms import Rooms, make_rooms, prepare
from tests.core.test_collecting import LARGE, Folder

from measurand.core.arrays.blocks import BLOCKS, Block, Entry, block_document, block_of
from measurand.core.arrays.documents import ARRAYS, STAGED, Array
from measurand.core.checkup import Checkup, Seen, Trouble
from measurand.core.counters import Counters
from measurand.core.naming import is_named, namers_of
from measurand.core.ports import Blob, Json
from measurand.core.principal import LOCAL_USER
from measurand.wire.errors import NotFound

HOUR = timedelta(hours=1)
ROWS: Sequence[bytes] = [b"a" * LARGE, b"bb", b"ccc", b"d" * LARGE]


async def begin(rooms: Rooms, *names: str) -> tuple[ArrayRooms, list[Array]]:
    """Return arrays of four rows each, two of which have a blob of their own."""
    await prepare(rooms)
    arrays = ArrayRooms(rooms)
    made = [await arrays.create(name) for name in names]
    for array in made:
        for number, row in enumerate(ROWS):
            await arrays.write(array, (number,), row)
    return arrays, made


async def tidy(arrays: ArrayRooms) -> None:
    for _ in range(4):
        arrays.rooms.clock.move(2 * HOUR)
        await arrays.arrays.expire()
        await arrays.rooms.collector.run_once()


async def look(rooms: Rooms, *, with_bytes: bool = False) -> tuple[list[Trouble], Seen]:
    found: list[Trouble] = []
    checkup = Checkup(rooms.documents, rooms.blobs, rooms.means, rooms.limits, tell=found.append)
    return found, await checkup.run(bytes_per_second=1e12 if with_bytes else None)


async def entry_of(rooms: Rooms, array: Array, number: int) -> Entry:
    [found] = await rooms.documents.find(BLOCKS, key_prefix=f"{array.uid}/")
    return block_of(found.document).entries[number,]


async def damage(rooms: Rooms, entry: Entry) -> None:
    size = (await rooms.blobs.stat(entry.blob)).size
    whole = bytearray(b"".join([bytes(part) async for part in rooms.blobs.open(Blob(entry.blob, size))]))
    whole[entry.offset] ^= 1
    await rooms.blobs.delete(entry.blob)
    await rooms.blobs.put(entry.blob, [bytes(whole)])


async def test_an_array_that_is_deleted_gives_its_room_back_and_the_others_keep_their_bytes(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    async with folder.rooms() as rooms:
        arrays, [gone, kept, cut, anew] = await begin(rooms, "gone", "kept", "cut", "anew")
        before = folder.blob_bytes
        await arrays.arrays.delete(LOCAL_USER, gone.name)
        await arrays.resizing.resize(LOCAL_USER, cut.name, (2,))
        staged = await arrays.create("anew", (1,), staged=True)
        await arrays.write(staged, (0,), b"new")
        await arrays.arrays.commit(LOCAL_USER, anew.name, staged.uid)
        rooms.clock.move(HOUR / 2)
        await arrays.arrays.expire()
        await rooms.collector.run_once()
        assert folder.blob_bytes >= before  # bytes go only when a grace time has passed
        await tidy(arrays)
        held = 3 * LARGE  # two rows of one array and one of another; the rest are a few bytes
        assert held <= folder.blob_bytes <= held + 64 * 1024
        assert await arrays.read(kept) == ROWS
        assert await arrays.read(cut) == ROWS[:2]
        assert await arrays.read(staged) == [b"new"]
        assert [await rooms.documents.count(name) for name in (ARRAYS, STAGED, BLOCKS)] == [3, 0, 3]
        found, seen = await look(rooms, with_bytes=True)
        assert (found, seen.orphans) == ([], 0)


async def test_a_dataset_that_is_purged_takes_its_arrays_along(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    async with folder.rooms() as rooms:
        arrays, _ = await begin(rooms, "a", "b")
        staged = await arrays.create("c", staged=True)
        await arrays.write(staged, (0,), ROWS[0])
        await rooms.datasets.purge(LOCAL_USER, rooms.name, force=True)
        assert [await rooms.documents.count(name) for name in (ARRAYS, STAGED, BLOCKS)] == [0, 0, 0]
        await tidy(arrays)
        assert folder.blob_bytes == 0


async def test_who_reads_an_array_that_goes_is_told_so() -> None:
    arrays, [array] = await begin(make_rooms(), "a")
    chunks = arrays.reading.chunks(array, [(0,), *[(0,)] * 200, (3,)])
    assert (await anext(chunks)).data == ROWS[0]
    await arrays.arrays.delete(LOCAL_USER, array.name)
    await tidy(arrays)
    with pytest.raises(NotFound):
        assert None not in [chunk.data async for chunk in chunks]


async def test_an_index_document_that_a_crash_left_of_an_array_that_is_gone_goes_too() -> None:
    arrays, [kept] = await begin(make_rooms(), "kept")
    rooms = arrays.rooms
    entry = Entry(f"arrays/{'0' * 26}/c.0/{'1' * 26}", 0, 3, rooms.means.crc32c(b"abc", 0))
    block = Block(arrays.name("gone"), "0" * 26, (0,), {(0,): entry})
    await rooms.documents.insert(BLOCKS, block_document(block))
    await rooms.blobs.put(entry.blob, [b"abc"])
    assert not await is_named(rooms.documents, entry.blob)
    await tidy(arrays)
    assert await rooms.documents.count(BLOCKS) == 1
    assert entry.blob not in {blob.key async for blob in rooms.blobs.scan()}
    assert await arrays.read(kept) == ROWS


async def test_a_blob_is_named_as_long_as_its_chunk_was_not_written_anew() -> None:
    arrays, [array] = await begin(make_rooms(), "a")
    rooms = arrays.rooms
    entry = await entry_of(rooms, array, 0)
    [(collection, document)] = await namers_of(rooms.documents, entry.blob)
    assert (collection, block_of(document).uid) == (BLOCKS, array.uid)
    assert not await is_named(rooms.documents, f"{entry.blob[:-1]}_")
    await arrays.write(array, (0,), b"new")
    assert not await is_named(rooms.documents, entry.blob)
    await arrays.arrays.delete(LOCAL_USER, array.name)
    now = await entry_of(rooms, array, 0)
    assert await is_named(rooms.documents, now.blob)  # somebody may still read it
    rooms.clock.move(2 * HOUR)
    await arrays.arrays.expire()
    assert not await is_named(rooms.documents, now.blob)


async def test_chunks_whose_blob_is_gone_or_short_are_named() -> None:
    arrays, [array, other] = await begin(make_rooms(), "a", "b")
    rooms = arrays.rooms
    lost, short = await entry_of(rooms, array, 0), await entry_of(rooms, other, 3)
    await rooms.blobs.delete(lost.blob)
    await rooms.blobs.delete(short.blob)
    await rooms.blobs.put(short.blob, [b"d" * 10])
    found, _ = await look(rooms)
    assert {(trouble.kind, trouble.resource) for trouble in found} == {
        ("missing", f"{array.name} chunk 0"),
        ("short", f"{other.name} chunk 3"),
    }


@pytest.mark.parametrize("number", [0, 1], ids=["alone", "packed"])
async def test_a_damaged_chunk_is_found_when_it_is_read_and_only_then(number: int) -> None:
    arrays, [array] = await begin(make_rooms(), "a")
    await damage(arrays.rooms, await entry_of(arrays.rooms, array, number))
    assert (await look(arrays.rooms))[0] == []
    [trouble], seen = await look(arrays.rooms, with_bytes=True)
    assert (trouble.kind, trouble.resource) == ("damaged", f"{array.name} chunk {number}")
    assert seen.read_bytes == sum(map(len, ROWS))


@pytest.mark.parametrize(
    ("collection", "changes"),
    [
        (ARRAYS, {"shape": "long"}),
        (ARRAYS, {"chunk_shape": [1, 2]}),
        (BLOCKS, {"chunks": {"0": 1}}),
        (BLOCKS, {"block": [7]}),
    ],
)
async def test_a_document_of_an_array_that_cannot_be_read_is_named(collection: str, changes: dict[str, Json]) -> None:
    arrays, _ = await begin(make_rooms(), "a")
    [found] = await arrays.rooms.documents.find(collection)
    document = found.document
    broken = replace(document, body={**document.body, **changes})
    await arrays.rooms.documents.replace(collection, broken, expected_revision=document.revision)
    troubles, _ = await look(arrays.rooms)
    assert ("unreadable", f"{collection}: {document.key}") in {(one.kind, one.resource) for one in troubles}


async def test_arrays_and_their_bytes_are_counted() -> None:
    arrays, [array, other] = await begin(make_rooms(), "a", "b")
    rooms = arrays.rooms
    counters = Counters(rooms.documents, rooms.means, rooms.limits)

    async def counted() -> tuple[int, int]:
        await counters.run_once()
        dataset = await rooms.datasets.get(LOCAL_USER, rooms.name)
        return dataset.array_count, dataset.stored_bytes

    size = sum(map(len, ROWS))
    assert await counted() == (2, 2 * size)
    found = await rooms.datasets.search.find(LOCAL_USER, rooms.name.parent, whole, filter_text="array_count = 2")
    assert [dataset.name for dataset in found.items] == [rooms.name]
    await arrays.write(array, (1,), b"longer")
    assert await counted() == (2, 2 * size + 4)
    await arrays.arrays.delete(LOCAL_USER, other.name)
    assert await counted() == (1, size + 4)
    await tidy(arrays)
    assert await counted() == (1, size + 4)
    await arrays.resizing.resize(LOCAL_USER, array.name, (1,))
    assert await counted() == (1, LARGE)
    with suppress(NotFound):
        await arrays.arrays.delete(LOCAL_USER, other.name)
    assert await counters.run_once() == 0
