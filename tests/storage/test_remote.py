"""Blobs in another process: what is lost or changed on the way, processes that stop, hang and come again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.remote_places import BlobServer, Flipping, OpenDoor, remote_at
from tests.spreading import content, noise

from measurand.core.ports import Blob, BlobStore
from measurand.storage.blobs.local import Local
from measurand.storage.blobs.memory import Memory
from measurand.wire.errors import Unavailable

MARKER = b"-- a marker that no header has --"
BIG = noise(1_500_000) + MARKER * 100 + noise(2_000_000, 1)
SMALL = noise(10_000) + MARKER * 100


@pytest.fixture
async def server() -> AsyncIterator[BlobServer]:
    opened = BlobServer(OpenDoor(Memory()))
    yield opened
    await opened.stop()


@pytest.fixture
async def way(server: BlobServer) -> AsyncIterator[Flipping]:
    flipping = Flipping(server.port, MARKER)
    await flipping.start()
    yield flipping
    await flipping.close()


@pytest.fixture
async def store(way: Flipping) -> AsyncIterator[BlobStore]:
    opened = remote_at(way.port)
    yield opened
    await opened.close()


@pytest.mark.parametrize("data", [SMALL, BIG], ids=["small", "big"])
async def test_bytes_that_are_changed_on_their_way_in_are_sent_again(
    store: BlobStore, way: Flipping, data: bytes
) -> None:
    way.left = 1
    blob = await store.put("a", [data])
    assert way.left == 0
    assert await content(store, blob) == data


@pytest.mark.parametrize("data", [SMALL, BIG], ids=["small", "big"])
async def test_bytes_that_are_changed_on_their_way_out_are_asked_for_again(
    store: BlobStore, way: Flipping, data: bytes
) -> None:
    blob = await store.put("a", [data])
    way.left = 1
    assert await content(store, blob) == data
    assert way.left == 0


async def test_an_append_that_is_changed_on_its_way_is_sent_again(store: BlobStore, way: Flipping) -> None:
    stage = await store.stage("a")
    await stage.append([b"before"])
    way.left = 1
    await stage.append([SMALL])
    assert way.left == 0
    await stage.append([b"after"])
    data = b"before" + SMALL + b"after"
    assert await stage.persist() == len(data)
    await stage.close()
    assert await content(store, await store.finish("a", len(data))) == data


@pytest.mark.parametrize("data", [SMALL, BIG], ids=["small", "big"])
async def test_a_way_that_changes_everything_is_no_loss_of_data(store: BlobStore, way: Flipping, data: bytes) -> None:
    blob = await store.put("a", [data])
    way.left = 1000
    with pytest.raises(Unavailable):
        await store.put("b", [data])
    with pytest.raises(Unavailable):
        await content(store, blob)
    way.left = 0
    assert await content(store, blob) == data


async def test_what_was_persisted_is_found_after_the_process_was_started_anew(tmp_path: Path) -> None:
    kept = Local(tmp_path, in_thread=asyncio.to_thread)
    first = BlobServer(OpenDoor(kept))
    store = remote_at(first.port)
    stage = await store.stage("a")
    await stage.append([b"12345"])
    assert await stage.persist() == 5
    await stage.append([b"678"])
    await first.stop()
    second = BlobServer(OpenDoor(Local(tmp_path, in_thread=asyncio.to_thread)), first.port)
    with pytest.raises(Unavailable):
        await stage.append([b"9"])
    assert [(blob.key, blob.staged) async for blob in store.scan()] == [("a", True)]
    assert await content(store, await store.finish("a", 5)) == b"12345"
    await stage.close()
    await store.close()
    await second.stop()
    await kept.close()


async def test_a_process_that_is_gone_is_unavailable_and_is_found_again(server: BlobServer) -> None:
    store = remote_at(server.port)
    blob = await store.put("a", [b"123"])
    await server.stop()
    for call in (content(store, blob), store.stat("a"), store.put("b", [b"1"]), store.stage("c"), store.delete("a")):
        with pytest.raises(Unavailable):
            await call
    again = BlobServer(OpenDoor(Memory()), server.port)
    async with asyncio.timeout(30):
        while True:
            try:
                await store.put("b", [b"456"])
            except Unavailable:
                await asyncio.sleep(0.05)
            else:
                break
    assert await content(store, Blob("b", 3)) == b"456"
    await store.close()
    await again.stop()


async def test_a_process_that_hangs_is_unavailable(server: BlobServer, way: Flipping) -> None:
    store = remote_at(way.port, answer_seconds=30)
    small, big = await store.put("small", [SMALL]), await store.put("big", [BIG])
    stage = await store.stage("staged")
    way.is_open.clear()
    store._calls._answer_seconds = 0.2
    for call in (store.put("new", [BIG]), store.put("new", [b"1"]), content(store, small), content(store, big)):
        with pytest.raises(Unavailable):
            await call
    for waiting in (stage.append([BIG]), stage.persist(), store.finish("staged", 0), store.discard("staged")):
        with pytest.raises(Unavailable):
            await waiting
    with pytest.raises(Unavailable):
        await store.stat("small")
    way.is_open.set()
    store._calls._answer_seconds = 30
    assert await content(store, big) == BIG
    await stage.close()
    await store.close()


async def test_a_cancelled_append_is_whole_before_the_next(server: BlobServer) -> None:
    store = remote_at(server.port)
    stage = await store.stage("a")
    data = noise(3 << 20)
    appending = asyncio.ensure_future(stage.append([data]))
    await asyncio.sleep(0)
    appending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await appending
    await stage.append([b"end"])
    assert await stage.persist() == len(data) + 3
    assert await content(store, await store.finish("a", len(data) + 3)) == data + b"end"
    await stage.close()
    await store.close()
