"""A server that dies at any call of a store: what was acknowledged is there, and the rest can be removed."""

from __future__ import annotations

from contextlib import suppress
from typing import cast

import pytest
from tests.core.crashing import Crash, Fuse, Fused
from tests.core.stumbling import Stumble, persistently, stumbling
from tests.spread_rounds import sweep
from tests.spreading import StillSites, Ward, content, noise, spread_over

from measurand.core.ports import Blob, BlobStore, DocumentStore
from measurand.storage.blobs.spread import Spread
from measurand.wire.errors import AlreadyExists, MeasurandError, NotFound

POLICY = "erasure:2+1"
SIZE = 70_000


def fused(ward: Ward, fuse: Fuse) -> Spread:
    """Return a store of a process that dies when the fuse burns."""
    sites = StillSites({name: cast("BlobStore", Fused(fickle, fuse)) for name, fickle in ward.fickle.items()})
    return spread_over(sites, cast("DocumentStore", Fused(ward.documents, fuse)), POLICY, most_part_bytes=40_000)


async def written(store: Spread) -> None:
    """Put one blob, stage another through several segments, finish it, and remove a third."""
    await store.put("put", [noise(SIZE)])
    stage = await store.stage("staged")
    for at in range(0, SIZE, 30_000):
        await stage.append([noise(SIZE, 1)[at : at + 30_000]])
        await stage.persist()
    await stage.close()
    await store.finish("staged", SIZE)
    await store.delete("old")


@pytest.mark.parametrize("after", [False, True])
async def test_a_crash_at_any_call_leaves_whole_blobs_or_none(after: bool) -> None:
    at = 0
    while True:
        ward = Ward(4, POLICY)
        before = ward.open()
        await before.put("old", [noise(SIZE, 2)])
        await before.close()
        fuse = Fuse(at, after)
        dying = fused(ward, fuse)
        with suppress(Crash, MeasurandError):
            await written(dying)
        await dying.close()

        store = ward.open()
        left = {blob.key: blob async for blob in store.scan()}
        for key, seed in (("put", 0), ("old", 2)):
            if key in left:
                assert await content(store, Blob(key, SIZE)) == noise(SIZE, seed)
        if "staged" in left:
            found = await ward.placement("staged")
            try:
                blob = await store.finish("staged", SIZE)
            except MeasurandError:
                assert found.staged  # not all of it was there yet
                await store.discard("staged")
            else:
                assert await content(store, blob) == noise(SIZE, 1)
        for key in left:
            await store.delete(key)
        await sweep(ward)
        assert not ward.part_keys()
        await store.close()
        if not fuse.blown:
            break
        at += 1
    assert at > 20


@pytest.mark.parametrize("after", [False, True])
async def test_a_blob_is_put_although_one_call_is_lost(after: bool) -> None:
    at = 0
    while True:
        ward = Ward(5, POLICY)
        stumble = Stumble(at, after)
        stores = {name: stumbling(ward.documents, fickle, stumble)[1] for name, fickle in ward.fickle.items()}
        documents, _ = stumbling(ward.documents, ward.fickle["c0"], stumble)
        store = spread_over(StillSites(stores), documents, POLICY)
        try:
            blob = await persistently(lambda store=store: store.put("b", [noise(SIZE)]))  # type: ignore[misc]
        except AlreadyExists:  # the answer to the first insert was lost
            blob = Blob("b", SIZE)
        assert await persistently(lambda store=store, blob=blob: content(store, blob)) == noise(SIZE)  # type: ignore[misc]
        await persistently(lambda store=store: store.delete("b"))  # type: ignore[misc]
        with pytest.raises(NotFound):
            await content(ward.open(), blob)
        await sweep(ward)
        assert not ward.part_keys()
        await store.close()
        if not stumble.has_happened:
            break
        at += 1
    assert at > 8
