"""Finding datasets: by filter and order, in pages that hold still, counted, by name, and by tag."""

from __future__ import annotations

from datetime import timedelta

import pytest

from measurand.core.dataset_search import Selection
from measurand.core.limits import Limits
from measurand.core.names import CatalogName
from measurand.core.principal import LOCAL_USER
from measurand.wire.errors import FilterInvalid, InvalidArgument, NameInvalid, NotFound, PageTokenInvalid, TooLarge

from .dataset_rooms import LAB, DatasetRooms, whole


@pytest.fixture
async def rooms() -> DatasetRooms:
    rooms = DatasetRooms()
    await rooms.catalog()
    return rooms


async def test_system_fields_and_metadata_are_searched_together(rooms: DatasetRooms) -> None:
    parent = await rooms.make({"t": 0.01}, id="a", title="Qubit T1", kind="run", tags=("t1",))
    rooms.clock.move(timedelta(days=1))
    await rooms.make({"t": 5, "created": "x"}, id="b", title="rabi", parents=(str(parent.name),))
    await rooms.patch(parent.name, {"note": "seen"})
    found = {
        "t < 0.02": ["a"],
        'tags:"t1" AND kind = run': ["a"],
        'title:"RABI"': ["b"],
        'title =~ "^(?i)qubit"': ["a"],
        'created < "2026-11-22"': ["a"],
        'created = "2026-11-22T12:00:00Z"': ["b"],
        'metadata.created = "x"': ["b"],
        f'parents:"{parent.name}"': ["b"],
        "revision = 2": ["a"],
        'creator = "users/local" AND state = open': ["a", "b"],
        'id = "b"': ["b"],
        'updated >= ago("1h")': ["a", "b"],
        'created < ago("23h")': ["a"],
        "residence:*": [],
        't = "{$gt: 0}"': [],
    }
    assert {text: await rooms.ids(text) for text in found} == found


async def test_an_order_may_mix_fields_and_directions(rooms: DatasetRooms) -> None:
    for dataset_id, title, value in [("a", "x", 2), ("b", "y", 1), ("c", "x", 1), ("d", "y", None)]:
        await rooms.make({"v": value} if value else {}, id=dataset_id, title=title)
    assert await rooms.ids(order_by="title desc, metadata.v") == ["d", "b", "c", "a"]
    assert await rooms.ids(order_by="-v") == ["a", "b", "c", "d"]


async def test_pages_show_each_dataset_once_while_others_come(rooms: DatasetRooms) -> None:
    before = [(await rooms.make({"v": number % 7})).name.dataset for number in range(50)]
    seen: list[str] = []
    token = ""
    while True:
        page = await rooms.find(order_by="v desc", size=7, page_token=token)
        seen += [dataset.name.dataset for dataset in page.items]
        for number in range(3):
            await rooms.make({"v": number * 3})
        token = page.next_page_token
        if not token:
            break
    assert sorted(name for name in seen if name in before) == sorted(before) and len(set(seen)) == len(seen)


async def test_ago_means_the_time_of_the_first_page(rooms: DatasetRooms) -> None:
    for _ in range(3):
        await rooms.make()
        rooms.clock.move(timedelta(minutes=1))
    first = await rooms.find('created >= ago("3m")', size=1)
    rooms.clock.move(timedelta(hours=1))
    rest = await rooms.find('created >= ago("3m")', size=5, page_token=first.next_page_token)
    assert len(rest.items) == 2


async def test_a_page_token_of_another_request_is_refused(rooms: DatasetRooms) -> None:
    for _ in range(2):
        await rooms.make()
    token = (await rooms.find(size=1)).next_page_token
    assert (await rooms.find(size=5, page_token=token)).items
    for more in ({"filter_text": "a = 1"}, {"order_by": "title"}, {"parent": None}, {"show_deleted": True}):
        with pytest.raises(PageTokenInvalid):
            await rooms.find(page_token=token, **more)
    with pytest.raises(PageTokenInvalid):
        await rooms.find(page_token="nonsense")


async def test_a_page_ends_where_it_would_become_too_large_but_holds_one() -> None:
    rooms = DatasetRooms(limits=Limits(page_bytes=5000))
    await rooms.catalog()
    for dataset_id, size in [("a", 2000), ("b", 2000), ("c", 2000), ("d", 9000), ("e", 10)]:
        await rooms.make({"x": "x" * size}, id=dataset_id)
    pages, token = [], ""
    while True:
        page = await rooms.find(page_token=token)
        pages.append([dataset.name.dataset for dataset in page.items])
        token = page.next_page_token
        if not token:
            break
    assert pages == [["a", "b"], ["c"], ["d"], ["e"]]
    assert len((await rooms.find(selection=Selection(with_metadata=False))).items) == 5


async def test_what_metadata_leaves_out_takes_no_room_in_a_page() -> None:
    rooms = DatasetRooms(limits=Limits(page_bytes=5000))
    await rooms.catalog()
    for _ in range(10):
        await rooms.make({"x": "x" * 3000, "y": 1})
    page = await rooms.find(selection=Selection(("-x",)))
    assert [dataset.metadata for dataset in page.items] == ['{"y":1}'] * 10 and not page.next_page_token


@pytest.mark.parametrize(("size", "expected"), [(0, 3), (2, 2), (10**6, 5)])
async def test_a_page_has_the_usual_size_or_the_asked_one_up_to_the_most(size: int, expected: int) -> None:
    rooms = DatasetRooms(limits=Limits(default_page_size=3, max_page_size=5))
    await rooms.catalog()
    for _ in range(6):
        await rooms.make()
    assert len((await rooms.find(size=size)).items) == expected


async def test_a_negative_number_is_refused(rooms: DatasetRooms) -> None:
    with pytest.raises(InvalidArgument):
        await rooms.find(size=-1)
    with pytest.raises(InvalidArgument):
        await rooms.datasets.search.count(LOCAL_USER, LAB, most=-1)


async def test_all_catalogs_are_searched_at_once(rooms: DatasetRooms) -> None:
    attic = await rooms.catalog("attic")
    await rooms.make({"a": 1}, id="here")
    await rooms.make({"a": 1}, id="there", catalog=attic)
    assert await rooms.ids("a = 1", parent=None) == ["there", "here"]
    assert await rooms.datasets.search.count(LOCAL_USER, None) == 2
    with pytest.raises(NotFound):
        await rooms.find(parent=CatalogName("cellar"))


async def test_counting_stops_at_the_most(rooms: DatasetRooms) -> None:
    runs = [await rooms.make({"n": number}) for number in range(5)]
    await rooms.datasets.delete(LOCAL_USER, runs[-1].name)
    search = rooms.datasets.search
    assert await search.count(LOCAL_USER, LAB) == 4
    assert await search.count(LOCAL_USER, LAB, show_deleted=True) == 5
    assert await search.count(LOCAL_USER, LAB, filter_text="n > 0") == 3
    assert await search.count(LOCAL_USER, LAB, most=2) == 2


@pytest.mark.parametrize("text", ["a ==", "a = 1 AND b = 2 OR c = 3", "$where: 1", 'a =~ "("', 'a =~ "(?=x)"'])
async def test_a_filter_that_does_not_parse_says_where(rooms: DatasetRooms, text: str) -> None:
    with pytest.raises(FilterInvalid) as caught:
        await rooms.ids(text)
    assert caught.value.details.keys() >= {"position", "expected"}


async def test_many_are_read_by_name_in_the_asked_order(rooms: DatasetRooms) -> None:
    runs = [await rooms.make({"n": number}) for number in range(30)]
    await rooms.datasets.delete(LOCAL_USER, runs[3].name)
    names = [str(run.name) for run in reversed(runs)]
    missing = ["catalogs/lab/datasets/none", "catalogs/none/datasets/x"]
    batch = await rooms.datasets.search.get_many(LOCAL_USER, None, [*names, *missing], whole)
    assert batch.items == [run for run in reversed(runs) if run != runs[3]]
    assert batch.missing == [str(runs[3].name), *missing] and batch.left_over == []


async def test_names_that_do_not_fit_are_left_over() -> None:
    rooms = DatasetRooms(limits=Limits(page_bytes=3000))
    await rooms.catalog()
    names = [str((await rooms.make({"x": "x" * 1000})).name) for _ in range(5)]
    batch = await rooms.datasets.search.get_many(LOCAL_USER, LAB, names, whole)
    assert (len(batch.items), batch.left_over) == (2, names[2:])


async def test_names_beyond_reason_are_refused(rooms: DatasetRooms) -> None:
    get_many = rooms.datasets.search.get_many
    with pytest.raises(TooLarge):
        await get_many(LOCAL_USER, LAB, ["catalogs/lab/datasets/a"] * 1001, whole)
    with pytest.raises(NameInvalid):
        await get_many(LOCAL_USER, LAB, ["lab/a"], whole)
    with pytest.raises(InvalidArgument, match="catalogs/-"):
        await get_many(LOCAL_USER, LAB, ["catalogs/attic/datasets/a"], whole)


async def test_tags_are_counted_without_deleted_datasets(rooms: DatasetRooms) -> None:
    await rooms.make(tags=("t1", "good"))
    await rooms.make(tags=("t1", "t2"))
    gone = await rooms.make(tags=("t1", "only"))
    tags = rooms.datasets.search.tags
    assert (await tags(LOCAL_USER, LAB, prefix="t")).tags == [("t1", 3), ("t2", 1)]
    await rooms.datasets.delete(LOCAL_USER, gone.name)
    first = await tags(LOCAL_USER, LAB, size=2)
    rest = await tags(LOCAL_USER, LAB, size=2, page_token=first.next_page_token)
    assert [*first.tags, *rest.tags] == [("good", 1), ("t1", 2), ("t2", 1)] and rest.next_page_token == ""
    assert (await tags(LOCAL_USER, None)).tags == [("good", 1), ("t1", 2), ("t2", 1)]
