"""Batches: each closed window becomes one dataset, with all of its records, whatever dies or stumbles on the way."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from tests.core.batch_rooms import BatchRooms, check_batches, start_batches

from measurand.core.buffers.batches import Batch, batch_document, batch_of
from measurand.core.buffers.freezing import BatchDraft
from measurand.core.buffers.heads import EventKind, Policy, State
from measurand.core.buffers.windows import closed
from measurand.core.dataset_documents import DATASETS
from measurand.core.dataset_edits import DatasetDraft
from measurand.core.dataset_making import NewDataset
from measurand.core.names import BufferName, DatasetName
from measurand.core.principal import LOCAL_USER
from measurand.wire.errors import (
    Conflict,
    Frozen,
    InvalidArgument,
    NotFound,
    Sealed,
)

CYCLES = 20


async def test_twenty_cycles_are_twenty_batches_that_adjoin() -> None:
    rooms = await start_batches()
    names = []
    for number in range(CYCLES):
        names.append(await rooms.cycle(*(f"{number}/{record}".encode() for record in range(3))))
        rooms.rooms.clock.move(timedelta(milliseconds=100))
    await rooms.append(b"open")
    assert len(set(names)) == CYCLES
    assert [name.dataset.rpartition("-")[2] for name in names] == [str(number + 1) for number in range(CYCLES)]
    assert names[0].dataset == "live-20261121t120000.000000z-1"
    assert await check_batches(rooms) == [
        *(f"{number}/{record}".encode() for number in range(CYCLES) for record in range(3)),
        b"open",
    ]
    assert (await rooms.head()).next_sequence == 3 * CYCLES + 2
    await rooms.close()


async def test_rotating_refuses_nobody() -> None:
    one = await start_batches()
    other = one.another()
    stop, stored = asyncio.Event(), []

    async def append(rooms: BatchRooms, writer: int) -> None:
        number = 0
        while not stop.is_set():
            data = f"{writer}/{number}".encode()
            await rooms.append(data)
            stored.append(data)
            number += 1

    writers = [asyncio.create_task(append((one, other)[writer % 2], writer)) for writer in range(100)]
    made = 0
    while made < CYCLES:
        made += (await (one, other)[made % 2].rotate()).batch is not None
        await asyncio.sleep(0)  # memory stores never let others run by themselves
    stop.set()
    await asyncio.gather(*writers)
    assert sorted(await check_batches(one)) == sorted(stored)
    assert (await one.head()).batch_count == CYCLES
    assert EventKind.REFUSED not in {event.kind for event in await one.log()}
    await one.close()
    await other.close()


async def test_the_dataset_tells_of_the_window() -> None:
    rooms = await start_batches(Policy(batch_title="{buffer} no. {window} of {time}"))
    measured = [rooms.rooms.clock.time - timedelta(days=1, seconds=second) for second in (2, 1)]
    for time in measured:
        record = rooms.record(b"data", event_time=int(time.timestamp() * 1_000_000))
        await rooms.appending.append(LOCAL_USER, rooms.name, [record])
    answer = await rooms.freeze_window(comment="to train")
    rooms.rooms.clock.move(timedelta(seconds=5))
    draft = BatchDraft(tags=["night"], metadata='{"run": 7}')
    batch = (await rooms.unfreeze(token=answer.token, draft=draft)).batch
    assert batch is not None
    dataset = batch.dataset
    assert (dataset.title, dataset.tags, dataset.kind) == ("live no. 1 of 2026-11-21T12:00:05Z", ("night",), "batch")
    assert (dataset.start_time, dataset.end_time) == tuple(measured)
    metadata = await rooms.metadata(dataset.name)
    assert {key: metadata[key] for key in ("buffer", "window", "records", "bytes", "first_sequence", "run")} == {
        "buffer": str(rooms.name),
        "window": 1,
        "records": 2,
        "bytes": 8,
        "first_sequence": 1,
        "run": 7,
    }
    assert (metadata["owner"], metadata["reason"], metadata["last_sequence"]) == (LOCAL_USER.name, "to train", 2)
    assert (batch.batch.owner, batch.batch.records, batch.batch.size) == (LOCAL_USER.name, 2, 8)
    with pytest.raises(Sealed):
        await rooms.datasets.require_open(LOCAL_USER, dataset.name)
    await rooms.close()


async def test_the_batch_of_a_policy_comes_by_the_job() -> None:
    rooms = await start_batches(Policy(freeze_after_records=2, rotate=True))
    for number in range(5):
        await rooms.append(str(number).encode())
    assert await rooms.another().closings.settle() == 2
    assert await rooms.closings.settle() == 0
    assert await check_batches(rooms) == [b"0", b"1", b"2", b"3", b"4"]
    assert {batch.owner for batch in await rooms.windows()} == {"system"}
    await rooms.close()


async def test_a_window_that_is_sealed_gives_the_same_batch_again() -> None:
    rooms = await start_batches()
    name = await rooms.cycle(b"one")
    await rooms.append(b"two")
    for again in (await rooms.unfreeze(window=1), await rooms.rotate(window=1)):
        assert again.batch is not None
        assert again.batch.dataset.name == name
    assert (await rooms.head()).window == 2
    await rooms.close()


async def test_a_request_that_is_repeated_closes_one_window() -> None:
    rooms = await start_batches()
    await rooms.append(b"one")
    first = await rooms.rotate(request_id="one")
    await rooms.append(b"two")
    again = await rooms.another().rotate(request_id="one")
    assert first.batch is not None and again.batch is not None
    assert first.batch.dataset.name == again.batch.dataset.name
    assert (await rooms.head()).window == 2
    await rooms.close()


async def test_an_empty_window_makes_a_batch_only_if_asked() -> None:
    rooms = await start_batches()
    assert (await rooms.rotate()).batch is None
    assert (await rooms.head()).window == 1
    await rooms.freeze_window()
    answer = await rooms.unfreeze(force=True)
    assert answer.batch is None
    assert (answer.head.state, answer.head.window, answer.head.batch_count) == (State.ACTIVE, 2, 0)
    await rooms.freeze_window()
    answer = await rooms.unfreeze(force=True, allow_empty=True)
    assert answer.batch is not None
    assert (answer.batch.batch.records, answer.head.window) == (0, 3)
    assert (await rooms.unfreeze(window=1)).batch is None
    await rooms.close()


async def test_a_window_that_is_thrown_away_leaves_nothing_but_the_log() -> None:
    rooms = await start_batches()
    kept = await rooms.cycle(b"one")
    await rooms.append(b"two", b"three")
    await rooms.freeze_window()
    answer = await rooms.unfreeze(force=True, discard=True)
    assert answer.batch is None
    assert (answer.head.first_sequence, answer.head.next_sequence, answer.head.batch_count) == (4, 4, 1)
    assert [segment.window for segment in answer.head.segments] == [1]
    assert (await rooms.log())[-1].kind is EventKind.DISCARDED
    assert await rooms.read(kept) == [(1, b"one")]
    assert (await rooms.append(b"four")).first == 4
    await rooms.close()


async def test_batches_are_listed_newest_first_by_pages() -> None:
    rooms = await start_batches()
    for number in range(5):
        await rooms.cycle(str(number).encode())
    windows, token = [], ""
    for size in (2, 2, 2):
        page = await rooms.batches.page(LOCAL_USER, rooms.name, size=size, page_token=token)
        windows += [one.batch.window for one in page.batches]
        token = page.next_page_token
    assert windows == [5, 4, 3, 2, 1]
    assert not token
    await rooms.close()


async def test_a_deleted_batch_is_not_listed_and_a_purged_one_lets_its_records_go() -> None:
    rooms = await start_batches()
    first, second = await rooms.cycle(b"one"), await rooms.cycle(b"two")
    await rooms.datasets.delete(LOCAL_USER, first)
    assert [one.dataset.name for one in (await rooms.batches.page(LOCAL_USER, rooms.name)).batches] == [second]
    assert len(await rooms.named()) == 2
    await rooms.datasets.purge(LOCAL_USER, first)
    head = await rooms.head()
    assert (head.first_sequence, head.batch_count, len(await rooms.named())) == (2, 1, 1)
    assert await rooms.read(second) == [(2, b"two")]
    with pytest.raises(NotFound):
        await rooms.read(first)
    await rooms.close()


async def test_an_id_that_somebody_else_has_taken_is_not_used() -> None:
    rooms = await start_batches()
    await rooms.append(b"one")
    await rooms.freeze_window()
    taken = "live-20261121t120000.000000z-1"
    await rooms.datasets.create(LOCAL_USER, rooms.name.parent, NewDataset(DatasetDraft(), dataset_id=taken))
    answer = await rooms.unfreeze(force=True)
    assert answer.batch is not None
    assert answer.batch.dataset.name.dataset.startswith(f"{taken}-")
    assert await check_batches(rooms) == [b"one"]
    await rooms.close()


async def test_what_is_said_of_a_batch_is_checked_before_anything_happens() -> None:
    rooms = await start_batches()
    await rooms.append(b"one")
    before = await rooms.head()
    for draft in (BatchDraft(title="t" * 1001), BatchDraft(tags=["a,b"]), BatchDraft(metadata="[]")):
        with pytest.raises(InvalidArgument):
            await rooms.rotate(draft=draft)
    large = BatchDraft(metadata=f'{{"large": "{"x" * 65_536}"}}')
    with pytest.raises(InvalidArgument):
        await rooms.rotate(draft=large)
    with pytest.raises(Conflict):
        await rooms.rotate(window=2)
    assert await rooms.head() == before
    await rooms.freeze_window()
    with pytest.raises(Frozen):
        await rooms.rotate()
    await rooms.close()


async def test_a_server_that_was_held_up_brings_no_purged_batch_back() -> None:
    rooms = await start_batches()
    await rooms.append(b"one")
    slow = rooms.another()
    await rooms.freeze_window()
    held = await rooms.head()
    name = (await rooms.unfreeze(force=True)).batch
    assert name is not None
    closing = next(batch for batch in await rooms.windows())
    await rooms.datasets.purge(LOCAL_USER, name.dataset.name, force=True)
    assert closing.dataset is not None
    # What the other one holds is the head with the note, as it was before the batch was made.
    await slow.closings.finish(closed(held, rooms.rooms.means.now(), LOCAL_USER.name))
    assert await rooms.rooms.documents.fetch(DATASETS, str(closing.dataset)) is None
    assert (await rooms.head()).batch_count == 0
    await rooms.close()


async def test_several_servers_that_finish_one_window_make_one_batch() -> None:
    rooms = await start_batches(Policy(freeze_after_records=1, rotate=True))
    for number in range(4):
        await rooms.append(str(number).encode())
    servers = [rooms.another() for _ in range(3)]
    await asyncio.gather(*(server.closings.settle() for server in servers))
    assert await check_batches(rooms) == [b"0", b"1", b"2", b"3"]
    assert [event.kind for event in await rooms.log()].count(EventKind.SEALED) == 4
    for server in (*servers, rooms):
        await server.close()


def test_a_document_of_a_window_is_read_as_it_was_written() -> None:
    batch = Batch(BufferName("lab", "live"), "u", 3, 5, 9, 100, "system", 7, 8, 1, 2, DatasetName("lab", "d"), "r", 4)
    assert batch_of(batch_document(batch)) == batch
