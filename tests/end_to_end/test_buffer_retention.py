"""What buffers forget by themselves, at a server whose background work comes every second."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.end_to_end.fleet import Servant, until
from tests.end_to_end.resting import holders
from tests.stores import Site, open_site

from measurand.client import Batch, Buffer, Catalog, Client, errors

MiB = 1 << 20

pytestmark = [pytest.mark.stores("fleet"), pytest.mark.usefixtures("_own_places")]


@pytest.fixture(scope="module")
def servant(stores: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Servant]]:
    with open_site(stores, tmp_path_factory.mktemp("retention") / "store") as empty:
        site = replace(empty, environment={**empty.environment, "MEASURAND_LIMITS__BLOB_GRACE": "2s"})
        servant = Servant(site, program="tests.end_to_end.hasty")
        servant.start()
        try:
            yield site, servant
        finally:
            servant.stop()


@pytest.fixture
def lab(servant: tuple[Site, Servant], request: pytest.FixtureRequest) -> Iterator[Catalog]:
    with Client(servant[1].address) as client:
        yield client.create_catalog(request.node.originalname.replace("_", "-")[:60].strip("-"))


def sealed(buffer: Buffer, *records: bytes) -> Batch:
    for record in records:
        buffer.append(record)
    batch = buffer.rotate()
    assert batch is not None
    return batch


def windows(buffer: Buffer) -> list[int]:
    return [batch.window for batch in buffer.batches()][::-1]


def consumed(buffer: Buffer) -> int:
    """Take one record as a consumer, and return its sequence."""
    with buffer.consume("behind", most=1, timeout=30) as records:
        record = next(iter(records))
        record.ack()
        return record.seq


def test_the_oldest_batches_go_and_what_is_pinned_or_open_stays(servant: tuple[Site, Servant], lab: Catalog) -> None:
    buffer = lab.create_buffer("v1")
    data = [os.urandom(MiB) for _ in range(10)]
    batches = [sealed(buffer, one) for one in data]
    batches[1].pin()
    buffer.append(b"open")
    buffer.update(retention={"batches": 3})
    until(lambda: windows(buffer) == [2, 8, 9, 10])

    kept = [1, 7, 8, 9]
    for number in kept:
        assert batches[number].read(number + 1).data == data[number]
    for number in set(range(10)) - set(kept):
        with pytest.raises(errors.NotFound):
            list(batches[number].records(data=True))
    log = list(buffer.log())
    expired = [event for event in log if event.kind == "batch_expired"]
    assert [event.window for event in expired] == [1, 3, 4, 5, 6, 7]
    assert all(event.actor == "system" and event.time and event.message for event in expired)
    stats = buffer.stats()
    assert (stats.records, stats.bytes, stats.next_sequence, stats.batches) == (1, 4, 12, 4)
    assert [record.seq for record in buffer.records()] == [8, 9, 10, 11]
    # Their bytes go from the store, and no others.
    until(lambda: [number for number in range(10) if holders(servant[0], data[number][:64])] == kept)
    assert [batches[number].read(number + 1).data for number in kept] == [data[number] for number in kept]
    assert buffer.read(11).data == b"open"


def test_a_batch_stays_while_somebody_reads_it(lab: Catalog) -> None:
    buffer = lab.create_buffer("v1")
    records = [os.urandom(2 * MiB) for _ in range(3)]  # more than one page
    held, other, newest = sealed(buffer, *records), sealed(buffer, b"other"), sealed(buffer, b"newest")
    reading = held.records(data=True)
    assert next(reading).data == records[0]
    buffer.update(retention={"batches": 1})
    until(lambda: windows(buffer) == [held.window, newest.window])
    assert [record.data for record in reading] == records[1:]
    with pytest.raises(errors.NotFound):
        other.read(other.sequences)


def test_records_of_sealed_windows_are_forgotten_and_whoever_is_behind_is_told(lab: Catalog) -> None:
    buffer = lab.create_buffer("v1")
    batch = sealed(buffer, b"1", b"2", b"3")
    buffer.append(b"4")
    assert consumed(buffer) == 1
    buffer.update(keep_sealed="1ms")
    until(lambda: [record.seq for record in buffer.records()] == [4])
    for behind in (
        lambda: buffer.read(range(2, 4)),
        lambda: next(iter(buffer.tail(1))),
        lambda: consumed(buffer),
    ):
        with pytest.raises(errors.HistoryTrimmed) as refused:
            behind()
        assert refused.value.reason == "HISTORY_TRIMMED"
        assert refused.value.details["first_sequence"] in (4, "4")
    assert [record.seq for record in buffer.tail(timeout=0.5)] == [4]
    assert [record.data for record in batch.records(data=True)] == [b"1", b"2", b"3"]
    assert [event.kind for event in buffer.log()][-1] == "trimmed"
    buffer.group("behind").seek("begin")
    assert consumed(buffer) == 4
