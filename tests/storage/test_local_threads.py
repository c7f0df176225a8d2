"""What only the local store promises about threads and open files."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest
from tests.conformance.test_blobs import content, noise
from tests.storage.local_place import LocalPlace, in_thread, open_files

from measurand.core.ports import Blob, BlobStore
from measurand.storage.blobs.local import Local
from measurand.storage.blobs.local.disk import Descriptor
from measurand.wire.errors import DataLoss, NotFound, Unavailable

Result = TypeVar("Result")
MiB = 1 << 20


@pytest.fixture
def place(tmp_path: Path) -> LocalPlace:
    return LocalPlace(tmp_path / "blobs")


@pytest.fixture
async def store(place: LocalPlace) -> AsyncIterator[BlobStore]:
    opened = place.open()
    yield opened
    await opened.close()


class Counted:
    """Runs work in threads, and counts how often."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, work: Callable[..., Result], /, *args: object) -> Awaitable[Result]:
        self.count += 1
        return in_thread(work, *args)


async def test_each_call_is_one_hop_to_a_thread(tmp_path: Path) -> None:
    hops = Counted()
    store = Local(tmp_path, in_thread=hops)
    blob = await store.put("a", [noise(100_000), noise(100_000)])
    assert hops.count == 1
    assert len(await content(store, blob)) == 200_000
    assert hops.count <= 2  # none, where the system has it in memory
    stage = await store.stage("b")
    hops.count = 0
    await stage.append([noise(MiB)] * 6)
    assert hops.count == 1
    await stage.persist()
    assert hops.count == 2
    await stage.close()
    await store.finish("b", 6 * MiB)
    assert hops.count == 3


async def test_the_next_chunk_is_read_while_one_is_used(tmp_path: Path) -> None:
    hops = Counted()
    store = Local(tmp_path, in_thread=hops)
    blob = await store.put("a", [noise(4 * MiB)])
    hops.count = 0
    chunks = store.open(blob)
    assert len(await anext(chunks)) == MiB
    assert hops.count == 2
    assert len(await anext(chunks)) == MiB
    assert hops.count == 3
    await chunks.aclose()  # type: ignore[attr-defined]  # a generator


async def test_no_file_stays_open_however_a_call_ends(store: BlobStore, place: LocalPlace) -> None:
    blob = await store.put("a", [noise(4 * MiB)])
    await asyncio.gather(*(store.stat("a") for _ in range(20)))  # the event loop has its threads and sockets
    before = open_files()
    chunks = store.open(blob)
    await anext(chunks)
    await chunks.aclose()  # type: ignore[attr-defined]  # a generator
    with pytest.raises(NotFound):
        await content(store, Blob("missing", 1))
    with pytest.raises(DataLoss):
        await content(store, Blob("a", 5 * MiB))
    for verb in (lambda: content(store, blob), lambda: store.stage("b"), lambda: store.put("c", [noise(MiB)])):
        for steps in range(4):
            task = asyncio.ensure_future(verb())
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            answer = (await asyncio.gather(task, return_exceptions=True))[0]
            if hasattr(answer, "close"):
                await answer.close()
    await asyncio.get_running_loop().shutdown_default_executor()  # all threads are done
    assert open_files() == before


async def test_an_append_that_was_cancelled_is_whole_or_was_never_begun(tmp_path: Path) -> None:
    hops = Counted()
    store = Local(tmp_path, in_thread=hops)
    stage = await store.stage("a")
    written = b""
    for index in range(20):
        piece = noise(200_000, index)
        appending = asyncio.ensure_future(stage.append([piece]))
        for _ in range(index % 5):
            await asyncio.sleep(0)
        appending.cancel()
        await asyncio.gather(appending, return_exceptions=True)
        await stage.append([b"."])  # waits for the other one
        size = await stage.persist()
        assert size in (len(written) + 1, len(written) + len(piece) + 1)
        written += (piece if size > len(written) + 1 else b"") + b"."
    await stage.close()
    assert await content(store, await store.finish("a", len(written))) == written


async def test_a_cancelled_append_goes_on_in_a_file_that_closes_after_it(store: BlobStore) -> None:
    stage = await store.stage("a")
    appending = asyncio.ensure_future(stage.append([noise(MiB)] * 16))
    await asyncio.sleep(0)
    appending.cancel()
    await stage.close()
    other = await store.stage("b")  # might be given the same number
    await other.append([b"123"])
    assert await other.persist() == 3
    await other.close()
    assert await content(store, await store.finish("b", 3)) == b"123"


async def test_stores_of_one_folder_share_it(tmp_path: Path) -> None:
    stores = [Local(tmp_path / "new" / "folder", in_thread=in_thread) for _ in range(4)]
    blobs = await asyncio.gather(*(stores[index % 4].put(f"a/{index}", [noise(1000, index)]) for index in range(64)))
    for index, blob in enumerate(blobs):
        assert await content(stores[(index + 1) % 4], blob) == noise(1000, index)


async def test_a_blob_that_is_removed_while_it_is_read_is_read_to_its_end(store: BlobStore) -> None:
    blob = await store.put("a", [noise(5 * MiB)])
    chunks = store.open(blob)
    first = await anext(chunks)
    await store.delete("a")
    assert bytes(first) + b"".join([bytes(chunk) async for chunk in chunks]) == noise(5 * MiB)


async def test_a_shard_that_somebody_tidied_away_is_made_again(store: BlobStore, place: LocalPlace) -> None:
    await store.put("a", [b"x"])
    folder = place.path("a").parent
    await store.delete("a")
    folder.rmdir()
    with pytest.raises(Unavailable):
        await store.put("a", [b"x"])
    assert await content(store, await store.put("a", [b"x"])) == b"x"


def test_a_file_that_is_closed_while_it_is_used_stays_open_until_it_is_not(tmp_path: Path) -> None:
    file = Descriptor()
    file.opened(os.open(tmp_path / "a", os.O_RDWR | os.O_CREAT))
    with file.use() as number:
        with file.use() as same:
            file.close()
            assert same == number
        assert os.write(number, b"123") == 3
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)
    file.close()


def test_a_file_that_is_opened_after_nobody_wants_it_is_closed_at_once(tmp_path: Path) -> None:
    file = Descriptor()
    file.close()
    number = os.open(tmp_path / "a", os.O_RDWR | os.O_CREAT)
    file.opened(number)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)
