"""What users were promised about records: each with its bits, once, counted and listed exactly, and logged."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tests.end_to_end.passing import proxy
from tests.servers import Server
from tests.stores import DURABLE, Site

from measurand.client import Buffer, Catalog, Client, errors
from measurand.client.hashing import digest

AWKWARD = np.frombuffer(
    struct.pack("<4Q", 0x7FF8DEAD00000001, 0x7FF0000000000001, 1 << 63, 1) + np.array([np.inf, -np.inf]).tobytes(),
    "<f8",
)
"""NaN with a payload, quiet and signalling, minus zero, a subnormal, infinities."""


@pytest.fixture
def buffer(lab: Catalog) -> Buffer:
    return lab.create_buffer("v1")


# --------------------------------------------------------------------------------------------------- bits (BU-1, BU-8)


def test_records_have_their_bits_however_they_are_read(buffer: Buffer) -> None:
    block = np.concatenate([AWKWARD, np.random.default_rng(1).normal(size=294)])
    with buffer.writer() as out:
        out.write(block, {"channel": "h"})
    assert buffer.append(block, {"channel": "h"}) == 2
    found = [*buffer.read(range(1, 3)), *buffer.tail(timeout=0.5), buffer.last()]
    with buffer.consume("g", timeout=1) as records:
        for record in records:
            found.append(record)
            record.ack()
    batch = buffer.rotate()
    assert batch is not None
    found += batch.read(batch.sequences)
    assert len(found) == 9
    for record in found:
        assert record is not None
        assert (record.array.dtype, record.array.shape, record.metadata) == (block.dtype, (300,), {"channel": "h"})
        assert record.array.tobytes() == block.tobytes()


def test_an_empty_record_and_one_of_64_mib_work_and_one_byte_more_does_not(buffer: Buffer) -> None:
    largest = np.random.default_rng(2).bytes(64 << 20)
    assert [buffer.append(data) for data in (b"", largest)] == [1, 2]
    assert buffer.read(1).data == b""
    assert digest(buffer.read(2).data) == digest(largest)
    with pytest.raises(errors.InvalidArgument) as refused:
        buffer.append(largest + b"x")
    assert refused.value.reason == "TOO_LARGE"
    assert [digest(record.data) for record in buffer.tail(1, timeout=5)] == [digest(largest)]
    assert (buffer.stats().records, buffer.stats().bytes) == (2, 64 << 20)


def test_what_is_wrong_stores_nothing_and_does_not_disturb_others(lab: Catalog, buffer: Buffer) -> None:
    wrong: list[Callable[[], object]] = [
        lambda: buffer.append("text"),
        lambda: buffer.append([1.0]),
        lambda: buffer.append(np.array([object()])),
        lambda: buffer.append(b"a", {"nul\0": 1}),
        lambda: buffer.append(b"a", {"x": object()}),
        lambda: buffer.append(b"a", {"x": "y" * 70_000}),
        lambda: buffer.append(b"a", id="x" * 65),
        lambda: buffer.append(b"a", gps=float("nan")),
        lambda: buffer.append(b"a", time="now"),
        lambda: buffer.append(b"a", part=("e", 2, 2)),
    ]
    stop = threading.Event()

    def go_on() -> int:
        count = 0
        while not stop.is_set():
            buffer.append(b"good")
            count += 1
        return count

    with ThreadPoolExecutor(2) as pool:
        good = [pool.submit(go_on) for _ in range(2)]
        for call in wrong:
            with pytest.raises(errors.InvalidArgument):
                call()
        stop.set()
        count = sum(one.result() for one in good)
    assert (buffer.stats().records, buffer.stats().bytes) == (count, 4 * count)
    assert [event.kind for event in buffer.log()] == ["created"]
    with pytest.raises(errors.NotFound):
        lab.buffer("v2")
    with pytest.raises(errors.InvalidArgument):
        lab.create_buffer("Not A Name")


# ------------------------------------------------------------------------------------ unique and complete (BU-2, BU-3)


def test_a_thousand_records_of_many_writers_are_stored_once_each(shared: Server, lab: Catalog, buffer: Buffer) -> None:
    def produce(number: int) -> dict[int, bytes]:
        """Half of them number their records in a writer, half append one by one."""
        data = [b"%d %d " % (number, i) + bytes([i]) * number for i in range(25)]
        with Client(shared.address) as client:
            there = client.catalog(lab.id).buffer("v1")
            if number % 2:
                return {there.append(one): one for one in data}
            places: list[int | None] = []
            with there.writer() as out:
                out.on_durable(lambda _, sequence: places.append(sequence))
                for one in data:
                    out.write(one)
            return {place: one for place, one in zip(places, data, strict=True) if place is not None}

    with ThreadPoolExecutor(40) as pool:
        parts = list(pool.map(produce, range(40)))
    sent = {sequence: data for part in parts for sequence, data in part.items()}
    assert sorted(sent) == list(range(1, 1001))
    assert {record.seq: record.data for record in buffer.records(data=True)} == sent
    assert all(list(part) == sorted(part) for part in parts)
    stats = buffer.stats()
    assert (stats.records, stats.bytes) == (1000, sum(map(len, sent.values())))


def test_a_repeat_is_no_duplicate_though_answers_are_lost(shared: Server, lab: Catalog, buffer: Buffer) -> None:
    with proxy() as passing:
        passing.lead_to(shared.address)
        with Client(passing.address) as client:
            there = client.catalog(lab.id).buffer("v1")
            for position in range(10_000, 200_000, 9_000):
                passing.at(position, passing.cut)
            sequences = [there.append(bytes(300), id=f"x{i}") for i in range(150)]
            assert [there.append(bytes(300), id=f"x{i}") for i in range(150)] == sequences
    assert sequences == list(range(1, 151))
    assert buffer.stats().records == 150
    with pytest.raises(errors.InvalidArgument) as refused:
        buffer.append(b"other", id="x17")
    assert refused.value.reason == "REQUEST_ID_REUSED"


# ----------------------------------------------------------------------------------------------- boots empty (BU-5)


@pytest.mark.usefixtures("_own_places")
def test_an_empty_store_boots_and_a_frozen_buffer_comes_back_frozen(site: Site) -> None:
    with site.running() as server, Client(server.address) as client:
        lab = client.create_catalog("lab")
        assert lab.buffers() == []
        buffer = lab.create_buffer("v1")
        stats = buffer.stats()
        assert (stats.state, stats.records, stats.bytes, list(buffer.records())) == ("ACTIVE", 0, 0, [])
        assert [event.kind for event in buffer.log()] == ["created"]
        buffer.append(b"abc")
        freeze = buffer.freeze(force=True)
    if site.kind not in DURABLE:
        return
    with site.running() as server, Client(server.address) as client:
        buffer = client.catalog("lab").buffer("v1")
        stats = buffer.stats()
        assert (stats.state, stats.owner, stats.records, stats.bytes) == ("FROZEN", freeze.owner, 1, 3)
        with pytest.raises(errors.PermissionDenied):
            buffer.unfreeze()
        batch = buffer.unfreeze(force=True)
        assert batch is not None
        assert batch.read(1).data == b"abc"


# ------------------------------------------------------------------------------------------- pages and filters (BU-6)


def test_pages_hold_every_record_once_while_others_come(buffer: Buffer) -> None:
    with buffer.writer() as out:
        for i in range(3000):
            out.write(b"%d" % i, {"gps": i, "channel": "hl"[i % 2]})
        out.flush()
        listed: list[int] = []
        for record in buffer.records(limit=3000):
            listed.append(record.seq)
            if len(listed) % 500 == 0:
                out.write(b"more")
        assert listed == list(range(1, 3001))
    wanted = buffer.records(filter='metadata.gps >= 2990 AND metadata.channel = "h"')
    assert [record.metadata["gps"] for record in wanted] == [2990, 2992, 2994, 2996, 2998]
    assert buffer.read(1500).data == b"1499"


# ---------------------------------------------------------------------------------------------------- the log (BU-7)


def kinds(events: Iterable[object]) -> list[str]:
    return [str(getattr(event, "kind", "")) for event in events]


@pytest.mark.stores(*DURABLE)
@pytest.mark.usefixtures("_own_places")
def test_the_log_outlives_seals_and_a_kill_and_shows_what_is_done_elsewhere(site: Site) -> None:
    server = site.start()
    try:
        with Client(server.address) as client:
            buffer = client.create_catalog("lab").create_buffer("v1")
            for _ in range(3):
                buffer.append(b"a")
                buffer.freeze(force=True)
                buffer.unfreeze()
            before = list(buffer.log())
            seen: list[str] = []
            found = threading.Event()

            def follow() -> None:
                with Client(server.address) as other:
                    for event in other.catalog("lab").buffer("v1").log(before[-1].number, follow=True):
                        seen.append(event.kind)
                        if event.kind == "frozen":
                            found.set()
                            return

            follower = threading.Thread(target=follow)
            follower.start()
            buffer.append(b"b")
            buffer.freeze(force=True)
            assert found.wait(20)
            follower.join()
            before = list(buffer.log())
        assert kinds(before).count("sealed") == 3
        assert [event.number for event in before] == list(range(1, len(before) + 1))
        server.kill()
        server = site.start()
        with Client(server.address) as client:
            assert list(client.catalog("lab").buffer("v1").log())[: len(before)] == before
    finally:
        if server.process.poll() is None:
            server.stop()


# ------------------------------------------------------------------------------------------- an orderly end (BU-16)


@pytest.mark.stores(*DURABLE)
@pytest.mark.usefixtures("_own_places")
def test_what_was_acknowledged_when_the_server_was_asked_to_end_is_stored(site: Site) -> None:
    acknowledged: dict[int, bytes] = {}

    def produce(address: str, number: int) -> None:
        with Client(address) as client:
            buffer = client.catalog("lab").buffer("v1")
            for i in range(10_000):
                data = b"%d %d" % (number, i)
                try:
                    acknowledged[buffer.append(data, timeout=0.5)] = data
                except errors.MeasurandError:
                    return

    server = site.start()
    try:
        with Client(server.address) as client:
            client.create_catalog("lab").create_buffer("v1")
        with ThreadPoolExecutor(8) as pool:
            for number in range(8):
                pool.submit(produce, server.address, number)
            while len(acknowledged) < 50:
                time.sleep(0.01)
            assert server.stop() == 0
    finally:
        if server.process.poll() is None:
            server.kill()
    with site.running() as server, Client(server.address) as client:
        stored = {record.seq: record.data for record in client.catalog("lab").buffer("v1").records(data=True)}
    assert {sequence: stored[sequence] for sequence in acknowledged} == acknowledged
    assert sorted(stored) == list(range(1, len(stored) + 1))
    assert len(set(stored.values())) == len(stored)
