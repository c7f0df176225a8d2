"""A cached store that many read from at once, and that blobs are removed from meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.conformance.test_blobs import content, noise
from tests.faults import Chopped, Failing, Slow, Verb
from tests.storage.cache import BLOCK, Cache, MakeCache
from tests.storage.retries import planned

from measurand.core.ports import Blob, BlobStore, Buffer
from measurand.wire.errors import NotFound, Unavailable


async def test_reads_of_the_same_bytes_at_once_share_one_fetch(make_cache: MakeCache) -> None:
    going = asyncio.Event()
    cache = make_cache(wrap=lambda inner: Slow(inner, pause=lambda _: going.wait()))
    going.set()
    data = noise(20 * BLOCK)
    blob = await cache.store.put("a", [data])
    going.clear()
    reads = [asyncio.ensure_future(content(cache.store, blob)) for _ in range(5)]
    await cache.until(lambda: cache.reads > 0)
    going.set()
    assert await asyncio.gather(*reads) == [data] * 5
    assert (cache.reads, cache.read_bytes) == (1, len(data))


async def test_whoever_came_first_may_leave_and_the_others_get_their_bytes(make_cache: MakeCache) -> None:
    going = asyncio.Event()
    cache = make_cache(wrap=lambda inner: Slow(inner, pause=lambda _: going.wait()))
    going.set()
    data = noise(5 * BLOCK)
    blob = await cache.store.put("a", [data])
    going.clear()
    first = asyncio.ensure_future(content(cache.store, blob))
    await cache.until(lambda: cache.reads > 0)
    second = asyncio.ensure_future(content(cache.store, blob))
    await cache.until(lambda: cache.followers("a") == 2)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    going.set()
    assert await second == data
    assert cache.reads == 1


async def test_a_reader_that_does_not_go_on_holds_nobody_up(cache: Cache) -> None:
    data = noise(30 * BLOCK)
    blob = await cache.store.put("a", [data])
    slow = cache.store.open(blob)
    seen = bytes(await anext(slow))
    assert await content(cache.store, blob) == data
    assert await content(cache.store, blob, 25 * BLOCK, 10) == data[25 * BLOCK :][:10]
    async for chunk in slow:
        seen += chunk
    assert seen == data


async def test_a_read_goes_no_further_ahead_than_it_must(cache: Cache) -> None:
    blob = await cache.store.put("a", [noise(60 * BLOCK)])
    chunks = cache.store.open(blob)
    await anext(chunks)
    await cache.settle()
    assert 0 < len(cache.files) <= 4
    await chunks.aclose()  # type: ignore[attr-defined]  # a generator


async def test_a_reader_that_leaves_lets_go_of_the_store_below_at_once(make_cache: MakeCache) -> None:
    ended: list[str] = []

    class Watched(Slow):
        async def open(self, blob: Blob, offset: int = 0, length: int | None = None) -> AsyncIterator[Buffer]:
            try:
                async for chunk in super().open(blob, offset, length):
                    yield chunk
            finally:
                ended.append(blob.key)

    cache = make_cache(wrap=lambda inner: Watched(inner, pause=lambda _: asyncio.sleep(0)))
    blob = await cache.store.put("a", [noise(60 * BLOCK)])
    chunks = cache.store.open(blob)
    await anext(chunks)
    await chunks.aclose()  # type: ignore[attr-defined]  # a generator
    assert ended == ["a"]


async def test_an_error_of_the_store_below_reaches_all_who_wait_and_is_forgotten(make_cache: MakeCache) -> None:
    going = asyncio.Event()
    error = Unavailable("gone", retry_seconds=1.0)

    def wrap(inner: BlobStore) -> BlobStore:
        return Slow(Failing(inner, verb="open", error=error), pause=lambda _: going.wait())

    cache = make_cache(block_bytes=0, wrap=wrap)
    going.set()
    blob = await cache.store.put("a", [noise(1000)])
    going.clear()
    reads = [asyncio.ensure_future(content(cache.store, blob)) for _ in range(3)]
    await cache.until(lambda: cache.followers("a") == 3)
    going.set()
    assert await asyncio.gather(*reads, return_exceptions=True) == [error] * 3
    assert await cache.content(blob) == noise(1000)


# ------------------------------------------------------------------------------------------------------------ removing


async def test_what_is_removed_leaves_nothing_behind(cache: Cache) -> None:
    blobs = [await cache.store.put(key, [noise(3 * BLOCK)]) for key in ("a", "a/b", "ab", "a_b")]
    for blob in blobs:
        await cache.content(blob)
        await cache.content(Blob(blob.key, 1000))
    assert len(cache.files) == 16
    await cache.store.delete("a")
    assert len(cache.files) == 12
    with pytest.raises(NotFound):
        await cache.content(blobs[0])
    for blob in blobs[1:]:
        assert await cache.content(blob) == noise(3 * BLOCK)
        await cache.store.delete(blob.key)
    assert cache.files == []


async def test_a_blob_that_is_removed_while_it_is_fetched_is_not_kept(make_cache: MakeCache) -> None:
    begun, going, pauses = asyncio.Event(), asyncio.Event(), iter(range(100))

    async def pause(verb: Verb) -> None:
        if verb == "open" and next(pauses) == 1:  # the first bytes have come
            begun.set()
            await going.wait()

    cache = make_cache(block_bytes=0, wrap=lambda inner: Slow(Chopped(inner, chunk_bytes=100), pause=pause))
    blob = await cache.store.put("a", [noise(300)])
    reading = asyncio.ensure_future(content(cache.store, blob))
    await begun.wait()
    await cache.store.delete("a")
    going.set()
    assert await reading == noise(300)
    await cache.settle()
    assert cache.files == []


async def test_a_blob_that_is_removed_by_another_process_of_the_machine_is_gone(cache: Cache) -> None:
    blob = await cache.store.put("a", [noise(1000)])
    await cache.content(blob)
    other = cache.store
    await cache.open().delete("a")
    with pytest.raises(NotFound):
        await content(other, blob)


async def test_a_removal_whose_answer_was_lost_is_one(make_cache: MakeCache) -> None:
    cache = make_cache(wrap=lambda inner: planned(inner, "delete", ["after"]))
    blob = await cache.store.put("a", [noise(1000)])
    await cache.content(blob)
    with pytest.raises(Unavailable):
        await cache.store.delete("a")
    with pytest.raises(NotFound):
        await cache.content(blob)
    assert cache.files == []
