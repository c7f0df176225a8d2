"""Single parts: how they are found, and how they are made anew, beside readers and beside others who heal."""

from __future__ import annotations

import asyncio
from typing import Literal

import pytest
from tests.core.stumbling import Stumble, stumbling
from tests.spreading import Ward, content, noise, spread_over

from measurand.core.containers.placements import Placement
from measurand.core.ports import Blob
from measurand.storage.blobs.spread import Spread
from measurand.wire.errors import Conflict, ContainersUnavailable, DataLoss, Unavailable

MiB = 1 << 20


def free(ward: Ward, placement: Placement) -> list[str]:
    """Return the containers that hold no part of a blob."""
    return sorted(set(ward.fickle) - {part.container for part in placement.parts})


async def put(ward: Ward, store: Spread, size: int = 5 * MiB + 3) -> tuple[Blob, bytes, Placement]:
    data = noise(size)
    blob = await store.put("b", [data])
    return blob, data, await ward.placement("b")


async def healths(store: Spread, placement: Placement) -> list[str]:
    return [await store.parts.check(placement, part.index) for part in placement.parts]


@pytest.mark.parametrize(
    ("ill", "health"), [("wiped", "missing"), ("garbage", "damaged"), ("down", "unreachable"), ("", "ok")]
)
async def test_a_look_at_a_part_tells_how_it_is(ill: Literal["wiped", "garbage", "down", ""], health: str) -> None:
    ward = Ward(6, "erasure:4+2")
    store = ward.open()
    _, _, placement = await put(ward, store)
    ward.break_(ill, placement.parts[4].container)
    assert await store.parts.check(placement, 4) == health
    assert await store.parts.check(placement, 4, verify_bytes=False) == ("ok" if ill == "garbage" else health)
    await store.close()


@pytest.mark.parametrize("policy", ["erasure:4+2", "replicate:3"])
@pytest.mark.parametrize("size", [1, 5 * MiB + 3, 17 * MiB])
async def test_lost_parts_are_made_anew_as_they_were(policy: str, size: int) -> None:
    ward = Ward(9, policy)
    store = ward.open()
    blob, data, placement = await put(ward, store, size)
    before = {part.index: await part_content(ward, placement, part.index) for part in placement.parts}
    lost = [0, placement.width - 1]
    ward.break_("wiped", *(placement.parts[index].container for index in lost))
    new = await store.parts.rebuild(placement, dict(zip(lost, free(ward, placement), strict=False)))
    assert new == await ward.placement("b")
    assert {part.index: await part_content(ward, new, part.index) for part in new.parts} == before
    assert ward.part_keys() == {(part.container, part.key) for part in new.parts}
    assert await content(store, blob) == data
    await store.close()


async def part_content(ward: Ward, placement: Placement, index: int) -> bytes:
    part = placement.parts[index]
    return await content(ward.fickle[part.container].inner, Blob(part.key, placement.part_bytes(index)))


async def test_a_part_is_made_anew_in_its_own_container() -> None:
    ward = Ward(6, "erasure:4+2")
    store = ward.open()
    blob, data, placement = await put(ward, store)
    part = placement.parts[3]
    await ward.fickle[part.container].delete(part.key)
    new = await store.parts.rebuild(placement, {3: part.container})
    assert await healths(store, new) == ["ok"] * 6
    assert await content(store, blob) == data
    await store.close()


async def test_a_damaged_part_is_not_copied_but_made_anew() -> None:
    ward = Ward(8, "erasure:4+2")
    store = ward.open()
    blob, data, placement = await put(ward, store, 9 * MiB)
    ward.break_("garbage", placement.parts[2].container)
    target, *_ = free(ward, placement)
    new = await store.parts.move(placement, 2, target)
    assert new.parts[2].container == target
    assert await healths(store, new) == ["ok"] * 6
    assert ward.part_keys() == {(part.container, part.key) for part in new.parts}
    assert await content(store, blob) == data
    await store.close()


async def test_of_two_who_move_a_part_one_wins_and_nothing_is_left_over() -> None:
    ward = Ward(9, "erasure:4+2")
    store, other = ward.open(), ward.open()
    blob, data, placement = await put(ward, store)
    one, two, _ = free(ward, placement)
    answers = await asyncio.gather(
        store.parts.move(placement, 1, one), other.parts.move(placement, 1, two), return_exceptions=True
    )
    assert [type(answer) for answer in answers if not isinstance(answer, Placement)] == [Conflict]
    assert ward.part_keys() == {(part.container, part.key) for part in (await ward.placement("b")).parts}
    assert await content(store, blob) == data
    await store.close()
    await other.close()


@pytest.mark.parametrize("after", [False, True])
async def test_parts_that_may_be_named_are_not_removed_when_the_answer_is_lost(after: bool) -> None:
    ward = Ward(8, "erasure:4+2")
    store = ward.open()
    blob, data, placement = await put(ward, store)
    stumble = Stumble(0, after)
    documents, _ = stumbling(ward.documents, ward.fickle["c0"], stumble)
    other = spread_over(ward.sites, documents, "erasure:4+2")
    with pytest.raises(Unavailable):
        await other.parts.move(placement, 1, free(ward, placement)[0])
    found = await ward.placement("b")
    assert (found != placement) == after
    assert await healths(store, found) == ["ok"] * 6
    assert await content(ward.open(), blob) == data
    await store.close()
    await other.close()


async def test_a_blob_that_is_removed_meanwhile_stays_removed() -> None:
    ward = Ward(8, "erasure:4+2")
    store = ward.open()
    _, _, placement = await put(ward, store)
    await ward.open().delete("b")
    with pytest.raises((Conflict, DataLoss)):
        await store.parts.rebuild(placement, {0: free(ward, placement)[0]})
    assert not ward.part_keys()
    await store.close()


async def test_what_cannot_be_made_anew_says_why_and_changes_nothing() -> None:
    ward = Ward(8, "erasure:4+2")
    store = ward.open()
    _, _, placement = await put(ward, store)
    target = free(ward, placement)[0]
    ward.break_("down", *(part.container for part in placement.parts[1:3]))
    assert (await store.parts.rebuild(placement, {0: target})).parts[0].container == target
    placement = await ward.placement("b")
    ward.break_("down", placement.parts[0].container)
    with pytest.raises(ContainersUnavailable):
        await store.parts.rebuild(placement, {0: free(ward, placement)[0]})
    ward.break_("", *ward.fickle)
    ward.break_("wiped", *(part.container for part in placement.parts[:3]))
    with pytest.raises(DataLoss, match=placement.parts[1].container):
        await store.parts.rebuild(placement, {0: placement.parts[0].container})
    assert await ward.placement("b") == placement
    await store.close()


async def test_a_container_that_takes_no_part_is_said_to_be_unavailable() -> None:
    ward = Ward(8, "erasure:4+2")
    store = ward.open()
    _, _, placement = await put(ward, store, 17 * MiB)
    target = free(ward, placement)[0]
    ward.break_("down", target)
    with pytest.raises(ContainersUnavailable):
        await store.parts.rebuild(placement, {0: target})
    await store.close()


async def test_two_whole_rounds_of_losses_are_mended() -> None:
    ward = Ward(6, "erasure:4+2")
    store = ward.open()
    blob, data, placement = await put(ward, store, 9 * MiB)
    for first in (0, 2, 4):
        lost = [placement.parts[first], placement.parts[first + 1]]
        ward.break_("wiped", *(part.container for part in lost))
        placement = await store.parts.rebuild(placement, {part.index: part.container for part in lost})
    assert await healths(store, placement) == ["ok"] * 6
    assert await content(store, blob) == data
    await store.close()
