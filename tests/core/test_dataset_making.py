"""Making datasets: whole or not at all, exactly once, whatever is repeated or cut short; and reading them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from measurand.core.dataset_edits import DatasetDraft
from measurand.core.dataset_making import NewDataset
from measurand.core.dataset_search import Selection
from measurand.core.limits import Limits
from measurand.core.names import DatasetName
from measurand.core.principal import LOCAL_USER, Principal
from measurand.wire.errors import (
    AlreadyExists,
    DocumentInvalid,
    InvalidArgument,
    NameInvalid,
    NotFound,
    RequestIdReused,
    TooLarge,
)

from .dataset_rooms import LAB, DatasetRooms, Failing, metadata_of


@pytest.fixture
async def rooms() -> DatasetRooms:
    rooms = DatasetRooms()
    await rooms.catalog()
    return rooms


def new(title: str = "", *, id: str = "", request_id: str = "", **more: Any) -> NewDataset:  # noqa: A002
    return NewDataset(DatasetDraft(title=title, **more), id, request_id)


async def test_a_dataset_reads_as_it_was_made(rooms: DatasetRooms) -> None:
    parent = await rooms.make()
    start = rooms.clock.time - timedelta(hours=1)
    made = await rooms.make(
        {"a": 1, "b": {"c.d": [None, 1.0]}},
        title="T1",
        kind="run",
        tags=("z", "a", "a"),
        parents=(str(parent.name),),
        start_time=start,
    )
    assert await rooms.datasets.get(LOCAL_USER, made.name) == made
    assert (made.title, made.kind, made.tags, made.parents) == ("T1", "run", ("a", "z"), (str(parent.name),))
    assert (made.revision, made.state, made.creator, made.start_time) == (1, "open", "users/local", start)
    assert (made.create_time, made.update_time, made.end_time) == (rooms.clock.time, rooms.clock.time, None)
    assert made.metadata == '{"a":1,"b":{"c.d":[null,1.0]}}'


async def test_without_an_id_a_ulid_is_made_and_an_empty_kind_is_dataset(rooms: DatasetRooms) -> None:
    made = await rooms.make()
    assert len(made.name.dataset) == 26 and made.kind == "dataset" and made.metadata == "{}"


async def test_an_id_that_is_taken_is_refused_and_named(rooms: DatasetRooms) -> None:
    await rooms.make(id="run-1")
    with pytest.raises(AlreadyExists) as caught:
        await rooms.make({"other": 1}, id="run-1")
    assert caught.value.details["resource"] == "catalogs/lab/datasets/run-1"
    await rooms.datasets.delete(LOCAL_USER, DatasetName("lab", "run-1"))
    with pytest.raises(AlreadyExists):
        await rooms.make(id="run-1")


@pytest.mark.parametrize("dataset_id", ["Run", "a b", "..", "a/b", "x" * 129, "-"])
async def test_a_malformed_id_is_refused(rooms: DatasetRooms, dataset_id: str) -> None:
    with pytest.raises(NameInvalid):
        await rooms.make(id=dataset_id)


@pytest.mark.parametrize(
    ("draft", "field"),
    [
        ({"title": "x" * 1001}, "dataset.title"),
        ({"kind": "x" * 129}, "dataset.kind"),
        ({"kind": "a\nb"}, "dataset.kind"),
        ({"tags": ("a,b",)}, "dataset.tags"),
        ({"tags": ("",)}, "dataset.tags"),
        ({"tags": ("x" * 129,)}, "dataset.tags"),
        ({"tags": ("a\x7f",)}, "dataset.tags"),
        ({"tags": tuple(map(str, range(257)))}, "dataset.tags"),
        ({"parents": ("run",)}, "dataset.parents"),
        ({"parents": tuple(f"catalogs/lab/datasets/{i}" for i in range(257))}, "dataset.parents"),
    ],
)
async def test_a_field_out_of_bounds_is_named(rooms: DatasetRooms, draft: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await rooms.make(**draft)
    assert caught.value.details["field"] == field


async def test_a_parent_that_is_not_there_is_named_and_nothing_is_made(rooms: DatasetRooms) -> None:
    gone = (await rooms.make()).name
    await rooms.datasets.delete(LOCAL_USER, gone)
    for parent in ("catalogs/lab/datasets/none", "catalogs/none/datasets/x", str(gone)):
        with pytest.raises(NotFound, match=parent.partition("/datasets")[0]):
            await rooms.make(parents=(parent,), id="child")
    assert await rooms.ids() == []


async def test_a_dataset_needs_its_catalog(rooms: DatasetRooms) -> None:
    with pytest.raises(NotFound) as caught:
        await rooms.make(catalog=replace(LAB, catalog="attic"))
    assert caught.value.details["resource"] == "catalogs/attic"


async def test_a_document_above_the_limit_is_refused_with_both_sizes() -> None:
    rooms = DatasetRooms(limits=Limits(max_document_bytes=1000))
    await rooms.catalog()
    fits, exceeds = {"a": "x" * 992}, {"a": "ä" * 497}
    assert (await rooms.make(fits)).metadata_bytes == 1000
    with pytest.raises(TooLarge) as caught:
        await rooms.make(exceeds)
    assert (caught.value.details["limit"], caught.value.details["actual"]) == ("1000", "1002")
    run = await rooms.make({"b": "y" * 500})
    with pytest.raises(TooLarge):
        await rooms.patch(run.name, {"c": "z" * 500})
    assert await rooms.datasets.get(LOCAL_USER, run.name) == run


async def test_what_is_no_document_is_refused_with_its_path(rooms: DatasetRooms) -> None:
    with pytest.raises(DocumentInvalid) as caught:
        await rooms.datasets.create(LOCAL_USER, LAB, new(metadata='{"a": {"$where": "1"}}'))
    assert caught.value.details["path"].startswith("a")


async def test_each_of_a_batch_succeeds_or_fails_by_itself(rooms: DatasetRooms) -> None:
    await rooms.make(id="taken")
    outcomes = await rooms.datasets.create_many(
        LOCAL_USER,
        LAB,
        [
            new("a", id="one"),
            new("b", id="taken"),
            new("c", metadata="{"),
            new("d", parents=("catalogs/lab/datasets/none",)),
            new("e", id="one"),
            new("f"),
        ],
    )
    assert [getattr(outcome, "reason", None) for outcome in outcomes] == [
        None,
        "RESOURCE_EXISTS",
        "DOCUMENT_INVALID",
        "RESOURCE_NOT_FOUND",
        "RESOURCE_EXISTS",
        None,
    ]
    assert sorted(dataset.title for dataset in (await rooms.find()).items) == ["", "a", "f"]


async def test_a_batch_of_more_than_a_hundred_is_refused_with_both_numbers(rooms: DatasetRooms) -> None:
    with pytest.raises(TooLarge) as caught:
        await rooms.datasets.create_many(LOCAL_USER, LAB, [new()] * 101)
    assert caught.value.details == {"limit": "100", "actual": "101"}


# Repeating


@pytest.mark.parametrize("dataset_id", ["", "run-1"])
async def test_a_repeated_request_makes_one_dataset_and_gives_the_first_outcome(
    rooms: DatasetRooms, dataset_id: str
) -> None:
    first = await rooms.make({"a": 1}, id=dataset_id, request_id="r")
    await rooms.patch(first.name, {"a": 2})
    assert await rooms.restarted().make({"a": 1}, id=dataset_id, request_id="r") == first
    assert len(await rooms.ids()) == 1


async def test_the_same_request_many_times_at_once_makes_one_dataset(rooms: DatasetRooms) -> None:
    made = await asyncio.gather(*(rooms.make({"a": 1}, request_id="r") for _ in range(20)))
    assert len(set(made)) == 1 and len(await rooms.ids()) == 1


async def test_the_same_request_twice_in_one_batch_makes_one_dataset(rooms: DatasetRooms) -> None:
    first, second = await rooms.datasets.create_many(LOCAL_USER, LAB, [new(request_id="r")] * 2)
    assert first == second and len(await rooms.ids()) == 1


async def test_a_request_id_of_another_request_is_refused(rooms: DatasetRooms) -> None:
    await rooms.make({"a": 1}, request_id="r")
    with pytest.raises(RequestIdReused):
        await rooms.make({"a": 2}, request_id="r")
    with pytest.raises(RequestIdReused):
        await rooms.datasets.create(Principal("users/eve"), LAB, NewDataset(DatasetDraft(metadata='{"a":1}'), "", "r"))
    assert len(await rooms.ids()) == 1


async def test_a_request_id_is_forgotten_after_a_day(rooms: DatasetRooms) -> None:
    first = await rooms.make({"a": 1}, request_id="r")
    rooms.clock.move(timedelta(hours=24))
    second = await rooms.make({"a": 2}, request_id="r")
    assert second.name != first.name
    rooms.clock.move(timedelta(hours=24))
    await rooms.datasets.purge_expired()
    assert await rooms.documents.count("requests") == 0


async def test_a_create_that_was_cut_short_is_finished_by_its_repeat() -> None:
    documents = Failing()
    rooms = DatasetRooms(documents)
    await rooms.catalog()
    documents.fail("insert_many", "datasets")
    with pytest.raises(ConnectionError):
        await rooms.make({"a": 1}, request_id="r")
    documents.heal()
    made = await rooms.restarted().make({"a": 1}, request_id="r")
    assert await rooms.ids() == [made.name.dataset]


@pytest.mark.parametrize("request_id", ["x" * 65, "ä", "a\nb"])
async def test_a_malformed_request_id_is_refused(rooms: DatasetRooms, request_id: str) -> None:
    with pytest.raises(InvalidArgument, match="request_id"):
        await rooms.make(request_id=request_id)


# Reading


async def test_an_unknown_dataset_is_not_found_and_named(rooms: DatasetRooms) -> None:
    with pytest.raises(NotFound) as caught:
        await rooms.datasets.get(LOCAL_USER, DatasetName("lab", "none"))
    assert caught.value.details["resource"] == "catalogs/lab/datasets/none"


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        ((), {"a": {"b": 1, "c": 2}, "d.e": [1]}),
        (("a.b",), {"a": {"b": 1}}),
        (('"d.e"', "none"), {"d.e": [1]}),
        (("-a",), {"d.e": [1]}),
        (("-a.c", '-"d.e"'), {"a": {"b": 1}}),
    ],
)
async def test_metadata_is_cut_to_what_is_asked_for(
    rooms: DatasetRooms, paths: tuple[str, ...], expected: dict[str, Any]
) -> None:
    run = await rooms.make({"a": {"b": 1, "c": 2}, "d.e": [1]})
    selection = Selection(paths)
    assert metadata_of(await rooms.datasets.get(LOCAL_USER, run.name, selection=selection)) == expected
    assert [metadata_of(item) for item in (await rooms.find(selection=selection)).items] == [expected]


@pytest.mark.parametrize("paths", [("a", "-b"), ("a..b",), tuple(map(str, range(101)))])
async def test_paths_that_cannot_be_are_refused_even_if_nothing_is_found(
    rooms: DatasetRooms, paths: tuple[str, ...]
) -> None:
    with pytest.raises(InvalidArgument):
        await rooms.find(selection=Selection(paths))
