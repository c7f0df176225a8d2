"""A store does not answer at any one call, before or after its effect: the caller repeats, and it is done once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from blake3 import blake3
from tests.core.rooms import Rooms, make_rooms, prepare
from tests.core.stumbling import Stumble, persistently, stumbling

from measurand.core.dataset_documents import Revision, dataset_of
from measurand.core.dataset_edits import DatasetDraft, DatasetEdit
from measurand.core.dataset_making import NewDataset
from measurand.core.file_documents import FILES, SUPERSEDED, Digests, FileSpec
from measurand.core.limits import Limits
from measurand.core.names import DatasetName
from measurand.core.principal import LOCAL_USER
from measurand.core.small_files import SmallFile
from measurand.core.upload_writer import Ack
from measurand.wire.errors import Unavailable, WriterFenced

LIMITS = Limits(
    window_bytes=64,
    persist_bytes=16,
    max_data_bytes=32,
    max_put_file_bytes=32,
    piece_bytes=48,
    blob_grace=timedelta(days=1),
)
CONTENT = bytes(range(90))
DAY = timedelta(days=1)
MOST_CALLS = 300


async def upload(rooms: Rooms) -> None:
    """Upload CONTENT as `a.bin` as the client library does: reopened wherever the stream broke."""
    spec = FileSpec(rooms.file("a.bin"))
    begun = await persistently(
        lambda: rooms.uploads.create(LOCAL_USER, spec, len(CONTENT), Digests(), "id fingerprint")
    )
    epoch, acknowledged = begun.epoch, 0

    async def note(ack: Ack) -> None:
        nonlocal acknowledged
        assert ack.persisted_size >= acknowledged
        acknowledged = ack.persisted_size

    for _ in range(30):
        try:
            writer = await rooms.uploads.open_writer(LOCAL_USER, begun.id, epoch, note)
        except Unavailable:
            continue
        except WriterFenced as fenced:  # by its own open, whose answer was lost
            if fenced.details["epoch"] != str(epoch + 1):
                raise
            epoch += 1
            continue
        epoch = writer.upload.epoch
        assert writer.upload.persisted_size >= acknowledged
        try:
            for offset in range(writer.upload.persisted_size, len(CONTENT), 10):
                chunk = CONTENT[offset : offset + 10]
                await writer.take(offset, chunk, rooms.means.crc32c(chunk, 0))
                await asyncio.sleep(0)
            await writer.close()
        except Unavailable:
            continue
        finally:
            with contextlib.suppress(Unavailable):
                await writer.close()
            rooms.uploads.closed(writer)
        break
    digests = Digests(None, blake3(CONTENT).hexdigest())
    file = await persistently(lambda: rooms.uploads.ends.commit(LOCAL_USER, begun.id, len(CONTENT), digests, epoch))
    assert file.size == len(CONTENT)


async def upload_by_chunks(rooms: Rooms) -> None:
    """Upload CONTENT in single calls, each repeated as it was."""
    spec = FileSpec(rooms.file("a.bin"))
    begun = await persistently(lambda: rooms.uploads.create(LOCAL_USER, spec, None, Digests(), "id fingerprint"))
    for offset in range(0, len(CONTENT), 30):
        chunk = CONTENT[offset : offset + 30]
        grown = await persistently(
            lambda offset=offset, chunk=chunk: rooms.uploads.write_chunk(  # type: ignore[misc]
                LOCAL_USER, begun.id, offset, chunk, rooms.means.crc32c(chunk, 0), None
            )
        )
        assert grown.persisted_size == offset + len(chunk)
    await persistently(lambda: rooms.uploads.ends.commit(LOCAL_USER, begun.id, len(CONTENT), Digests(), None))


async def put(rooms: Rooms) -> None:
    small = SmallFile(FileSpec(rooms.file("a.bin")), CONTENT[:20], Digests(), "id fingerprint")
    await persistently(lambda: rooms.small_files.put(LOCAL_USER, small))


async def put_together(rooms: Rooms) -> None:
    """Put files that share a pack; each caller repeats its own."""
    await asyncio.gather(
        put(rooms),
        *(
            persistently(
                lambda path=path: rooms.small_files.put(  # type: ignore[misc]
                    LOCAL_USER, SmallFile(FileSpec(rooms.file(path)), path.encode(), Digests(), f"{path} print")
                )
            )
            for path in ("b", "c")
        ),
    )


async def copy(rooms: Rooms) -> None:
    await persistently(
        lambda: rooms.files.copy(LOCAL_USER, rooms.file("old"), 0, FileSpec(rooms.file("a.bin")), "id fingerprint")
    )


FILES_MADE: dict[str, tuple[Callable[[Rooms], Awaitable[None]], dict[str, bytes], bool]] = {
    "an upload": (upload, {"a.bin": CONTENT}, False),
    "an upload over an older file": (upload, {"a.bin": CONTENT}, True),
    "an upload chunk by chunk": (upload_by_chunks, {"a.bin": CONTENT}, False),
    "a small file": (put, {"a.bin": CONTENT[:20]}, False),
    "a small file over an older one": (put, {"a.bin": CONTENT[:20]}, True),
    "small files together": (put_together, {"a.bin": CONTENT[:20], "b": b"b", "c": b"c"}, True),
    "a copy": (copy, {"a.bin": b"old"}, False),
}


def stumbled(rooms: Rooms, stumble: Stumble) -> Rooms:
    """Return a server over the same stores, which stumble."""
    documents, blobs = stumbling(rooms.documents, rooms.blobs, stumble)
    return replace(rooms, documents=documents, blobs=blobs)


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("name", FILES_MADE)
async def test_a_file_is_made_once_and_whole_whatever_call_stumbles(name: str, after: bool, times: int) -> None:
    scenario, made, is_over = FILES_MADE[name]
    for at in range(MOST_CALLS):
        rooms = make_rooms(LIMITS)
        await prepare(rooms)
        await rooms.small_files.put(LOCAL_USER, SmallFile(FileSpec(rooms.file("old")), b"old", Digests()))
        if is_over:
            await rooms.small_files.put(LOCAL_USER, SmallFile(FileSpec(rooms.file("a.bin")), b"older", Digests()))
            rooms.clock.move(timedelta(seconds=1))
        stumble = Stumble(at, after, times)
        await asyncio.wait_for(scenario(stumbled(rooms, stumble)), 10)
        await check_files(rooms.restarted(), {"old": b"old", **made}, generations=1 + is_over)
        if not stumble.has_happened:
            return
    raise AssertionError(f"the scenario did not end within {MOST_CALLS} calls")


async def check_files(rooms: Rooms, files: dict[str, bytes], *, generations: int) -> None:
    """Each file is there, in as many generations as were made; and after the grace time nothing is left over."""
    page = await rooms.listing.page(LOCAL_USER, rooms.name, show_superseded=True)
    assert [file.name.path for file in page.files if not file.superseded] == sorted(files)
    assert [file.superseded for file in page.files if file.name.path == "a.bin"] == [False] + [True] * (generations - 1)
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


# --------------------------------------------------------------------------------------------------------- documents

NAME = DatasetName("lab", "run")


async def make_chosen(rooms: Rooms) -> None:
    new = NewDataset(DatasetDraft(title="new"), "new", "id")
    made = await persistently(lambda: rooms.datasets.create(LOCAL_USER, NAME.parent, new))
    assert (made.name.dataset, made.revision) == ("new", 1)


async def make_unnamed(rooms: Rooms) -> None:
    new = NewDataset(DatasetDraft(title="new"), "", "id")
    made = await persistently(lambda: rooms.datasets.create(LOCAL_USER, NAME.parent, new))
    assert (await persistently(lambda: rooms.datasets.get(LOCAL_USER, made.name))).title == "new"


async def edit(rooms: Rooms) -> None:
    etag = (await persistently(lambda: rooms.datasets.get(LOCAL_USER, NAME))).etag
    change = DatasetEdit(patch='{"n": 1}')
    await persistently(lambda: rooms.datasets.update(LOCAL_USER, NAME, change, etag=etag, request_id="id"))


async def tag(rooms: Rooms) -> None:
    change = DatasetEdit(add_tags=("t",))
    await persistently(lambda: rooms.datasets.update(LOCAL_USER, NAME, change, request_id="id"))


async def delete(rooms: Rooms) -> None:
    await persistently(lambda: rooms.datasets.delete(LOCAL_USER, NAME, request_id="id"))


async def delete_and_bring_back(rooms: Rooms) -> None:
    await delete(rooms)
    await persistently(lambda: rooms.datasets.undelete(LOCAL_USER, NAME, request_id="other id"))


DATASETS_CHANGED: dict[str, tuple[Callable[[Rooms], Awaitable[None]], dict[str, tuple[int, str]]]] = {
    "a dataset with a chosen id": (make_chosen, {"run": (1, "open"), "new": (1, "open")}),
    "a dataset without one": (make_unnamed, {"run": (1, "open"), "*": (1, "open")}),
    "an edit with an etag": (edit, {"run": (2, "open")}),
    "a tag": (tag, {"run": (2, "open")}),
    "a deletion": (delete, {"run": (2, "deleted")}),
    "a deletion taken back": (delete_and_bring_back, {"run": (3, "open")}),
}


async def number_of(revision: Revision) -> tuple[int, int]:
    return revision.dataset.revision, 1


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("name", DATASETS_CHANGED)
async def test_a_dataset_changes_once_whatever_call_stumbles(name: str, after: bool, times: int) -> None:
    scenario, expected = DATASETS_CHANGED[name]
    for at in range(MOST_CALLS):
        rooms = make_rooms(LIMITS)
        await prepare(rooms)
        stumble = Stumble(at, after, times)
        await asyncio.wait_for(scenario(stumbled(rooms, stumble)), 10)
        found = await rooms.documents.find("datasets")
        there = [dataset_of(item.document) for item in found]
        states = {dataset.name.dataset: (dataset.revision, dataset.state) for dataset in there}
        assert {id_ if id_ in expected else "*": state for id_, state in states.items()} == expected
        for id_, (revision, state) in states.items():
            if state == "open":
                past = await rooms.datasets.revisions.find(LOCAL_USER, DatasetName("lab", id_), number_of)
                assert past.items == list(range(revision, 0, -1))
        if not stumble.has_happened:
            return
    raise AssertionError(f"the scenario did not end within {MOST_CALLS} calls")


# ------------------------------------------------------------------------------------------- work in the background


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_the_work_in_the_background_gets_everything_done_whatever_call_stumbles(after: bool, times: int) -> None:
    """It is run again and again; what has to go goes, and what has to stay stays."""
    for at in range(MOST_CALLS):
        rooms = make_rooms(LIMITS)
        await prepare(rooms)
        for path, data in {"kept": b"kept", "twice": b"1"}.items():
            await rooms.small_files.put(LOCAL_USER, SmallFile(FileSpec(rooms.file(path)), data, Digests()))
        await rooms.small_files.put(LOCAL_USER, SmallFile(FileSpec(rooms.file("twice")), b"2", Digests()))
        await rooms.uploads.create(LOCAL_USER, FileSpec(rooms.file("never")), None, Digests(), "")
        await rooms.blobs.put("files/orphan", [b"x"])
        gone = replace(rooms, name=DatasetName("lab", "gone"))
        await rooms.datasets.create(LOCAL_USER, NAME.parent, NewDataset(DatasetDraft(), "gone"))
        await gone.small_files.put(LOCAL_USER, SmallFile(FileSpec(gone.file("f")), b"gone", Digests()))
        await rooms.datasets.delete(LOCAL_USER, gone.name)
        stumble = Stumble(at, after, times)
        worker = stumbled(rooms, stumble)
        for _ in range(4):
            rooms.clock.move(timedelta(days=20))
            for work in (
                worker.uploads.ends.expire,
                worker.files.expire_superseded,
                worker.datasets.purge_expired,
                worker.collector.run_once,
            ):
                await persistently(work)
        for collection, count in {"datasets": 1, "files": 2, "superseded": 0, "uploads": 0}.items():
            assert await rooms.documents.count(collection) == count, collection
        assert len([blob async for blob in rooms.blobs.scan()]) == 2
        assert (await rooms.content("kept"), await rooms.content("twice")) == (b"kept", b"2")
        if not stumble.has_happened:
            return
    raise AssertionError(f"the work did not end within {MOST_CALLS} calls")
