"""What only the cached wrapper has: bytes from a disk nearby, and never wrong ones."""

from __future__ import annotations

import asyncio
import random

import pytest
from tests.conformance.blobs import checked
from tests.conformance.test_blobs import content, noise
from tests.faults import Chopped, Damaged
from tests.storage.cache import BLOCK, Cache, MakeCache

from measurand.core.ports import Blob, Checks
from measurand.storage.blobs.memory import Memory
from measurand.wire.errors import DataLoss

KiB = 1 << 10
MiB = 1 << 20


# ------------------------------------------------------------------------------------------------------------- reading


@pytest.mark.parametrize("has_checks", [True, False])
async def test_what_was_read_once_is_read_from_the_folder(cache: Cache, has_checks: bool) -> None:
    data = noise(10 * BLOCK + 5)
    put = await cache.store.put("files/a", [data])
    blob = put if has_checks else Blob(put.key, put.size)
    assert cache.files == []  # only what is read is kept
    assert await cache.content(blob) == data
    assert cache.reads == 1
    assert await cache.content(blob) == data
    assert (cache.store.hit_bytes, cache.store.fetched_bytes) == (len(data), len(data))
    cache.open()  # another process, or the next
    assert await cache.content(blob) == data
    assert cache.reads == 1
    assert (cache.store.hit_bytes, cache.store.fetched_bytes) == (len(data), 0)


async def test_a_small_read_fetches_the_block_in_which_it_lies_and_no_other(cache: Cache) -> None:
    data = noise(10 * BLOCK)
    blob = await cache.store.put("a", [data])
    assert await cache.content(blob, 3 * BLOCK + 10, 5) == data[3 * BLOCK + 10 : 3 * BLOCK + 15]
    assert cache.read_bytes == BLOCK
    assert await cache.content(blob, 3 * BLOCK, BLOCK) == data[3 * BLOCK : 4 * BLOCK]
    assert (cache.reads, cache.read_bytes) == (1, BLOCK)
    assert await cache.content(blob) == data  # the rest, around it
    assert (cache.reads, cache.read_bytes) == (3, 10 * BLOCK)


async def test_of_a_pack_just_the_small_files_that_are_read_are_kept(cache: Cache) -> None:
    await cache.store.put("pack", [noise(100 * KiB)])
    for _ in range(2):
        for begin in range(0, 100 * KiB, 10 * KiB):  # each is named as a blob that ends with it
            assert await cache.content(Blob("pack", begin + 10 * KiB), begin) == noise(100 * KiB)[begin:][: 10 * KiB]
    assert (cache.reads, cache.read_bytes) == (10, 100 * KiB)


async def test_a_large_read_passes_by(cache: Cache) -> None:
    cache.open(most_bytes=4 * MiB)
    data = noise(MiB + 1)
    blob = await cache.store.put("a", [data])
    assert await cache.content(blob) == data
    assert cache.files == []
    assert await cache.content(blob, 0, MiB) == data[:MiB]
    assert len(cache.files) == MiB // BLOCK


async def test_what_is_larger_than_a_chunk_is_given_out_in_chunks(make_cache: MakeCache) -> None:
    cache = make_cache(block_bytes=5 * MiB)
    blob = await cache.store.put("a", [noise(7 * MiB)])
    for _ in range(2):
        chunks = [chunk async for chunk in cache.store.open(blob, 1, 7 * MiB - 2)]
        assert max(map(len, chunks)) <= 2 * MiB
        assert b"".join(chunks) == noise(7 * MiB)[1:-1]
        await cache.settle()
    assert len(cache.files) == 2


async def test_blocks_too_large_to_be_held_pass_by(make_cache: MakeCache) -> None:
    cache = make_cache(block_bytes=16 * MiB)
    blob = await cache.store.put("a", [noise(17 * MiB)])
    assert await cache.content(blob, 16 * MiB, 5) == noise(17 * MiB)[16 * MiB :][:5]
    assert cache.files == []


@pytest.mark.parametrize("seed", range(6))
async def test_many_reads_at_once_of_a_cache_too_small_for_them_are_right(make_cache: MakeCache, seed: int) -> None:
    chance = random.Random(seed)
    cache = make_cache(block_bytes=8 * KiB, most_bytes=20 * BLOCK, wrap=lambda inner: Chopped(inner, chunk_bytes=7_001))
    stored = [
        (await cache.store.put(f"b/{index}", [data]), data) for index in range(6) for data in [noise(90_000, index)]
    ]
    one, other = cache.store, cache.open()

    async def read() -> None:
        for _ in range(12):
            blob, data = chance.choice(stored)
            begin, end = sorted(chance.randrange(len(data) + 1) for _ in range(2))
            if chance.random() < 0.3:
                blob = Blob(blob.key, end)
            seen = bytearray()
            async for chunk in chance.choice((one, other)).open(blob, begin, end - begin):
                seen += chunk
                if chance.random() < 0.05:
                    assert data[begin:end].startswith(seen)
                    break
                if chance.random() < 0.1:
                    await asyncio.sleep(0)
            else:
                assert seen == data[begin:end]

    await asyncio.gather(*(read() for _ in range(8)))
    await cache.settle()  # files still come and go when the last reader has its bytes
    assert cache.size <= 20 * BLOCK


# -------------------------------------------------------------------------------------------------------------- damage


@pytest.mark.parametrize("has_checks", [True, False])
async def test_a_damaged_file_is_never_served_and_is_fetched_again(cache: Cache, has_checks: bool) -> None:
    data = noise(1000)
    put = await cache.store.put("a", [data])
    blob = put if has_checks else Blob(put.key, put.size)
    await cache.content(blob)
    (path,) = cache.files
    right = path.read_bytes()
    flipped = [
        right[:at] + bytes([right[at] ^ 1]) + right[at + 1 :] for at in (0, 4, 8, 12, 19, 20, 500, len(right) - 1)
    ]
    for wrong in [*flipped, right[:-1], right + b"x", right[:10], b"", bytes(len(right))]:
        path.write_bytes(wrong)
        before = cache.reads
        for _ in range(2):
            assert await cache.content(blob) == data
        assert cache.reads == before + 1


async def test_a_file_under_the_name_of_another_is_not_served(cache: Cache) -> None:
    for key in "ab":
        await cache.store.put(key, [key.encode() * 1000])
        await cache.content(Blob(key, 1000))
    one, other = cache.files
    other.write_bytes(one.read_bytes())
    for key in "ab":
        assert await cache.content(Blob(key, 1000)) == key.encode() * 1000


async def test_bytes_that_do_not_fit_the_readers_sums_are_not_served(cache: Cache) -> None:
    blob = await cache.store.put("a", [noise(1000)])
    await cache.content(blob)
    with pytest.raises(DataLoss):
        await cache.content(Blob("a", 1000, Checks(BLOCK, (1,))))
    assert await cache.content(blob) == noise(1000)


async def test_what_nobody_can_prove_is_fetched_anew_after_some_time(cache: Cache) -> None:
    blob = await cache.store.put("a", [noise(1000)])
    for each in (blob, Blob("a", 999)):
        await cache.content(each)
    assert cache.reads == 2
    for seconds in (300.0, 290.0, 20.0):
        cache.time += seconds
        await cache.content(blob)
        await cache.content(Blob("a", 999))
    assert cache.reads == 3


async def test_a_damaged_block_is_data_loss_and_those_beside_it_are_read(make_cache: MakeCache) -> None:
    damaged = Damaged(Memory(), at=BLOCK + 5)
    cache = make_cache(wrap=lambda _: Chopped(damaged, chunk_bytes=BLOCK))
    data = noise(4 * BLOCK)
    blob = await cache.store.put("a", [data])
    seen = bytearray()

    async def read() -> None:
        async for chunk in cache.store.open(blob):
            seen.extend(chunk)

    with pytest.raises(DataLoss):
        await read()
    assert seen == data[:BLOCK]
    answers = await asyncio.gather(
        *(content(cache.store, blob, number * BLOCK, BLOCK) for number in range(4)), return_exceptions=True
    )
    assert isinstance(answers.pop(1), DataLoss)
    assert answers == [data[:BLOCK], data[2 * BLOCK : 3 * BLOCK], data[3 * BLOCK :]]
    damaged.at = None
    assert await cache.content(blob) == data


async def test_a_store_that_is_not_checked_fills_the_folder_with_right_bytes_only(make_cache: MakeCache) -> None:
    damaged = Damaged(Memory(), at=5)
    cache = make_cache(block_bytes=0, wrap=lambda _: damaged)
    await cache.store.put("a", [noise(100)])
    sums = await checked(Memory(), BLOCK).put("a", [noise(100)])
    assert await cache.content(sums) != noise(100)
    assert cache.files == []
