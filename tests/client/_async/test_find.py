from __future__ import annotations

import pytest
from tests.stores import DURABLE

from measurand.client import AsyncCatalog, AsyncChange, errors

pytestmark = pytest.mark.stores(*DURABLE)


@pytest.fixture
async def filled(lab: AsyncCatalog) -> AsyncCatalog:
    await lab.create_many(
        {
            "title": f"run {n:02}",
            "metadata": {"n": n, "device": {"wafer": f"w{n % 3}"}},
            "tags": ("even",) * (n % 2 == 0),
        }
        for n in range(25)
    )
    return lab


async def test_a_filter_finds_and_counts_the_same(filled: AsyncCatalog) -> None:
    text = 'metadata.n >= 20 AND tags:"even"'
    assert [run.metadata["n"] async for run in filled.find(text)] == [20, 22, 24]
    assert await filled.count(text) == 3
    assert await filled.count(most=10) == 10


async def test_pages_are_fetched_one_after_the_other_until_the_limit(filled: AsyncCatalog) -> None:
    found = filled.find(order_by="-metadata.n", page_size=4, limit=10)
    assert [run.metadata["n"] for run in await found.all()] == list(range(24, 14, -1))
    assert [run.metadata["n"] for run in await found.page(1)] == [20, 19, 18, 17]
    assert [run.metadata["n"] for run in await found.page(2)] == [16, 15]
    assert await found.page(3) == []


async def test_the_first_one_or_none(filled: AsyncCatalog) -> None:
    first = await filled.find(order_by="-metadata.n").first()
    assert first is not None and first.metadata["n"] == 24
    assert await filled.find("metadata.n > 99").first() is None
    assert await filled.find(limit=0).first() is None


async def test_only_what_is_asked_for_is_fetched(filled: AsyncCatalog) -> None:
    run = await filled.find("metadata.n = 7", fields=["title", "metadata.device.wafer"]).first()
    assert run is not None
    assert (run.title, run.metadata, run.tags, run.created) == ("run 07", {"device": {"wafer": "w1"}}, (), None)
    without = await filled.find("metadata.n = 8", fields=["-metadata.device", "-title"]).first()
    assert without is not None
    assert (without.title, without.metadata, without.tags) == ("", {"n": 8}, ("even",))
    await run.refresh()
    assert run.metadata["n"] == 7


async def test_a_part_can_be_changed(filled: AsyncCatalog) -> None:
    run = await filled.find("metadata.n = 7", fields=["title"]).first()
    assert run is not None
    await run.update({"new": True})
    assert run.metadata == {"n": 7, "device": {"wafer": "w1"}, "new": True}


async def test_a_table_has_a_column_for_each_value(filled: AsyncCatalog) -> None:
    table = await filled.find("metadata.n < 3").to_pandas()
    assert table["metadata.device.wafer"].tolist() == ["w0", "w1", "w2"]
    assert {"id", "title", "created"} <= set(table.columns)
    part = await filled.find("metadata.n < 3", fields=["title", "metadata.n"]).to_pandas()
    assert part.columns.tolist() == ["title", "metadata.n"]


async def test_a_filter_that_does_not_parse_says_where(lab: AsyncCatalog) -> None:
    with pytest.raises(errors.FilterInvalid) as caught:
        await lab.find("metadata.n = = 3").first()
    assert caught.value.details["position"] == "13"


async def test_a_page_of_the_wrong_size_is_refused(lab: AsyncCatalog) -> None:
    with pytest.raises(errors.InvalidArgument, match="1001"):
        lab.find(page_size=1001)


async def test_a_watch_tells_of_changes_from_its_call_on(lab: AsyncCatalog) -> None:
    await lab.create("before")
    changes = await lab.watch("metadata.n > 1")
    await lab.create("no match", {"n": 1})
    run = await lab.create("match", {"n": 2})
    await run.update({"n": 3})
    await run.update({"n": 0})
    seen: list[AsyncChange] = [await anext(changes) for _ in range(3)]
    await changes.aclose()
    assert [change.kind for change in seen] == ["created", "updated", "deleted"]
    assert [change.dataset.id for change in seen] == [run.id] * 3


async def test_a_watch_goes_on_where_another_has_ended(lab: AsyncCatalog) -> None:
    changes = await lab.watch()
    await lab.create("one")
    first = await anext(changes)
    await changes.aclose()
    await lab.create("two")
    more = await lab.watch(resume=first.resume_token)
    assert (await anext(more)).dataset.title == "two"
    await more.aclose()


async def test_a_watch_begins_with_what_exists_if_asked_to(lab: AsyncCatalog) -> None:
    await lab.create("old")
    changes = await lab.watch(include_existing=True)
    assert ((await anext(changes)).kind) == "existing"
    await changes.aclose()
