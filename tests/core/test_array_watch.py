"""An array is followed as it grows: what is sent last is what is there, and nothing comes twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.core.array_rooms import ArrayRooms
from tests.core.rooms import make_rooms, prepare

from measurand.core.arrays.attributes import ArrayEdit
from measurand.core.arrays.documents import Array
from measurand.core.arrays.watching import ArrayChange, ArrayWatch
from measurand.core.limits import Limits
from measurand.core.principal import LOCAL_USER
from measurand.wire.errors import InvalidArgument, NotFound

AT_ONCE = timedelta()


async def begin(limits: Limits | None = None) -> tuple[ArrayRooms, ArrayWatch, Array]:
    rooms = make_rooms(limits)
    await prepare(rooms)
    arrays = ArrayRooms(rooms)
    running = replace(rooms.means, monotonic=asyncio.get_running_loop().time)
    watch = ArrayWatch(rooms.documents, arrays.arrays, running, rooms.limits)
    return arrays, watch, await arrays.create(shape=(0,))


async def grow(arrays: ArrayRooms, array: Array, rows: int) -> None:
    await arrays.resizing.resize(LOCAL_USER, array.name, (rows,))


async def following(changes: AsyncIterator[ArrayChange]) -> ArrayChange:
    return await asyncio.wait_for(anext(changes), 10)


def rows_of(change: ArrayChange) -> int:
    assert change.array is not None
    return change.array.shape[0]


async def test_an_array_is_sent_as_it_is_then_as_it_grows_and_then_that_it_went() -> None:
    arrays, watch, array = await begin()
    async with aclosing(watch.follow(LOCAL_USER, array.name, min_interval=AT_ONCE)) as changes:
        assert rows_of(await following(changes)) == 0
        waiting = asyncio.create_task(following(changes))
        await asyncio.sleep(0)
        await arrays.create("other")
        await grow(arrays, array, 3)
        assert rows_of(await waiting) == 3
        await grow(arrays, array, 4)
        await arrays.arrays.update(LOCAL_USER, array.name, ArrayEdit(patch={"unit": "V"}))
        last = await following(changes)  # both as one
        assert last.array is not None
        assert (last.array.shape, last.array.attributes) == ((4,), '{"unit":"V"}')
        await arrays.arrays.delete(LOCAL_USER, array.name)
        assert await following(changes) == ArrayChange("deleted")
        with pytest.raises(StopAsyncIteration):
            await following(changes)


async def test_who_knows_the_array_hears_only_of_what_is_new() -> None:
    arrays, watch, array = await begin()
    async with aclosing(watch.follow(LOCAL_USER, array.name, etag=array.etag, min_interval=AT_ONCE)) as changes:
        waiting = asyncio.create_task(following(changes))
        await asyncio.sleep(0)
        assert not waiting.done()
        await grow(arrays, array, 1)
        assert rows_of(await waiting) == 1


async def test_an_array_that_is_written_anew_is_sent_with_its_new_uid() -> None:
    arrays, watch, array = await begin()
    async with aclosing(watch.follow(LOCAL_USER, array.name, min_interval=AT_ONCE)) as changes:
        await following(changes)
        staged = await arrays.create(staged=True)
        await arrays.arrays.commit(LOCAL_USER, staged.name, staged.uid)
        change = await following(changes)
        assert change.array is not None and change.array.uid == staged.uid


async def test_a_silent_array_has_a_heartbeat() -> None:
    _, watch, array = await begin(Limits(heartbeat=timedelta(milliseconds=1)))
    async with aclosing(watch.follow(LOCAL_USER, array.name, etag=array.etag, min_interval=AT_ONCE)) as changes:
        for _ in range(3):
            assert await following(changes) == ArrayChange("heartbeat")


async def test_an_array_that_is_not_there_cannot_be_followed() -> None:
    arrays, watch, array = await begin()
    with pytest.raises(NotFound):
        await anext(watch.follow(LOCAL_USER, arrays.name("none")))
    with pytest.raises(InvalidArgument):
        await anext(watch.follow(LOCAL_USER, array.name, min_interval=timedelta(seconds=-1)))
    with pytest.raises(NotFound):
        await watch.poll(LOCAL_USER, arrays.name("none"))
    with pytest.raises(InvalidArgument):
        await watch.poll(LOCAL_USER, array.name, wait=timedelta(hours=1))


async def test_a_poll_answers_at_once_or_when_something_has_changed_or_when_nothing_has() -> None:
    arrays, watch, array = await begin()
    assert await watch.poll(LOCAL_USER, array.name) == ArrayChange("updated", array)
    assert await watch.poll(LOCAL_USER, array.name, etag=array.etag) == ArrayChange("heartbeat")
    short = timedelta(milliseconds=1)
    assert await watch.poll(LOCAL_USER, array.name, etag=array.etag, wait=short) == ArrayChange("heartbeat")
    waiting = asyncio.create_task(watch.poll(LOCAL_USER, array.name, etag=array.etag, wait=timedelta(seconds=20)))
    await asyncio.sleep(0)
    await grow(arrays, array, 2)
    assert rows_of(await asyncio.wait_for(waiting, 10)) == 2
    await arrays.arrays.delete(LOCAL_USER, array.name)
    assert await watch.poll(LOCAL_USER, array.name, etag=array.etag) == ArrayChange("deleted")
