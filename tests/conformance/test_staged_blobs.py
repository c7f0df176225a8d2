"""What every BlobStore promises about blobs that are written bit by bit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.conformance.blobs import PLACES, MakePlace, Place
from tests.conformance.test_blobs import content, keys_of, noise

from measurand.core.ports import Blob, BlobStore
from measurand.wire.errors import AlreadyExists, DataLoss, NotFound

pytestmark = pytest.mark.parametrize("make_place", PLACES.values(), ids=PLACES)

MiB = 1 << 20


@pytest.fixture
def place(make_place: MakePlace, tmp_path: Path) -> Place:
    return make_place(tmp_path)


@pytest.fixture
async def store(place: Place) -> AsyncIterator[BlobStore]:
    opened = place.open()
    yield opened
    await opened.close()


async def staged(store: BlobStore, key: str, *pieces: bytes) -> None:
    """Stage these bytes, persisted, and let go of them."""
    stage = await store.stage(key)
    for piece in pieces:
        await stage.append([piece])
    assert await stage.persist() == sum(map(len, pieces))
    await stage.close()


@pytest.mark.parametrize("size", [0, 1, 4096, MiB + 1, 5 * MiB + 3])
async def test_a_staged_blob_is_finished_as_it_was_appended(store: BlobStore, place: Place, size: int) -> None:
    data = noise(size)
    stage = await store.stage("a/b")
    for at in range(0, size, 300_001):
        await stage.append([data[at : at + 100_000], memoryview(data)[at + 100_000 : at + 300_001]])
    assert await stage.persist() == size
    await stage.close()
    blob = await store.finish("a/b", size)
    assert (blob.key, blob.size) == ("a/b", size)
    assert await content(store, blob) == data
    assert place.look() == {"a/b": data}
    assert place.leftovers() == 0


async def test_what_is_staged_is_not_there_before_it_is_finished(store: BlobStore, place: Place) -> None:
    await staged(store, "a", b"12345")
    with pytest.raises(NotFound):
        await store.stat("a")
    with pytest.raises(NotFound):
        await content(store, Blob("a", 5))
    await store.delete("a")
    assert place.look() == {}
    assert await content(store, await store.finish("a", 5)) == b"12345"


async def test_a_staged_key_is_taken(store: BlobStore, place: Place) -> None:
    await staged(store, "a", b"first")
    other = place.open()
    for each in (store, other):
        with pytest.raises(AlreadyExists):
            await each.stage("a")
        with pytest.raises(AlreadyExists):
            await each.put("a", [b"second"])
    assert await content(store, await store.finish("a", 5)) == b"first"
    await other.close()


async def test_of_many_stages_of_one_key_exactly_one_begins(store: BlobStore) -> None:
    answers = await asyncio.gather(*(store.stage("a") for _ in range(6)), return_exceptions=True)
    won = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert len(won) == 1
    assert sum(isinstance(answer, AlreadyExists) for answer in answers) == 5
    await won[0].close()


async def test_persist_counts_what_was_appended_before_it(store: BlobStore) -> None:
    stage = await store.stage("a")
    assert await stage.persist() == 0
    await stage.append([b"123"])
    assert await stage.persist() == 3
    await stage.append([])
    await stage.append([b"", b"45"])
    assert await stage.persist() == 5
    assert await stage.persist() == 5
    await stage.close()


async def test_persist_and_append_go_on_side_by_side(store: BlobStore) -> None:
    data = noise(6 * MiB)
    stage = await store.stage("a")
    for at in range(0, len(data), MiB):
        persisting = asyncio.ensure_future(stage.persist())
        await asyncio.sleep(0)  # the call has begun
        await stage.append([data[at : at + MiB]])
        assert await persisting == at
    assert await stage.persist() == len(data)
    await stage.close()
    assert await content(store, await store.finish("a", len(data))) == data


async def test_many_stages_are_written_at_once_and_do_not_mix(store: BlobStore) -> None:
    async def write(index: int) -> bytes:
        data = noise(500_000, index)
        stage = await store.stage(f"s/{index}")
        for at in range(0, len(data), 50_000):
            await stage.append([data[at : at + 50_000]])
        await stage.persist()
        await stage.close()
        return await content(store, await store.finish(f"s/{index}", len(data)))

    found = await asyncio.gather(*(write(index) for index in range(8)))
    assert found == [noise(500_000, index) for index in range(8)]


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 5000, 8192, 9999])
async def test_finish_cuts_at_the_size(store: BlobStore, place: Place, size: int) -> None:
    data = noise(10_000)
    await staged(store, "a", data[:3000], data[3000:])
    blob = await store.finish("a", size)
    assert blob.size == size
    assert await content(store, blob) == data[:size]
    assert place.look() == {"a": data[:size]}
    assert (await store.stat("a")).size == size


async def test_finish_works_from_another_process(store: BlobStore, place: Place) -> None:
    data = noise(9000)
    await staged(store, "a", data)
    other = place.open()
    blob = await other.finish("a", 8000)
    assert await content(other, blob) == data[:8000]
    assert await content(store, blob) == data[:8000]
    await other.close()


async def test_finishing_again_gives_the_same_blob(store: BlobStore, place: Place) -> None:
    await staged(store, "a", noise(9000))
    first = await store.finish("a", 8500)
    other = place.open()
    assert await store.finish("a", 8500) == first
    assert await other.finish("a", 8500) == first
    assert await content(store, first) == noise(9000)[:8500]
    await other.close()


async def test_many_finish_at_once_and_get_the_same_blob(store: BlobStore, place: Place) -> None:
    await staged(store, "a", noise(9000))
    other = place.open()
    blobs = await asyncio.gather(*((store, other)[index % 2].finish("a", 8000) for index in range(6)))
    assert blobs == [blobs[0]] * 6
    assert place.look() == {"a": noise(9000)[:8000]}
    assert place.leftovers() == 0
    await other.close()


async def test_a_writer_that_goes_on_does_not_touch_what_is_finished(store: BlobStore) -> None:
    stage = await store.stage("a")
    await stage.append([noise(5000)])
    await stage.persist()
    await stage.append([b"x" * 5000])
    blob = await store.finish("a", 5000)
    await stage.append([b"y" * 5000])
    await stage.persist()
    await stage.append([b"z" * 5000])
    await stage.close()
    assert await content(store, blob) == noise(5000)
    assert await store.finish("a", 5000) == blob
    assert await content(store, blob) == noise(5000)


async def test_finishing_more_than_there_is_is_data_loss_and_changes_nothing(store: BlobStore, place: Place) -> None:
    await staged(store, "a", b"12345")
    with pytest.raises(DataLoss):
        await store.finish("a", 6)
    assert place.look() == {}
    assert await content(store, await store.finish("a", 5)) == b"12345"
    with pytest.raises(DataLoss):
        await store.finish("a", 6)


async def test_finishing_what_was_never_staged_is_not_found(store: BlobStore, place: Place) -> None:
    for size in (0, 5):
        with pytest.raises(NotFound):
            await store.finish("a", size)
    assert place.look() == {}


async def test_what_was_discarded_is_gone(store: BlobStore, place: Place) -> None:
    await staged(store, "a", b"12345")
    await store.discard("a")
    await store.discard("a")
    await store.discard("never/there")
    with pytest.raises(NotFound):
        await store.finish("a", 5)
    assert await keys_of(store) == []
    assert place.leftovers() == 0


async def test_a_writer_whose_stage_was_discarded_brings_nothing_back(store: BlobStore, place: Place) -> None:
    stage = await store.stage("a")
    await stage.append([b"123"])
    await store.discard("a")
    await stage.append([b"456"])
    await stage.close()
    assert await keys_of(store) == []
    assert place.leftovers() == 0


async def test_discarding_what_is_finished_changes_nothing(store: BlobStore) -> None:
    await staged(store, "a", b"12345")
    blob = await store.finish("a", 5)
    await store.discard("a")
    assert await content(store, blob) == b"12345"


async def test_a_finished_blob_that_was_removed_cannot_be_finished_again(store: BlobStore) -> None:
    await staged(store, "a", b"12345")
    await store.finish("a", 5)
    await store.delete("a")
    with pytest.raises(NotFound):
        await store.finish("a", 5)
    assert await keys_of(store) == []
