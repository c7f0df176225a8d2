"""Following datasets: every change through a filter, once a change at least, from where a token says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from measurand.core.dataset_search import Selection
from measurand.core.dataset_watch import DatasetChange, Poll
from measurand.core.limits import Limits
from measurand.core.principal import LOCAL_USER
from measurand.server.patterns import compile_pattern
from measurand.storage.documents.memory import Memory
from measurand.wire.errors import HistoryTrimmed, InvalidArgument, NotFound, PageTokenInvalid, ResourceDeleted

from .dataset_rooms import LAB, DatasetRooms, metadata_of


@pytest.fixture
async def rooms() -> DatasetRooms:
    rooms = DatasetRooms()
    await rooms.catalog()
    return rooms


async def as_it_is(change: DatasetChange) -> tuple[DatasetChange, int]:
    return change, 100 + (len(change.dataset.metadata) if change.dataset else 0)


async def poll(rooms: DatasetRooms, filter_text: str = "", **more: Any) -> Poll[DatasetChange]:
    parent = more.pop("parent", LAB)
    return await rooms.datasets.watch.poll(LOCAL_USER, parent, as_it_is, filter_text=filter_text, **more)


async def now(rooms: DatasetRooms, filter_text: str = "", **more: Any) -> str:
    return (await poll(rooms, filter_text, **more)).token


def said(changes: Any) -> list[tuple[str, str]]:
    return [(change.kind, change.name.dataset) for change in changes]


@asynccontextmanager
async def following(rooms: DatasetRooms, filter_text: str = "", **more: Any) -> AsyncIterator[Any]:
    stream = rooms.datasets.watch.follow(LOCAL_USER, more.pop("parent", LAB), filter_text=filter_text, **more)
    try:
        yield stream
    finally:
        await stream.aclose()


async def take(stream: Any, number: int) -> list[DatasetChange]:
    return [await asyncio.wait_for(anext(stream), 10) for _ in range(number)]


async def test_a_filter_turns_changes_into_comings_and_goings(rooms: DatasetRooms) -> None:
    token = await now(rooms, "n > 5")
    run = await rooms.make({"n": 1}, id="run")
    await rooms.make({"n": 2}, id="never")
    for value in (6, 7, 3, 2, 9):
        await rooms.patch(run.name, {"n": value})
    await rooms.datasets.delete(LOCAL_USER, run.name)
    await rooms.datasets.undelete(LOCAL_USER, run.name)
    answer = await poll(rooms, "n > 5", resume_token=token)
    assert said(answer.changes) == [
        ("created", "run"),
        ("updated", "run"),
        ("deleted", "run"),
        ("created", "run"),
        ("deleted", "run"),
        ("created", "run"),
    ]
    values = [metadata_of(change.dataset)["n"] for change in answer.changes if change.dataset]
    assert values == [6, 7, 3, 9, 9, 9]  # each as its change left it, although much has happened since
    assert said((await poll(rooms, "n > 5", resume_token=answer.token)).changes) == []


async def test_without_a_token_a_poll_gives_no_change_but_a_token(rooms: DatasetRooms) -> None:
    await rooms.make()
    answer = await poll(rooms)
    assert answer.changes == () and answer.token


async def test_a_poll_gives_no_more_than_asked_and_goes_on_there(rooms: DatasetRooms) -> None:
    token = await now(rooms)
    for number in range(7):
        await rooms.make(id=f"r{number}")
    seen = []
    for size in (3, 3, 1):
        answer = await poll(rooms, resume_token=token, most=3)
        assert len(answer.changes) == size
        seen += said(answer.changes)
        token = answer.token
    assert seen == [("created", f"r{number}") for number in range(7)]


async def test_a_poll_is_cut_by_bytes() -> None:
    rooms = DatasetRooms(limits=Limits(page_bytes=2500))
    await rooms.catalog()
    token = await now(rooms)
    for number in range(3):
        await rooms.make({"x": "x" * 1000}, id=f"r{number}")
    answer = await poll(rooms, resume_token=token)
    assert len(answer.changes) == 2
    assert said((await poll(rooms, resume_token=answer.token)).changes) == [("created", "r2")]


async def test_a_waiting_poll_wakes_with_the_change(rooms: DatasetRooms) -> None:
    token = await now(rooms, "a = 1")
    waiting = asyncio.create_task(poll(rooms, "a = 1", resume_token=token, wait=timedelta(seconds=30)))
    await asyncio.sleep(0)
    await rooms.make({"a": 2})
    await rooms.make({"a": 1}, id="this")
    assert said((await asyncio.wait_for(waiting, 10)).changes) == [("created", "this")]


async def test_a_poll_that_waits_in_vain_gives_a_fresh_token(rooms: DatasetRooms) -> None:
    token = await now(rooms)
    await rooms.make({"a": 2})
    answer = await poll(rooms, "a = 1", resume_token=token, wait=timedelta(milliseconds=20))
    assert not answer.changes and answer.token != token
    with pytest.raises(InvalidArgument):
        await poll(rooms, resume_token=token, wait=timedelta(seconds=31))
    with pytest.raises(InvalidArgument):
        await poll(rooms, resume_token=token, most=-1)


async def test_a_watch_sends_what_stands_there_and_then_what_happens(rooms: DatasetRooms) -> None:
    first = await rooms.make({"a": 1}, id="first")
    await rooms.make({"a": 2}, id="other")
    async with following(rooms, "a = 1", include_existing=True) as stream:
        assert said(await take(stream, 1)) == [("existing", "first")]
        await rooms.patch(first.name, {"b": 1})
        await rooms.make({"a": 1}, id="second")
        assert said(await take(stream, 2)) == [("updated", "first"), ("created", "second")]


async def test_a_watch_resumed_among_what_stands_there_misses_nothing(rooms: DatasetRooms) -> None:
    for number in range(60):
        await rooms.make(id=f"r{number:02d}")
    async with following(rooms, include_existing=True) as stream:
        seen = await take(stream, 40)
    await rooms.make(id="zz")
    await rooms.patch(seen[0].dataset.name, {"late": 1})  # type: ignore[union-attr]  # EXISTING has its dataset
    async with following(rooms, resume_token=seen[-1].token) as stream:
        rest = await take(stream, 23)
    expected = [("existing", f"r{number:02d}") for number in range(60)]
    assert said(seen) + said(rest)[:20] == expected
    assert said(rest)[20:] == [("existing", "zz"), ("created", "zz"), ("updated", "r00")]
    answer = await poll(rooms, resume_token=seen[-1].token, most=30)
    assert said(answer.changes) == said(rest)
    with pytest.raises(InvalidArgument):
        async with following(rooms, include_existing=True, resume_token=seen[-1].token) as stream:
            await take(stream, 1)


async def test_a_watch_resumed_goes_on_right_after_the_change(rooms: DatasetRooms) -> None:
    await rooms.make(id="old")
    async with following(rooms, include_existing=True) as stream:
        await take(stream, 1)
        await rooms.make(id="a")
        await rooms.make(id="b")
        seen = await take(stream, 2)
    await rooms.make(id="c")
    async with following(rooms.restarted(), resume_token=seen[0].token) as stream:
        assert said(await take(stream, 2)) == [("created", "b"), ("created", "c")]


async def test_silence_is_broken_by_heartbeats_with_fresh_tokens() -> None:
    rooms = DatasetRooms(limits=Limits(heartbeat=timedelta(milliseconds=20)))
    await rooms.catalog()
    async with following(rooms, "none = 1") as stream:
        [first] = await take(stream, 1)
        await rooms.make(id="unseen")
        [second] = await take(stream, 1)
    assert (first.kind, first.name, first.dataset) == ("heartbeat", None, None)
    assert second.kind == "heartbeat" and second.token != first.token


async def test_a_purge_is_told_by_name_only(rooms: DatasetRooms) -> None:
    run = await rooms.make(id="run")
    token = await now(rooms)
    await rooms.datasets.purge(LOCAL_USER, run.name, force=True)
    [change] = (await poll(rooms, resume_token=token)).changes
    assert (change.kind, change.name, change.dataset) == ("deleted", run.name, None)


async def test_only_a_filter_that_asks_for_counts_sees_them_change(rooms: DatasetRooms) -> None:
    run = await rooms.make({"a": 1}, id="run")
    tokens = {text: await now(rooms, text) for text in ("", "a = 1", "file_count > 0", "stored_bytes = 0")}
    await rooms.add_file(run.name, "f", 3)
    await rooms.counters.run_once()
    seen = {text: said((await poll(rooms, text, resume_token=token)).changes) for text, token in tokens.items()}
    assert seen == {
        "": [],
        "a = 1": [],
        "file_count > 0": [("updated", "run")],
        "stored_bytes = 0": [("deleted", "run")],
    }


async def test_a_watch_of_all_catalogs_sees_new_ones_and_no_deleted_ones(rooms: DatasetRooms) -> None:
    token = await now(rooms, parent=None)
    attic, cellar = await rooms.catalog("attic"), await rooms.catalog("cellar")
    await rooms.make(id="a", catalog=attic)
    await rooms.make(id="c", catalog=cellar)
    await rooms.make(id="l")
    await rooms.catalogs.delete(LOCAL_USER, cellar, force=True)
    answer = await poll(rooms, parent=None, resume_token=token)
    assert said(answer.changes) == [("created", "a"), ("created", "l")]


async def test_a_watch_ends_when_its_catalog_is_deleted() -> None:
    rooms = DatasetRooms(limits=Limits(heartbeat=timedelta(milliseconds=20)))
    await rooms.catalog()
    async with following(rooms) as stream:
        await take(stream, 1)
        await rooms.catalogs.delete(LOCAL_USER, LAB)
        with pytest.raises(ResourceDeleted):
            await take(stream, 2)
    with pytest.raises(NotFound):
        await poll(rooms)


async def test_metadata_is_cut_to_what_is_asked_for(rooms: DatasetRooms) -> None:
    selection = Selection(("a",))
    token = await now(rooms)
    await rooms.make({"a": 1, "b": 2})
    [change] = (await poll(rooms, "b = 2", resume_token=token, selection=selection)).changes
    assert change.dataset is not None and change.dataset.metadata == '{"a":1}'


async def test_a_token_that_is_malformed_or_too_old_is_refused() -> None:
    rooms = DatasetRooms(Memory(compile_pattern, history=5))
    await rooms.catalog()
    token = await now(rooms)
    for wrong in ("nonsense", "ä", token[:-8], "WzEsMF0"):
        with pytest.raises(PageTokenInvalid):
            await poll(rooms, resume_token=wrong)
    for _ in range(10):
        await rooms.make()
    with pytest.raises(HistoryTrimmed):
        await poll(rooms, resume_token=token)
