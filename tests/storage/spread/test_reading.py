"""Reads take what comes first, ask elsewhere when something is late, and move no more than they must."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import cast

import pytest
from tests.core.crashing import Fuse, Fused
from tests.spreading import Ward, content, noise, spread_over

from measurand.core.placement.policies import Policy
from measurand.core.ports import Blob, DocumentStore
from measurand.storage.blobs.memory import Memory
from measurand.wire.errors import NotFound

MiB = 1 << 20
KiB = 1 << 10


def nothing_is_late(ward: Ward) -> None:
    """However busy this machine is."""
    ward.sites.usuals = dict.fromkeys(ward.fickle, 60.0)


def moved(ward: Ward) -> int:
    """Return the bytes that were asked for since the last time."""
    size = sum(size for _, direction, size, _ in ward.sites.notes if direction == "read")
    ward.sites.notes.clear()
    return size


@pytest.mark.parametrize("policy", ["erasure:4+2", "erasure:2+1", "replicate:3"])
async def test_a_small_range_moves_less_than_a_stripe_and_64_kib(policy: str) -> None:
    ward = Ward(6, policy)
    nothing_is_late(ward)
    store = ward.open()
    data = noise(17 * MiB + 9)
    blob = await store.put("b", [data])
    stripe = (await ward.placement("b")).data_parts * MiB
    for offset in (0, 100, MiB + 5, 5 * MiB + 1000, 16 * MiB, len(data) - KiB):
        assert await content(store, blob, offset, KiB) == data[offset : offset + KiB]
        assert moved(ward) < stripe + 64 * KiB
    if stripe > MiB:
        assert await content(store, blob, stripe - 10, KiB) == data[stripe - 10 : stripe - 10 + KiB]
        assert moved(ward) < stripe + 64 * KiB
    ward.break_("down", *(part.container for part in (await ward.placement("b")).parts[:1]))
    assert await content(store, blob, 2 * MiB, KiB) == data[2 * MiB : 2 * MiB + KiB]
    assert moved(ward) < 2 * stripe
    await store.close()


async def test_a_put_of_1_mib_makes_one_call_for_each_part_and_one_for_the_document() -> None:
    ward = Ward(7, "erasure:4+2")
    nothing_is_late(ward)
    fuse = Fuse(1 << 40, after=False)
    store = spread_over(ward.sites, cast("DocumentStore", Fused(ward.documents, fuse)), "erasure:4+2")
    blob = await store.put("b", [noise(MiB)])
    assert fuse.calls + sum(sum(fickle.calls.values()) for fickle in ward.fickle.values()) == 7
    for fickle in ward.fickle.values():
        fickle.calls.clear()
    await content(store, blob)
    assert sum((fickle.calls for fickle in ward.fickle.values()), Counter()) == {"open": 4}
    assert fuse.calls == 1
    await store.close()


async def test_a_late_part_is_asked_for_elsewhere() -> None:
    ward = Ward(6, "erasure:4+2")
    store = ward.open()
    data = noise(20 * MiB)
    blob = await store.put("b", [data])
    late = (await ward.placement("b")).parts[2].container
    ward.break_("hung", late)
    assert await content(store, blob) == data
    extra = sum(fickle.calls["open"] for fickle in ward.fickle.values()) - 5 * 4
    assert 1 <= extra <= 22
    await store.close()


async def test_extra_requests_are_at_most_a_share_of_all_and_a_few_at_once() -> None:
    ward = Ward(3, "replicate:3")
    store = ward.open()
    blob = await store.put("b", [noise(1000)])
    for fickle in ward.fickle.values():
        fickle.seconds = 0.03  # everything is later than usual
    answers = await asyncio.gather(*(content(store, blob) for _ in range(200)))
    assert set(answers) == {noise(1000)}
    calls = sum(fickle.calls["open"] for fickle in ward.fickle.values())
    assert 200 < calls <= 200 + 20 + 0.05 * 220 + 1
    await store.close()


async def test_a_container_that_is_to_be_avoided_is_asked_only_if_needed() -> None:
    ward = Ward(6, "erasure:4+2")
    nothing_is_late(ward)
    store = ward.open()
    data = noise(9 * MiB)
    blob = await store.put("b", [data])
    parts = (await ward.placement("b")).parts
    ward.sites.avoided = {parts[0].container, parts[3].container}
    assert await content(store, blob) == data
    assert not any(ward.fickle[name].calls["open"] for name in ward.sites.avoided)
    ward.break_("down", parts[1].container)
    assert await content(store, blob) == data
    await store.close()


async def test_reads_of_one_blob_go_to_all_its_copies() -> None:
    ward = Ward(3, "replicate:3")
    nothing_is_late(ward)
    store = ward.open()
    blob = await store.put("b", [noise(1000)])
    for _ in range(300):
        await content(store, blob)
    for fickle in ward.fickle.values():
        assert 80 <= fickle.calls["open"] <= 120
    await store.close()


async def test_a_reader_that_knows_an_old_placement_finds_the_new_one() -> None:
    ward = Ward(7, "erasure:4+2")
    store, other = ward.open(), ward.open()
    data = noise(13 * MiB)
    blob = await store.put("b", [data])
    assert await content(store, blob) == data
    seen = bytearray()
    moves = 0
    async for chunk in store.open(blob):
        if len(seen) == 4 * MiB or not seen:
            placement = await ward.placement("b")
            free = (set(ward.fickle) - {part.container for part in placement.parts}).pop()
            await other.parts.move(placement, moves, free)
            moves += 1
        seen += chunk
    assert seen == data
    assert moves == 2
    assert not ward.told
    await store.close()
    await other.close()


async def test_a_reader_with_an_old_placement_finds_all_parts_that_were_made_anew() -> None:
    ward = Ward(6, "erasure:4+2")
    nothing_is_late(ward)
    store, other = ward.open(), ward.open()
    data = noise(5 * MiB)
    blob = await store.put("b", [data])
    placement = await ward.placement("b")
    for row in (0, 1, 2):
        placement = await other.parts.rebuild(placement, {row: placement.parts[row].container})
    ward.break_("wiped", *(part.container for part in placement.parts[4:]))
    assert await content(store, blob) == data
    assert {index for _, index, _ in ward.told} <= {4, 5}
    await store.close()
    await other.close()


async def test_without_containers_the_home_store_is_used_and_no_document_is_looked_at() -> None:
    ward = Ward(0, "replicate:3")
    fuse = Fuse(1 << 40, after=False)
    home = Memory()
    store = spread_over(ward.sites, cast("DocumentStore", Fused(ward.documents, fuse)), home=home)
    blob = await store.put("b", [b"12345"])
    assert await content(store, blob) == await content(home, blob) == b"12345"
    stage = await store.stage("s")
    await stage.append([b"123"])
    await stage.persist()
    await stage.close()
    assert fuse.calls == 0
    assert await content(store, await store.finish("s", 3)) == b"123"
    with pytest.raises(NotFound):
        await content(store, Blob("c", 1))
    assert sorted([each.key async for each in store.scan()]) == ["b", "s"]
    await store.delete("b")
    await store.delete("s")
    assert not [each async for each in home.scan()]
    await store.close()


async def test_with_containers_a_blob_is_where_its_policy_said() -> None:
    ward = Ward(3, "replicate:3")
    home = Memory()
    store = spread_over(ward.sites, ward.documents, home=home)
    at_home = await store.put("home", [b"12345"])
    spread = await store.put("spread", [b"67890"], policy=Policy(replicas=2))
    assert [each.key async for each in home.scan()] == ["home"]
    assert await content(store, at_home) == b"12345"
    assert await content(store, spread) == b"67890"
    assert sorted([each.key async for each in store.scan()]) == ["home", "spread"]
    assert (await store.stat("spread")).size == (await store.stat("home")).size == 5
    await store.close()


async def test_parts_in_the_home_store_are_no_blobs_of_it() -> None:
    ward = Ward(3, "replicate:3")
    home = ward.fickle["c0"].inner
    store = spread_over(ward.sites, ward.documents, home=home)
    await store.put("a", [b"12345"])
    await store.put("b", [b"67890"], policy=Policy(replicas=3))
    assert len([each async for each in home.scan()]) == 2
    # Who collects garbage scans, and removes what nobody names.
    assert sorted([each.key async for each in store.scan()]) == ["a", "b"]
    assert not [each async for each in store.scan("p/")]
    await store.close()
