"""As many containers may be lost as the policy promises, in whatever way; more are told, and never wrong bytes."""

from __future__ import annotations

import asyncio
import random
from typing import Literal

import pytest
from tests.spreading import Ward, content, noise

from measurand.core.ports import Blob
from measurand.wire.errors import ContainersUnavailable, DataLoss

MiB = 1 << 20
SIZES = (0, 1, 4097, 3 * MiB + 5)
CODES = {
    "replicate:3": (1, 2),
    "erasure:2+1": (2, 1),
    "erasure:2+3": (2, 3),
    "erasure:4+2": (4, 2),
    "erasure:8+4": (8, 4),
}

Ill = Literal["hung", "down", "garbage", "wiped"]


async def filled(ward: Ward) -> dict[Blob, bytes]:
    store = ward.open()
    blobs = {}
    for index, size in enumerate(SIZES):
        data = noise(size, index)
        blobs[await store.put(f"b/{index}", [data])] = data
    await store.close()
    return blobs


@pytest.mark.parametrize("ill", ["hung", "down", "garbage", "wiped"])
@pytest.mark.parametrize("policy", CODES)
async def test_any_promised_number_of_containers_may_be_lost(policy: str, ill: Ill) -> None:
    data_parts, parity_parts = CODES[policy]
    width = data_parts + parity_parts
    chance = random.Random(f"{policy} {ill}")
    for _ in range(3):
        ward = Ward(width, policy)
        blobs = await filled(ward)
        ward.break_(ill, *chance.sample(sorted(ward.fickle), parity_parts))
        store = ward.open()
        found = await asyncio.gather(*(content(store, blob) for blob in blobs))
        assert found == list(blobs.values())
        await store.close()


@pytest.mark.parametrize("policy", CODES)
async def test_when_more_are_down_than_promised_it_says_how_many_are_needed(policy: str) -> None:
    data_parts, parity_parts = CODES[policy]
    ward = Ward(data_parts + parity_parts, policy)
    blobs = await filled(ward)
    names = sorted(ward.fickle)[: parity_parts + 1]
    ward.break_("down", *names)
    store = ward.open()
    with pytest.raises(ContainersUnavailable) as caught:
        await content(store, next(reversed(blobs)))
    assert caught.value.details["needed"] == str(data_parts)
    assert caught.value.details["available"] == str(data_parts - 1)
    assert caught.value.retry_seconds
    ward.break_("", *names)
    assert [await content(store, blob) for blob in blobs] == list(blobs.values())
    await store.close()


@pytest.mark.parametrize("ill", ["garbage", "wiped"])
@pytest.mark.parametrize("policy", CODES)
async def test_when_more_are_gone_than_promised_it_names_them(policy: str, ill: Ill) -> None:
    data_parts, parity_parts = CODES[policy]
    ward = Ward(data_parts + parity_parts, policy)
    blobs = await filled(ward)
    names = sorted(ward.fickle)[: parity_parts + 1]
    ward.break_(ill, *names)
    store = ward.open()
    blob = next(reversed(blobs))
    with pytest.raises(DataLoss) as caught:
        await content(store, blob)
    assert caught.value.details["resource"] == blob.key
    assert all(name in caught.value.message for name in names)
    await store.close()


async def test_a_container_that_was_removed_for_good_counts_as_gone() -> None:
    ward = Ward(3, "replicate:2")
    blobs = await filled(ward)
    blob, data = next(reversed(blobs.items()))
    holders = [part.container for part in (await ward.placement(blob.key)).parts]
    store = ward.open()
    ward.sites.drop(holders[0])
    assert await content(store, blob) == data
    ward.sites.drop(holders[1])
    with pytest.raises(DataLoss, match=holders[1]):
        await content(store, blob)
    await store.close()


async def test_a_container_is_lost_in_the_middle_of_a_read() -> None:
    ward = Ward(6, "erasure:4+2")
    store = ward.open()
    data = noise(40 * MiB)
    blob = await store.put("b", [data])
    seen = bytearray()
    async for chunk in store.open(blob):
        if len(seen) == 16 * MiB:
            ward.break_("wiped", "c1")
            ward.break_("down", "c4")
        seen += chunk
    assert seen == data
    await store.close()


async def test_a_flipped_bit_in_any_part_is_found_by_a_read_and_never_seen() -> None:
    ward = Ward(6, "erasure:4+2")
    ward.sites.usuals = dict.fromkeys(ward.fickle, 60.0)  # nothing is late
    store = ward.open()
    data = noise(2 * MiB)
    blob = await store.put("b", [data])
    for part in (await ward.placement("b")).parts:
        ward.told.clear()
        others = [name for name in sorted(ward.fickle) if name != part.container]
        ward.break_("garbage", part.container)
        ward.sites.avoided = set(others[:2])  # so that parity is read, too
        assert await content(store, blob) == data
        assert ("b", part.index, "damaged") in ward.told
        ward.break_("", part.container)
    await store.close()


@pytest.mark.parametrize("how", ["truncated", "zeroed", "swapped", "older"])
async def test_parts_that_are_not_what_they_should_be_are_not_used(how: str) -> None:
    ward = Ward(6, "erasure:4+2")
    ward.sites.usuals = dict.fromkeys(ward.fickle, 60.0)  # nothing is late
    store = ward.open()
    data = noise(5 * MiB)
    blob = await store.put("b", [data])
    other = await store.put("other", [noise(5 * MiB, 1)])
    placement = await ward.placement("b")
    contents = {}
    for part in placement.parts:
        memory = ward.fickle[part.container].inner
        contents[part.index] = await content(memory, Blob(part.key, placement.part_bytes(part.index)))
    wrong = {
        "truncated": contents[1][:-1],
        "zeroed": bytes(len(contents[1])),
        "swapped": contents[2],
        "older": await first_part(ward, other),
    }[how]
    part = placement.parts[1]
    memory = ward.fickle[part.container].inner
    await memory.delete(part.key)
    await memory.put(part.key, [wrong])
    assert await content(store, blob) == data
    assert ("b", 1, "damaged") in ward.told
    assert await store.parts.check(placement, 1) == "damaged"
    await store.close()


async def first_part(ward: Ward, blob: Blob) -> bytes:
    placement = await ward.placement(blob.key)
    part = placement.parts[1]
    return await content(ward.fickle[part.container].inner, Blob(part.key, placement.part_bytes(1)))
