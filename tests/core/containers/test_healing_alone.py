"""What heals by itself: containers that do not come back, what readers tell, silent damage, and garbage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

from tests.core.containers.infirmary import GRACE, Infirmary, Ward, read
from tests.spreading import make_test_means, noise

from measurand.core.containers.healing.pacing import Pace
from measurand.core.containers.healing.wanted import WANTED
from measurand.core.containers.placements import Placement
from measurand.core.containers.rewrites import REWRITES
from measurand.core.placement.policies import parse_policy
from measurand.core.ports import Blob
from measurand.storage.blobs.memory import Memory

DELAY = 30.0


async def filled(ward: Ward, count: int = 10) -> dict[Blob, bytes]:
    return {await ward.put(f"b/{index}", noise(20_000, index)): noise(20_000, index) for index in range(count)}


async def named(ward: Ward) -> set[tuple[str, str]]:
    return {(part.container, part.key) for placement in await ward.all() for part in placement.parts}


async def test_a_container_that_comes_back_soon_keeps_its_parts() -> None:
    infirmary = Infirmary(8)
    ward = await infirmary.open()
    await filled(ward)
    await ward.automatic.run_once()
    before = await named(ward)
    infirmary.silent.add("c2")
    await infirmary.pass_time(30)
    assert ward.sites.state("c2") == "down"
    assert await ward.automatic.run_once() == 0
    infirmary.silent.clear()
    await infirmary.pass_time(8)
    assert await ward.automatic.run_once() == 0
    assert await named(ward) == before == infirmary.part_keys()
    await infirmary.close()


async def test_one_that_does_not_is_made_good_and_its_parts_are_garbage_when_it_returns() -> None:
    infirmary = Infirmary(8)
    ward = await infirmary.open()
    blobs = await filled(ward)
    held = sum(part.container == "c2" for placement in await ward.all() for part in placement.parts)
    infirmary.silent.add("c2")
    infirmary.stores["c2"].ill = "down"
    await infirmary.pass_time(DELAY + 30)
    assert await ward.automatic.run_once() == held
    assert not any(part.container == "c2" for placement in await ward.all() for part in placement.parts)
    assert not await infirmary.documents.count(WANTED)
    infirmary.silent.clear()
    infirmary.stores["c2"].ill = ""
    await infirmary.pass_time(8)
    assert len(infirmary.held("c2")) == held
    assert await ward.garbage.run_once() == 0  # seen for the first time
    await infirmary.pass_time(GRACE.total_seconds() + 1)
    assert await ward.garbage.run_once() == held
    assert infirmary.part_keys() == await named(ward)
    assert await read(ward, blobs) == {blob.key: data for blob, data in blobs.items()}
    await infirmary.close()


async def test_a_container_that_was_removed_is_made_good_at_once() -> None:
    infirmary = Infirmary(8)
    ward = await infirmary.open()
    blobs = await filled(ward)
    await ward.automatic.run_once()
    await infirmary.remove("c5")
    await infirmary.pass_time(4)
    assert await ward.automatic.run_once() > 0
    assert (await ward.repair(verify_bytes=True))["safe_blobs"] == len(blobs)
    await infirmary.close()


async def test_a_server_that_was_not_there_when_it_was_removed_finds_it_too() -> None:
    infirmary = Infirmary(8)
    ward = await infirmary.open()
    blobs = await filled(ward)
    await infirmary.remove("c5")
    other = await infirmary.open()
    assert await other.automatic.run_once() > 0
    assert (await other.repair(verify_bytes=True))["safe_blobs"] == len(blobs)
    await infirmary.close()


async def test_two_servers_do_nothing_twice() -> None:
    infirmary = Infirmary(8)
    ward, other = await infirmary.open(), await infirmary.open()
    await filled(ward, 30)
    lost = sum(part.container == "c1" for placement in await ward.all() for part in placement.parts)
    await infirmary.remove("c1")
    await infirmary.pass_time(4)
    assert sum(await asyncio.gather(ward.automatic.run_once(), other.automatic.run_once())) == lost
    assert ward.mending.repaired_parts + other.mending.repaired_parts == lost
    await infirmary.close()


async def test_what_a_reader_finds_wrong_is_repaired() -> None:
    infirmary = Infirmary(8)
    ward = await infirmary.open()
    blobs = await filled(ward, 2)
    placement = await ward.placement("b/1")
    infirmary.damage(placement.parts[1])
    infirmary.lose(placement.parts[2])
    assert await read(ward, blobs) == {blob.key: data for blob, data in blobs.items()}
    await ward.told.pass_on()
    assert await infirmary.documents.count(WANTED) == 1
    assert await ward.automatic.run_once() == 2
    assert (await ward.repair(verify_bytes=True))["safe_blobs"] == 2
    await infirmary.close()


async def test_a_scrub_reads_every_part_in_its_time_and_finds_silent_damage() -> None:
    infirmary = Infirmary(8)
    ward = await infirmary.open()
    blobs = await filled(ward)
    for key, index in (("b/2", 0), ("b/7", 5), ("b/7", 3)):
        infirmary.damage((await ward.placement(key)).parts[index])
    assert await ward.scrubbing.run_once() == 0  # all are new
    infirmary.passed += infirmary.limits.scrub_interval.total_seconds() / 2 + 60
    await infirmary.pass_time(8)
    assert await ward.scrubbing.run_once() == len(blobs)
    assert ward.scrubbing.bad_parts == 3
    assert await ward.automatic.run_once() == 3
    assert (await ward.repair(verify_bytes=True))["safe_blobs"] == len(blobs)
    assert await ward.scrubbing.run_once() == 0
    await infirmary.close()


async def test_only_what_nobody_names_goes_and_a_dry_run_lists_it() -> None:
    home = Memory()
    infirmary = Infirmary(7, home=home)
    ward = await infirmary.open()
    blobs = await filled(ward, 4)
    stage = await ward.spread.stage("b/staged", policy=(await ward.placement("b/0")).policy)
    await stage.append([b"x" * 1000])
    await stage.persist()
    await home.put("b/home", [b"home"])
    left = {("c0", "p/b/0.ffffff.1"), ("c3", "p/gone.ffffff.0"), ("c4", "probes/old")}
    for name, key in left:
        await infirmary.stores[name].put(key, [b"left"])
    forgotten = await infirmary.stores["c5"].stage("p/torn.ffffff.2")
    await forgotten.append([b"torn"])
    await forgotten.persist()
    await forgotten.close()
    left.add(("c5", "p/torn.ffffff.2"))
    early = await ward.repair(collect_garbage=True, validate_only=True)
    assert early["garbage"] == []
    before = infirmary.part_keys()
    infirmary.passed += (GRACE + timedelta(seconds=1)).total_seconds()
    dry = await ward.repair(containers=sorted(infirmary.stores), collect_garbage=True, validate_only=True)
    assert set(dry["garbage"]) == {f"{name}/{key}" for name, key in left}
    assert infirmary.part_keys() == before
    done = await ward.repair(containers=sorted(infirmary.stores), collect_garbage=True)
    assert (done["garbage_blobs"], done["garbage"]) == (len(left), dry["garbage"])
    assert infirmary.part_keys() == before - left
    assert await read(ward, blobs) == {blob.key: data for blob, data in blobs.items()}
    await stage.close()
    assert (await home.stat("b/home")).size == 4
    await infirmary.close()


async def test_parts_in_the_home_store_are_no_blobs() -> None:
    home = Memory()
    infirmary = Infirmary(3, home=home)
    ward = await infirmary.open()
    await home.put("b/1", [b"1"])
    await home.put("p/b/2.ffffff.0", [b"2"])
    assert [blob.key async for blob in ward.spread.scan()] == ["b/1"]
    await infirmary.close()


async def test_a_second_loss_in_the_middle_of_a_repair_is_repaired_too() -> None:
    infirmary = Infirmary(9)
    ward = await infirmary.open()
    blobs = await filled(ward, 30)
    await ward.automatic.run_once()
    infirmary.silent.add("c1")
    infirmary.stores["c1"].ill = "down"
    await infirmary.pass_time(DELAY + 30)
    await ward.automatic.find()
    await infirmary.remove("c3")
    await infirmary.pass_time(4)
    await ward.automatic.run_once()
    left = await ward.repair(verify_bytes=True)
    assert left["safe_blobs"] == len(blobs)
    assert not {"c1", "c3"} & {name for name, _ in await named(ward)}
    await infirmary.close()


async def test_a_container_that_fails_when_it_is_to_take_a_part_is_passed_over() -> None:
    infirmary = Infirmary(9)
    ward = await infirmary.open()
    await filled(ward, 6)
    infirmary.wipe("c0")
    infirmary.stores["c8"].ill = infirmary.stores["c7"].ill = "full"
    report = await ward.repair()
    assert report["stuck_parts"] == 0
    assert report["missing_parts"] == report["repaired_parts"] > 0
    await infirmary.close()


async def test_no_more_bytes_are_moved_than_the_rate_lets_pass() -> None:
    now, slept = 0.0, 0.0

    async def sleep(seconds: float) -> None:
        nonlocal now, slept
        now, slept = now + seconds, slept + seconds

    means = replace(make_test_means(), monotonic=lambda: now)
    pace = Pace(lambda: 1000.0, means, sleep=sleep)
    for _ in range(100):
        await pace.take(300)
        now += 0.1  # the work itself
    assert 300 * 100 / now <= 1000 * 1.1
    assert 300 * 100 / now >= 1000 * 0.9


async def test_what_is_written_anew_for_long_is_no_garbage() -> None:
    infirmary = Infirmary(5)
    ward = await infirmary.open()
    data = noise(3_500_000)
    blob = await ward.put("b/0", data, "replicate:2")
    before = await ward.placement("b/0")

    async def name(written: Placement) -> bool:
        assert len(written.segments) > 1
        await infirmary.pass_time(GRACE.total_seconds() + 4)
        report = await ward.repair(containers=sorted(infirmary.stores), collect_garbage=True)
        assert report["garbage"] == []
        found = await ward.placement("b/0")
        return await ward.placements.replace(replace(written, revision=found.revision)) is not None

    async def chunks() -> AsyncIterator[bytes]:
        yield data

    rewriting = ward.spread.recoding._rewriting
    await rewriting.write("b/0", len(data), chunks(), parse_policy("replicate:3"), name)
    assert await read(ward, [blob]) == {"b/0": data}
    assert (await ward.repair(verify_bytes=True))["safe_blobs"] == 1
    old = await ward.repair(containers=sorted(infirmary.stores), collect_garbage=True)
    assert old["garbage_blobs"] == len(before.parts)
    assert not await infirmary.documents.count(REWRITES)
    await infirmary.close()
