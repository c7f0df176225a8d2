"""The process dies at any call of the documents or of a container: all can be read, and another server finishes."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
from tests.core.containers.infirmary import GRACE, Infirmary, PlainJob, Ward, read
from tests.core.containers.test_moving_parts import LAB, contents, lay_out, named, set_policy
from tests.core.crashing import Crash, Fuse, Fused

from measurand.core.containers.rewrites import LEASE
from measurand.core.containers.sites import Place
from measurand.core.operations.jobs import Stopped
from measurand.core.placement.policies import parse_policy
from measurand.core.ports import Blob, BlobStore, DocumentStore
from measurand.storage.blobs.memory import Memory

COUNT = 3
Work = Callable[[Ward, PlainJob], Awaitable[object]]


async def dying(infirmary: Infirmary, fuse: Fuse) -> Ward:
    """Return a server that dies when the fuse blows; others see the same containers without it."""
    ward = await infirmary.open(cast("DocumentStore", Fused(infirmary.documents, fuse)))
    for site in ward.sites.all.values():
        assert site.place is not None
        site.place = Place(cast("BlobStore", Fused(site.place.store, fuse)))
    infirmary.servers.remove(ward)
    return ward


async def repair(ward: Ward, job: PlainJob) -> object:
    return await ward.repair(job)


async def drain(ward: Ward, job: PlainJob) -> object:
    return await ward.drain("c0", job)


async def recode(ward: Ward, job: PlainJob) -> object:
    return await ward.recode(LAB, job)


async def prepared(kind: str) -> tuple[Infirmary, dict[Blob, bytes]]:
    home = Memory()
    infirmary = Infirmary(4, home=home)
    ward = await infirmary.open()
    before = None if kind == "into" else parse_policy("erasure:2+1")
    blobs = await lay_out(infirmary, ward, COUNT, before, largest=1_200_000)
    match kind:
        case "repair":
            infirmary.wipe("c1")
        case "drain":
            await infirmary.drain("c0")
        case "into":
            await set_policy(infirmary, LAB, parse_policy("replicate:2"))
        case "out":
            await set_policy(infirmary, LAB, None)
        case "recode":
            await set_policy(infirmary, LAB, parse_policy("replicate:3"))
    return infirmary, blobs


WORKS: dict[str, tuple[Work, dict[str, Any]]] = {
    "repair": (repair, {}),
    "drain": (drain, {"container": "c0"}),
    "recode": (recode, {"parent": LAB}),
    "into": (recode, {"parent": LAB}),
    "out": (recode, {"parent": LAB}),
}


@pytest.mark.parametrize("kind", WORKS)
async def test_a_crash_at_any_call_loses_nothing_and_another_server_finishes(kind: str) -> None:
    work, asked = WORKS[kind]
    at, is_whole = 0, False
    while not is_whole:
        infirmary, blobs = await prepared(kind)
        fuse = Fuse(1 << 60, after=at % 2 == 1)
        ward = await dying(infirmary, fuse)
        fuse.calls, fuse.at = 0, at
        job = PlainJob(asked)
        with contextlib.suppress(Crash):
            await work(ward, job)
        is_whole = not fuse.blown
        other = await infirmary.open()
        assert await read(other, blobs) == contents(blobs), f"call {at}"
        infirmary.passed += 120.0  # what the dead one had taken is free again
        await infirmary.pass_time(4)
        await work(other, PlainJob(asked, job.state))
        assert await read(other, blobs) == contents(blobs), f"call {at}"
        report = await other.repair(verify_bytes=True, collect_garbage=True)
        assert report["safe_blobs"] == report["checked_blobs"], f"call {at}"
        infirmary.passed += max(GRACE, LEASE).total_seconds()
        await other.repair(containers=sorted(infirmary.stores), collect_garbage=True)
        assert infirmary.part_keys() == await named(other), f"call {at}"
        if kind == "drain":
            assert not infirmary.held("c0")
        if kind != "repair" and kind != "drain":
            home = [blob.key async for blob in cast("Memory", infirmary.home).scan()]
            assert len(home) == (COUNT if kind == "out" else 0), f"call {at}"
        await ward.sites.close()
        await infirmary.close()
        at += 1 if at < 8 else 5
    assert at >= 8


async def test_a_stop_at_any_checkpoint_leaves_all_consistent() -> None:
    for kind, (work, asked) in WORKS.items():
        infirmary, blobs = await prepared(kind)
        ward = await infirmary.open()
        with pytest.raises(Stopped):
            await work(ward, PlainJob(asked, most=0))
        assert await read(ward, blobs) == contents(blobs)
        assert infirmary.part_keys() >= await named(ward) or kind == "repair"
        await infirmary.close()
