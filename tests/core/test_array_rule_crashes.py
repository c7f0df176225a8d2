"""The process dies at every call of a store while arrays come, change and go: the old state is there, or the new."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from tests.core.array_rooms import ArrayRooms
from tests.core.crashing import Crash, Fuse, fused
from tests.core.rooms import make_rooms, prepare
from tests.core.stumbling import Stumble, persistently, stumbling

from measurand.core.arrays.attributes import ArrayEdit
from measurand.core.arrays.blocks import BLOCKS, block_of
from measurand.core.arrays.documents import ARRAYS, STAGED, array_of
from measurand.core.arrays.making import NewArray
from measurand.core.checkup import Checkup, Trouble
from measurand.core.principal import LOCAL_USER
from measurand.wire.errors import NotFound

Content = list[bytes | None] | None
OLD: Content = [b"old-0", b"old-1", b"old-2", None]
HOUR = timedelta(hours=1)


async def start() -> ArrayRooms:
    """Return a store with an array `a`, and one beside it that nothing happens to."""
    rooms = make_rooms()
    await prepare(rooms)
    arrays = ArrayRooms(rooms)
    for name in ("a", "beside"):
        array = await arrays.create(name)
        for number, row in enumerate(OLD or ()):
            if row is not None:
                await arrays.write(array, (number,), row)
    rooms.clock.move(HOUR)
    return arrays


async def content(arrays: ArrayRooms, name: str = "a") -> Content:
    try:
        return await arrays.read(await arrays.arrays.get(LOCAL_USER, arrays.name(name)))
    except NotFound:
        return None


async def create(arrays: ArrayRooms) -> None:
    draft = NewArray("new/array", (2,), "uint8", (1,))
    await arrays.arrays.create(LOCAL_USER, arrays.rooms.name, draft, request_id="once")


async def store_whole(arrays: ArrayRooms) -> None:
    draft = NewArray("a", (2,), "uint8", (1,))
    staged = await arrays.arrays.create(LOCAL_USER, arrays.rooms.name, draft, staged=True)
    for number in range(2):
        await arrays.write(staged, (number,), b"new-%d" % number)
    await arrays.arrays.commit(LOCAL_USER, staged.name, staged.uid)


async def delete(arrays: ArrayRooms) -> None:
    await arrays.arrays.delete(LOCAL_USER, arrays.name())


async def cut(arrays: ArrayRooms) -> None:
    await arrays.resizing.resize(LOCAL_USER, arrays.name(), (1,), request_id="once")


async def cut_and_grow(arrays: ArrayRooms) -> None:
    await cut(arrays)
    await arrays.resizing.resize(LOCAL_USER, arrays.name(), (3,), request_id="twice")


async def describe(arrays: ArrayRooms) -> None:
    edit = ArrayEdit(patch={"unit": "V"})
    await arrays.arrays.update(LOCAL_USER, arrays.name(), edit, request_id="once")


async def delete_and_expire(arrays: ArrayRooms) -> None:
    await delete(arrays)
    arrays.rooms.clock.move(2 * HOUR)
    await arrays.arrays.expire()


async def throw_away(arrays: ArrayRooms) -> None:
    staged = await arrays.create(staged=True)
    await arrays.write(staged, (0,), b"nobody sees it")
    await arrays.arrays.delete(LOCAL_USER, staged.name, uid=staged.uid)


async def seal(arrays: ArrayRooms) -> None:
    await arrays.rooms.sealing.seal(LOCAL_USER, arrays.rooms.name)


@dataclass(frozen=True)
class Scenario:
    run: Callable[[ArrayRooms], Awaitable[None]]
    name: str
    old: Content
    new: Content
    between: tuple[Content, ...] = ()


SCENARIOS = {
    "create": Scenario(create, "new/array", None, [None, None]),
    "store whole": Scenario(store_whole, "a", OLD, [b"new-0", b"new-1"]),
    "delete": Scenario(delete, "a", OLD, None),
    "cut": Scenario(cut, "a", OLD, [b"old-0"]),
    "cut and grow": Scenario(cut_and_grow, "a", OLD, [b"old-0", None, None], ([b"old-0"],)),
    "describe": Scenario(describe, "a", OLD, OLD),
    "delete and expire": Scenario(delete_and_expire, "a", OLD, None),
    "throw away": Scenario(throw_away, "a", OLD, OLD),
    "seal": Scenario(seal, "a", OLD, OLD),
}


async def check_nothing_is_left_over(arrays: ArrayRooms) -> None:
    """After some days there is what can be seen, and nothing else; and all of it is sound."""
    rooms = arrays.rooms
    for _ in range(4):
        rooms.clock.move(timedelta(hours=25))
        await arrays.arrays.expire()
        await rooms.collector.run_once()
    assert await rooms.documents.count(STAGED) == 0
    seen = {array_of(found.document).uid for found in await rooms.documents.find(ARRAYS)}
    blocks = [block_of(found.document) for found in await rooms.documents.find(BLOCKS)]
    assert {block.uid for block in blocks} <= seen
    assert {blob.key async for blob in rooms.blobs.scan()} == {blob.key for block in blocks for blob in block.blobs}
    troubles: list[Trouble] = []
    checkup = Checkup(rooms.documents, rooms.blobs, rooms.means, rooms.limits, tell=troubles.append)
    looked = await checkup.run(bytes_per_second=1e12)
    assert (troubles, looked.orphans) == ([], 0)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
async def test_a_crash_leaves_the_old_or_the_new_and_a_repeat_completes_it(scenario: Scenario, after: bool) -> None:
    for at in range(200):
        arrays = await start()
        fuse = Fuse(at, after)
        documents, blobs = fused(arrays.rooms.documents, arrays.rooms.blobs, fuse)
        crashed = False
        try:
            doomed = ArrayRooms(replace(arrays.rooms, documents=documents, blobs=blobs))
            await asyncio.wait_for(scenario.run(doomed), 10)
        except Crash:
            crashed = True
        assert crashed == fuse.blown
        arrays = ArrayRooms(arrays.rooms.restarted())
        assert await content(arrays, scenario.name) in (scenario.old, scenario.new, *scenario.between)
        await scenario.run(arrays)
        assert await content(arrays, scenario.name) == scenario.new
        assert await content(arrays, "beside") == OLD
        await check_nothing_is_left_over(arrays)
        assert await content(arrays, scenario.name) == scenario.new
        assert await content(arrays, "beside") == OLD
        if not crashed:
            return
    raise AssertionError("the scenario did not end within 200 calls")


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
async def test_a_store_that_stumbles_changes_nothing_in_the_end(scenario: Scenario, after: bool) -> None:
    for at in range(200):
        arrays = await start()
        stumble = Stumble(at, after)
        documents, blobs = stumbling(arrays.rooms.documents, arrays.rooms.blobs, stumble)
        tried = ArrayRooms(replace(arrays.rooms, documents=documents, blobs=blobs))
        await persistently(lambda tried=tried: scenario.run(tried))  # type: ignore[misc]
        assert await content(arrays, scenario.name) == scenario.new
        await check_nothing_is_left_over(arrays)
        if not stumble.has_happened:
            return
    raise AssertionError("the scenario did not end within 200 calls")
