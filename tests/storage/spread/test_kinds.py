"""Containers of all kinds hold the parts of one object."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.s3_places import InS3, on_seaweed
from tests.spreading import Ward, content, noise

from measurand.core.ports import Blob
from measurand.storage.blobs.local import Local
from measurand.storage.blobs.memory import Memory

MiB = 1 << 20


async def test_folders_buckets_and_memory_hold_one_object_together(tmp_path: Path) -> None:
    ward = Ward(7, "erasure:4+2")
    ward.sites.usuals = dict.fromkeys(ward.fickle, 60.0)  # nothing is late, however busy this machine is
    for name in ("c0", "c1"):
        ward.fickle[name].inner = Local(tmp_path / name, in_thread=asyncio.to_thread)
    for name in ("c2", "c3"):
        ward.fickle[name].inner = InS3(on_seaweed()).open()
    store, other = ward.open(), ward.open()
    data = noise(23 * MiB + 11)
    blobs = {await store.put(f"b/{size}", [data[:size]]): data[:size] for size in (1, 5 * MiB + 1)}

    stage = await store.stage("staged")
    for at in range(0, len(data), MiB):
        await stage.append([data[at : at + MiB]])
        if at == 9 * MiB:
            assert await stage.persist() == 10 * MiB
        else:
            await stage.persist(whole=False)
    assert await stage.persist() == len(data)
    blobs[await other.finish("staged", len(data) - 3)] = data[:-3]  # as after a crash of the writer
    await stage.close()

    for victims in (("c0", "c2"), ("c1", "c5"), ("c3", "c4")):
        ward.break_("garbage", victims[0])
        ward.break_("down", victims[1])
        for blob, held in blobs.items():
            assert await content(store, blob) == held
            assert (
                await content(store, Blob(blob.key, blob.size), blob.size // 2, blob.size // 3)
                == (held[blob.size // 2 : blob.size // 2 + blob.size // 3])
            )
        ward.break_("", *victims)

    found = await ward.placement("staged")
    lost = found.parts[1]
    await ward.fickle[lost.container].inner.delete(lost.key)
    assert await store.parts.check(found, 1) == "missing"
    found = await store.parts.rebuild(found, {1: lost.container})
    assert [await store.parts.check(found, part.index) for part in found.parts] == ["ok"] * len(found.parts)
    for blob in blobs:
        await store.delete(blob.key)
    assert not [stored async for stored in store.scan()]
    for fickle in ward.fickle.values():
        if not isinstance(fickle.inner, Memory):
            await fickle.inner.close()
    await store.close()
    await other.close()
