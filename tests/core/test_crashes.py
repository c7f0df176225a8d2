"""The process dies at any call of a store, before or after its effect: there is the old state then, or the new."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from blake3 import blake3
from tests.core.crashing import Crash, Fuse, fused
from tests.core.rooms import Rooms, make_rooms, prepare
from tests.core.staging import STAGING, Staging

from measurand.core.file_documents import FILES, SUPERSEDED, Digests, FileSpec
from measurand.core.limits import Limits
from measurand.core.ports import Blob
from measurand.core.principal import LOCAL_USER
from measurand.core.small_files import SmallFile
from measurand.core.upload_writer import Ack
from measurand.core.uploads import UploadState
from measurand.wire.errors import NotFound

LIMITS = Limits(
    window_bytes=64, persist_bytes=16, max_data_bytes=32, max_put_file_bytes=32, blob_grace=timedelta(days=1)
)
CONTENT = bytes(range(90))
DAY = timedelta(days=1)


async def nothing(_: Ack) -> None:
    """Nobody listens."""


async def upload(rooms: Rooms) -> None:
    """Upload CONTENT as `a.bin`, going on from wherever an earlier run of this function was stopped."""
    spec = FileSpec(rooms.file("a.bin"))
    begun = await rooms.uploads.create(LOCAL_USER, spec, len(CONTENT), Digests(), "request hash")
    if begun.state is UploadState.OPEN:
        writer = await rooms.uploads.open_writer(LOCAL_USER, begun.id, None, nothing)
        try:
            for offset in range(writer.upload.persisted_size, len(CONTENT), 10):
                chunk = CONTENT[offset : offset + 10]
                await writer.take(offset, chunk, rooms.means.crc32c(chunk, 0))
                await asyncio.sleep(0)
            await writer.close()
        except BaseException:
            with contextlib.suppress(BaseException):
                await writer.close()
            raise
        rooms.uploads.closed(writer)
    file = await rooms.uploads.ends.commit(
        LOCAL_USER, begun.id, len(CONTENT), Digests(None, blake3(CONTENT).hexdigest()), None
    )
    assert file.size == len(CONTENT)


async def put(rooms: Rooms) -> None:
    """Put CONTENT[:20] in one piece, over an older generation."""
    small = SmallFile(FileSpec(rooms.file("a.bin")), CONTENT[:20], Digests(), "small hash")
    await rooms.small_files.put(LOCAL_USER, small)


async def copy(rooms: Rooms) -> None:
    await rooms.files.copy(LOCAL_USER, rooms.file("old"), 0, FileSpec(rooms.file("a.bin")), "copy hash")


SCENARIOS: dict[str, tuple[Callable[[Rooms], Awaitable[None]], bytes, bool]] = {
    "an upload": (upload, CONTENT, False),
    "an upload over an older file": (upload, CONTENT, True),
    "a small file": (put, CONTENT[:20], False),
    "a small file over an older one": (put, CONTENT[:20], True),
    "a copy": (copy, b"old", False),
}


async def content_or_none(rooms: Rooms) -> bytes | None:
    try:
        return await rooms.content("a.bin")
    except NotFound:
        return None


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("staging", STAGING.values(), ids=STAGING)
async def test_a_crash_at_any_call_leaves_the_old_or_the_new_and_a_repeat_completes_it(
    name: str, staging: Staging, after: bool
) -> None:
    scenario, new, is_over = SCENARIOS[name]
    for at in range(200):
        rooms = staging.make_rooms(LIMITS)
        await prepare(rooms)
        await rooms.small_files.put(LOCAL_USER, SmallFile(FileSpec(rooms.file("old")), b"old", Digests()))
        if is_over:
            await rooms.small_files.put(LOCAL_USER, SmallFile(FileSpec(rooms.file("a.bin")), b"older", Digests()))
            rooms.clock.move(timedelta(seconds=1))
        old = b"older" if is_over else None
        fuse = Fuse(at, after)
        documents, blobs = fused(rooms.documents, rooms.blobs, fuse)
        crashed = False
        try:
            await asyncio.wait_for(scenario(replace(rooms, documents=documents, blobs=blobs)), 10)
        except Crash:
            crashed = True
        assert crashed == fuse.blown
        assert await content_or_none(rooms.restarted()) in (old, new)
        rooms = rooms.restarted()
        await scenario(rooms)
        assert await rooms.content("a.bin") == new
        await nothing_is_left_over(rooms, {"old": b"old", "a.bin": new}, generations=1 + is_over)
        if not crashed:
            return
    raise AssertionError("the scenario did not end within 200 calls")


async def nothing_is_left_over(rooms: Rooms, files: dict[str, bytes], *, generations: int) -> None:
    """After the grace time the blobs are just those that documents name, and every file can still be read."""
    page = await rooms.listing.page(LOCAL_USER, rooms.name, prefix="a.bin", show_superseded=True)
    assert [file.superseded for file in page.files] == [False] + [True] * (generations - 1)
    for _ in range(3):
        rooms.clock.move(DAY + timedelta(hours=1))
        await rooms.uploads.ends.expire()
        await rooms.collector.run_once()
    named = set()
    for collection in (FILES, SUPERSEDED):
        for found in await rooms.documents.find(collection):
            extents = found.document.body["extents"]
            assert isinstance(extents, list)
            named |= {extent["blob"] for extent in extents}
    assert {blob.key async for blob in rooms.blobs.scan()} == named
    for path, content in files.items():
        assert await rooms.content(path) == content
    rooms.clock.move(31 * DAY)
    await rooms.files.expire_superseded()
    assert await rooms.documents.count(SUPERSEDED) == 0
    assert await rooms.content("a.bin") == files["a.bin"]


async def test_garbage_goes_only_after_two_looks_a_grace_time_apart() -> None:
    rooms = make_rooms(LIMITS)
    await prepare(rooms)
    await rooms.blobs.put("files/orphan", [b"x"])
    await rooms.small_files.put(LOCAL_USER, SmallFile(FileSpec(rooms.file("kept")), b"kept", Digests()))
    assert (await rooms.collector.run_once()).orphans == 0  # it is young: somebody may be about to name it
    rooms.clock.move(DAY)
    first = await rooms.collector.run_once()
    assert (first.scanned, first.orphans, first.removed) == (2, 1, 0)
    rooms.clock.time += 10 * DAY  # the machine slept: that is no running time
    assert (await rooms.collector.run_once()).removed == 0
    rooms.clock.move(DAY)
    last = await rooms.collector.run_once()
    assert (last.removed, last.removed_bytes) == (1, 1)
    with pytest.raises(NotFound):
        await rooms.blobs.stat("files/orphan")
    assert await rooms.content("kept") == b"kept"


async def test_a_small_file_whose_machine_slept_is_written_again_before_it_is_named() -> None:
    rooms = make_rooms(LIMITS)
    await prepare(rooms)
    put_blob = rooms.blobs.put
    keys: list[str] = []

    async def sleepy(key: str, chunks: object, **more: object) -> Blob:
        keys.append(key)
        blob = await put_blob(key, chunks, **more)  # type: ignore[arg-type]  # handed on as it is
        if len(keys) == 1:
            rooms.clock.time += DAY
        return blob

    rooms.blobs.put = sleepy  # type: ignore[method-assign]  # the machine sleeps right after the first write
    file = await rooms.small_files.put(LOCAL_USER, SmallFile(FileSpec(rooms.file("s")), b"data", Digests()))
    assert len(keys) == 2 and file.extents[0].blob.key == keys[1]


async def test_an_abandoned_upload_expires_and_its_bytes_go() -> None:
    rooms = make_rooms(LIMITS)
    await prepare(rooms)
    begun = await rooms.uploads.create(LOCAL_USER, FileSpec(rooms.file("x")), None, Digests(), "")
    writer = await rooms.uploads.open_writer(LOCAL_USER, begun.id, None, nothing)
    await writer.take(0, b"abc", None)
    await writer.close()
    rooms.clock.move(timedelta(hours=23))
    assert await rooms.uploads.ends.expire() == 0
    rooms.clock.move(timedelta(hours=2))
    assert await rooms.uploads.ends.expire() == 1
    assert (await rooms.uploads.get(LOCAL_USER, begun.id)).state is UploadState.ABORTED
    assert [blob async for blob in rooms.blobs.scan()] == []
    rooms.clock.move(timedelta(hours=25))
    await rooms.uploads.ends.expire()
    with pytest.raises(NotFound):
        await rooms.uploads.get(LOCAL_USER, begun.id)
