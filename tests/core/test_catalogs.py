"""Catalogs: made once, changed on condition, deleted with all that is in them, brought back or gone for good."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from measurand.core.catalog_documents import Catalog, CatalogDraft, Usage
from measurand.core.names import CatalogName
from measurand.core.principal import LOCAL_USER
from measurand.wire.errors import (
    AlreadyExists,
    Conflict,
    FailedPrecondition,
    FilterInvalid,
    InvalidArgument,
    NameInvalid,
    NotFound,
    PageTokenInvalid,
    RequestIdReused,
    ResourceDeleted,
    ResourceInUse,
)

from .dataset_rooms import LAB, DatasetRooms


@pytest.fixture
def rooms() -> DatasetRooms:
    return DatasetRooms()


async def update(
    rooms: DatasetRooms, draft: CatalogDraft, *fields: str, etag: str = "", request_id: str = ""
) -> Catalog:
    return await rooms.catalogs.update(LOCAL_USER, LAB, draft, fields, etag=etag, request_id=request_id)


async def test_a_catalog_reads_as_it_was_made(rooms: DatasetRooms) -> None:
    draft = CatalogDraft("Laboratory 3", "All of it", {"site": "north"}, timedelta(days=2))
    made = await rooms.catalogs.create(LOCAL_USER, "lab", draft)
    assert (made.title, made.description, made.labels) == ("Laboratory 3", "All of it", {"site": "north"})
    assert (made.undelete_window, made.create_time, made.creator) == (
        timedelta(days=2),
        rooms.clock.time,
        "users/local",
    )
    assert await rooms.catalogs.get(LOCAL_USER, LAB, with_usage=False) == made
    assert (await rooms.catalogs.get(LOCAL_USER, LAB)).usage == Usage()


async def test_an_unknown_catalog_is_not_found_and_named(rooms: DatasetRooms) -> None:
    with pytest.raises(NotFound) as caught:
        await rooms.catalogs.get(LOCAL_USER, CatalogName("attic"))
    assert caught.value.details["resource"] == "catalogs/attic" and "catalogs/attic" in caught.value.message


async def test_a_taken_id_is_refused_unless_the_request_is_the_same(rooms: DatasetRooms) -> None:
    draft = CatalogDraft("a")
    first = await rooms.catalogs.create(LOCAL_USER, "lab", draft, request_id="r1")
    await update(rooms, CatalogDraft("b"), "title")
    assert await rooms.catalogs.create(LOCAL_USER, "lab", draft, request_id="r1") == first
    with pytest.raises(RequestIdReused):
        await rooms.catalogs.create(LOCAL_USER, "lab", CatalogDraft("other"), request_id="r1")
    for request_id in ("", "r2"):
        with pytest.raises(AlreadyExists):
            await rooms.catalogs.create(LOCAL_USER, "lab", draft, request_id=request_id)


@pytest.mark.parametrize("catalog_id", ["", "Lab", "-", "a/b", "../x", "a" * 129, "ä"])
async def test_a_malformed_id_is_refused(rooms: DatasetRooms, catalog_id: str) -> None:
    with pytest.raises(NameInvalid):
        await rooms.catalogs.create(LOCAL_USER, catalog_id, CatalogDraft())


@pytest.mark.parametrize(
    ("draft", "field"),
    [
        (CatalogDraft(title="x" * 1001), "catalog.title"),
        (CatalogDraft(description="x" * 100_001), "catalog.description"),
        (CatalogDraft(labels={"Upper": "x"}), "catalog.labels"),
        (CatalogDraft(labels={"a": "x" * 256}), "catalog.labels.a"),
        (CatalogDraft(labels={f"k{i}": "" for i in range(65)}), "catalog.labels"),
        (CatalogDraft(undelete_window=timedelta(days=366)), "catalog.undelete_window"),
        (CatalogDraft(undelete_window=timedelta(seconds=-1)), "catalog.undelete_window"),
    ],
)
async def test_a_field_out_of_bounds_is_named(rooms: DatasetRooms, draft: CatalogDraft, field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await rooms.catalogs.create(LOCAL_USER, "lab", draft)
    assert caught.value.details["field"] == field


async def test_only_the_named_fields_change(rooms: DatasetRooms) -> None:
    await rooms.catalog(title="a", description="b", labels={"x": "1"}, undelete_window=timedelta())
    rooms.clock.move(timedelta(seconds=5))
    changed = await update(rooms, CatalogDraft(title="c", description="ignored"), "title", "undelete_window")
    assert (changed.title, changed.description, changed.labels) == ("c", "b", {"x": "1"})
    assert changed.undelete_window is None and changed.update_time == rooms.clock.time


async def test_a_change_that_changes_nothing_keeps_the_etag(rooms: DatasetRooms) -> None:
    await rooms.catalog(title="a")
    before = await rooms.catalogs.get(LOCAL_USER, LAB, with_usage=False)
    assert await update(rooms, CatalogDraft(title="a"), "title") == before


async def test_a_change_with_an_old_etag_is_refused_with_the_new_one(rooms: DatasetRooms) -> None:
    await rooms.catalog()
    old = (await rooms.catalogs.get(LOCAL_USER, LAB)).etag
    new = (await update(rooms, CatalogDraft(title="b"), "title", etag=old)).etag
    with pytest.raises(Conflict) as caught:
        await update(rooms, CatalogDraft(title="c"), "title", etag=old)
    assert caught.value.details == {"resource": "catalogs/lab", "etag": new}


async def test_a_repeated_change_gives_the_first_outcome(rooms: DatasetRooms) -> None:
    await rooms.catalog()
    first = await update(rooms, CatalogDraft(title="b"), "title", request_id="r")
    await update(rooms, CatalogDraft(title="c"), "title")
    assert await update(rooms, CatalogDraft(title="b"), "title", request_id="r") == first
    assert (await rooms.catalogs.get(LOCAL_USER, LAB)).title == "c"


async def test_a_field_that_cannot_be_changed_is_refused(rooms: DatasetRooms) -> None:
    await rooms.catalog()
    with pytest.raises(InvalidArgument, match="etag"):
        await update(rooms, CatalogDraft(), "etag")


async def test_a_catalog_with_datasets_is_deleted_only_by_force(rooms: DatasetRooms) -> None:
    await rooms.catalog()
    run = await rooms.make()
    with pytest.raises(ResourceInUse):
        await rooms.catalogs.delete(LOCAL_USER, LAB)
    await rooms.datasets.delete(LOCAL_USER, run.name)
    assert (await rooms.catalogs.delete(LOCAL_USER, LAB)).delete_time == rooms.clock.time


async def test_a_deleted_catalog_hides_its_datasets_until_it_is_undeleted(rooms: DatasetRooms) -> None:
    await rooms.catalog()
    run = await rooms.make({"a": 1})
    deleted = await rooms.catalogs.delete(LOCAL_USER, LAB, force=True)
    assert deleted.purge_time == rooms.clock.time + timedelta(days=30)
    calls: list[Any] = [
        rooms.catalogs.get(LOCAL_USER, LAB),
        rooms.datasets.get(LOCAL_USER, run.name, show_deleted=True),
        rooms.find(),
        rooms.make(),
        rooms.patch(run.name, {"a": 2}),
        rooms.datasets.delete(LOCAL_USER, run.name),
        rooms.datasets.purge(LOCAL_USER, run.name, force=True),
        rooms.datasets.require_open(LOCAL_USER, run.name),
    ]
    for call in calls:
        with pytest.raises(ResourceDeleted) as caught:
            await call
        assert caught.value.details["resource"] == "catalogs/lab"
    assert await rooms.ids(parent=None) == []
    restored = await rooms.catalogs.undelete(LOCAL_USER, LAB)
    assert restored.delete_time is None and restored.purge_time is None
    assert await rooms.datasets.get(LOCAL_USER, run.name) == run


async def test_deleting_again_changes_nothing_and_undeleting_twice_is_refused(rooms: DatasetRooms) -> None:
    await rooms.catalog()
    first = await rooms.catalogs.delete(LOCAL_USER, LAB)
    rooms.clock.move(timedelta(days=1))
    assert await rooms.catalogs.delete(LOCAL_USER, LAB, etag="old") == first
    await rooms.catalogs.undelete(LOCAL_USER, LAB)
    with pytest.raises(FailedPrecondition):
        await rooms.catalogs.undelete(LOCAL_USER, LAB)


async def test_after_its_window_a_catalog_is_gone_and_then_its_id_is_free(rooms: DatasetRooms) -> None:
    await rooms.catalog(undelete_window=timedelta(hours=1))
    run = await rooms.make()
    await rooms.add_file(run.name, "a", 5)
    await rooms.counters.run_once()
    await rooms.catalogs.delete(LOCAL_USER, LAB, force=True)
    rooms.clock.move(timedelta(hours=1))
    with pytest.raises(NotFound) as caught:
        await rooms.catalogs.undelete(LOCAL_USER, LAB)
    assert caught.value.reason == "RESOURCE_NOT_FOUND"
    assert [catalog async for catalog in listed(rooms, show_deleted=True)] == []
    assert await rooms.datasets.purge_expired() == 1
    for collection in ("catalogs", "datasets", "files", "usages"):
        assert await rooms.documents.count(collection) == 0
    await rooms.catalog(title="new")
    assert (await rooms.catalogs.get(LOCAL_USER, LAB)).usage == Usage()


async def listed(rooms: DatasetRooms, **more: Any) -> Any:
    for catalog in (await rooms.catalogs.find(LOCAL_USER, **more)).catalogs:
        yield catalog.name.catalog


async def test_catalogs_are_listed_by_filter_and_order(rooms: DatasetRooms) -> None:
    for number, catalog_id in enumerate(["c", "a", "b"]):
        await rooms.catalog(catalog_id, title=f"Lab {number}", labels={"site": "north" if number else "south"})
        rooms.clock.move(timedelta(minutes=1))
    await rooms.catalogs.delete(LOCAL_USER, CatalogName("b"))
    assert [name async for name in listed(rooms)] == ["a", "c"]
    assert [name async for name in listed(rooms, show_deleted=True, order_by="created desc")] == ["b", "a", "c"]
    assert [name async for name in listed(rooms, filter_text='labels.site = "south"')] == ["c"]
    assert [name async for name in listed(rooms, filter_text='title:"lab 1" OR id = "c"')] == ["a", "c"]
    assert [name async for name in listed(rooms, filter_text='title =~ "[01]$"')] == ["a", "c"]
    with pytest.raises(FilterInvalid):
        await rooms.catalogs.find(LOCAL_USER, filter_text="metadata.x = 1")


async def test_pages_of_catalogs_go_on_where_they_ended(rooms: DatasetRooms) -> None:
    for catalog_id in "abcde":
        await rooms.catalog(catalog_id)
    seen, token = [], ""
    while True:
        page = await rooms.catalogs.find(LOCAL_USER, size=2, page_token=token)
        seen += [catalog.name.catalog for catalog in page.catalogs]
        token = page.next_page_token
        if not token:
            break
    assert seen == list("abcde")
    first = await rooms.catalogs.find(LOCAL_USER, size=2)
    with pytest.raises(PageTokenInvalid):
        await rooms.catalogs.find(LOCAL_USER, size=2, show_deleted=True, page_token=first.next_page_token)
