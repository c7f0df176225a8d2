"""Plain layouts as rules: what is laid out, how far it has come, what crashes and purges leave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from tests.core.crashing import Crash, Fuse, Fused
from tests.core.rooms import Rooms, make_rooms
from tests.sealed_arrays import NAME, START, SealedDataset

from measurand.core.arrays.layout import LAYOUTS, Layout
from measurand.core.arrays.plain_places import Chunk, Item
from measurand.core.dataset_documents import DATASETS, purging_document
from measurand.core.principal import LOCAL_USER
from measurand.wire.errors import FailedPrecondition, FeatureDisabled, NotFound, Unavailable

VALUES = np.arange(1000, dtype="i4")


class Place:
    """Takes layouts and keeps what was asked for. The reference form is told from the objects by its URL."""

    def __init__(self, rooms: Rooms, *, is_bucket: bool = True) -> None:
        self._rooms = rooms
        self._is_bucket = is_bucket
        self.laid_out: dict[str, dict[str, Item]] = {}
        self.published: dict[str, dict[str, Item]] = {}
        self.calls = 0
        self.begun = asyncio.Event()
        self.going_on = asyncio.Event()
        self.going_on.set()

    @property
    def objects(self) -> Place | None:
        return self if self._is_bucket else None

    async def lay_out(self, path: str, items: AsyncIterator[Sequence[Item]]) -> str:
        self.calls += 1
        self.begun.set()
        found = {item.path: item async for part in items for item in part}
        await self.going_on.wait()
        self.laid_out[path] = found
        return f"here://{path}.json"

    async def is_laid_out(self, path: str) -> bool:
        return path in self.laid_out

    async def remove(self, path: str) -> None:
        self.laid_out.pop(path, None)
        self.published.pop(path, None)

    async def clear(self, path: str) -> None:
        self.published.pop(path, None)

    async def put(self, path: str, items: Sequence[Item]) -> None:
        objects = self.published.setdefault(path, {})
        objects |= {item.path: item for item in items}
        if "zarr.json" in objects:  # what opens it
            assert objects == self.laid_out[path]
        self._rooms.clock.running += 1.0
        await asyncio.sleep(0)

    def url(self, path: str) -> str:
        return f"here://{path}.zarr"


@pytest.fixture
def rooms() -> Rooms:
    return make_rooms()


@pytest.fixture
def place(rooms: Rooms) -> Place:
    return Place(rooms)


async def sealed(rooms: Rooms, *, chunk: int = 2) -> SealedDataset:
    dataset = await SealedDataset(rooms.documents, rooms.blobs).make()
    await dataset.add("iq", VALUES, (chunk,), blocks=(100,))
    await dataset.add("entry/b", VALUES[:10], (3,))
    return dataset


async def test_all_is_laid_out_at_once_and_again_for_nothing(rooms: Rooms, place: Place) -> None:
    await sealed(rooms)
    layout = Layout(rooms.documents, rooms.means, place)
    url = await layout.lay_out(NAME)
    assert url == "here://lab/run.json"
    found = place.laid_out["lab/run"]
    assert sum(isinstance(item, Chunk) for item in found.values()) == 504
    assert {path for path in found if path.endswith("zarr.json")} == {
        "zarr.json", "iq/zarr.json", "entry/zarr.json", "entry/b/zarr.json",
    }  # fmt: skip
    assert await layout.lay_out(NAME) == url
    assert place.calls == 1
    place.laid_out.clear()  # somebody has tidied up
    assert await layout.lay_out(NAME) == url
    assert place.laid_out["lab/run"] == found


async def test_the_root_tells_of_everything_below(rooms: Rooms, place: Place) -> None:
    await sealed(rooms)
    await Layout(rooms.documents, rooms.means, place).lay_out(NAME)
    root: Any = place.laid_out["lab/run"]["zarr.json"]
    form = json.loads(root.content)
    assert form["attributes"] == {"dataset": str(NAME), "created": "2026-11-21T12:00:00Z", "title": "Night sweep"}
    assert list(form["consolidated_metadata"]["metadata"]) == ["entry", "entry/b", "iq"]


async def test_attributes_that_json_has_no_word_for_stay_in_words_of_extended_json(rooms: Rooms, place: Place) -> None:
    dataset = await SealedDataset(rooms.documents, rooms.blobs).make()
    await dataset.add("iq", VALUES, (500,), text='{"at":{"$date":"2026-11-21T12:00:00Z"},"n":1}')
    await Layout(rooms.documents, rooms.means, place).lay_out(NAME)
    text: Any = place.laid_out["lab/run"]["iq/zarr.json"]
    assert json.loads(text.content)["attributes"] == {"at": {"$date": "2026-11-21T12:00:00Z"}, "n": 1}


async def test_publishing_goes_in_bounded_calls(rooms: Rooms, place: Place) -> None:
    await sealed(rooms)
    layout = Layout(rooms.documents, rooms.means, place, seconds=2.0)
    await layout.lay_out(NAME)
    seen = []
    while not (progress := await layout.publish(LOCAL_USER, NAME)).is_done:
        seen.append(progress.chunks_done)
        assert progress.chunks_total == 504 and not progress.plain_url
        assert await layout.lay_out(NAME) == "here://lab/run.json"
        layout = Layout(rooms.documents, rooms.means, place, seconds=2.0)  # another server
    assert seen == sorted(set(seen)) and len(seen) > 3
    assert (progress.chunks_done, progress.plain_url) == (504, "here://lab/run.zarr")
    assert place.published == place.laid_out
    assert await layout.publish(LOCAL_USER, NAME) == progress
    assert await layout.lay_out(NAME) == "here://lab/run.zarr"
    assert place.calls == 1


async def test_publishing_lays_out_what_was_not(rooms: Rooms) -> None:
    await sealed(rooms)
    place = Place(rooms, is_bucket=False)
    progress = await Layout(rooms.documents, rooms.means, place).publish(LOCAL_USER, NAME)
    assert progress.is_done and progress.chunks_done == progress.chunks_total == 504
    assert progress.plain_url == "here://lab/run.json"


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_crash_at_any_call_is_made_up_for_by_the_next(rooms: Rooms, after: bool) -> None:
    await sealed(rooms, chunk=10)
    for at in range(100):
        place, fuse = Place(rooms), Fuse(at, after)
        await rooms.documents.remove(LAYOUTS, str(NAME))
        fused = Layout(Fused(rooms.documents, fuse), rooms.means, place, seconds=1.0)
        with suppress(Crash):
            while not (await fused.publish(LOCAL_USER, NAME)).is_done:
                pass
        layout = Layout(rooms.documents, rooms.means, place, seconds=1.0)
        while not (progress := await layout.publish(LOCAL_USER, NAME)).is_done:
            pass
        assert progress.plain_url == "here://lab/run.zarr"
        assert progress.chunks_done == progress.chunks_total == 104
        assert place.published == place.laid_out
        if not fuse.blown:
            return
    raise AssertionError("it did not end within 100 calls")


async def test_whoever_is_not_waited_for_ends_all_the_same(rooms: Rooms, place: Place) -> None:
    await sealed(rooms)
    layout = Layout(rooms.documents, rooms.means, place)
    place.going_on.clear()
    impatient = asyncio.create_task(layout.lay_out(NAME))
    await place.begun.wait()
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    joined = asyncio.create_task(layout.lay_out(NAME))
    await asyncio.sleep(0)
    place.going_on.set()
    assert await joined == "here://lab/run.json"
    assert place.calls == 1


async def test_closing_stops_what_goes_on(rooms: Rooms, place: Place) -> None:
    await sealed(rooms)
    layout = Layout(rooms.documents, rooms.means, place)
    place.going_on.clear()
    waiting = asyncio.create_task(layout.lay_out(NAME))
    await place.begun.wait()
    await layout.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not place.laid_out


async def test_a_failure_is_told_and_the_next_try_is_a_new_one(rooms: Rooms) -> None:
    class Failing(Place):
        async def lay_out(self, path: str, items: AsyncIterator[Sequence[Item]]) -> str:
            if not self.calls:
                self.calls += 1
                raise Unavailable("the disk is away", store="local")
            return await super().lay_out(path, items)

    await sealed(rooms)
    layout = Layout(rooms.documents, rooms.means, Failing(rooms))
    with pytest.raises(Unavailable):
        await layout.lay_out(NAME)
    assert await layout.lay_out(NAME) == "here://lab/run.json"


async def test_a_purge_that_comes_by_leaves_nothing(rooms: Rooms, place: Place) -> None:
    await sealed(rooms)
    layout = Layout(rooms.documents, rooms.means, place)
    place.going_on.clear()
    laying = asyncio.create_task(layout.lay_out(NAME))
    await place.begun.wait()
    dataset = await rooms.documents.fetch(DATASETS, str(NAME))  # the purge is another server's
    assert dataset is not None
    await rooms.documents.replace(
        DATASETS, purging_document(dataset, rooms.clock.time), expected_revision=dataset.revision
    )
    place.going_on.set()
    assert await laying == ""
    assert not place.laid_out
    assert await layout.lay_out(NAME) == ""


async def test_a_purge_that_comes_by_while_it_is_published_leaves_nothing(rooms: Rooms) -> None:
    class Purged(Place):
        async def put(self, path: str, items: Sequence[Item]) -> None:
            await super().put(path, items)
            dataset = await rooms.documents.fetch(DATASETS, str(NAME))
            if dataset is not None:
                await rooms.documents.remove(DATASETS, str(NAME))

    await sealed(rooms)
    place = Purged(rooms)
    layout = Layout(rooms.documents, rooms.means, place)
    with pytest.raises(NotFound):
        await layout.publish(LOCAL_USER, NAME)
    assert not place.laid_out and not place.published
    assert await rooms.documents.count(LAYOUTS) == 0


@pytest.mark.parametrize("is_amid", [False, True], ids=["after a call", "in the middle of a call"])
async def test_who_clears_late_has_it_published_from_the_beginning(rooms: Rooms, is_amid: bool) -> None:
    """A server stands still before it lays out, while another lays out and publishes; then it goes on."""
    await sealed(rooms)
    reached, put, going_on = asyncio.Event(), asyncio.Event(), asyncio.Event()

    class Late(Place):
        async def clear(self, path: str) -> None:
            reached.set()
            await self.going_on.wait()
            await super().clear(path)

    class Quick(Place):
        async def put(self, path: str, items: Sequence[Item]) -> None:
            await super().put(path, items)
            put.set()
            await going_on.wait()

    late, quick = Late(rooms), Quick(rooms)
    late.laid_out, late.published = quick.laid_out, quick.published  # one place
    late.going_on.clear()
    waiting = asyncio.create_task(Layout(rooms.documents, rooms.means, late).lay_out(NAME))
    await reached.wait()
    other = Layout(rooms.documents, rooms.means, quick, seconds=2.0)
    publishing = asyncio.create_task(other.publish(LOCAL_USER, NAME))
    await put.wait()
    if not is_amid:
        going_on.set()
        await publishing
    late.going_on.set()
    assert await waiting == "here://lab/run.json"
    going_on.set()
    assert not (await publishing).is_done
    while not (progress := await other.publish(LOCAL_USER, NAME)).is_done:
        pass
    assert progress.chunks_done == 504
    assert quick.published == quick.laid_out


async def test_removing_ends_what_goes_on_here(rooms: Rooms, place: Place) -> None:
    await sealed(rooms)
    layout = Layout(rooms.documents, rooms.means, place)
    place.going_on.clear()
    laying = asyncio.create_task(layout.lay_out(NAME))
    await place.begun.wait()
    await layout.remove(NAME)
    with pytest.raises(asyncio.CancelledError):
        await laying
    place.going_on.set()
    assert not place.laid_out
    assert await rooms.documents.count(LAYOUTS) == 0
    await layout.remove(NAME)


async def test_a_dataset_that_had_the_name_before_is_not_taken_for_this_one(rooms: Rooms, place: Place) -> None:
    await sealed(rooms)
    layout = Layout(rooms.documents, rooms.means, place)
    assert (await layout.publish(LOCAL_USER, NAME)).is_done
    for collection in (DATASETS, "arrays", "array_chunks"):  # a purge that knew nothing of layouts
        for item in await rooms.documents.find(collection, limit=1000):
            await rooms.documents.remove(collection, item.document.key)
    newer = SealedDataset(rooms.documents, rooms.blobs, created=START + timedelta(days=1))
    newer._count = 100
    await newer.make()
    await newer.add("other", VALUES, (500,))
    assert (await layout.publish(LOCAL_USER, NAME)).is_done
    assert "other/zarr.json" in place.laid_out["lab/run"] and "iq/zarr.json" not in place.laid_out["lab/run"]
    assert place.published == place.laid_out


async def test_where_nothing_can_be_read_past_the_server_publishing_says_so(rooms: Rooms) -> None:
    await sealed(rooms)
    layout = Layout(rooms.documents, rooms.means, None)
    assert await layout.lay_out(NAME) == ""
    with pytest.raises(FeatureDisabled, match="through the server"):
        await layout.publish(LOCAL_USER, NAME)
    await layout.remove(NAME)


async def test_a_dataset_without_arrays_has_nothing_to_lay_out(rooms: Rooms, place: Place) -> None:
    await SealedDataset(rooms.documents, rooms.blobs).make()
    layout = Layout(rooms.documents, rooms.means, place)
    assert await layout.lay_out(NAME) == ""
    progress = await layout.publish(LOCAL_USER, NAME)
    assert progress.is_done and progress.plain_url == ""
    assert not place.laid_out


async def test_what_is_not_sealed_is_not_published(rooms: Rooms, place: Place) -> None:
    layout = Layout(rooms.documents, rooms.means, place)
    with pytest.raises(NotFound):
        await layout.publish(LOCAL_USER, NAME)
    dataset = SealedDataset(rooms.documents, rooms.blobs)
    await dataset.make(is_sealed=False)
    await dataset.add("iq", VALUES, (500,))
    with pytest.raises(FailedPrecondition, match="seal it"):
        await layout.publish(LOCAL_USER, NAME)
    assert not place.laid_out


async def test_two_who_publish_at_once_both_come_to_the_end(rooms: Rooms, place: Place) -> None:
    await sealed(rooms)

    layouts = [Layout(rooms.documents, rooms.means, place, seconds=2.0) for _ in range(2)]

    async def publish(layout: Layout) -> int:
        while not (progress := await layout.publish(LOCAL_USER, NAME)).is_done:
            pass
        return progress.chunks_done

    assert await asyncio.gather(*map(publish, layouts)) == [504, 504]
    assert place.published == place.laid_out


async def test_what_lies_in_containers_is_not_laid_out_and_publishing_says_why(rooms: Rooms, place: Place) -> None:
    await sealed(rooms)
    asked: list[str] = []
    spread: set[str] = set()

    async def are_elsewhere(blobs: Collection[str]) -> bool:
        asked.extend(blobs)
        return bool(spread.intersection(blobs))

    layout = Layout(rooms.documents, rooms.means, place, are_elsewhere=are_elsewhere)
    assert await layout.lay_out(NAME)
    await layout.remove(NAME)
    spread.add(asked[-1])
    for _ in range(2):
        assert await layout.lay_out(NAME) == ""
    with pytest.raises(FeatureDisabled, match="lies in containers"):
        await layout.publish(LOCAL_USER, NAME)
    assert place.calls == 1 and not place.laid_out
