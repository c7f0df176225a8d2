"""What users were promised about buffers as wholes: frozen at once, sealed whole, followed live, shared."""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
from tests.servers import Server

from measurand.client import Batch, Buffer, Catalog, Client, errors

RATE = 16384
STRAIN_SECONDS = 3


@pytest.fixture
def buffer(lab: Catalog) -> Buffer:
    return lab.create_buffer("v1")


@contextmanager
def appending(server: Server, lab: Catalog, threads: int) -> Iterator[dict[int, bytes]]:
    """Append in a tight loop until the block ends or the buffer is frozen; gives what was acknowledged."""
    acknowledged: dict[int, bytes] = {}
    stop = threading.Event()
    faults: list[BaseException] = []

    def produce(number: int) -> None:
        try:
            with Client(server.address) as client:
                there = client.catalog(lab.id).buffer("v1")
                count = 0
                while not stop.is_set():
                    data = b"%d %d" % (number, count)
                    acknowledged[there.append(data)] = data
                    count += 1
        except errors.Frozen:
            return
        except BaseException as error:
            faults.append(error)

    workers = [threading.Thread(target=produce, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    try:
        yield acknowledged
    finally:
        stop.set()
        for worker in workers:
            worker.join()
    assert faults == []


def wait_for(acknowledged: dict[int, bytes], count: int) -> None:
    """Return when so many records are acknowledged."""
    end = time.monotonic() + 60
    while len(acknowledged) < count:
        assert time.monotonic() < end, f"only {len(acknowledged)} of {count} records came"
        time.sleep(0.005)


# --------------------------------------------------------------------------------------- freezing (BU-9, BU-10, BU-12)


def test_waiting_for_the_limits_returns_by_itself_when_they_are_met(shared: Server, lab: Catalog) -> None:
    buffer = lab.create_buffer("v1", freeze_after={"bytes": 2000})
    with ThreadPoolExecutor(1) as pool, Client(shared.address) as client:
        waiting = pool.submit(client.catalog(lab.id).buffer("v1").freeze, wait=60)
        for _ in range(5):
            buffer.append(bytes(399))
        assert not waiting.done()
        buffer.append(bytes(5))
        freeze = waiting.result()
    assert (freeze.state, freeze.records, freeze.bytes) == ("FROZEN", 6, 2000)
    with pytest.raises(errors.Frozen):
        buffer.append(b"x")


def test_nothing_gets_in_after_a_freeze_and_its_counts_are_final(shared: Server, lab: Catalog, buffer: Buffer) -> None:
    for _ in range(3):
        with appending(shared, lab, 12) as acknowledged:
            wait_for(acknowledged, 30)
            freeze = buffer.freeze(force=True)
            window = buffer.stats().window_first_sequence
            with pytest.raises(errors.Frozen) as refused:
                buffer.append(b"late")
            assert refused.value.details["owner"] == freeze.owner
        stats = buffer.stats()
        assert (stats.records, stats.bytes) == (freeze.records, freeze.bytes)
        stored = {record.seq: record.data for record in buffer.records(window - 1, data=True)}
        assert stored == acknowledged
        assert (len(stored), sum(map(len, stored.values()))) == (freeze.records, freeze.bytes)
        buffer.unfreeze()


def test_of_two_who_freeze_at_once_one_does(shared: Server, lab: Catalog, buffer: Buffer) -> None:
    def freeze(_: int) -> str:
        with Client(shared.address) as client:
            try:
                return client.catalog(lab.id).buffer("v1").freeze(force=True).state
            except errors.Frozen as error:
                return error.details["owner"]

    with ThreadPoolExecutor(6) as pool:
        came = list(pool.map(freeze, range(6)))
    assert sorted(came) == sorted(["FROZEN", *[buffer.stats().owner] * 5])


def test_twenty_windows_are_twenty_batches_with_every_record_in_one(buffer: Buffer) -> None:
    sent: list[bytes] = []
    made: list[Batch] = []
    for cycle in range(20):
        for i in range(3):
            sent.append(b"%d %d" % (cycle, i))
            buffer.append(sent[-1])
        buffer.freeze(force=True)
        batch = buffer.unfreeze()
        assert batch is not None
        made.append(batch)
    buffer.append(b"open")
    assert len({batch.name for batch in made}) == 20
    assert [batch.window for batch in made] == list(range(1, 21))
    assert [record.data for batch in made for record in batch.records(data=True)] == sent
    assert buffer.batches() == made[::-1]
    assert [record.data for record in buffer.records(60, data=True)] == [b"open"]
    assert buffer.stats().batches == 20
    buffer.rotate()
    buffer.freeze(force=True)
    assert buffer.unfreeze() is None
    buffer.freeze(force=True)
    empty = buffer.unfreeze(allow_empty=True)
    assert empty is not None and len(empty) == 0


# ------------------------------------------------------------------------------------------------ rotating (BU-13)


def test_a_rotation_refuses_nobody_and_each_record_is_in_one_batch(
    shared: Server, lab: Catalog, buffer: Buffer
) -> None:
    made: list[Batch] = []
    with appending(shared, lab, 8) as acknowledged:
        for number in range(8):
            wait_for(acknowledged, 10 * (number + 1))
            batch = buffer.rotate()
            if batch is not None:
                made.append(batch)
    ends = [(batch.sequences.start, batch.sequences.stop) for batch in made]
    assert ends[0][0] == 1
    assert [end for _, end in ends[:-1]] == [start for start, _ in ends[1:]]
    stored = {record.seq: record.data for batch in made for record in batch.records(data=True)}
    stored |= {record.seq: record.data for record in buffer.records(ends[-1][1] - 1, data=True)}
    assert stored == acknowledged
    assert sum(len(batch) for batch in made) == ends[-1][1] - 1


def test_a_policy_rotates_by_itself(lab: Catalog) -> None:
    buffer = lab.create_buffer("v1", freeze_after={"records": 5}, rotate=True)
    for i in range(12):
        buffer.append(bytes([i]))
    end = time.monotonic() + 60
    while len(found := buffer.batches()) < 2:
        assert time.monotonic() < end
        time.sleep(0.02)
    assert [(batch.sequences, batch.owner) for batch in found] == [(range(6, 11), "system"), (range(1, 6), "system")]
    assert buffer.stats().records == 2


# ------------------------------------------------------------------------------------------- live (BU-25, BU-27, BU-28)


def test_strain_in_real_time_is_followed_and_looked_at_without_loss(
    shared: Server, lab: Catalog, buffer: Buffer
) -> None:
    strain = np.random.default_rng(27).normal(size=RATE * STRAIN_SECONDS) * 1e-21
    edges = [round(RATE * k / 10) for k in range(10 * STRAIN_SECONDS + 1)]
    blocks = [strain[a:b] for a, b in itertools.pairwise(edges)]
    begins = [0, 0, random.Random(28).randrange(1, 10)]

    def follow(after: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        with Client(shared.address) as client:
            tail = client.catalog(lab.id).buffer("v1").tail(after)
            return np.concatenate([record.array for record in tail if record.seq > 0])

    def look() -> int:
        looks = 0
        with Client(shared.address) as client:
            there = client.catalog(lab.id).buffer("v1")
            while there.stats().state == "ACTIVE":
                found = there.snapshot(8)
                if found:
                    first = found[0].seq
                    assert [record.seq for record in found] == list(range(first, first + len(found)))
                    seen = np.concatenate([record.array for record in found])
                    begin = edges[first - 1]
                    assert seen.tobytes() == strain[begin : begin + len(seen)].tobytes()
                    looks += 1
        return looks

    with ThreadPoolExecutor(4) as pool:
        tails = [pool.submit(follow, after) for after in begins]
        looking = pool.submit(look)
        begin = time.monotonic()
        with buffer.writer() as out:
            for number, block in enumerate(blocks, 1):
                time.sleep(max(0.0, begin + number / 10 - time.monotonic()))
                out.write(block, gps=1e9 + (number - 1) / 10)
        buffer.finish()
        for after, tail in zip(begins, tails, strict=True):
            assert tail.result().tobytes() == strain[edges[after] :].tobytes()
        assert looking.result() > 0
    assert buffer.stats().records == len(blocks)


def test_a_slow_tail_holds_up_nobody_and_gets_every_record(buffer: Buffer) -> None:
    tail = buffer.tail("begin", timeout=30)
    seen = []
    with buffer.writer() as out:
        out.write(b"first")
        out.flush()
        for record in tail:
            seen.append(record.seq)
            if record.seq == 1:  # while this tail stands still, 40 MiB come
                for _ in range(40):
                    out.write(bytes(1 << 20))
                out.flush()
            if record.seq == 41:
                break
    assert seen == list(range(1, 42))


# ------------------------------------------------------------------------------------------------ consumers (BU-29, 31)


def test_records_of_a_consumer_that_is_killed_come_to_the_others(shared: Server, lab: Catalog, buffer: Buffer) -> None:
    with buffer.writer() as out:
        for i in range(1000):
            out.write(b"%d" % i)
    command = [sys.executable, "-m", "tests.end_to_end.recording", shared.address]
    command += ["--catalog", lab.id, "--count", "10", "--hold", "g"]
    victim = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert victim.stdout is not None
    with victim.stdout:
        held = {int(victim.stdout.readline()) for _ in range(10)}
        victim.kill()
    victim.wait(60)

    def member(_: int) -> list[tuple[int, int]]:
        seen = []
        with Client(shared.address) as client:
            there = client.catalog(lab.id).buffer("v1")
            with there.consume("g", ack_timeout=2, most=50, timeout=6) as records:
                for record in records:
                    seen.append((record.seq, record.delivery))
                    record.ack()
        return seen

    with ThreadPoolExecutor(3) as pool:
        seen = [one for part in pool.map(member, range(3)) for one in part]
    assert sorted(sequence for sequence, _ in seen) == list(range(1, 1001))
    assert {sequence for sequence, delivery in seen if delivery == 2} == held
    assert (buffer.group("g").position(), buffer.group("g").lag()) == (1000, 0)


def test_sets_of_several_producers_come_whole(shared: Server, lab: Catalog, buffer: Buffer) -> None:
    events = 60
    lost = {(3, 1), (10, 0), (33, 2)}

    def produce(part: int) -> None:
        with Client(shared.address) as client, client.catalog(lab.id).buffer("v1").writer() as out:
            for event in range(events):
                if (event, part) not in lost:
                    out.write(b"%d" % part, id=f"{event}-{part}", part=(f"event-{event}", part, 3))
                    if event == 5:  # the same part twice is one
                        out.write(b"%d" % part, id=f"{event}-{part}", part=(f"event-{event}", part, 3))

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(produce, range(3)))
    sets: dict[str, list[int]] = {}
    missing: dict[str, tuple[int, ...]] = {}
    buffer.finish()
    with buffer.consume("g", whole_sets=True, part_timeout=2, timeout=30) as records:
        for record in records:
            assert record.part is not None
            sets.setdefault(record.part.set, []).append(record.part.index)
            if record.missing_parts:
                missing[record.part.set] = record.missing_parts
            record.ack()
    assert missing == {"event-3": (1,), "event-10": (0,), "event-33": (2,)}
    assert {name: sorted(parts) for name, parts in sets.items()} == {
        f"event-{event}": [part for part in range(3) if (event, part) not in lost] for event in range(events)
    }
