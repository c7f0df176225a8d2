"""Sealing beside those who write: whatever it overtakes takes itself back, and what it has found is in it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from tests.core.crashing import Crash, Fuse, fused
from tests.core.rooms import Rooms
from tests.core.sealed_rooms import (
    WRITES,
    Interrupting,
    begin,
    begun,
    put,
    seal,
    seal_past_uploads,
    upload,
)

from measurand.core.dataset_edits import DatasetDraft
from measurand.core.dataset_making import NewDataset
from measurand.core.file_documents import FILES, SUPERSEDED, Digests, FileSpec
from measurand.core.names import FileName
from measurand.core.ports import Document, DocumentStore
from measurand.core.principal import LOCAL_USER
from measurand.core.small_files import SmallFile
from measurand.core.uploads import UploadState, upload_of
from measurand.wire.errors import (
    NotFound,
    Sealed,
)


@pytest.fixture
async def rooms() -> Rooms:
    return await begin()


@pytest.mark.parametrize("is_there", [False, True])
@pytest.mark.parametrize("write", WRITES)
async def test_a_change_that_sealing_overtakes_takes_itself_back(rooms: Rooms, write: str, is_there: bool) -> None:
    before = await put(rooms, b"old") if is_there or write == "delete" else None

    async def overtake() -> None:
        await seal_past_uploads(rooms)

    store: Any = Interrupting(rooms.documents, FILES, overtake)
    late = Rooms(rooms.clock, rooms.means, rooms.limits, store, rooms.blobs)
    if write == "copy":
        await rooms.datasets.create(LOCAL_USER, rooms.name.parent, NewDataset(DatasetDraft(), "source"))
        source = FileName("lab", "source", "s")
        await rooms.small_files.put(LOCAL_USER, SmallFile(FileSpec(source), b"new", Digests()))
        work: Awaitable[object] = late.files.copy(LOCAL_USER, source, 0, FileSpec(rooms.file("a")), "")
    else:
        work = WRITES[write](late, b"new")
    with pytest.raises(Sealed):
        await work
    if before is None:
        assert await rooms.documents.fetch(FILES, str(rooms.file("a"))) is None
    else:
        assert await rooms.files.get(LOCAL_USER, rooms.file("a")) == before
        assert await rooms.content("a") == b"old"
    assert await rooms.documents.count(SUPERSEDED) == 0
    assert (await rooms.datasets.get(LOCAL_USER, rooms.name)).state == "sealed"


async def test_a_file_in_the_place_of_another_goes_with_a_dataset_that_is_purged_meanwhile(rooms: Rooms) -> None:
    await put(rooms, b"old")

    there = await rooms.documents.fetch(FILES, str(rooms.file("a")))
    assert there is not None
    old = there

    async def overtake() -> None:
        """Purge the dataset, as if it had come past this file before the late one reached it."""
        await rooms.datasets.purge(LOCAL_USER, rooms.name, force=True)
        await rooms.documents.insert(FILES, old)

    store: Any = Interrupting(rooms.documents, FILES, overtake)
    late = Rooms(rooms.clock, rooms.means, rooms.limits, store, rooms.blobs)
    with pytest.raises(NotFound):
        await put(late, b"new")
    assert await rooms.documents.count(FILES) == 0


async def test_an_upload_that_expires_behind_the_sealing_is_thrown_away(rooms: Rooms) -> None:
    async def die() -> None:
        raise Crash

    store: Any = Interrupting(rooms.documents, FILES, die)
    dying = Rooms(rooms.clock, rooms.means, rooms.limits, store, rooms.blobs)
    with pytest.raises(Crash):
        await upload(dying, b"new")
    await seal_past_uploads(rooms)
    rooms.clock.move(timedelta(hours=25))
    assert await rooms.uploads.ends.expire() == 1
    assert await rooms.documents.count(FILES) == 0
    (left,) = await rooms.documents.find("uploads")
    assert upload_of(left.document).state is UploadState.ABORTED


async def test_two_changes_of_one_file_that_sealing_overtakes_both_go(rooms: Rooms) -> None:
    before = await put(rooms, b"old")
    order: list[str] = []

    async def second() -> None:
        """Put another one on top of the first and seal, before the first looks whether it may stay."""
        order.append("second")
        late = Rooms(rooms.clock, rooms.means, rooms.limits, store_of(after_replace(sealed)), rooms.blobs)
        with pytest.raises(Sealed):
            await put(late, b"second")

    async def sealed() -> None:
        order.append("sealed")
        await seal(rooms)

    def after_replace(work: Callable[[], Awaitable[object]]) -> Any:
        class Behind:
            def __init__(self, inner: DocumentStore) -> None:
                self._inner = inner
                self._is_due = True

            def __getattr__(self, verb: str) -> Any:
                method = getattr(self._inner, verb)
                if verb != "replace":
                    return method

                async def write(collection: str, document: Document, **more: Any) -> Any:
                    answer = await method(collection, document, **more)
                    if collection == FILES and self._is_due:
                        self._is_due = False
                        await work()
                    return answer

                return write

        return Behind

    def store_of(behind: Any) -> Any:
        return behind(rooms.documents)

    first = Rooms(rooms.clock, rooms.means, rooms.limits, store_of(after_replace(second)), rooms.blobs)
    with pytest.raises(Sealed):
        await put(first, b"first")
    assert order == ["second", "sealed"]
    assert await rooms.files.get(LOCAL_USER, rooms.file("a")) == before
    assert await rooms.documents.count(SUPERSEDED) == 0


async def test_what_was_acknowledged_before_the_sealing_is_in_it_and_the_rest_is_not(rooms: Rooms) -> None:
    async def write(number: int) -> int | None:
        for _ in range(number):
            await asyncio.sleep(0)
        try:
            await put(rooms, b"%d" % number, f"f{number}")
        except Sealed:
            return None
        return number

    async def sealed() -> None:
        for _ in range(12):
            await asyncio.sleep(0)
        await seal(rooms)

    *written, _ = await asyncio.gather(*(write(number) for number in range(40)), sealed())
    kept = [number for number in written if number is not None]
    assert 0 < len(kept) < 40
    found = await rooms.documents.find(FILES, limit=100)
    assert {item.document.key for item in found} == {str(rooms.file(f"f{number}")) for number in kept}


@pytest.mark.parametrize("after", [False, True])
async def test_a_sealing_cut_short_anywhere_can_be_repeated(after: bool) -> None:
    for at in range(100):
        rooms = await begin()
        await put(rooms, b"abc")
        await begun(rooms, b"new", "b")
        fuse = Fuse(at, after)
        documents, blobs = fused(rooms.documents, rooms.blobs, fuse)
        dying = Rooms(rooms.clock, rooms.means, rooms.limits, documents, blobs)
        try:
            await seal(dying, force=True)
        except Crash:
            pass
        else:
            assert not fuse.blown
            assert at > 5
            return
        sealed = await seal(rooms, force=True)
        assert (sealed.state, sealed.revision, sealed.plain_url) == ("sealed", 2, "")
        assert await rooms.content("a") == b"abc"
    raise AssertionError("it never came through")


async def test_old_generations_go_when_their_time_has_come(rooms: Rooms) -> None:
    await put(rooms, b"old")
    rooms.clock.move(timedelta(seconds=1))
    await put(rooms, b"abc")
    await seal(rooms)
    rooms.clock.move(timedelta(days=31))
    assert await rooms.files.expire_superseded() == 1
    assert await rooms.content("a") == b"abc"
