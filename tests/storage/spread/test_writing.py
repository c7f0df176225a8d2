"""What is acknowledged is durable in as many parts as promised, whatever happens to containers meanwhile."""

from __future__ import annotations

import asyncio
from typing import Literal

import pytest
from tests.spreading import Ward, content, noise

from measurand.core.placement.policies import Policy
from measurand.core.ports import Blob
from measurand.storage.blobs.memory import Memory
from measurand.storage.blobs.spread.calling import Patience
from measurand.wire.errors import ContainersUnavailable, StoreFull

MiB = 1 << 20

Ill = Literal["hung", "down", "full"]
QUORUM = Policy(data_parts=4, parity_parts=2, acknowledge="quorum")


async def assert_whole(ward: Ward, key: str, data: bytes) -> None:
    """All parts are there, each in a container of its own, and nothing else is."""
    store = ward.open()
    placement = await ward.placement(key)
    assert not placement.missing
    for segment in range(len(placement.segments)):
        assert len({part.container for part in placement.parts_of(segment)}) == placement.width
    assert [await store.parts.check(placement, part.index) for part in placement.parts] == ["ok"] * len(placement.parts)
    assert await content(store, Blob(key, len(data))) == data
    await store.close()


@pytest.mark.parametrize("ill", ["hung", "down", "full"])
async def test_a_container_that_fails_is_replaced_during_a_put(ill: Ill) -> None:
    ward = Ward(7, "erasure:4+2")
    store = ward.open()
    ward.break_(ill, "c1")
    data = [noise(700_000, seed) for seed in range(6)]
    blobs = await asyncio.gather(*(store.put(f"b/{index}", [each]) for index, each in enumerate(data)))
    assert ward.fickle["c1"].calls["put"]
    ward.break_("", "c1")
    for blob, each in zip(blobs, data, strict=True):
        await assert_whole(ward, blob.key, each)
        assert "c1" not in {part.container for part in (await ward.placement(blob.key)).parts}
    await store.close()


@pytest.mark.parametrize("ill", ["down", "full"])
async def test_a_put_without_enough_containers_fails_and_leaves_nothing(ill: Ill) -> None:
    ward = Ward(6, "erasure:4+2")
    store = ward.open()
    ward.break_(ill, "c1")
    with pytest.raises(StoreFull if ill == "full" else ContainersUnavailable):
        await store.put("b", [noise(3 * MiB)])
    with pytest.raises(StoreFull if ill == "full" else ContainersUnavailable):
        await store.stage("s")
    assert not [placement async for placement in store.scan()]
    assert not ward.part_keys()
    await store.close()


async def test_a_put_needs_as_many_containers_as_it_has_parts() -> None:
    ward = Ward(5, "erasure:4+2")
    store = ward.open()
    with pytest.raises(ContainersUnavailable) as caught:
        await store.put("b", [b"123"])
    assert (caught.value.details["needed"], caught.value.details["available"]) == ("6", "5")
    await store.close()


@pytest.mark.parametrize("ill", ["hung", "down", "full"])
async def test_by_quorum_a_put_goes_on_without_one_and_notes_it(ill: Ill) -> None:
    ward = Ward(6, "erasure:4+2")
    store = ward.open()
    ward.break_(ill, "c1")
    data = noise(3 * MiB)
    blob = await store.put("b", [data], policy=QUORUM)
    placement = await ward.placement("b")
    assert [placement.parts[index].container for index in placement.missing] == ["c1"]
    ward.break_("", "c1")
    ward.break_("wiped", "c0")
    assert await content(store, blob) == data
    ward.break_("down", "c1", "c2")
    with pytest.raises(ContainersUnavailable):
        await store.put("c", [data], policy=QUORUM)
    await store.close()


@pytest.mark.parametrize("ill", ["hung", "down", "full"])
async def test_a_container_that_fails_is_replaced_in_the_middle_of_a_staged_write(ill: Ill) -> None:
    ward = Ward(8, "erasure:4+2")
    store = ward.open()
    data = noise(20 * MiB + 7)
    stage = await store.stage("b")
    for at in range(0, len(data), MiB):
        await stage.append([data[at : at + MiB]])
        if at in (0, 9 * MiB):
            assert await stage.persist() == at + MiB
        if at == 10 * MiB:
            victims = (await ward.placement("b")).parts[2:4]
            ward.break_(ill, *(part.container for part in victims))
    assert await stage.persist() == len(data)
    await stage.close()
    ward.break_("", *ward.fickle)
    blob = await store.finish("b", len(data))
    if ill != "hung":  # then all of it was on its way before anybody saw
        assert len((await ward.placement("b")).segments) == 2
    assert await content(store, blob, 9 * MiB, 2 * MiB) == data[9 * MiB : 11 * MiB]
    await assert_whole(ward, "b", data)
    await store.close()


async def test_without_a_spare_a_staged_write_says_so_and_what_was_acknowledged_stays() -> None:
    ward = Ward(6, "erasure:4+2")
    store = ward.open()
    data = noise(9 * MiB)
    stage = await store.stage("b")
    await stage.append([data])
    assert await stage.persist() == len(data)
    ward.break_("down", "c3")
    await stage.append([noise(100)])
    with pytest.raises(ContainersUnavailable):
        await stage.persist()
    await stage.close()
    with pytest.raises(ContainersUnavailable):
        await store.finish("b", len(data))
    ward.break_("", "c3")
    await store.finish("b", len(data))
    await assert_whole(ward, "b", data)
    await store.close()


async def test_by_quorum_a_staged_write_goes_on_without_one() -> None:
    ward = Ward(6, "erasure:4+2")
    store = ward.open()
    data = noise(13 * MiB)
    stage = await store.stage("b", policy=QUORUM)
    for at in range(0, len(data), MiB):
        await stage.append([data[at : at + MiB]])
        if at == 6 * MiB:
            await stage.persist()
            ward.break_("down", "c2")
    assert await stage.persist() == len(data)
    await stage.close()
    blob = await store.finish("b", len(data))
    placement = await ward.placement("b")
    assert {placement.parts[index].container for index in placement.missing} == {"c2"}
    ward.break_("down", "c4")
    assert await content(store, blob) == data
    await store.close()


async def test_a_container_that_is_wiped_before_the_end_of_a_staged_write_is_made_good() -> None:
    ward = Ward(8, "erasure:4+2")
    store = ward.open()
    data = noise(6 * MiB)
    stage = await store.stage("b")
    await stage.append([data])
    assert await stage.persist() == len(data)
    await stage.close()
    first = (await ward.placement("b")).parts
    ward.break_("wiped", first[0].container, first[5].container)
    await store.finish("b", len(data))
    await assert_whole(ward, "b", data)
    await store.close()


@pytest.mark.parametrize("size", [1, 5_000, MiB, 9 * MiB + 5_000, 9 * MiB + 7_777])
async def test_what_a_dead_writer_has_persisted_is_finished_by_another(size: int) -> None:
    ward = Ward(6, "erasure:4+2")
    writer, other = ward.open(), ward.open()
    data = noise(9 * MiB + 7_777)
    stage = await writer.stage("b")
    for at in (0, 5_000):
        await stage.append([data[at : at + 5_000]])
        await stage.persist()
    await stage.append([data[10_000 : 9 * MiB]])
    await stage.persist()
    await stage.append([data[9 * MiB :]])
    assert await stage.persist() == len(data)
    await stage.append([noise(5 * MiB)])  # never acknowledged
    blob = await other.finish("b", size)
    assert await content(other, blob) == data[:size]
    await assert_whole(ward, "b", data[:size])
    await stage.close()
    await writer.close()
    await other.close()


async def test_a_dead_writers_blob_is_finished_although_containers_were_wiped() -> None:
    ward = Ward(8, "erasure:4+2")
    writer, other = ward.open(), ward.open()
    data = noise(5 * MiB)
    stage = await writer.stage("b")
    await stage.append([data])
    await stage.persist()
    parts = (await ward.placement("b")).parts
    ward.break_("wiped", parts[1].container, parts[4].container)
    await other.finish("b", len(data))
    await assert_whole(ward, "b", data)
    await stage.close()
    await writer.close()
    await other.close()


async def test_a_large_blob_is_written_in_several_segments() -> None:
    ward = Ward(4, "erasure:2+1")
    store = ward.open(most_part_bytes=2 * MiB)
    data = noise(19 * MiB + 3)
    stage = await store.stage("b")
    for at in range(0, len(data), 999_999):
        await stage.append([data[at : at + 999_999]])
        await stage.persist(whole=False)
    assert await stage.persist() == len(data)
    await stage.close()
    blob = await store.finish("b", len(data) - 5)
    assert len((await ward.placement("b")).segments) > 3
    for begin in (0, 4 * MiB - 1, 12 * MiB, 17 * MiB):
        assert await content(store, blob, begin, MiB) == data[begin : begin + MiB]
    await assert_whole(ward, "b", data[:-5])
    for fickle in ward.fickle.values():
        assert isinstance(fickle.inner, Memory) and not fickle.inner._staged
    await store.delete("b")
    assert not ward.part_keys()
    await store.close()


async def test_when_all_are_slow_at_once_a_few_spares_do_not_make_a_write_fail() -> None:
    ward = Ward(7, "erasure:4+2")
    store = ward.open(patience=Patience(least=0.1))
    data = noise(5 * MiB)
    stage = await store.stage("b")
    for fickle in ward.fickle.values():
        fickle.seconds = 0.3
    put = asyncio.ensure_future(store.put("c", [data]))
    await stage.append([data])
    assert await stage.persist() == len(data)
    await stage.close()
    await store.finish("b", len(data))
    await put
    for fickle in ward.fickle.values():
        fickle.seconds = 0
    await assert_whole(ward, "b", data)
    await assert_whole(ward, "c", data)
    await store.close()
