"""What only the checked wrapper has: sums of blocks, made as bytes pass, and no byte that does not fit them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conformance.blobs import checked, local, local_path
from tests.conformance.test_blobs import content, noise
from tests.faults import Chopped, Damaged, Failing

from measurand.core.placement.policies import Policy
from measurand.core.ports import Blob, BlobStore, Buffer, Checks
from measurand.server.crc32c import combine_crc32c, make_crc32c
from measurand.storage.blobs.checked import MOST_BLOCKS, Checked
from measurand.storage.blobs.memory import Memory
from measurand.wire.errors import DataLoss, StoreFull, Unavailable

MiB = 1 << 20
BLOCK = 4096


class Noted:
    """A meter that adds up the bytes that were read."""

    def __init__(self) -> None:
        self.read_bytes = 0

    def observe(self, store: str, verb: str, seconds: float, error: str) -> None: ...

    def moved(self, store: str, verb: str, size: int) -> None:
        self.read_bytes += size if verb == "open" else 0


def sums(data: bytes, block_bytes: int = BLOCK) -> Checks:
    """Return the sums of the blocks, the plain way."""
    crc32c = make_crc32c()
    starts = range(0, len(data), block_bytes)
    return Checks(block_bytes, tuple(crc32c(data[start : start + block_bytes], 0) for start in starts))


def noting(inner: BlobStore) -> tuple[BlobStore, Noted]:
    """Return a checked store, and how much it reads of what is below it."""
    from measurand.storage.blobs.measured import Measured

    noted = Noted()
    return checked(Measured(inner, store="test", metrics=noted, monotonic=lambda: 0.0), BLOCK), noted


async def stage_all(store: BlobStore, key: str, pieces: Iterable[bytes]) -> None:
    stage = await store.stage(key)
    for piece in pieces:
        await stage.append([piece])
    await stage.persist()
    await stage.close()


# ------------------------------------------------------------------------------------------------------------- reading


@pytest.mark.parametrize("at", [0, BLOCK - 1, BLOCK, 3 * MiB + 17, 5 * MiB - 1])
async def test_a_bit_that_flipped_on_the_disk_is_data_loss(tmp_path: Path, at: int) -> None:
    store = checked(local(tmp_path), BLOCK)
    data = noise(5 * MiB)
    blob = await store.put("a/b", [data])
    path = local_path(tmp_path, "a/b")
    damaged = bytearray(data)
    damaged[at] ^= 1
    path.write_bytes(damaged)
    seen = bytearray()

    async def read() -> None:
        async for chunk in store.open(blob):
            seen.extend(chunk)

    with pytest.raises(DataLoss) as caught:
        await read()
    block = at - at % BLOCK
    assert caught.value.details == {"resource": "a/b", "offset": str(block)}
    assert len(seen) <= block
    assert data.startswith(seen)


async def test_the_blocks_beside_a_damaged_one_are_still_read() -> None:
    store = checked(Damaged(Memory(), at=BLOCK + 5), BLOCK)
    data = noise(3 * BLOCK)
    blob = await store.put("a", [data])
    assert await content(store, blob, 0, BLOCK) == data[:BLOCK]
    assert await content(store, blob, 2 * BLOCK) == data[2 * BLOCK :]
    for offset, length in ((0, BLOCK + 1), (BLOCK, 1), (2 * BLOCK - 1, 1), (BLOCK + 100, 10)):
        with pytest.raises(DataLoss):
            await content(store, blob, offset, length)


async def test_a_small_range_is_proved_by_the_whole_of_its_block() -> None:
    store, noted = noting(Memory())
    blob = await store.put("a", [noise(10 * BLOCK)])
    assert await content(store, blob, 5 * BLOCK + 1, 3) == noise(10 * BLOCK)[5 * BLOCK + 1 : 5 * BLOCK + 4]
    assert noted.read_bytes == BLOCK


async def test_a_blob_without_checks_passes_through() -> None:
    inner = Memory()
    blob = await inner.put("a", [b"12345"])
    assert blob.checks is None
    assert await content(checked(Damaged(inner, at=2), BLOCK), blob) == b"12#45"


@pytest.mark.parametrize("crcs", [(), (1,), (1, 2, 3)])
async def test_sums_that_do_not_fit_the_size_are_data_loss(crcs: tuple[int, ...]) -> None:
    store = checked(Memory(), BLOCK)
    blob = await store.put("a", [noise(BLOCK + 1)])
    with pytest.raises(DataLoss):
        await content(store, Blob(blob.key, blob.size, Checks(BLOCK, crcs)))


async def test_a_store_that_ends_too_soon_without_saying_so_is_data_loss() -> None:
    class Ending(Chopped):
        async def open(self, blob: Blob, offset: int = 0, length: int | None = None) -> AsyncIterator[Buffer]:
            async for chunk in super().open(blob, offset, length):
                yield chunk
                return

    store = checked(Ending(Memory(), chunk_bytes=2 * BLOCK), BLOCK)
    blob = await store.put("a", [noise(5 * BLOCK)])
    with pytest.raises(DataLoss):
        await content(store, blob)


async def test_chunks_are_handed_on_without_a_copy() -> None:
    inner = Memory()
    data = noise(2 * MiB)
    store = checked(inner, BLOCK)
    blob = await store.put("a", [data])
    held = inner._finished["a"].pieces[0]
    (whole,) = [chunk async for chunk in store.open(blob)]
    assert whole is held
    (trimmed,) = [chunk async for chunk in store.open(blob, 5, MiB)]
    assert isinstance(trimmed, memoryview)
    assert trimmed.obj is held


# ------------------------------------------------------------------------------------------------------------- writing


@given(
    pieces=st.lists(st.binary(max_size=200), max_size=12),
    block_bytes=st.integers(1, 64),
    chunk_bytes=st.integers(1, 100),
    ends=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
async def test_however_bytes_are_cut_their_sums_are_the_same_and_prove_any_range(
    pieces: list[bytes], block_bytes: int, chunk_bytes: int, ends: tuple[float, float]
) -> None:
    data = b"".join(pieces)
    store = checked(Chopped(Memory(), chunk_bytes=chunk_bytes), block_bytes)
    put = await store.put("put", pieces)
    await stage_all(store, "staged", pieces)
    cut, other = sorted(int(len(data) * end) for end in ends)
    finished = await store.finish("staged", other)
    assert put.checks == sums(data, block_bytes)
    assert finished.checks == sums(data[:other], block_bytes)
    assert await content(store, put, cut, other - cut) == data[cut:other]
    assert await content(store, finished, cut) == data[cut:other]


async def test_what_passed_whole_is_not_read_again_at_finish() -> None:
    store, noted = noting(Memory())
    await stage_all(store, "a", [noise(700_000), b"", noise(1_234_567, 1)])
    blob = await store.finish("a", 1_934_567)
    assert noted.read_bytes == 0
    assert blob.checks == sums(noise(700_000) + noise(1_234_567, 1))


async def test_when_it_is_cut_only_the_last_block_is_read_again() -> None:
    store, noted = noting(Memory())
    await stage_all(store, "a", [noise(10 * BLOCK)])
    blob = await store.finish("a", 7 * BLOCK + 10)
    assert noted.read_bytes == 10
    assert blob.checks == sums(noise(10 * BLOCK)[: 7 * BLOCK + 10])


async def test_what_another_process_staged_is_read_once_at_finish(tmp_path: Path) -> None:
    await stage_all(checked(local(tmp_path), BLOCK), "a", [noise(3 * MiB)])
    store, noted = noting(local(tmp_path))
    blob = await store.finish("a", 2 * MiB + 5)
    assert noted.read_bytes == 2 * MiB + 5
    assert blob.checks == sums(noise(3 * MiB)[: 2 * MiB + 5])


@pytest.mark.parametrize("size", [100, 400_000])
async def test_after_an_append_that_failed_the_sums_are_those_of_what_is_stored(size: int) -> None:
    failing = Failing(Memory(), verb="append", at=2, error=StoreFull("no room"))
    store = checked(failing, BLOCK)
    stage = await store.stage("a")
    await stage.append([noise(size)])
    with pytest.raises(StoreFull):
        await stage.append([noise(size, 1)])
    await stage.append([noise(size, 2)])
    assert await stage.persist() == 2 * size
    await stage.close()
    blob = await store.finish("a", 2 * size)
    assert blob.checks == sums(noise(size) + noise(size, 2))
    assert await content(store, blob) == noise(size) + noise(size, 2)


async def test_a_finish_that_failed_can_be_repeated() -> None:
    failing = Failing(Memory(), verb="finish", error=Unavailable("gone", retry_seconds=1.0))
    store = checked(failing, BLOCK)
    await stage_all(store, "a", [noise(5000)])
    with pytest.raises(Unavailable):
        await store.finish("a", 5000)
    assert (await store.finish("a", 5000)).checks == sums(noise(5000))


async def test_finish_while_the_writer_goes_on_gives_the_sums_of_what_is_finished() -> None:
    store = checked(Memory(), BLOCK)
    stage = await store.stage("a")
    await stage.append([noise(500_000)])
    await stage.persist()
    _, blob = await asyncio.gather(stage.append([noise(500_000, 1)]), store.finish("a", 400_000))
    await stage.close()
    assert blob.checks == sums(noise(500_000)[:400_000])


async def test_a_store_may_draw_the_chunks_of_a_put_again() -> None:
    class Twice(Chopped):
        async def put(self, key: str, chunks: Iterable[Buffer], *, policy: Policy | None = None) -> Blob:
            assert len(b"".join(chunks)) == 5000  # a first try that is lost
            return await super().put(key, chunks)

    blob = await checked(Twice(Memory(), chunk_bytes=MiB), BLOCK).put("a", [noise(5000)])
    assert blob.checks == sums(noise(5000))


@pytest.mark.parametrize(
    ("blocks", "block_bytes"),
    [(MOST_BLOCKS, 16), (MOST_BLOCKS + 0.1, 32), (2 * MOST_BLOCKS, 32), (2 * MOST_BLOCKS + 1, 64)],
)
async def test_beyond_the_most_blocks_they_are_twice_as_large(blocks: float, block_bytes: int) -> None:
    data = noise(int(blocks * 16))
    store = Checked(
        Memory(),
        crc32c=make_crc32c(),
        combine_crc32c=combine_crc32c,
        in_thread=asyncio.to_thread,
        block_bytes=16,
    )
    put = await store.put("put", [data[:100_001], data[100_001:]])
    await stage_all(store, "staged", [data[:100_001], data[100_001:], b"behind"])
    finished = await store.finish("staged", len(data))
    assert put.checks == finished.checks == sums(data, block_bytes)
    assert await content(store, finished) == data
