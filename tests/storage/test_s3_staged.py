"""What only the S3 store has: parts, the pieces behind them, and uploads that somebody has to end."""

from __future__ import annotations

import asyncio
import time
import tracemalloc
from collections.abc import AsyncIterator, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conformance.test_blobs import content, keys_of, noise
from tests.s3_places import BUCKET, InS3, on_seaweed

from measurand.core.ports import Blob, Stage
from measurand.storage.blobs.s3 import S3
from measurand.storage.blobs.s3.layout import Piece, reach, take
from measurand.storage.blobs.s3.putting import groups_of
from measurand.wire.errors import AlreadyExists, DataLoss, NotFound, TooLarge

MiB = 1 << 20
PART = 5 * MiB


@pytest.fixture
def place() -> InS3:
    return InS3(on_seaweed())


@pytest.fixture
async def store(place: InS3) -> AsyncIterator[S3]:
    opened = place.open_s3()
    yield opened
    await opened.close()


async def write(stage: Stage, data: bytes, step: int = 700_001) -> None:
    for at in range(0, len(data), step):
        await stage.append([data[at : at + step]])


def wait_for_upload(place: InS3) -> None:
    while not place.uploads():
        time.sleep(0.01)


async def test_parts_and_what_lies_behind_them_are_finished_as_they_were_appended(store: S3, place: InS3) -> None:
    data = noise(3 * PART + 1_234_567)
    stage = await store.stage("a/b")
    await write(stage, data)
    assert await stage.persist() == len(data)
    await stage.close()
    assert len(place.uploads()) == 1
    assert place.names("staging/") == ["a~b", f"a~b!{3 * PART}-{len(data)}", "a~b!begun", "a~b!upload"]
    blob = await store.finish("a/b", len(data))
    assert await content(store, blob) == data
    assert place.look() == {"a/b": data}
    assert place.leftovers() == 0


async def test_persist_of_what_is_cheap_keeps_back_what_does_not_fill_a_part(store: S3, place: InS3) -> None:
    data = noise(2 * PART + 1000)
    stage = await store.stage("a")
    await stage.append([data[:1000]])
    assert await stage.persist(whole=False) == 0
    assert await stage.persist() == 1000
    assert await stage.persist(whole=False) == 1000
    await write(stage, data[1000:])
    assert await stage.persist(whole=False) in (PART, 2 * PART)  # one more is enough
    assert await stage.persist(whole=False) == 2 * PART
    await stage.close()
    other = place.open_s3()
    with pytest.raises(DataLoss):
        await other.finish("a", 2 * PART + 1)
    assert await content(other, await other.finish("a", 2 * PART)) == data[: 2 * PART]
    assert place.leftovers() == 0
    await other.close()


async def test_a_size_within_a_full_part_gives_the_bytes_up_to_it(store: S3, place: InS3) -> None:
    data = noise(2 * PART)
    stage = await store.stage("a")
    await write(stage, data)
    assert await stage.persist() == len(data)
    await stage.close()
    blob = await store.finish("a", PART + 7)
    assert blob == Blob("a", PART + 7)
    assert await content(store, blob) == data[: PART + 7]
    assert await store.finish("a", PART + 7) == blob
    assert place.leftovers() == 0


@pytest.mark.parametrize("size", [0, 7])
async def test_a_size_before_the_end_of_the_first_part_leaves_no_upload(store: S3, place: InS3, size: int) -> None:
    data = noise(PART + 10)
    stage = await store.stage("a")
    await stage.append([data[:7]])
    assert await stage.persist() == 7
    await write(stage, data[7:])
    assert await stage.persist() == len(data)
    await stage.close()
    assert await content(store, await store.finish("a", size)) == data[:size]
    assert place.leftovers() == 0


async def test_many_small_persists_leave_few_pieces_and_all_bytes(store: S3, place: InS3) -> None:
    data = noise(60_000)
    stage = await store.stage("a")
    for at in range(0, len(data), 1000):
        await stage.append([data[at : at + 1000]])
        assert await stage.persist() == at + 1000
        assert len(place.names("staging/")) <= 18
    await stage.close()
    other = place.open_s3()
    assert await content(other, await other.finish("a", 59_500)) == data[:59_500]
    await other.close()


async def test_pieces_go_when_their_part_is_there(store: S3, place: InS3) -> None:
    data = noise(PART + 1)
    stage = await store.stage("a")
    for end in (1000, 2000, PART + 1):
        await stage.append([data[end - 1000 if end <= 2000 else 2000 : end]])
        assert await stage.persist() == end
    assert place.names("staging/") == ["a", f"a!{PART}-{PART + 1}", "a!begun", "a!upload"]
    await stage.close()
    assert await content(store, await store.finish("a", PART + 1)) == data


async def test_a_writer_that_goes_on_while_it_is_finished_changes_nothing(store: S3, place: InS3) -> None:
    data = noise(4 * PART)
    stage = await store.stage("a")
    await write(stage, data[: PART + 5])
    assert await stage.persist() == PART + 5

    async def go_on() -> None:
        await write(stage, data[PART + 5 :])
        await stage.persist()

    writing = asyncio.ensure_future(go_on())
    other = place.open_s3()
    blob = await other.finish("a", PART + 5)
    await asyncio.gather(writing, return_exceptions=True)
    await stage.close()
    assert await content(other, blob) == data[: PART + 5]
    assert await other.finish("a", PART + 5) == blob
    assert await content(other, blob) == data[: PART + 5]
    assert place.leftovers() == 0
    await other.close()


async def test_processes_that_finish_at_once_give_one_blob(store: S3, place: InS3) -> None:
    data = noise(2 * PART + 99)
    for index in range(3):
        key = f"a/{index}"
        stage = await store.stage(key)
        await write(stage, data)
        await stage.persist()
        await stage.close()
        others = [place.open_s3() for _ in range(3)]
        blobs = await asyncio.gather(*(other.finish(key, len(data)) for other in others))
        assert blobs == [Blob(key, len(data))] * 3
        assert await content(store, blobs[0]) == data
        for other in others:
            await other.close()
    assert place.leftovers() == 0


async def test_a_finish_that_was_cut_short_after_its_commit_point_is_tidied_up_by_the_next(
    store: S3, place: InS3
) -> None:
    data = noise(PART + 99)
    stage = await store.stage("a")
    await write(stage, data)
    await stage.persist()
    await stage.close()
    client, folder = place.server.client, f"{place.prefix}/staging"
    record = client.get_object(Bucket=BUCKET, Key=f"{folder}/a")["Body"].read()
    blob = await store.finish("a", len(data))
    client.put_object(Bucket=BUCKET, Key=f"{folder}/a", Body=record)
    client.put_object(Bucket=BUCKET, Key=f"{folder}/a!{PART}-{PART + 99}", Body=data[PART:])
    assert [(each.key, each.staged) async for each in store.scan()] == [("a", False)]
    await store.discard("a")
    client.put_object(Bucket=BUCKET, Key=f"{folder}/a", Body=record)
    assert await store.finish("a", len(data)) == blob
    assert await content(store, blob) == data
    assert place.leftovers() == 0


async def test_a_writer_whose_stage_was_discarded_is_told_and_brings_nothing_back(store: S3, place: InS3) -> None:
    data = noise(3 * PART)
    early, late = await store.stage("early"), await store.stage("late")
    await write(late, data[:PART])
    assert await late.persist() == PART
    await store.discard("early")
    await store.discard("late")
    for stage in (early, late):
        await write(stage, data[:PART])
        with pytest.raises(NotFound):
            await stage.persist()
        await stage.close()
    assert await keys_of(store) == []
    assert place.leftovers() == 0


async def test_uploads_that_nobody_ended_are_seen_and_can_be_thrown_away(store: S3, place: InS3) -> None:
    client = place.server.client
    for key in ("left/behind", "there"):
        name = f"{place.prefix}/blobs/{key.replace('/', '~')}"
        upload = client.create_multipart_upload(Bucket=BUCKET, Key=name)["UploadId"]
        client.upload_part(Bucket=BUCKET, Key=name, UploadId=upload, PartNumber=1, Body=noise(PART))
    await store.put("there", [b"123"])
    assert sorted([(blob.key, blob.size, blob.staged) async for blob in store.scan()]) == [
        ("left/behind", PART, True),
        ("there", 3, False),
    ]
    await store.discard("left/behind")
    await store.discard("there")
    assert place.leftovers() == 0
    assert place.look() == {"there": b"123"}


async def test_a_large_put_that_fails_or_is_cancelled_leaves_nothing(store: S3, place: InS3) -> None:
    drawn = 0

    def breaking() -> Iterator[bytes]:
        nonlocal drawn
        for index in range(20):
            drawn = index
            yield noise(MiB, index)
        raise LookupError("the source is gone")

    with pytest.raises(LookupError):
        await store.put("a", breaking())
    assert drawn == 19
    assert place.leftovers() == 0
    putting = asyncio.ensure_future(store.put("b", (noise(PART, index) for index in range(50))))
    await asyncio.to_thread(wait_for_upload, place)
    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting
    await store.close()  # waits for the abort
    assert place.leftovers() == 0
    assert place.look() == {}


async def test_a_large_put_comes_back_and_its_key_is_taken(store: S3, place: InS3) -> None:
    data = noise(4 * PART + 3)
    blob = await store.put("a", [data[at : at + 999_983] for at in range(0, len(data), 999_983)])
    assert blob == Blob("a", len(data))
    assert await content(store, blob) == data
    with pytest.raises(AlreadyExists):
        await store.put("a", [data])
    await (await store.stage("b")).close()
    with pytest.raises(AlreadyExists):
        await store.put("b", [data])
    assert place.look() == {"a": data}


async def test_a_staged_write_holds_few_parts_in_memory(store: S3) -> None:
    piece = noise(MiB)
    stage = await store.stage("a")
    await stage.append([piece])
    assert await stage.persist() == MiB
    tracemalloc.start()
    try:
        for _ in range(79):
            await stage.append([piece])
        assert await stage.persist() == 80 * MiB
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 30 * MiB  # four parts, one that is just let go of, and small change
    await stage.close()
    assert await content(store, await store.finish("a", 80 * MiB)) == piece * 80


async def test_more_bytes_than_there_are_parts_are_refused(store: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("measurand.storage.blobs.s3.stage.MOST_PARTS", 2)
    stage = await store.stage("a")
    await stage.append([noise(PART)])
    with pytest.raises(TooLarge):
        await stage.append([noise(PART)])
    await stage.append([noise(PART - 1)])
    assert await stage.persist() == 2 * PART - 1
    await stage.close()
    await store.finish("a", 2 * PART - 1)


PIECES = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 10)).map(lambda at: Piece("", at[0], at[0] + at[1])))


@given(pieces=PIECES, begin=st.integers(0, 20))
def test_pieces_reach_as_far_as_each_byte_is_in_one_of_them(pieces: list[Piece], begin: int) -> None:
    held = {at for piece in pieces for at in range(piece.begin, piece.end)}
    end = begin
    while end in held:
        end += 1
    assert reach(pieces, begin) == end
    taken = [cut.piece.begin + cut.skip + at for cut in take(pieces, begin, end) for at in range(cut.size)]
    assert taken == list(range(begin, end))
    assert all(cut.skip + cut.size <= cut.piece.end - cut.piece.begin for cut in take(pieces, begin, end))


@given(chunks=st.lists(st.binary(max_size=20)), size=st.integers(1, 15))
def test_chunks_are_cut_into_groups_of_one_size(chunks: list[bytes], size: int) -> None:
    groups = [b"".join(group) for group in groups_of(chunks, size)]
    assert b"".join(groups) == b"".join(chunks)
    assert all(len(group) == size for group in groups[:-1])
    assert all(groups)
