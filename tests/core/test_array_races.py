"""Several processes change the same arrays at once, their calls shuffled by chance: one after the other, in the end."""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import Awaitable
from dataclasses import replace
from typing import Any, cast

import pytest
from tests.core.array_rooms import ArrayRooms
from tests.core.rooms import make_rooms, prepare
from tests.core.stumbling import persistently
from tests.core.test_array_rule_crashes import check_nothing_is_left_over, content

from measurand.core.arrays.attributes import ArrayEdit
from measurand.core.arrays.documents import Array
from measurand.core.dataset_documents import DATASETS
from measurand.core.ports import BlobStore, DocumentStore
from measurand.core.principal import LOCAL_USER
from measurand.wire.errors import AlreadyExists, Conflict, MeasurandError, NotFound, Sealed

SEEDS = range(12)


class Shuffled:
    """A store whose calls take their time, before they come about and after."""

    def __init__(self, inner: Any, chance: random.Random) -> None:
        self._inner = inner
        self._chance = chance

    def __getattr__(self, verb: str) -> Any:
        method = getattr(self._inner, verb)
        if not inspect.iscoroutinefunction(method):
            return method

        async def call(*args: Any, **more: Any) -> Any:
            await self._wait()
            answer = await method(*args, **more)
            await self._wait()
            return answer

        return call

    async def _wait(self) -> None:
        for _ in range(self._chance.choice((0, 0, 1, 2, 5, 20))):
            await asyncio.sleep(0)


async def start(seed: int) -> tuple[ArrayRooms, ArrayRooms, ArrayRooms]:
    """Return a store as it is, and as two processes have it."""
    rooms = make_rooms(seed=seed)
    await prepare(rooms)
    processes = []
    for number in range(2):
        chance = random.Random(1000 * seed + number)
        documents = cast("DocumentStore", Shuffled(rooms.documents, chance))
        blobs = cast("BlobStore", Shuffled(rooms.blobs, chance))
        processes.append(ArrayRooms(replace(rooms, documents=documents, blobs=blobs)))
    one, other = processes
    return ArrayRooms(rooms), one, other


async def staged(arrays: ArrayRooms, data: bytes) -> Array:
    array = await arrays.create(shape=(2,), staged=True)
    for number in range(2):
        await arrays.write(array, (number,), data)
    return array


async def outcomes(*work: Awaitable[object]) -> list[type | None]:
    """Run all at once, and return what each has raised."""
    ended = await asyncio.wait_for(asyncio.gather(*work, return_exceptions=True), 20)
    for outcome in ended:
        if isinstance(outcome, BaseException) and not isinstance(outcome, MeasurandError):
            raise outcome
    return [type(outcome) if isinstance(outcome, MeasurandError) else None for outcome in ended]


async def commit(arrays: ArrayRooms, array: Array, **more: Any) -> Array:
    return await persistently(lambda: arrays.arrays.commit(LOCAL_USER, array.name, array.uid, **more))


async def delete(arrays: ArrayRooms, **more: Any) -> None:
    await persistently(lambda: arrays.arrays.delete(LOCAL_USER, arrays.name(), **more))


@pytest.mark.parametrize("seed", SEEDS)
async def test_of_two_commits_one_is_seen_whole(seed: int) -> None:
    arrays, one, other = await start(seed)
    mine, yours = await staged(one, b"mine"), await staged(other, b"yours")
    assert await outcomes(commit(one, mine), commit(other, yours)) == [None, None]
    assert await content(arrays) in ([b"mine"] * 2, [b"yours"] * 2)
    await check_nothing_is_left_over(arrays)


@pytest.mark.parametrize("seed", SEEDS)
async def test_of_two_commits_on_condition_that_there_is_none_one_fails(seed: int) -> None:
    arrays, one, other = await start(seed)
    mine, yours = await staged(one, b"mine"), await staged(other, b"yours")
    found = await outcomes(commit(one, mine, if_etag=""), commit(other, yours, if_etag=""))
    assert sorted(found, key=str) == sorted([None, Conflict], key=str)
    wanted = b"mine" if found[0] is None else b"yours"
    assert await content(arrays) == [wanted] * 2


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_commit_and_a_deletion_come_one_after_the_other(seed: int) -> None:
    arrays, one, other = await start(seed)
    await commit(arrays, await staged(arrays, b"old"))
    new = await staged(one, b"new")
    assert await outcomes(commit(one, new), delete(other)) == [None, None]
    assert await content(arrays) in (None, [b"new"] * 2)
    await check_nothing_is_left_over(arrays)


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_commit_twice_at_once_gives_the_same_array(seed: int) -> None:
    arrays, one, other = await start(seed)
    new = await staged(one, b"new")
    assert await outcomes(commit(one, new), commit(other, new)) == [None, None]
    assert await content(arrays) == [b"new"] * 2
    await check_nothing_is_left_over(arrays)


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_commit_and_throwing_the_staged_array_away(seed: int) -> None:
    arrays, one, other = await start(seed)
    await commit(arrays, await staged(arrays, b"old"))
    new = await staged(one, b"new")
    [committed, thrown] = await outcomes(commit(one, new), delete(other, uid=new.uid))
    assert thrown is None and committed in (None, NotFound)
    assert await content(arrays) == [b"new" if committed is None else b"old"] * 2
    await check_nothing_is_left_over(arrays)
    assert await content(arrays) == [b"new" if committed is None else b"old"] * 2


@pytest.mark.parametrize("seed", SEEDS)
async def test_of_an_array_and_a_group_with_its_name_one_is_made(seed: int) -> None:
    arrays, one, other = await start(seed)
    found = await outcomes(persistently(lambda: one.create("a")), persistently(lambda: other.create("a/b")))
    assert found in ([None, AlreadyExists], [AlreadyExists, None])
    page = await arrays.arrays.page(LOCAL_USER, arrays.rooms.name)
    assert [array.name.array for array in page.arrays] == [["a", "a/b"][found.index(None)]]


@pytest.mark.parametrize("seed", SEEDS)
async def test_attributes_and_shape_change_at_once(seed: int) -> None:
    arrays, one, other = await start(seed)
    array = await arrays.create(shape=(4,))
    for number in range(4):
        await arrays.write(array, (number,), b"%d" % number)
    edit = ArrayEdit(patch={"unit": "V"})
    found = await outcomes(
        persistently(lambda: one.arrays.update(LOCAL_USER, array.name, edit)),
        persistently(lambda: other.resizing.resize(LOCAL_USER, array.name, (2,))),
        persistently(lambda: one.resizing.resize(LOCAL_USER, array.name, (3,))),
    )
    assert found == [None] * 3
    there = await arrays.now(array)
    assert (there.attributes, there.trim) == ('{"unit":"V"}', None)
    wanted = [b"0", b"1", None] if there.shape == (3,) else [b"0", b"1"]
    rows = await arrays.read(array)
    assert rows[:2] == wanted[:2] and len(rows) == there.shape[0]
    assert rows[2:] in ([], [None], [b"2"])  # the last: (3,) came about before (2,) began, or after it was cut


def row(number: int) -> bytes:
    return b"row %d" % number


async def append(arrays: ArrayRooms, array: Array, rows: int) -> None:
    """Append until there are so many rows, going on whenever somebody has come between."""
    for _ in range(50):
        try:
            writer = await arrays.open(array, append=True)
            first = writer.opening.visible_rows
            try:
                for sequence, number in enumerate(range(first, rows)):
                    await writer.take(2 * sequence + 1, (number,), row(number), None)
                    await writer.grow_to(2 * sequence + 2, number + 1)
            except MeasurandError:
                await writer.close(is_complete=False)
                raise
            await writer.close(is_complete=True)
        except Conflict:
            continue
        return
    raise AssertionError("50 tries did not suffice")


async def cut(arrays: ArrayRooms, array: Array, rows: int) -> None:
    for _ in range(2):
        await persistently(lambda: arrays.resizing.resize(LOCAL_USER, array.name, (rows,), force=True))


@pytest.mark.parametrize("seed", SEEDS)
async def test_rows_that_are_cut_off_and_appended_again_are_whole(seed: int) -> None:
    arrays, one, other = await start(seed)
    array = await arrays.create(shape=(0,))
    await append(arrays, array, 4)
    assert await outcomes(append(one, array, 9), cut(other, array, 2)) == [None, None]
    there = await arrays.now(array)
    assert 2 <= there.shape[0] <= 9
    assert await arrays.read(array) == [row(number) for number in range(there.shape[0])]
    there = await arrays.resizing.resize(LOCAL_USER, array.name, (20,))
    late = (await arrays.read(array))[9:]
    assert late == [None] * 11
    await append(arrays, array, 21)
    await check_nothing_is_left_over(arrays)


@pytest.mark.parametrize("seed", SEEDS)
async def test_what_is_made_while_a_dataset_is_sealed_was_there_or_is_not(seed: int) -> None:
    arrays, one, other = await start(seed)
    new = await staged(one, b"new")
    old = await arrays.create("old", (2,))
    found = await outcomes(
        commit(one, new),
        one.write(old, (0,), b"x"),
        persistently(lambda: other.rooms.sealing.seal(LOCAL_USER, other.rooms.name)),
    )
    assert found[2] is None and set(found[:2]) <= {None, Sealed}
    assert await content(arrays) == ([b"new"] * 2 if found[0] is None else None)
    there = await arrays.now(old)
    assert there.has_sealed_index
    if found[1] is None:
        assert await arrays.read(old, (0,)) == [b"x"]
    before = [await content(arrays), await content(arrays, "old")]
    arrays.rooms.clock.move(arrays.rooms.limits.upload_lifetime)
    with pytest.raises(Sealed):
        await arrays.write(there, (1,), b"late")
    assert [await content(arrays), await content(arrays, "old")] == before


@pytest.mark.parametrize("seed", SEEDS)
async def test_what_is_made_while_a_dataset_is_purged_is_gone(seed: int) -> None:
    arrays, one, other = await start(seed)
    new = await staged(one, b"new")
    found = await outcomes(
        commit(one, new), one.create("b"), other.rooms.datasets.purge(LOCAL_USER, other.rooms.name, force=True)
    )
    assert found[2] is None and set(found[:2]) <= {None, NotFound}
    assert await arrays.rooms.documents.fetch(DATASETS, str(arrays.rooms.name)) is None
    for collection in ("arrays", "staged_arrays"):
        assert await arrays.rooms.documents.count(collection) == 0
