"""Sealing: what was acknowledged before it stays, nothing changes after it, and what it left undone is done later."""

from __future__ import annotations

from typing import Any

import pytest
from tests.core.dataset_rooms import whole
from tests.core.rooms import Rooms
from tests.core.sealed_rooms import (
    WRITES,
    Arrays,
    Interrupting,
    Layout,
    begin,
    begun,
    put,
    seal,
    seal_past_uploads,
    sealing,
    upload,
)

from measurand.core.dataset_edits import DatasetDraft, DatasetEdit
from measurand.core.file_documents import FILES, Digests
from measurand.core.principal import LOCAL_USER
from measurand.core.uploads import UploadState
from measurand.wire.errors import (
    Conflict,
    FailedPrecondition,
    NotFound,
    ResourceInUse,
    Sealed,
    Unavailable,
)


@pytest.fixture
async def rooms() -> Rooms:
    return await begin()


async def test_a_sealed_dataset_is_found_and_read_as_before_and_says_so(rooms: Rooms) -> None:
    await put(rooms, b"abc")
    sealed = await seal(rooms)
    assert (sealed.state, sealed.revision, sealed.plain_url) == ("sealed", 2, "")
    assert await rooms.datasets.get(LOCAL_USER, rooms.name) == sealed
    assert await rooms.content("a") == b"abc"
    search = rooms.datasets.search
    assert (await search.find(LOCAL_USER, None, whole, filter_text="state = sealed")).items == [sealed]
    assert (await search.find(LOCAL_USER, None, whole, filter_text="state = open")).items == []
    assert await seal(rooms) == sealed
    assert await seal(rooms, etag="old") == sealed


@pytest.mark.parametrize("write", WRITES)
async def test_nothing_in_a_sealed_dataset_changes(rooms: Rooms, write: str) -> None:
    await put(rooms, b"abc")
    await seal(rooms)
    with pytest.raises(Sealed) as caught:
        await WRITES[write](rooms, b"new")
    assert caught.value.details["resource"] == str(rooms.name) and "parent" in caught.value.message
    assert await rooms.content("a") == b"abc"


@pytest.mark.parametrize(
    "edit",
    [
        DatasetEdit(patch='{"b": 1}'),
        DatasetEdit(DatasetDraft(title="new"), ("title",)),
        DatasetEdit(DatasetDraft(kind="new"), ("kind",)),
        DatasetEdit(DatasetDraft(title="new"), ("title",), add_tags=("t",)),
    ],
)
async def test_the_record_of_a_sealed_dataset_changes_in_its_tags_alone(rooms: Rooms, edit: DatasetEdit) -> None:
    await seal(rooms)
    with pytest.raises(Sealed):
        await rooms.datasets.update(LOCAL_USER, rooms.name, edit)
    changed = await rooms.datasets.update(LOCAL_USER, rooms.name, DatasetEdit(add_tags=("good",)))
    assert (changed.tags, changed.state) == (("good",), "sealed")
    same = DatasetEdit(DatasetDraft(title=""), ("title",))
    assert (await rooms.datasets.update(LOCAL_USER, rooms.name, same)).revision == changed.revision


async def test_a_sealed_dataset_that_is_deleted_comes_back_sealed(rooms: Rooms) -> None:
    await seal(rooms)
    assert (await rooms.datasets.delete(LOCAL_USER, rooms.name)).state == "deleted"
    back = await rooms.datasets.undelete(LOCAL_USER, rooms.name)
    assert back.state == "sealed"
    await rooms.datasets.purge(LOCAL_USER, rooms.name, force=True)
    with pytest.raises(NotFound):
        await seal(rooms)


async def test_sealing_asks_for_the_etag_and_can_be_repeated(rooms: Rooms) -> None:
    with pytest.raises(Conflict):
        await seal(rooms, etag="old", request_id="s")
    etag = (await rooms.datasets.get(LOCAL_USER, rooms.name)).etag
    first = await seal(rooms, etag=etag, request_id="s")
    assert await seal(rooms.restarted(), etag=etag, request_id="s") == first


async def test_an_open_upload_stands_in_the_way_unless_it_is_forced(rooms: Rooms) -> None:
    await put(rooms, b"abc")
    running = await begun(rooms, b"new")
    with pytest.raises(ResourceInUse):
        await seal(rooms)
    assert (await rooms.datasets.get(LOCAL_USER, rooms.name)).state == "open"
    await seal(rooms, force=True)
    assert (await rooms.uploads.get(LOCAL_USER, running.id)).state is UploadState.ABORTED
    with pytest.raises(FailedPrecondition):
        await rooms.uploads.ends.commit(LOCAL_USER, running.id, 3, Digests(), None)
    assert await rooms.content("a") == b"abc"


async def test_an_upload_that_is_being_committed_is_finished_before_a_forced_sealing(rooms: Rooms) -> None:
    async def overtake() -> None:
        with pytest.raises(ResourceInUse):
            await seal(rooms)
        await seal(rooms, force=True)

    store: Any = Interrupting(rooms.documents, FILES, overtake)
    late = Rooms(rooms.clock, rooms.means, rooms.limits, store, rooms.blobs)
    assert await upload(late, b"new") == await rooms.files.get(LOCAL_USER, rooms.file("a"))
    assert (await rooms.datasets.get(LOCAL_USER, rooms.name)).state == "sealed"


async def test_an_upload_begun_meanwhile_ends_when_it_is_to_be_committed(rooms: Rooms) -> None:
    running = await begun(rooms, b"new")
    await seal_past_uploads(rooms)
    with pytest.raises(Sealed):
        await rooms.uploads.ends.commit(LOCAL_USER, running.id, 3, Digests(), None)
    with pytest.raises(Sealed):
        await rooms.uploads.write_chunk(LOCAL_USER, running.id, 3, b"more", None, 1)


async def test_arrays_are_asked_for_and_sealed_and_laid_out(rooms: Rooms) -> None:
    arrays, layout = Arrays(), Layout()
    work = sealing(rooms, arrays, layout)
    arrays.busy = True
    with pytest.raises(ResourceInUse):
        await work.seal(LOCAL_USER, rooms.name)
    assert not arrays.sealed
    sealed = await work.seal(LOCAL_USER, rooms.name, force=True)
    assert (arrays.sealed, sealed.plain_url) == ([rooms.name], layout.url)
    assert await rooms.datasets.get(LOCAL_USER, rooms.name) == sealed
    assert await work.lay_out_left() == 0


@pytest.mark.parametrize("by", ["sealing again", "the background job"])
async def test_a_layout_that_failed_is_made_up_for(rooms: Rooms, by: str) -> None:
    arrays, layout = Arrays(), Layout()
    work = sealing(rooms, arrays, layout)
    layout.fails = True
    with pytest.raises(Unavailable):
        await work.seal(LOCAL_USER, rooms.name)
    half = await rooms.datasets.get(LOCAL_USER, rooms.name)
    assert (half.state, half.plain_url) == ("sealed", None)
    with pytest.raises(Sealed):
        await put(rooms, b"abc")
    layout.fails = False
    if by == "sealing again":
        await work.seal(LOCAL_USER, rooms.name)
    else:
        assert await work.lay_out_left() == 1
    done = await rooms.datasets.get(LOCAL_USER, rooms.name)
    assert (done.plain_url, done.revision, done.etag) == (layout.url, half.revision, half.etag)
    assert await work.lay_out_left() == 0


async def test_what_is_published_is_noted_when_it_is_done(rooms: Rooms) -> None:
    layout = Layout()
    layout.url = "s3://bucket/run.json"
    work = sealing(rooms, Arrays(), layout)
    await work.seal(LOCAL_USER, rooms.name)
    seen = []
    while not (progress := await work.publish(LOCAL_USER, rooms.name)).is_done:
        seen.append((await rooms.datasets.get(LOCAL_USER, rooms.name)).plain_url)
    assert seen == ["s3://bucket/run.json"] * 2
    assert (await rooms.datasets.get(LOCAL_USER, rooms.name)).plain_url == progress.plain_url == "s3://bucket/run.zarr"
