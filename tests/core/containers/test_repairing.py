"""A repair finds what is bad, says how bad it is, and makes it good; what it says is what a count of the parts says."""

from __future__ import annotations

import logging
import random
from collections import Counter
from dataclasses import replace

import pytest
from tests.core.containers.infirmary import Infirmary, PlainJob, Ward, read
from tests.spreading import noise

from measurand.core.containers.healing.wanted import WANTED
from measurand.core.containers.placements import Placement
from measurand.core.file_documents import FILES
from measurand.core.operations.jobs import Stopped
from measurand.core.placement.policies import parse_policy
from measurand.core.ports import Blob, Document
from measurand.core.view import Entry, Scalar

SIZES = (1, 4097, 300_000, 3_000_000)
POLICIES = ("erasure:4+2", "replicate:3", "single", "erasure:2+1")


async def filled(ward: Ward, count: int = 8) -> dict[Blob, bytes]:
    blobs: dict[Blob, bytes] = {}
    for index in range(count):
        data = noise(SIZES[index % len(SIZES)], index)
        blobs[await ward.put(f"b/{index}", data, POLICIES[index // 2 % len(POLICIES)])] = data
    return blobs


def contents(blobs: dict[Blob, bytes]) -> dict[str, bytes]:
    return {blob.key: data for blob, data in blobs.items()}


async def named(ward: Ward) -> set[tuple[str, str]]:
    return {(part.container, part.key) for placement in await ward.all() for part in placement.parts}


async def test_a_lost_container_is_made_good_from_what_is_left() -> None:
    infirmary = Infirmary(8)
    ward = await infirmary.open()
    blobs = {await ward.put(f"b/{index}", noise(50_000, index)): noise(50_000, index) for index in range(12)}
    lost = [part for placement in await ward.all() for part in placement.parts if part.container == "c3"]
    infirmary.wipe("c3")
    report = await ward.repair()
    assert (report["checked_blobs"], report["missing_parts"], report["repaired_parts"]) == (12, len(lost), len(lost))
    assert report["degraded_blobs"] == len(lost)
    assert report["safe_blobs"] == 12 - len(lost)
    assert report["read_bytes"] == 4 * report["repaired_bytes"]
    again = await ward.repair(verify_bytes=True)
    assert (again["safe_blobs"], again["repaired_parts"], again["missing_parts"]) == (12, 0, 0)
    assert infirmary.part_keys() == await named(ward)
    infirmary.wipe("c0", "c1")
    assert await read(ward, blobs) == contents(blobs)
    await infirmary.close()


@pytest.mark.parametrize("seed", range(8))
async def test_numbers_are_those_of_a_count_of_the_parts(seed: int) -> None:
    chance = random.Random(seed)
    infirmary = Infirmary(8)
    ward = await infirmary.open()
    await filled(ward)
    bad: set[str] = set()
    found: Counter[str] = Counter()
    for placement in await ward.all():
        for part in chance.sample(placement.parts, chance.randint(0, min(3, len(placement.parts)))):
            is_damaged = chance.random() < 0.5
            (infirmary.damage if is_damaged else infirmary.lose)(part)
            found["damaged" if is_damaged else "missing"] += 1
            bad.add(part.key)
    margins = Counter([worst(placement, bad) for placement in await ward.all()])
    whole = sum(not any(part.key in bad for part in placement.parts) for placement in await ward.all())
    lost = sum(count for margin, count in margins.items() if margin < 0)
    before = infirmary.part_keys()
    report = await ward.repair(verify_bytes=True, validate_only=True)
    assert infirmary.part_keys() == before
    assert not await infirmary.documents.count(WANTED)
    assert (report["missing_parts"], report["damaged_parts"]) == (found["missing"], found["damaged"])
    assert (report["checked_blobs"], report["safe_blobs"], report["lost_blobs"]) == (8, whole, lost)
    assert all(report["remaining_losses"][margin] == margins[margin] for margin in margins if margin >= 0)
    assert sum(report["remaining_losses"]) == 8 - lost
    assert report["safe_blobs"] + report["degraded_blobs"] + report["at_risk_blobs"] + report["lost_blobs"] == 8
    done = await ward.repair(verify_bytes=True)
    assert {**done, **dict.fromkeys(CHANGING)} == {**report, **dict.fromkeys(CHANGING)}
    assert done["repaired_parts"] == report["repaired_parts"]
    left = await ward.repair(verify_bytes=True)
    assert (left["safe_blobs"], left["lost_blobs"]) == (8 - lost, lost)
    await infirmary.close()


CHANGING = ("repaired_parts", "repaired_bytes", "read_bytes", "stuck_parts")


def worst(placement: Placement, bad: set[str]) -> int:
    """Return how many more parts may be lost."""
    segments = range(len(placement.segments))
    return placement.parity_parts - max(
        sum(part.key in bad for part in placement.parts_of(segment)) for segment in segments
    )


async def test_a_flipped_bit_is_found_by_reading_and_mended() -> None:
    infirmary = Infirmary(7)
    ward = await infirmary.open()
    blobs = await filled(ward)
    infirmary.damage((await ward.placement("b/0")).parts[2])
    assert (await ward.repair())["safe_blobs"] == 8
    report = await ward.repair(verify_bytes=True)
    assert (report["damaged_parts"], report["repaired_parts"], report["degraded_blobs"]) == (1, 1, 1)
    assert (await ward.repair(verify_bytes=True))["safe_blobs"] == 8
    assert await read(ward, blobs) == contents(blobs)
    await infirmary.close()


async def test_the_most_endangered_come_first(caplog: pytest.LogCaptureFixture) -> None:
    infirmary = Infirmary(9)
    ward = await infirmary.open()
    for index in range(12):
        await ward.put(f"b/{index}", noise(1000, index))
    infirmary.wipe("c2", "c5")
    with caplog.at_level(logging.INFO, "measurand.core.containers.healing.mending"):
        await ward.repair()
    ranks = [int(record.getMessage().partition("rank=")[2].split()[0]) for record in caplog.records]
    assert ranks == sorted(ranks)
    assert set(ranks) == {1, 2}
    await infirmary.close()


async def test_what_stands_on_a_lost_blob_is_named() -> None:
    infirmary = Infirmary(4)
    ward = await infirmary.open()
    await ward.put("b/0", noise(1000), "replicate:2")
    name = "catalogs/lab/datasets/run/files/a.bin"
    view = [Entry("blob", Scalar("s", "b/0"))]
    await infirmary.documents.insert(FILES, Document(name, "catalogs/lab/datasets/run", {}, view=view))
    for part in (await ward.placement("b/0")).parts:
        infirmary.lose(part)
    report = await ward.repair()
    assert (report["lost_blobs"], report["lost_resources"]) == (1, [name])
    assert report["repaired_parts"] == 0
    await infirmary.close()


async def test_without_room_elsewhere_parts_are_stuck_until_there_is() -> None:
    infirmary = Infirmary(6)
    ward = await infirmary.open()
    await ward.put("b/0", noise(1000))
    await infirmary.remove("c1")
    await infirmary.pass_time(4)
    report = await ward.repair()
    assert (report["missing_parts"], report["repaired_parts"], report["stuck_parts"]) == (1, 0, 1)
    infirmary.add("c9", "z9")
    await infirmary.pass_time(4)
    report = await ward.repair()
    assert (report["repaired_parts"], report["stuck_parts"]) == (1, 0)
    assert {part.container for part in (await ward.placement("b/0")).parts} == {"c0", "c2", "c3", "c4", "c5", "c9"}
    await infirmary.close()


async def test_a_repair_that_was_stopped_goes_on_where_it_was() -> None:
    infirmary = Infirmary(8)
    ward = await infirmary.open()
    for index in range(120):
        await ward.put(f"b/{index}", b"x", "replicate:3")
    infirmary.wipe("c0")
    stopped = PlainJob({}, most=2)
    with pytest.raises(Stopped):
        await ward.repair(stopped)
    other = await infirmary.open()
    report = await other.repair(PlainJob({}, stopped.state))
    assert report["checked_blobs"] == 120
    assert (await other.repair())["safe_blobs"] == 120
    await infirmary.close()


async def test_parts_that_were_not_durable_are_made_good_first_and_noted() -> None:
    infirmary = Infirmary(6)
    ward = await infirmary.open()
    infirmary.stores["c4"].ill = "full"
    policy = replace(parse_policy("erasure:4+2"), acknowledge="quorum")
    await ward.spread.put("b/0", [noise(1000)], policy=policy)
    assert (await ward.placement("b/0")).missing
    infirmary.stores["c4"].ill = ""
    await infirmary.pass_time(60)
    assert await ward.automatic.run_once() == 1
    assert not (await ward.placement("b/0")).missing
    assert (await ward.repair(verify_bytes=True))["safe_blobs"] == 1
    await infirmary.close()
