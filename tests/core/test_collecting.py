"""Deleting for good over the real stores: the bytes of what was deleted go, those of the others stay, crash or not."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.core.crashing import Crash, Fuse, fused
from tests.core.rooms import Clock, Direct, Rooms

from measurand.core.catalog_documents import CatalogDraft
from measurand.core.dataset_edits import DatasetDraft
from measurand.core.dataset_making import NewDataset
from measurand.core.file_documents import Digests, FileSpec
from measurand.core.limits import Limits
from measurand.core.names import CatalogName, DatasetName, FileName
from measurand.core.principal import LOCAL_USER
from measurand.core.small_files import SmallFile
from measurand.core.upload_writer import Ack
from measurand.server.means import make_means
from measurand.server.patterns import compile_pattern
from measurand.storage.blobs.checked import Checked
from measurand.storage.blobs.local import Local
from measurand.storage.documents.sqlite import Sqlite
from measurand.wire.errors import NotFound

KiB = 1024
LARGE = 256 * KiB
DAY = timedelta(days=1)
LIMITS = Limits(blob_grace=timedelta(hours=1))
Contents = dict[FileName, bytes]


@dataclass(frozen=True, slots=True)
class Folder:
    """Where a deployment keeps its things; may be copied while nobody has it open."""

    path: Path

    def copy(self, to: Path) -> Folder:
        shutil.copytree(self.path, to)
        return Folder(to)

    @property
    def blob_bytes(self) -> int:
        return sum(file.stat().st_size for file in (self.path / "store").rglob("*") if file.is_file())

    @asynccontextmanager
    async def rooms(self) -> AsyncIterator[Rooms]:
        clock = Clock(datetime.now(UTC))  # the disk has its own clock, which is the real one
        means = replace(
            make_means(ThreadPoolExecutor()),
            in_thread=Direct(),
            now=lambda: clock.time,
            monotonic=lambda: clock.running,
        )
        documents = await Sqlite.open(self.path / "documents.sqlite", compile_pattern=compile_pattern)
        blobs = Checked(
            Local(self.path / "store", in_thread=Direct()),
            crc32c=means.crc32c,
            combine_crc32c=means.combine_crc32c,
            in_thread=means.in_thread,
        )
        try:
            yield Rooms(clock, means, LIMITS, documents, blobs)
        finally:
            await blobs.close()
            await documents.close()


async def nothing(_: Ack) -> None:
    """Nobody listens."""


async def upload(rooms: Rooms, name: FileName, data: bytes) -> None:
    begun = await rooms.uploads.create(LOCAL_USER, FileSpec(name), len(data), Digests(), "")
    writer = await rooms.uploads.open_writer(LOCAL_USER, begun.id, None, nothing)
    await writer.take(0, data, rooms.means.crc32c(data, 0))
    await writer.close()
    rooms.uploads.closed(writer)
    await rooms.uploads.ends.commit(LOCAL_USER, begun.id, len(data), Digests(), None)


async def fill(rooms: Rooms, datasets: int, *, large_bytes: int = LARGE) -> list[Contents]:
    """Make a catalog without an undelete window, and datasets with one large and three small files each."""
    chance = random.Random(28)
    await rooms.catalogs.create(LOCAL_USER, "lab", CatalogDraft(undelete_window=timedelta()))
    made: list[Contents] = []
    for number in range(datasets):
        new = NewDataset(DatasetDraft(), dataset_id=f"run-{number}")
        await rooms.datasets.create(LOCAL_USER, CatalogName("lab"), new)
        small = {FileName("lab", f"run-{number}", f"log/{i}"): chance.randbytes(1 + 100 * i) for i in range(3)}
        await asyncio.gather(
            *(
                rooms.small_files.put(LOCAL_USER, SmallFile(FileSpec(name), data, Digests()))
                for name, data in small.items()
            )
        )
        large = FileName("lab", f"run-{number}", "frames.bin")
        made.append({**small, large: chance.randbytes(large_bytes)})
        await upload(rooms, large, made[-1][large])
    return made


async def delete(rooms: Rooms, contents: list[Contents]) -> None:
    for name in {name.parent for files in contents for name in files}:
        await rooms.datasets.delete(LOCAL_USER, name)


async def tidy(rooms: Rooms) -> None:
    """Do what the server's jobs do in the background, until all that may go is gone."""
    await rooms.datasets.purge_expired()
    for _ in range(2):  # two looks, a grace time apart
        rooms.clock.move(DAY)
        await rooms.collector.run_once()


async def read(rooms: Rooms, name: FileName) -> bytes:
    _, parts = await rooms.reading.open(LOCAL_USER, name)
    return b"".join([bytes(part.data) async for part in parts])


async def check(folder: Folder, rooms: Rooms, kept: list[Contents], gone: list[Contents]) -> None:
    """Only what is kept can be read, to the bit, and only its bytes are on the disk."""
    for files in kept:
        for name, data in files.items():
            assert await read(rooms, name) == data, name
    for files in gone:
        for name in files:
            with pytest.raises(NotFound):
                await read(rooms, name)
    held = sum(len(data) for files in kept for data in files.values())
    assert held <= folder.blob_bytes <= held + 64 * KiB
    assert {blob.size async for blob in rooms.blobs.scan() if blob.staged} == set()


async def test_what_is_deleted_gives_its_room_back_and_the_others_keep_their_bytes(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    async with folder.rooms() as rooms:
        made = await fill(rooms, 20)
        kept, gone = made[::2], made[1::2]
        before = folder.blob_bytes
        await delete(rooms, gone)
        await rooms.datasets.purge_expired()
        assert folder.blob_bytes == before  # bytes go only when a grace time has passed
        await tidy(rooms)
        await check(folder, rooms, kept, gone)
        again = await rooms.collector.run_once()
        assert (again.scanned, again.orphans) == (20, 0)  # of each dataset one large blob and one pack
        for collection in ("files", "superseded", "uploads", "revisions"):
            scopes = [str(name.parent) for files in gone for name in files]
            assert await rooms.documents.count(collection, scopes=scopes) == 0


async def test_a_reader_whose_file_is_deleted_for_good_is_told_so(tmp_path: Path) -> None:
    async with Folder(tmp_path).rooms() as rooms:
        made = await fill(rooms, 1)
        name = FileName("lab", "run-0", "frames.bin")
        _, parts = await rooms.reading.open(LOCAL_USER, name)
        await delete(rooms, made)
        await tidy(rooms)
        with pytest.raises(NotFound, match=r"frames\.bin.*removed while it was read"):
            await anext(parts)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_crash_at_any_call_of_purge_and_collection_leaves_no_orphan_behind(tmp_path: Path, after: bool) -> None:
    pristine = Folder(tmp_path / "pristine")
    pristine.path.mkdir()
    async with pristine.rooms() as rooms:
        made = await fill(rooms, 4, large_bytes=100 * KiB)
        await delete(rooms, made[:2])
    for at in range(500):
        folder = pristine.copy(tmp_path / str(at))
        fuse = Fuse(at, after)
        async with folder.rooms() as rooms:
            documents, blobs = fused(rooms.documents, rooms.blobs, fuse)
            crashed = await dies(replace(rooms, documents=documents, blobs=blobs))
        assert crashed == fuse.blown
        async with folder.rooms() as rooms:  # another process
            await tidy(rooms)
            assert (await rooms.collector.run_once()).orphans == 0
            await check(folder, rooms, made[2:], made[:2])
            assert not await rooms.datasets.is_there(DatasetName("lab", "run-0"))
        shutil.rmtree(folder.path)
        if not crashed:
            assert at > 20  # it was about something
            return
    raise AssertionError("the collection did not end within 500 calls")


async def dies(rooms: Rooms) -> bool:
    """Tidy up, and tell whether the process died of it; what it had begun ends before this returns."""
    try:
        await tidy(rooms)
    except Crash:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)
        return True
    return False
