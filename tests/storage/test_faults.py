"""The wrappers that make a store misbehave must do it as they say, or what is tested with them is not tested."""

from __future__ import annotations

import pytest
from tests.conformance.test_blobs import content
from tests.faults import Failing, Full

from measurand.storage.blobs.memory import Memory
from measurand.wire.errors import StoreFull, Unavailable


async def test_failing_fails_the_calls_it_names_and_no_others() -> None:
    store = Failing(Memory(), verb="stat", error=Unavailable("gone"), at=2, times=2)
    await store.put("a", [b"x"])
    answers = []
    for _ in range(4):
        try:
            answers.append((await store.stat("a")).size)
        except Unavailable:
            answers.append(-1)
    assert answers == [1, -1, -1, 1]


async def test_full_refuses_what_has_no_room_and_goes_on_when_there_is_some() -> None:
    inner = Memory()
    store = Full(inner, room_bytes=10)
    kept = await store.put("kept", [b"123456"])
    with pytest.raises(StoreFull):
        await store.put("more", [b"12345"])
    stage = await store.stage("staged")
    await stage.append([b"1234"])
    with pytest.raises(StoreFull):
        await stage.append([b"5"])
    assert await stage.persist() == 4
    assert [blob.key async for blob in inner.scan("more")] == []
    await store.discard("staged")
    assert store.room_bytes == 4
    await store.delete("kept")
    await store.delete("kept")
    assert store.room_bytes == 10
    assert await content(store, await store.put("more", [b"1234567890"])) == b"1234567890"
    assert kept.size == 6
    await store.discard("more")
    assert store.room_bytes == 0


async def test_full_gives_back_what_finish_cuts_off() -> None:
    store = Full(Memory(), room_bytes=10)
    stage = await store.stage("a")
    await stage.append([b"12345678"])
    await stage.persist()
    await store.finish("a", 5)
    await store.finish("a", 5)
    assert store.room_bytes == 5
