"""What every BlobStore promises about finished blobs: putting, reading, removing, finding."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.conformance.blobs import PLACES, MakePlace, Place

from measurand.core.ports import Blob, BlobStore, Buffer
from measurand.wire.errors import AlreadyExists, DataLoss, NameInvalid, NotFound, OutOfRange

pytestmark = pytest.mark.parametrize("make_place", PLACES.values(), ids=PLACES)

MiB = 1 << 20
SIZES = (0, 1, 4095, 4096, 4097, MiB - 1, MiB, MiB + 1, 5 * MiB + 3)
HOSTILE_KEYS = (
    "", "/", ".", "..", "../x", "a/../b", "a/..", "a/./b", "/a", "a/", "a//b", ".a", "a/.b", "A", "é", "a b", "a\x00b",
    "a\n", "a+b", "a\\b", "c:/x", "-a", "a/-b", "~", "a/\u2215b", "x" * 201,
)  # fmt: skip
LIKE_KEYS = ("a", "a/b", "a_b", "a-b", "a/b.c", "a/b.c.d", "a/b/c", "ab", "0", "a/b-", "x" * 200, "y/" + "z" * 198)


@pytest.fixture
def place(make_place: MakePlace, tmp_path: Path) -> Place:
    return make_place(tmp_path)


@pytest.fixture
async def store(place: Place) -> AsyncIterator[BlobStore]:
    opened = place.open()
    yield opened
    await opened.close()


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


async def content(store: BlobStore, blob: Blob, offset: int = 0, length: int | None = None) -> bytes:
    return b"".join([bytes(chunk) async for chunk in store.open(blob, offset, length)])


def all_below(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


async def keys_of(store: BlobStore, prefix: str = "") -> list[str]:
    return sorted([blob.key async for blob in store.scan(prefix)])


@pytest.mark.parametrize("size", SIZES)
async def test_a_blob_comes_back_as_it_was_put(store: BlobStore, place: Place, size: int) -> None:
    data = noise(size)
    blob = await store.put("files/a.1", [data])
    assert (blob.key, blob.size) == ("files/a.1", size)
    assert await content(store, blob) == data
    assert place.look() == {"files/a.1": data}
    assert place.leftovers() == 0


async def test_chunks_may_be_any_buffers_of_any_sizes_and_come_from_any_iterable(store: BlobStore) -> None:
    data = noise(3 * MiB)
    chunks: list[Buffer] = [b"", data[:1], bytearray(data[1:5000]), memoryview(data)[5000 : 2 * MiB], b""]
    chunks += [data[at : at + 999] for at in range(2 * MiB, 3 * MiB, 999)]
    assert await content(store, await store.put("listed", chunks)) == data
    assert await content(store, await store.put("drawn", iter(chunks))) == data


async def test_what_was_put_is_read_by_another_process(store: BlobStore, place: Place) -> None:
    blob = await store.put("a", [noise(10_000)])
    other = place.open()
    assert await content(other, blob) == noise(10_000)
    await other.close()


async def test_what_the_caller_does_to_its_buffers_afterwards_changes_no_blob(store: BlobStore) -> None:
    buffer = bytearray(noise(100_000))
    blob = await store.put("a", [buffer])
    stage = await store.stage("b")
    await stage.append([memoryview(buffer)])
    buffer[:] = bytes(len(buffer))
    await stage.persist()
    await stage.close()
    assert await content(store, blob) == noise(100_000)
    assert await content(store, await store.finish("b", 100_000)) == noise(100_000)


async def test_a_key_is_never_used_for_other_bytes(store: BlobStore, place: Place) -> None:
    await store.put("a", [b"first"])
    with pytest.raises(AlreadyExists):
        await store.put("a", [b"second"])
    with pytest.raises(AlreadyExists):
        await store.stage("a")
    assert place.look() == {"a": b"first"}
    assert place.leftovers() == 0


async def test_of_many_puts_of_one_key_exactly_one_wins(store: BlobStore, place: Place) -> None:
    other = place.open()
    puts = [(store, other)[index % 2].put("a", [bytes([index]) * 5000]) for index in range(8)]
    answers = await asyncio.gather(*puts, return_exceptions=True)
    (won,) = [index for index, answer in enumerate(answers) if isinstance(answer, Blob)]
    assert sum(isinstance(answer, AlreadyExists) for answer in answers) == 7
    assert place.look() == {"a": bytes([won]) * 5000}
    assert place.leftovers() == 0
    await other.close()


async def test_a_put_that_fails_leaves_nothing(store: BlobStore, place: Place) -> None:
    def breaking() -> Iterator[bytes]:
        yield noise(9 * MiB)
        raise LookupError("the source is gone")

    with pytest.raises(LookupError):
        await store.put("a", breaking())
    assert place.look() == {}
    assert place.leftovers() == 0
    assert await content(store, await store.put("a", [b"again"])) == b"again"


async def test_any_range_is_read_exactly(store: BlobStore) -> None:
    data = noise(2 * MiB + 777)
    blob = await store.put("a", [data])
    chance = random.Random(1)
    edges = [0, 1, 4095, 4096, 4097, MiB - 1, MiB, MiB + 1, 2 * MiB, len(data) - 1, len(data)]
    for _ in range(60):
        begin, end = sorted(chance.choice([chance.randrange(len(data) + 1), chance.choice(edges)]) for _ in range(2))
        assert await content(store, blob, begin, end - begin) == data[begin:end]
    assert await content(store, blob, len(data) - 5) == data[-5:]


@pytest.mark.parametrize("wanted", [(-1, 1), (0, -1), (0, 11), (11, 0), (11, None), (10, 1), (5, 6)])
async def test_a_range_that_does_not_lie_within_is_refused(store: BlobStore, wanted: tuple[int, int | None]) -> None:
    blob = await store.put("a", [b"0123456789"])
    with pytest.raises(OutOfRange):
        await content(store, blob, *wanted)


async def test_chunks_are_at_most_2_mib_and_stay_valid(store: BlobStore) -> None:
    data = noise(7 * MiB + 1)
    chunks = [chunk async for chunk in store.open(await store.put("a", [data]))]
    assert max(map(len, chunks)) <= 2 * MiB
    assert min(map(len, chunks)) > 0
    assert b"".join(chunks) == data


async def test_only_the_size_that_the_blob_names_counts(store: BlobStore) -> None:
    blob = await store.put("a", [b"0123456789"])
    smaller = Blob(blob.key, 4)
    assert await content(store, smaller) == b"0123"
    assert await content(store, smaller, 4) == b""
    with pytest.raises(OutOfRange):
        await content(store, smaller, 0, 5)


async def test_reading_what_is_not_there_is_not_found(store: BlobStore) -> None:
    for range_ in ((0, None), (0, 0), (3, 1)):
        with pytest.raises(NotFound):
            await content(store, Blob("a", 5), *range_)
    with pytest.raises(NotFound):
        await store.stat("a")


async def test_bytes_that_are_gone_from_the_end_are_data_loss(store: BlobStore, place: Place) -> None:
    data = noise(3 * MiB)
    blob = await store.put("a", [data])
    place.damage("a", data[: 2 * MiB + 5])
    seen = bytearray()

    async def read() -> None:
        async for chunk in store.open(blob):
            seen.extend(chunk)

    with pytest.raises(DataLoss) as caught:
        await read()
    assert data.startswith(seen)
    assert caught.value.details["resource"] == "a"


async def test_a_removed_blob_is_gone_and_removing_again_changes_nothing(store: BlobStore, place: Place) -> None:
    blob = await store.put("a/b", [b"x"])
    await store.put("a/c", [b"y"])
    await store.delete("a/b")
    await store.delete("a/b")
    await store.delete("never/there")
    with pytest.raises(NotFound):
        await content(store, blob)
    with pytest.raises(NotFound):
        await store.stat("a/b")
    assert place.look() == {"a/c": b"y"}


async def test_a_blob_that_is_removed_while_it_is_read_gives_right_bytes_or_not_found(store: BlobStore) -> None:
    data = noise(8 * MiB)
    blob = await store.put("a", [data])
    seen = b""
    try:
        async for chunk in store.open(blob):
            if not seen:
                await store.delete("a")
            seen += chunk
    except NotFound:
        pass
    else:
        assert seen == data
    assert seen
    assert data.startswith(seen)


async def test_many_read_one_blob_at_once(store: BlobStore) -> None:
    data = noise(3 * MiB + 1)
    blob = await store.put("a", [data])
    offsets = [index * 100_001 for index in range(12)]
    answers = await asyncio.gather(*(content(store, blob, offset) for offset in offsets))
    assert answers == [data[offset:] for offset in offsets]


async def test_a_reader_may_stop_at_any_time(store: BlobStore) -> None:
    blob = await store.put("a", [noise(4 * MiB)])
    for wanted in (0, 1, 2):
        chunks = store.open(blob)
        for _ in range(wanted):
            assert await anext(chunks)
        await chunks.aclose()  # type: ignore[attr-defined]  # they are generators all
    assert await content(store, blob) == noise(4 * MiB)


async def test_stat_tells_size_and_time(store: BlobStore) -> None:
    before = datetime.now(UTC)
    await store.put("a/b", [b"12345"])
    found = await store.stat("a/b")
    assert (found.key, found.size, found.staged) == ("a/b", 5, False)
    assert found.modified_time.utcoffset() == timedelta(0)
    assert abs(found.modified_time - before) < timedelta(minutes=1)


async def test_keys_that_look_alike_are_different_blobs(store: BlobStore, place: Place) -> None:
    blobs = [await store.put(key, [key.encode()]) for key in LIKE_KEYS]
    for blob in blobs:
        assert await content(store, blob) == blob.key.encode()
        assert (await store.stat(blob.key)).size == blob.size
    assert await keys_of(store) == sorted(LIKE_KEYS)
    assert place.look() == {key: key.encode() for key in LIKE_KEYS}


@pytest.mark.parametrize("key", HOSTILE_KEYS)
async def test_a_key_that_is_none_is_refused_by_every_verb(
    store: BlobStore, place: Place, tmp_path: Path, key: str
) -> None:
    before = all_below(tmp_path)
    calls = [store.put(key, [b"x"]), store.stat(key), store.delete(key), store.stage(key), store.finish(key, 0)]
    for call in [*calls, store.discard(key), content(store, Blob(key, 0))]:
        with pytest.raises(NameInvalid):
            await call
    assert place.look() == {}
    assert all_below(tmp_path) == before


async def test_scan_yields_what_begins_so_staged_ones_too(store: BlobStore) -> None:
    for key in ("files/a", "files/b.1", "packs/a"):
        await store.put(key, [key.encode()])
    stage = await store.stage("files/c")
    await stage.append([b"123"])
    await stage.persist()
    assert await keys_of(store) == ["files/a", "files/b.1", "files/c", "packs/a"]
    assert await keys_of(store, "files/") == ["files/a", "files/b.1", "files/c"]
    assert await keys_of(store, "files/b") == ["files/b.1"]
    assert await keys_of(store, "../") == []
    found = {blob.key: (blob.size, blob.staged) async for blob in store.scan("files/")}
    assert found == {"files/a": (7, False), "files/b.1": (9, False), "files/c": (3, True)}
    await stage.close()


async def test_scans_at_once_are_each_whole(store: BlobStore) -> None:
    keys = sorted(f"many/{index}" for index in range(60))
    for key in keys[:30]:
        await store.put(key, [b"x"])
    for key in keys[30:]:
        await (await store.stage(key)).close()
    assert await asyncio.gather(*(keys_of(store) for _ in range(6))) == [keys] * 6


async def test_scan_of_nothing_is_empty(store: BlobStore) -> None:
    assert await keys_of(store) == []


async def test_scan_yields_once_what_stays_while_others_come_and_go(store: BlobStore) -> None:
    stay = {f"stay/{index}" for index in range(40)}
    for key in stay:
        await store.put(key, [b"x"])
    for index in range(10):
        await store.put(f"go/{index}", [b"x"])
        await (await store.stage(f"grow/{index}")).close()
    seen: list[str] = []
    async for blob in store.scan():
        step = len(seen)
        seen.append(blob.key)
        if step < 10:
            await store.delete(f"go/{step}")
            await store.put(f"come/{step}", [b"x"])
            await store.finish(f"grow/{step}", 0)
    assert sorted(key for key in seen if key in stay) == sorted(stay)
    assert sorted(key for key in seen if key.startswith("grow/")) == [f"grow/{index}" for index in range(10)]


async def test_a_store_prints_as_the_sentence_that_composed_it(
    store: BlobStore, request: pytest.FixtureRequest
) -> None:
    words = request.node.callspec.id.partition(" on ")[0].replace(")", "").split("(")
    assert repr(store).startswith("(".join(words) + "(")
