"""The past of datasets: what every change left, who made it, and that nothing but changes makes it longer."""

from __future__ import annotations

from datetime import timedelta

import pytest

from measurand.core.dataset_documents import Revision
from measurand.core.dataset_edits import DatasetDraft, DatasetEdit
from measurand.core.limits import Limits
from measurand.core.names import DatasetName
from measurand.core.principal import LOCAL_USER, Principal
from measurand.wire.errors import NotFound, PageTokenInvalid

from .dataset_rooms import DatasetRooms, Failing, metadata_of


@pytest.fixture
async def rooms() -> DatasetRooms:
    rooms = DatasetRooms()
    await rooms.catalog()
    return rooms


async def as_it_is(revision: Revision) -> tuple[Revision, int]:
    return revision, 100 + len(revision.dataset.metadata)


async def history(rooms: DatasetRooms, name: DatasetName, size: int = 0) -> list[list[int]]:
    """Return the numbers of all revisions, page by page."""
    pages, token = [], ""
    while True:
        page = await rooms.datasets.revisions.find(LOCAL_USER, name, as_it_is, size=size, page_token=token)
        pages.append([revision.dataset.revision for revision in page.items])
        token = page.next_page_token
        if not token:
            return pages


async def test_every_revision_reads_as_the_change_left_it(rooms: DatasetRooms) -> None:
    run = await rooms.make({"n": 1}, title="a")
    rooms.clock.move(timedelta(minutes=1))
    edit = DatasetEdit(DatasetDraft(title="b"), ("title",), comment="because")
    second = await rooms.datasets.update(Principal("users/ada"), run.name, edit)
    third = await rooms.datasets.delete(LOCAL_USER, run.name)
    await rooms.datasets.undelete(LOCAL_USER, run.name)
    kept = [await rooms.datasets.revisions.get(LOCAL_USER, run.name, number) for number in (1, 2, 3)]
    assert [revision.dataset for revision in kept] == [run, second, third]
    assert (kept[0].note.author, kept[0].note.comment) == ("users/local", "")
    assert (kept[1].note.author, kept[1].note.comment, kept[1].note.changed_paths) == (
        "users/ada",
        "because",
        ("title",),
    )
    assert kept[1].dataset.update_time == rooms.clock.time


@pytest.mark.parametrize("number", [4, 99, 10**17])
async def test_a_revision_that_never_was_is_not_found(rooms: DatasetRooms, number: int) -> None:
    run = await rooms.make()
    with pytest.raises(NotFound, match=f"revisions/{number}"):
        await rooms.datasets.revisions.get(LOCAL_USER, run.name, number)


async def test_at_most_a_hundred_changed_paths_are_noted(rooms: DatasetRooms) -> None:
    run = await rooms.make()
    await rooms.patch(run.name, {f"k{number}": number for number in range(150)})
    revision = await rooms.datasets.revisions.get(LOCAL_USER, run.name, 2)
    assert len(revision.note.changed_paths) == 100


async def test_revisions_are_listed_newest_first_in_pages(rooms: DatasetRooms) -> None:
    run = await rooms.make({"n": 0})
    for number in range(1, 25):
        await rooms.patch(run.name, {"n": number})
    assert await history(rooms, run.name) == [list(range(25, 0, -1))]
    assert await history(rooms, run.name, size=10) == [
        list(range(25, 15, -1)),
        list(range(15, 5, -1)),
        list(range(5, 0, -1)),
    ]


async def test_a_page_goes_on_where_it_ended_whatever_is_changed_meanwhile(rooms: DatasetRooms) -> None:
    run = await rooms.make({"n": 0})
    for number in range(1, 5):
        await rooms.patch(run.name, {"n": number})
    page = await rooms.datasets.revisions.find(LOCAL_USER, run.name, as_it_is, size=1)
    await rooms.patch(run.name, {"n": 5})
    rest = await rooms.datasets.revisions.find(LOCAL_USER, run.name, as_it_is, size=10, page_token=page.next_page_token)
    assert [revision.dataset.revision for revision in rest.items] == [4, 3, 2, 1]
    other = await rooms.make()
    with pytest.raises(PageTokenInvalid):
        await rooms.datasets.revisions.find(LOCAL_USER, other.name, as_it_is, page_token=page.next_page_token)


async def test_a_page_of_revisions_is_cut_by_bytes() -> None:
    rooms = DatasetRooms(limits=Limits(page_bytes=2500))
    await rooms.catalog()
    run = await rooms.make({"n": 0, "x": "x" * 1000})
    for number in range(1, 5):
        await rooms.patch(run.name, {"n": number})
    assert await history(rooms, run.name) == [[5, 4], [3, 2], [1]]


async def test_without_metadata_it_is_not_read(rooms: DatasetRooms) -> None:
    run = await rooms.make({"n": 0})
    await rooms.patch(run.name, {"n": 1})
    page = await rooms.datasets.revisions.find(LOCAL_USER, run.name, as_it_is, with_metadata=False)
    assert page.items[1].dataset.metadata == ""


async def test_a_change_that_did_not_come_about_is_no_revision() -> None:
    documents = Failing()
    rooms = DatasetRooms(documents)
    await rooms.catalog()
    run = await rooms.make({"n": 0})
    documents.fail("replace", "datasets")
    with pytest.raises(ConnectionError):
        await rooms.patch(run.name, {"n": 1})
    documents.heal()
    assert await documents.count("revisions") == 1  # the archived copy of what is still the present revision
    assert await history(rooms, run.name) == [[1]]
    await rooms.patch(run.name, {"n": 2})
    assert await history(rooms, run.name) == [[2, 1]]
    first = await rooms.datasets.revisions.get(LOCAL_USER, run.name, 1)
    assert metadata_of(first.dataset) == {"n": 0}


async def test_counting_files_is_no_revision(rooms: DatasetRooms) -> None:
    run = await rooms.make({"n": 0})
    await rooms.add_file(run.name, "a", 10)
    await rooms.counters.run_once()
    counted = await rooms.datasets.get(LOCAL_USER, run.name)
    assert (counted.file_count, counted.stored_bytes) == (1, 10)
    assert (counted.revision, counted.etag, counted.update_time) == (1, run.etag, run.update_time)
    assert await history(rooms, run.name) == [[1]]
    assert (await rooms.patch(run.name, {"n": 1}, etag=run.etag)).revision == 2
