"""The wrappers that make a store misbehave must do it as they say, or what is tested with them is not tested."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.conformance.test_blobs import content
from tests.faults import Chopped, Failing, Full
from tests.flaky import Fault, Flaky
from tests.parted import Parted

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


@pytest.mark.parametrize(("fault", "is_there"), [("before", False), ("after", True)])
async def test_flaky_fails_before_or_after_the_effect(fault: Fault, is_there: bool) -> None:
    inner = Memory()
    faults = iter([fault])
    store = Flaky(inner, plan=lambda verb: next(faults, None) if verb == "put" else None)
    with pytest.raises(Unavailable):
        await store.put("a", [b"x"])
    assert [blob.key async for blob in inner.scan()] == ["a"] * is_there
    await store.put("b", [b"x"])


async def test_flaky_breaks_off_behind_what_it_has_given_out() -> None:
    faults: Iterator[Fault | None] = iter([None, "after"])
    store = Flaky(Chopped(Memory(), chunk_bytes=2), plan=lambda verb: next(faults) if verb == "open" else None)
    blob = await store.put("a", [b"123456"])
    chunks = store.open(blob)
    assert [await anext(chunks), await anext(chunks)] == [b"12", b"34"]
    with pytest.raises(Unavailable):
        await anext(chunks)


async def test_parted_hands_on_whole_parts_and_the_rest_only_when_it_must() -> None:
    inner = Memory()
    store = Parted(inner, part_bytes=10)
    stage = await store.stage("a")

    async def there() -> int:
        (blob,) = [blob async for blob in inner.scan()]
        return blob.size

    await stage.append([b"x" * 7])
    assert (await stage.persist(whole=False), await there()) == (0, 0)
    await stage.append([b"x" * 7])
    assert (await stage.persist(whole=False), await there()) == (10, 10)
    assert (await stage.persist(), await there()) == (14, 14)
    await stage.append([b"x" * 5])
    assert (await stage.persist(whole=False), await there()) == (14, 14)
    await stage.append([b"x" * 5])
    assert (await stage.persist(whole=False), await there()) == (20, 20)
    await stage.close()
    assert (await store.finish("a", 20)).size == 20
