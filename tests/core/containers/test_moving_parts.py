"""Parts that move, to drain, to even out, to store anew under another policy; all can be read meanwhile."""

from __future__ import annotations

import asyncio

import pytest
from tests.core.containers.infirmary import Infirmary, PlainJob, Ward, read
from tests.spreading import noise

from measurand.core.catalog_documents import CATALOGS
from measurand.core.dataset_documents import DATASETS
from measurand.core.extents import Extent
from measurand.core.file_documents import FILES, Digests, File, file_document
from measurand.core.names import parse_file
from measurand.core.operations.jobs import Stopped
from measurand.core.placement.policies import Policy, parse_policy
from measurand.core.ports import Blob, Document
from measurand.storage.blobs.memory import Memory
from measurand.wire.errors import FailedPrecondition, NotFound

LAB = "catalogs/lab"
RUN = f"{LAB}/datasets/run"


def contents(blobs: dict[Blob, bytes]) -> dict[str, bytes]:
    return {blob.key: data for blob, data in blobs.items()}


async def named(ward: Ward) -> set[tuple[str, str]]:
    return {(part.container, part.key) for placement in await ward.all() for part in placement.parts}


async def filled(ward: Ward, count: int, *, size: int = 10_000, policy: str = "erasure:4+2") -> dict[Blob, bytes]:
    return {await ward.put(f"b/{index}", noise(size, index), policy): noise(size, index) for index in range(count)}


# ------------------------------------------------------------------------------------------------------------ draining


async def test_a_drain_empties_a_container_and_keeps_zones_apart() -> None:
    infirmary = Infirmary(9, zones=3)
    ward = await infirmary.open()
    blobs = await filled(ward, 20, size=3_000_000)
    held = [placement for placement in await ward.all() if "c4" in {part.container for part in placement.parts}]
    await infirmary.drain("c4")
    dry = await ward.drain("c4", validate_only=True)
    assert (dry["moved_blobs"], dry["stuck_blobs"]) == (len(held), 0)
    report = await ward.drain("c4")
    assert report == dry
    assert not infirmary.held("c4")
    assert infirmary.part_keys() == await named(ward)
    for placement in await ward.all():
        for segment in range(len(placement.segments)):
            zones = [infirmary.zones[part.container] for part in placement.parts_of(segment)]
            assert [zones.count(zone) for zone in ("z0", "z1", "z2")] == [2, 2, 2]
    assert await read(ward, blobs) == contents(blobs)
    await infirmary.close()


async def test_what_has_nowhere_to_go_is_stuck_and_says_why() -> None:
    infirmary = Infirmary(6)
    ward = await infirmary.open()
    await filled(ward, 3)
    await infirmary.drain("c0")
    report = await ward.drain("c0")
    assert (report["moved_blobs"], report["stuck_blobs"], len(report["problems"])) == (0, 3, 3)
    assert "b/0: " in report["problems"][0]
    assert (await ward.repair(verify_bytes=True))["safe_blobs"] == 3
    await infirmary.close()


async def test_a_drain_that_was_stopped_leaves_all_consistent_and_goes_on_later() -> None:
    infirmary = Infirmary(8)
    ward = await infirmary.open()
    blobs = await filled(ward, 24, policy="replicate:4")
    await infirmary.drain("c0")
    job = PlainJob({"container": "c0"}, most=0)
    with pytest.raises(Stopped):
        await ward.drain("c0", job)
    assert len(infirmary.held("c0")) > 0
    assert infirmary.part_keys() == await named(ward)
    await infirmary.drain("c0", draining=False)
    assert (await ward.repair(verify_bytes=True))["safe_blobs"] == 24
    await infirmary.drain("c0")
    await ward.drain("c0", PlainJob({"container": "c0"}, job.state))
    assert not infirmary.held("c0")
    assert await read(ward, blobs) == contents(blobs)
    await infirmary.close()


async def test_a_drain_ends_when_the_container_is_to_keep_its_parts() -> None:
    infirmary = Infirmary(8)
    ward = await infirmary.open()
    await filled(ward, 4)
    with pytest.raises(FailedPrecondition):
        await ward.drain("c0")
    with pytest.raises(NotFound):
        await ward.drain("c77")
    with pytest.raises(NotFound):
        await ward.repair(containers=["c77"])
    await infirmary.close()


async def test_a_drain_of_a_container_that_is_down_makes_its_parts_anew() -> None:
    infirmary = Infirmary(8)
    ward = await infirmary.open()
    await filled(ward, 6)
    infirmary.silent.add("c1")
    infirmary.stores["c1"].ill = "down"
    await infirmary.pass_time(24)
    await infirmary.drain("c1")
    report = await ward.drain("c1")
    assert report["stuck_blobs"] == 0
    assert not any(part.container == "c1" for placement in await ward.all() for part in placement.parts)
    await infirmary.close()


async def test_what_is_being_written_moves_when_it_is_finished() -> None:
    infirmary = Infirmary(7)
    ward = await infirmary.open()
    policy = parse_policy("replicate:6")
    stage = await ward.spread.stage("b/0", policy=policy)
    await stage.append([noise(1000)])
    await stage.persist()
    assert "c0" in {part.container for part in (await ward.placement("b/0")).parts}
    await infirmary.drain("c0")
    left = await ward.drain("c0")  # nobody finishes it
    assert (left["moved_blobs"], left["stuck_blobs"]) == (0, 1)
    assert "being written" in left["problems"][0]
    ward.is_waiting.clear()
    ward.may_go_on.clear()
    draining = asyncio.create_task(ward.drain("c0"))
    await ward.is_waiting.wait()
    blob = await ward.spread.finish("b/0", 1000)
    await stage.close()
    ward.may_go_on.set()
    assert (await draining)["moved_blobs"] == 1
    assert not infirmary.held("c0")
    assert await read(ward, [blob]) == {"b/0": noise(1000)}
    await infirmary.close()


async def test_reads_go_on_while_parts_move() -> None:
    infirmary = Infirmary(8)
    ward, reader = await infirmary.open(), await infirmary.open()
    blobs = await filled(ward, 10)
    assert await read(reader, blobs) == contents(blobs)  # and remembers where they are
    for name in ("c0", "c1"):
        await infirmary.drain(name)
        draining = asyncio.create_task(ward.drain(name))
        assert await read(reader, blobs) == contents(blobs)
        await draining
    assert await read(reader, blobs) == contents(blobs)
    await infirmary.close()


# ---------------------------------------------------------------------------------------------------------- evening out


async def test_new_containers_are_filled_with_as_few_bytes_as_that_takes() -> None:
    infirmary = Infirmary(8, zones=1)
    infirmary.rooms = {f"c{index}": 4_000_000 for index in range(10)}
    ward = await infirmary.open()
    blobs = await filled(ward, 200, size=60_000)
    infirmary.add("c8", "z0")
    infirmary.add("c9", "z0")
    await infirmary.pass_time(4)
    total = sum(placement.stored_bytes for placement in await ward.all())
    dry = await ward.rebalance(validate_only=True)
    report = await ward.rebalance()
    assert report["moved_bytes"] == pytest.approx(dry["moved_bytes"], rel=0.01)
    assert report["moved_bytes"] <= 1.1 * total / 10 * 2
    assert report["spread"] <= 0.05
    held = [sum(kept.size for kept in infirmary.held(name).values()) for name in infirmary.stores]
    assert (max(held) - min(held)) / 4_000_000 <= 0.05
    assert await read(ward, blobs) == contents(blobs)
    await infirmary.pass_time(4)
    assert (await ward.rebalance())["moved_bytes"] == 0
    await infirmary.close()


# ---------------------------------------------------------------------------------------------------------- recoding


async def lay_out(
    infirmary: Infirmary, ward: Ward, count: int, policy: Policy | None, *, largest: int = 5_000_000
) -> dict[Blob, bytes]:
    """Make a dataset of files, some of which share a blob."""
    await set_policy(infirmary, LAB, policy)
    await infirmary.documents.insert(DATASETS, Document(RUN, LAB, {}))
    blobs: dict[Blob, bytes] = {}
    for index in range(count):
        data = noise(5_000 if index else largest, index)
        blob = await ward.spread.put(f"f/{index}", [data], policy=policy)
        blobs[blob] = data
        for part in range(2):
            name = parse_file(f"{RUN}/files/{index}-{part}")
            extent = Extent(blob, 0, len(data))
            file = File(name, 1, len(data), Digests(0), "", {}, infirmary.means.now(), "nobody", (extent,))
            await infirmary.documents.insert(FILES, file_document(file))
    return blobs


async def set_policy(infirmary: Infirmary, catalog: str, policy: Policy | None) -> None:
    body = {} if policy is None else {"storage_policy": policy.to_json()}
    found = await infirmary.documents.fetch(CATALOGS, catalog)
    if found is None:
        await infirmary.documents.insert(CATALOGS, Document(catalog, "", body))
    else:
        await infirmary.documents.replace(CATALOGS, Document(catalog, "", body), expected_revision=found.revision)


async def test_blobs_go_from_policy_to_policy_and_home_again_while_they_are_read() -> None:
    home = Memory()
    infirmary = Infirmary(7, home=home)
    ward, reader = await infirmary.open(), await infirmary.open()
    blobs = await lay_out(infirmary, ward, 6, None)
    assert await read(reader, blobs) == contents(blobs)
    for text in ("replicate:3", "erasure:4+2", "single", ""):
        policy = parse_policy(text) if text else None
        await set_policy(infirmary, LAB, policy)
        parent = RUN if text == "single" else LAB
        dry = await ward.recode(parent, validate_only=True)
        is_over = asyncio.Event()

        async def go_on_reading(is_over: asyncio.Event = is_over) -> None:
            while not is_over.is_set():
                assert await read(reader, blobs) == contents(blobs)
                await asyncio.sleep(0)

        reading = asyncio.create_task(go_on_reading())
        report = await ward.recode(parent)
        is_over.set()
        await reading
        assert report == dry
        assert report == {"checked_blobs": 6, "recoded_blobs": 6, "recoded_bytes": sum(map(len, blobs.values()))}
        assert await read(reader, blobs) == contents(blobs)
        assert infirmary.part_keys() == await named(ward)
        assert len([blob async for blob in home.scan()]) == (0 if policy else 6)
        assert all(placement.policy == policy for placement in await ward.all())
        assert (await ward.recode(parent))["recoded_blobs"] == 0
    assert not await ward.all()
    await infirmary.close()


async def test_what_cannot_be_stored_anew_stays_and_is_told() -> None:
    infirmary = Infirmary(3, home=Memory())
    ward = await infirmary.open()
    blobs = await lay_out(infirmary, ward, 2, parse_policy("replicate:3"))
    await set_policy(infirmary, LAB, parse_policy("erasure:4+2"))
    job = PlainJob({"parent": RUN})
    report = await ward.recode(RUN, job)
    assert report["recoded_blobs"] == 0
    assert len(job.failed) == 2
    assert await read(ward, blobs) == contents(blobs)
    await infirmary.close()
