"""Arrays in copies and backups: whole, proved chunk by chunk, and never with rows whose chunks stayed behind."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import pytest
from tests.core.array_rooms import ArrayRooms
from tests.core.rooms import Rooms, make_rooms, prepare
from tests.core.test_moving_backup import LIMITS, back_up, restored

from measurand.core.arrays.blocks import BLOCKS, block_of
from measurand.core.arrays.documents import ARRAYS, STAGED, Array
from measurand.core.moving.contents import CONTENTS
from measurand.core.moving.lines import sum_up
from measurand.core.moving.manifests import Manifest
from measurand.core.moving.relocating import Relocation, relocate
from measurand.core.moving.tally import Tally
from measurand.core.ports import Blob, DocumentStore
from measurand.core.principal import LOCAL_USER

ROWS = [bytes([65 + number]) * (3 if number % 2 else 300 * 1024) for number in range(4)]


async def begin() -> tuple[ArrayRooms, Array]:
    """Return a store with an array of four rows, two of which share a blob, and a staged array."""
    rooms = make_rooms(LIMITS)
    await prepare(rooms)
    arrays = ArrayRooms(rooms)
    array = await arrays.create(shape=(4,))
    await asyncio.gather(*(arrays.write(array, (number,), row) for number, row in enumerate(ROWS)))
    staged = await arrays.create("staged", staged=True)
    await arrays.write(staged, (0,), b"nobody sees it")
    return arrays, array


async def copied(old: Rooms, new: Rooms) -> Relocation:
    return await relocate(old.documents, old.blobs, new.documents, new.blobs, old.means, LIMITS, Tally(), is_last=True)


async def damage(rooms: Rooms, array: Array, number: int) -> str:
    """Change the last byte of a chunk at rest, and return its blob."""
    [found] = await rooms.documents.find(BLOCKS, key_prefix=f"{array.uid}/")
    entry = block_of(found.document).entries[number,]
    size = (await rooms.blobs.stat(entry.blob)).size
    whole = bytearray(b"".join([bytes(part) async for part in rooms.blobs.open(Blob(entry.blob, size))]))
    whole[entry.offset + entry.size - 1] ^= 1
    await rooms.blobs.delete(entry.blob)
    await rooms.blobs.put(entry.blob, [bytes(whole)])
    return entry.blob


async def test_a_backup_has_the_arrays_that_can_be_seen() -> None:
    arrays, array = await begin()
    target = make_rooms(LIMITS).blobs
    new = ArrayRooms(await restored(arrays.rooms, target, await back_up(arrays.rooms, target)))
    assert await new.arrays.get(LOCAL_USER, array.name) == array
    assert await new.read(array) == ROWS
    counts = [await new.rooms.documents.count(name) for name in (ARRAYS, STAGED, BLOCKS)]
    assert counts == [1, 0, 1]
    await new.write(array, (0,), b"goes on")
    assert (await new.read(array))[0] == b"goes on"


async def test_a_copy_has_the_staged_arrays_as_well() -> None:
    arrays, array = await begin()
    new = make_rooms(LIMITS)
    assert not (await copied(arrays.rooms, new)).damaged
    sums = await sum_up(arrays.rooms.documents, CONTENTS, with_running=True)
    assert await sum_up(new.documents, CONTENTS, with_running=True) == sums
    assert await ArrayRooms(new).read(array) == ROWS
    assert await new.documents.count(STAGED) == 1
    assert {blob.key async for blob in new.blobs.scan()} == {blob.key async for blob in arrays.rooms.blobs.scan()}


@pytest.mark.parametrize("number", [0, 1], ids=["alone", "packed"])
async def test_a_damaged_chunk_is_named_and_all_else_is_copied(number: int) -> None:
    arrays, array = await begin()
    await damage(arrays.rooms, array, number)
    new = make_rooms(LIMITS)
    [found] = (await copied(arrays.rooms, new)).damaged
    assert f"{array.name} chunk {number}" in found.what
    others = [(at,) for at in range(4) if at != number]
    assert await ArrayRooms(new).read(array, *others) == [ROWS[at] for (at,) in others]


class Cutting:
    """A store in which an array is cut down just before its index is looked at, and after it was looked at itself."""

    def __init__(self, arrays: ArrayRooms, array: Array) -> None:
        self._arrays = arrays
        self._array = array
        self.is_done = False

    def __getattr__(self, verb: str) -> Any:
        method = getattr(self._arrays.rooms.documents, verb)

        async def call(collection: str, *args: Any, **more: Any) -> Any:
            is_look = verb == "changes" and collection == BLOCKS and more["after"] is not None
            if is_look and not self.is_done:
                self.is_done = True
                await self._arrays.resizing.resize(LOCAL_USER, self._array.name, (1,))
                await self._arrays.resizing.resize(LOCAL_USER, self._array.name, (9,))
            return await method(collection, *args, **more)

        return call


async def test_a_backup_shows_no_rows_whose_chunks_went_while_it_was_made() -> None:
    arrays, array = await begin()
    cutting = Cutting(arrays, array)
    target = make_rooms(LIMITS).blobs
    manifest: Manifest = await back_up(arrays.rooms, target, cast("DocumentStore", cutting), looks=1)
    assert cutting.is_done
    new = ArrayRooms(await restored(arrays.rooms, target, manifest))
    there = await new.now(array)
    wanted = ROWS if there.shape == (4,) else [ROWS[0], *[None] * 8]
    assert await new.read(array) == wanted


async def test_a_backup_from_before_there_were_arrays_is_restored() -> None:
    rooms, target = make_rooms(LIMITS), make_rooms(LIMITS).blobs
    await prepare(rooms)
    manifest = await back_up(rooms, target)
    older = json.loads(manifest.to_json())
    for name in (ARRAYS, STAGED, BLOCKS):
        assert older["documents"].pop(name)["count"] == 0
    new = await restored(rooms, target, Manifest.from_json(manifest.key, json.dumps(older).encode()))
    assert await new.datasets.get(LOCAL_USER, rooms.name) == await rooms.datasets.get(LOCAL_USER, rooms.name)
