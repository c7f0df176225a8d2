"""Buffers as users see them: records in and out, frozen and sealed, with their figures and their log."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from measurand.client import AsyncBuffer, AsyncCatalog, AsyncClient, Part, errors


@pytest.fixture
async def buffer(lab: AsyncCatalog) -> AsyncBuffer:
    return await lab.create_buffer("v1")


async def test_a_new_buffer_is_empty_and_found_by_its_name(lab: AsyncCatalog) -> None:
    made = await lab.create_buffer("h1-strain", metadata={"detector": "H1"}, description="strain")
    stats = await made.stats()
    assert (stats.state, stats.records, stats.bytes, stats.next_sequence, stats.batches) == ("ACTIVE", 0, 0, 1, 0)
    found = await lab.buffer("h1-strain")
    assert (found.id, found.metadata, found.description) == ("h1-strain", {"detector": "H1"}, "strain")
    assert [one.id for one in await lab.buffers()] == ["h1-strain"]
    assert await found.last() is None
    assert [record async for record in found.records()] == []
    assert await found.snapshot(5) == await found.snapshot("8s") == []
    with pytest.raises(errors.AlreadyExists):
        await lab.create_buffer("h1-strain")
    again = await lab.create_buffer("h1-strain", exist_ok=True)
    assert again.metadata == {"detector": "H1"}
    with pytest.raises(errors.NotFound):
        await lab.buffer("l1-strain")


async def test_a_record_comes_back_with_all_that_was_said_of_it(buffer: AsyncBuffer) -> None:
    array = np.array([[1.5, np.nan], [-0.0, np.inf]], "f4")
    began = datetime.now(UTC)
    sequence = await buffer.append(array, {"channel": "h"}, gps=1187008882.4, id="x1", part=("event-1", 0, 3))
    assert sequence == 1
    record = await buffer.read(1)
    assert (record.array.dtype, record.array.tobytes()) == (np.dtype("f4"), array.tobytes())
    assert (record.seq, record.metadata, record.id, record.size) == (1, {"channel": "h"}, "x1", 16)
    assert record.event_time == datetime(2017, 8, 17, 12, 41, 4, 400_000, tzinfo=UTC)
    assert record.part == Part("event-1", 0, 3)
    assert record.time is not None and abs((record.time - began).total_seconds()) < 60
    assert "Record 1" in repr(record)


async def test_a_record_with_an_id_is_stored_once(buffer: AsyncBuffer) -> None:
    assert [await buffer.append(b"abc", id="x17") for _ in range(3)] == [1, 1, 1]
    assert (await buffer.stats()).records == 1
    with pytest.raises(errors.RequestIdReused):
        await buffer.append(b"other", id="x17")


async def test_large_and_empty_records_come_back(buffer: AsyncBuffer) -> None:
    large = np.random.default_rng(1).bytes(5_000_001)
    assert [await buffer.append(data) for data in (b"", large, b"z")] == [1, 2, 3]
    assert [record.data for record in await buffer.read(range(1, 4))] == [b"", large, b"z"]
    assert [record.data async for record in buffer.tail(timeout=0.2)] == [b"", large, b"z"]
    with pytest.raises(errors.TooLarge):
        await buffer.append(bytes((64 << 20) + 1))
    assert (await buffer.stats()).records == 3


async def test_records_are_listed_without_their_bytes_and_by_filter(buffer: AsyncBuffer) -> None:
    for i in range(20):
        await buffer.append(bytes(i), {"gps": i, "channel": "h" if i % 2 else "l"}, time=1000.0 + i)
    listed = [record async for record in buffer.records(after=3, limit=4)]
    assert [(record.seq, record.size) for record in listed] == [(4, 3), (5, 4), (6, 5), (7, 6)]
    with pytest.raises(errors.FailedPrecondition, match="read"):
        _ = listed[0].data
    wanted = 'metadata.gps >= 10 AND metadata.channel = "h"'
    assert [record.metadata["gps"] async for record in buffer.records(filter=wanted)] == [11, 13, 15, 17, 19]
    timed = buffer.records(start=1005.0, end=1008.0, by_event_time=True, data=True)
    assert [record.data async for record in timed] == [bytes(5), bytes(6), bytes(7)]
    with pytest.raises(errors.FilterInvalid):
        _ = [record async for record in buffer.records(filter="gps >")]


async def test_a_record_that_is_not_there_is_not_found(buffer: AsyncBuffer) -> None:
    await buffer.append(b"a")
    for which in (2, range(1, 3)):
        with pytest.raises(errors.NotFound):
            await buffer.read(which)
    for wrong in (0, range(0, 2), range(1, 9, 2)):
        with pytest.raises(errors.InvalidArgument):
            await buffer.read(wrong)
    assert await buffer.read(range(1, 1)) == []


async def test_a_snapshot_is_the_newest_records(buffer: AsyncBuffer) -> None:
    for i in range(10):
        await buffer.append(bytes([i]))
    assert [record.seq for record in await buffer.snapshot(3)] == [8, 9, 10]
    assert [record.seq for record in await buffer.snapshot("1 h")] == list(range(1, 11))
    last = await buffer.last()
    assert last is not None and last.data == b"\x09"


async def test_below_its_limits_a_buffer_waits_and_nothing_changes(lab: AsyncCatalog) -> None:
    buffer = await lab.create_buffer("v1", freeze_after={"bytes": 2000})
    for _ in range(5):
        await buffer.append(bytes(399))
    freeze = await buffer.freeze()
    assert (freeze.state, freeze.records, freeze.bytes, freeze.missing, freeze.owner) == ("WAITING", 5, 1995, 5, "")
    await buffer.append(bytes(5))
    freeze = await buffer.freeze()
    assert (freeze.state, freeze.records, freeze.bytes, freeze.missing) == ("FROZEN", 6, 2000, 0)
    assert freeze.since is not None
    assert freeze.token and freeze.token not in repr(freeze)


async def test_a_frozen_buffer_takes_nothing_and_says_whose_it_is(lab: AsyncCatalog, buffer: AsyncBuffer) -> None:
    await buffer.append(b"a")
    freeze = await buffer.freeze(force=True, comment="training")
    assert freeze.state == "FROZEN"
    other = await lab.buffer("v1")
    with pytest.raises(errors.Frozen) as told:
        await other.append(b"b")
    assert told.value.details["owner"] == freeze.owner
    assert told.value.retry_seconds
    with pytest.raises(errors.Frozen):
        await other.freeze(force=True)
    with pytest.raises(errors.PermissionDenied):
        await other.unfreeze()
    stats = await other.stats()
    assert (stats.state, stats.records, stats.owner) == ("FROZEN", 1, freeze.owner)
    batch = await buffer.unfreeze(title="a batch", tags=["good"], metadata={"run": 7})
    assert batch is not None
    assert (batch.counts, batch.sequences, batch.title, batch.tags) == (
        {"records": 1, "bytes": 1},
        range(1, 2),
        "a batch",
        ["good"],
    )
    assert batch.metadata["run"] == 7
    assert (await other.stats()).state == "ACTIVE"
    assert await other.append(b"b") == 2
    with pytest.raises(errors.NotFrozen):
        await buffer.unfreeze()


async def test_a_freeze_is_prolonged_by_whoever_holds_it(lab: AsyncCatalog, buffer: AsyncBuffer) -> None:
    first = await buffer.freeze(force=True, lease="2 min")
    second = await buffer.freeze(lease="1 h")
    assert first.until is not None and second.until is not None
    assert (second.until - first.until).total_seconds() > 3000
    assert (first.window, first.token) == (second.window, second.token)
    other = await lab.buffer("v1")
    assert await other.unfreeze(force=True) is None  # nothing was in it
    assert (await buffer.freeze(force=True)).window == 2  # the first freeze is over: this is another


async def test_a_batch_reads_as_the_buffer_did(buffer: AsyncBuffer, lab: AsyncCatalog) -> None:
    for i in range(5):
        await buffer.append(np.full(3, i))
    batch = await buffer.rotate()
    assert batch is not None
    await buffer.append(b"next window")
    assert [record.seq async for record in batch.records()] == [1, 2, 3, 4, 5]
    assert (await batch.read(4)).array.tolist() == [3, 3, 3]
    assert len(await batch.read(batch.sequences)) == len(batch) == 5
    with pytest.raises(errors.NotFound):
        await batch.read(6)
    found = await buffer.batches()
    assert found == [batch]
    dataset = await lab.get(batch.name)
    assert (dataset.kind, dataset.name) == ("batch", batch.dataset.name)
    assert [one.id async for one in lab.find("kind = batch")] == [batch.name]
    await batch.pin()
    assert (batch.is_pinned, (await lab.get(batch.name)).tags) == (True, ("pinned",))
    await batch.unpin()
    assert (batch.is_pinned, (await lab.get(batch.name)).tags) == (False, ())
    assert await (await lab.create_buffer("empty")).rotate() is None


async def test_the_block_that_holds_a_buffer_seals_it_whatever_happens(buffer: AsyncBuffer, lab: AsyncCatalog) -> None:
    for i in range(3):
        await buffer.append(bytes([i]))
    async with buffer.frozen(force=True, run_id="run-1", metadata={"run": 1}) as window:
        assert [record.data for record in await window.read(window.sequences)] == [b"\0", b"\1", b"\2"]
        assert window.freeze.until is not None
        with pytest.raises(errors.Frozen):
            await (await lab.buffer("v1")).append(b"x")
    assert window.batch is not None and window.batch.metadata["run"] == 1
    await buffer.append(b"y")
    with pytest.raises(ZeroDivisionError):
        async with buffer.frozen(force=True):
            _ = 1 / 0
    assert (await buffer.stats()).state == "ACTIVE"
    assert [batch.sequences for batch in await buffer.batches()] == [range(4, 5), range(1, 4)]


async def test_a_run_that_died_in_the_block_finds_its_window_again(client: AsyncClient, lab: AsyncCatalog) -> None:
    first, second = await lab.create_buffer("v1"), await lab.buffer("v1")
    await first.append(b"a")
    dead = await first.freeze(force=True, lease=900, run_id="run-7")
    with pytest.raises(errors.Frozen):
        async with second.frozen(force=True, run_id="run-8"):
            pass
    async with second.frozen(force=True, run_id="run-7") as window:
        assert window.freeze.token == dead.token
    assert window.batch is not None and window.batch.counts["records"] == 1


async def test_a_block_on_a_window_below_its_limits_is_not_begun(lab: AsyncCatalog) -> None:
    buffer = await lab.create_buffer("v1", freeze_after={"records": 10})
    with pytest.raises(errors.NotFrozen, match="10 are missing"):
        async with buffer.frozen(wait=0.1):
            raise AssertionError
    assert (await buffer.stats()).state == "ACTIVE"


async def test_the_log_tells_what_happened(buffer: AsyncBuffer) -> None:
    await buffer.append(b"a")
    note = await buffer.note("the shutter was open")
    await buffer.freeze(force=True, comment="training")
    await buffer.unfreeze()
    entries = [entry async for entry in buffer.log()]
    assert [entry.number for entry in entries] == list(range(1, len(entries) + 1))
    kinds = [entry.kind for entry in entries]
    assert kinds[:3] == ["created", "note", "frozen"]
    assert {"sealed", "opened"} <= set(kinds)
    assert (note.number, note.message) == (2, "the shutter was open")
    assert [entry.number async for entry in buffer.log(after=2, limit=2)] == [3, 4]
    (batch,) = await buffer.batches()
    assert [entry.dataset for entry in entries if entry.kind == "sealed"] == [batch.dataset.name]
    followed = []
    async for entry in buffer.log(after=note.number - 1, follow=True):
        followed.append(entry)
        if len(followed) == len(entries) - 1:
            break
    assert followed == entries[1:]


async def test_a_finished_buffer_takes_nothing_and_its_tail_ends_with_the_next(lab: AsyncCatalog) -> None:
    names = ["a", "b", "c"]
    buffers = [await lab.create_buffer(name) for name in names]
    for buffer, following in zip(buffers, [*buffers[1:], None], strict=True):
        for i in range(3):
            await buffer.append(bytes([i]))
        await buffer.finish(next=following)
    with pytest.raises(errors.FailedPrecondition) as refused:
        await buffers[0].append(b"x")
    assert refused.value.reason == "STATE_WRONG"
    seen, name = [], "a"
    while name:
        tail = (await lab.buffer(name)).tail()
        seen += [(name, record.seq) async for record in tail]
        assert tail.is_finished
        name = tail.next.rpartition("/")[2]
    assert seen == [(name, sequence) for name in names for sequence in (1, 2, 3)]


async def test_a_tail_begins_where_it_is_told_to(buffer: AsyncBuffer) -> None:
    for i in range(5):
        await buffer.append(bytes([i]), {"i": i})
    assert [record.seq async for record in buffer.tail("begin", timeout=0.1)] == [1, 2, 3, 4, 5]
    assert [record.seq async for record in buffer.tail(3, timeout=0.1)] == [4, 5]
    assert [record.seq async for record in buffer.tail(filter="metadata.i = 2", timeout=0.1)] == [3]
    now = await buffer.tail("now", timeout=0.1).open()
    await buffer.append(b"x")
    assert [record.seq async for record in now] == [6]
    await buffer.append(b"y")
    assert [record.seq async for record in now] == [7]  # it goes on where it was left
    listed = [record async for record in buffer.tail(5, data=False, timeout=0.1)]
    assert [record.size for record in listed] == [1, 1]
    for wrong in (-3, "soon", 1.5):
        with pytest.raises(errors.InvalidArgument):
            buffer.tail(wrong)  # type: ignore[arg-type]  # that is the point
    with pytest.raises(errors.InvalidArgument):
        buffer.tail(slow="hurry")  # type: ignore[arg-type]


async def test_a_tail_gets_records_as_they_come(buffer: AsyncBuffer) -> None:
    tail = await buffer.tail("now", timeout=20).open()
    await buffer.append(b"first")
    seen = []
    async for record in tail:
        seen.append(record.seq)
        if len(seen) == 10:
            break
        await buffer.append(b"more")
    assert seen == list(range(1, 11))


async def test_policy_metadata_and_description_can_be_changed(lab: AsyncCatalog, buffer: AsyncBuffer) -> None:
    await buffer.update({"a": {"b": 1}, "c": 2}, description="new")
    await buffer.update({"c": None}, freeze_after={"records": 2})
    found = await lab.buffer("v1")
    assert (found.metadata, found.description) == ({"a": {"b": 1}}, "new")
    await found.append(b"1")
    assert (await found.freeze()).missing_of == {"records": 1}
    stale = await lab.buffer("v1")
    await buffer.update(description="newer")
    with pytest.raises(errors.Conflict):
        await stale.update(description="other")


async def test_a_buffer_with_records_is_deleted_by_force_and_its_batches_stay(
    buffer: AsyncBuffer, lab: AsyncCatalog
) -> None:
    await buffer.append(b"a")
    batch = await buffer.rotate()
    assert batch is not None
    await buffer.append(b"b")
    with pytest.raises(errors.ResourceInUse):
        await buffer.delete()
    await buffer.delete(force=True)
    with pytest.raises(errors.NotFound):
        await lab.buffer("v1")
    assert (await batch.read(1)).data == b"a"
