"""Counts that follow by themselves: exact, whatever crashes, and found by filters."""

from __future__ import annotations

import pytest
from tests.core.batch_rooms import start_batches

from measurand.core.catalog_documents import Usage
from measurand.core.counters import Counters
from measurand.core.principal import LOCAL_USER
from measurand.server.patterns import compile_pattern
from measurand.storage.documents.memory import Memory

from .dataset_rooms import LAB, DatasetRooms, Failing


@pytest.fixture
async def rooms() -> DatasetRooms:
    rooms = DatasetRooms()
    await rooms.catalog()
    return rooms


async def usage(rooms: DatasetRooms) -> Usage | None:
    return (await rooms.catalogs.get(LOCAL_USER, LAB)).usage


async def test_files_are_counted_and_can_be_searched_for(rooms: DatasetRooms) -> None:
    run, other = await rooms.make({"a": 1}), await rooms.make()
    for number in range(5):
        await rooms.add_file(run.name, f"{number}", 10 * number)
    await rooms.counters.run_once()
    counted = await rooms.datasets.get(LOCAL_USER, run.name)
    assert (counted.file_count, counted.stored_bytes, counted.metadata) == (5, 100, '{"a":1}')
    assert await rooms.ids("file_count > 4 AND stored_bytes = 100 AND a = 1") == [run.name.dataset]
    await rooms.remove_file(run.name, "4")
    await rooms.counters.run_once()
    assert (await rooms.datasets.get(LOCAL_USER, run.name)).stored_bytes == 60
    assert (await rooms.datasets.get(LOCAL_USER, other.name)).file_count == 0


async def test_the_usage_of_a_catalog_leaves_deleted_datasets_out(rooms: DatasetRooms) -> None:
    kept, gone = await rooms.make(), await rooms.make()
    await rooms.add_file(kept.name, "a", 1)
    await rooms.add_file(gone.name, "b", 2)
    await rooms.counters.run_once()
    assert await usage(rooms) == Usage(stored_bytes=3, dataset_count=2, file_count=2)
    await rooms.datasets.delete(LOCAL_USER, gone.name)
    await rooms.counters.run_once()
    assert await usage(rooms) == Usage(stored_bytes=1, dataset_count=1, file_count=1)


async def test_what_has_not_changed_is_not_counted_again(rooms: DatasetRooms) -> None:
    run = await rooms.make()
    await rooms.add_file(run.name, "a", 1)
    assert await rooms.counters.run_once() > 0
    assert await rooms.counters.run_once() == 0
    assert await rooms.restarted().counters.run_once() == 0


@pytest.mark.parametrize(("verb", "collection"), [("replace", "datasets"), ("replace", "followers")])
async def test_a_crash_while_counting_loses_nothing(verb: str, collection: str) -> None:
    documents = Failing()
    rooms = DatasetRooms(documents)
    await rooms.catalog()
    run = await rooms.make()
    await rooms.counters.run_once()
    await rooms.add_file(run.name, "a", 7)
    documents.fail(verb, collection)
    with pytest.raises(ConnectionError):
        await rooms.counters.run_once()
    documents.heal()
    again = rooms.restarted()
    await again.counters.run_once()
    counted = await again.datasets.get(LOCAL_USER, run.name)
    assert (counted.file_count, counted.stored_bytes) == (1, 7) and await usage(again) == Usage(7, 1, 1)


async def test_when_the_history_of_changes_is_trimmed_everything_is_counted() -> None:
    rooms = DatasetRooms(Memory(compile_pattern, history=3))
    await rooms.catalog()
    runs = [await rooms.make() for _ in range(3)]
    await rooms.counters.run_once()
    for number in range(10):
        await rooms.add_file(runs[number % 3].name, f"{number}", 1)
    await rooms.counters.run_once()
    counts = [(await rooms.datasets.get(LOCAL_USER, run.name)).file_count for run in runs]
    assert counts == [4, 3, 3] and await usage(rooms) == Usage(10, 3, 10)


async def test_files_of_a_dataset_that_is_gone_do_not_stop_the_counting(rooms: DatasetRooms) -> None:
    gone, run = await rooms.make(), await rooms.make()
    await rooms.add_file(gone.name, "a", 1)
    await rooms.add_file(run.name, "a", 1)
    await rooms.datasets.purge(LOCAL_USER, gone.name, force=True)
    await rooms.counters.run_once()
    assert (await rooms.datasets.get(LOCAL_USER, run.name)).file_count == 1


async def test_records_count_in_their_window_and_then_in_their_batch() -> None:
    rooms = await start_batches()
    documents, means, limits = rooms.rooms.documents, rooms.rooms.means, rooms.rooms.limits
    counters = Counters(documents, means, limits)

    async def held() -> int:
        await counters.run_once()
        usage = (await rooms.rooms.catalogs.get(LOCAL_USER, LAB)).usage
        assert usage is not None
        return usage.stored_bytes

    await rooms.append(bytes(1000))
    assert await held() == 1000
    await rooms.freeze_window(force=True)
    assert await held() == 1000
    await rooms.unfreeze(force=True)
    assert await held() == 1000
    await rooms.append(bytes(10))
    assert await held() == 1010
    await rooms.buffers.delete(LOCAL_USER, rooms.name, force=True)
    assert await held() == 1000
    await rooms.close()
