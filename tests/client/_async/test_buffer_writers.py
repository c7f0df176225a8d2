"""Writers of buffers: handed over in a moment, stored once, over lost connections, frozen buffers and full windows."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import numpy as np
import pytest
from tests.end_to_end.passing import Proxy, proxy

from measurand.client import AsyncBuffer, AsyncCatalog, AsyncClient, errors


@pytest.fixture
async def buffer(lab: AsyncCatalog) -> AsyncBuffer:
    return await lab.create_buffer("v1")


class Passed:
    """A buffer as it is reached through a proxy that the test can cut."""

    def __init__(self, passing: Proxy, address: str, client: AsyncClient) -> None:
        self.passing = passing
        self.address = address
        self.client = client

    async def buffer(self, lab: AsyncCatalog) -> AsyncBuffer:
        return await (await self.client.catalog(lab.id)).buffer("v1")

    def away(self) -> None:
        """The server is not reached any more."""
        self.passing.lead_to()
        self.passing.cut()

    def back(self) -> None:
        self.passing.lead_to(self.address)


@pytest.fixture
async def passed(address: str) -> AsyncGenerator[Passed, None]:
    with proxy() as passing:
        passing.lead_to(address)
        async with AsyncClient(passing.address) as client:
            yield Passed(passing, address, client)


async def data_of(buffer: AsyncBuffer) -> list[bytes]:
    return [record.data async for record in buffer.records(data=True)]


async def test_records_of_a_writer_are_stored_in_order_with_what_is_said_of_them(buffer: AsyncBuffer) -> None:
    told: list[tuple[int, int | None]] = []
    async with buffer.writer() as out:
        out.on_durable(lambda number, sequence: told.append((number, sequence)))
        assert [await out.write(bytes([i]), {"i": i}, gps=1e9 + i, id=f"r{i}") for i in range(100)] == [*range(1, 101)]
        assert await out.write(np.arange(3)) == 101
        assert (await out.flush(), out.durable, out.last) == (101, 101, 101)
        assert told == [(number, number) for number in range(1, 102)]
        writer = out.id
    records = [record async for record in buffer.records(data=True)]
    assert [record.data for record in records[:100]] == [bytes([i]) for i in range(100)]
    assert [(record.metadata["i"], record.id) for record in records[:100]] == [(i, f"r{i}") for i in range(100)]
    assert records[100].array.tolist() == [0, 1, 2]
    assert {record.writer for record in records} == {writer}
    with pytest.raises(errors.FailedPrecondition, match="closed"):
        await out.write(b"")


async def test_many_small_records_and_large_ones_keep_their_order(buffer: AsyncBuffer) -> None:
    chance = np.random.default_rng(5)
    sizes = [0, 1, 3_000_000, *chance.integers(0, 2000, 3000), (2 << 20), (2 << 20) + 1, 7]
    sent = [chance.bytes(int(size)) for size in sizes]
    async with buffer.writer() as out:
        for data in sent:
            await out.write(data)
    assert await data_of(buffer) == sent
    stats = await buffer.stats()
    assert (stats.records, stats.bytes) == (len(sent), sum(map(len, sent)))


async def test_what_cannot_be_stored_is_refused_and_the_writer_goes_on(buffer: AsyncBuffer) -> None:
    async with buffer.writer() as out:
        await out.write(b"a")
        with pytest.raises(errors.InvalidArgument):
            await out.write("text")
        with pytest.raises(errors.TooLarge):
            await out.write(b"", {"a": "x" * 70_000})
        assert await out.write(b"b") == 2
    assert await data_of(buffer) == [b"a", b"b"]


async def test_a_writer_of_no_buffer_says_so_at_its_entry(lab: AsyncCatalog, buffer: AsyncBuffer) -> None:
    await buffer.delete(force=True)
    with pytest.raises(errors.NotFound):
        async with buffer.writer():
            raise AssertionError


async def test_a_record_is_stored_once_however_often_the_connection_is_cut(
    passed: Passed, lab: AsyncCatalog, buffer: AsyncBuffer
) -> None:
    sent = [np.random.default_rng(i).bytes(5000) for i in range(400)]
    for position in range(200_000, 2_000_000, 300_000):
        passed.passing.at(position, passed.passing.cut)
    async with (await passed.buffer(lab)).writer() as out:
        for data in sent:
            await out.write(data)
        await out.flush()
    assert await data_of(buffer) == sent


async def test_a_writer_whose_server_is_away_fills_its_window_and_goes_on_when_it_is_back(
    passed: Passed, lab: AsyncCatalog, buffer: AsyncBuffer
) -> None:
    async with (await passed.buffer(lab)).writer(window_bytes=10_000) as out:
        await out.write(b"first")
        await out.flush()
        passed.away()
        taken = 0
        with pytest.raises(errors.Unavailable, match="no room"):  # noqa: PT012  # the block is the case
            while True:
                await out.write(bytes(1000), timeout=0.3)
                taken += 1
        assert 9 <= taken <= 10
        passed.back()
        await out.write(b"last")
    assert [len(data) for data in await data_of(buffer)] == [5, *[1000] * taken, 4]


async def test_a_writer_gives_up_when_its_patience_is_over(
    passed: Passed, lab: AsyncCatalog, buffer: AsyncBuffer
) -> None:
    there = await passed.buffer(lab)
    with pytest.raises(errors.MeasurandError) as gone:  # noqa: PT012  # the block is the case
        async with there.writer(retry_for=0.5) as out:
            passed.away()
            await out.write(b"a")
    assert "transport" in gone.value.details
    assert await data_of(buffer) == []


async def test_a_frozen_buffer_is_waited_for_or_not(lab: AsyncCatalog, buffer: AsyncBuffer) -> None:
    await buffer.append(b"a")
    await buffer.freeze(force=True)
    with pytest.raises(errors.Frozen) as frozen:
        async with buffer.writer(wait_while_frozen=0) as out:
            await out.write(b"b")
    assert frozen.value.details["owner"]
    async with buffer.writer() as out:
        await out.write(b"c")
        await buffer.unfreeze()
        await out.flush()
    assert [record.data for record in await buffer.snapshot(10)] == [b"a", b"c"]


async def test_an_error_in_the_block_saves_what_was_taken(buffer: AsyncBuffer) -> None:
    with pytest.raises(ZeroDivisionError):  # noqa: PT012  # the block is the case
        async with buffer.writer() as out:
            for i in range(50):
                await out.write(bytes([i]))
            _ = 1 / 0
    assert len(await data_of(buffer)) == 50


async def test_what_a_listener_raises_ends_the_writer(buffer: AsyncBuffer) -> None:
    def fail(number: int, sequence: int | None) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):  # noqa: PT012  # the block is the case
        async with buffer.writer() as out:
            out.on_durable(fail)
            await out.write(b"a")
            await out.flush()


# ---------------------------------------------------------------------------------------------------------- the spool


async def test_a_spool_takes_records_while_the_server_is_away_and_sends_them_later(
    passed: Passed, lab: AsyncCatalog, buffer: AsyncBuffer, tmp_path: Path
) -> None:
    spool = tmp_path / "spool"
    there = await passed.buffer(lab)
    with pytest.raises(errors.Unavailable, match="wait in the spool"):  # noqa: PT012  # the block is the case
        async with there.writer(spool=spool, retry_for=0.5, window_bytes=2000) as out:
            await out.write(b"first")
            await out.flush()
            passed.away()
            for i in range(100):
                await out.write(bytes([i]) * 100, timeout=0.0)
    assert await data_of(buffer) == [b"first"]
    passed.back()
    async with there.writer(spool=spool) as out:
        assert out.last == 101
        assert await out.write(b"last") == 102
    assert await data_of(buffer) == [b"first", *(bytes([i]) * 100 for i in range(100)), b"last"]
    assert not spool.exists()


async def test_a_record_whose_acknowledgement_was_lost_is_not_stored_again_by_the_next_run(
    lab: AsyncCatalog, buffer: AsyncBuffer, tmp_path: Path
) -> None:
    """The disk has the spool of before the server's answer, as after a kill."""
    spool = tmp_path / "spool"
    out = buffer.writer(spool=spool)
    await out.open()
    for i in range(10):
        await out.write(bytes([i]))
    await out.flush()
    names = {path.name: path.read_bytes() for path in spool.iterdir() if path.name != "done"}
    await out.close()
    spool.mkdir()
    for name, data in names.items():
        (spool / name).write_bytes(data)
    async with buffer.writer(spool=spool) as out:
        assert await out.write(b"new") == 11
    assert await data_of(buffer) == [*(bytes([i]) for i in range(10)), b"new"]


async def test_a_machine_that_has_lost_the_end_of_its_spool_does_not_lose_what_comes_next(
    buffer: AsyncBuffer, tmp_path: Path
) -> None:
    """The server has records 6 to 10 of this writer; the spool knows of five. The next ones are others."""
    spool = tmp_path / "spool"
    out = buffer.writer(spool=spool)
    await out.open()
    for i in range(5):
        await out.write(bytes([i]))
    names = {path.name: path.read_bytes() for path in spool.iterdir() if path.name != "done"}
    for i in range(5, 10):
        await out.write(bytes([i]))
    await out.flush()
    await out.close()
    spool.mkdir()
    for name, data in names.items():
        (spool / name).write_bytes(data)
    async with buffer.writer(spool=spool) as out:
        for i in range(20, 25):
            await out.write(bytes([i]))
    assert await data_of(buffer) == [bytes([i]) for i in (*range(10), *range(20, 25))]


async def test_a_server_that_has_forgotten_the_writer_gets_the_rest(
    passed: Passed, lab: AsyncCatalog, buffer: AsyncBuffer, tmp_path: Path
) -> None:
    """The buffer was made anew meanwhile."""
    spool = tmp_path / "spool"
    there = await passed.buffer(lab)
    with pytest.raises(errors.Unavailable):  # noqa: PT012  # the block is the case
        async with there.writer(spool=spool, retry_for=0.5) as out:
            await out.write(b"a")
            await out.flush()
            passed.away()
            await out.write(b"b")
    await buffer.delete(force=True)
    buffer = await lab.create_buffer("v1")
    passed.back()
    async with there.writer(spool=spool) as out:
        await out.write(b"c")
    assert await data_of(buffer) == [b"b", b"c"]


async def test_a_program_begins_to_measure_though_the_server_is_away(
    passed: Passed, lab: AsyncCatalog, buffer: AsyncBuffer, tmp_path: Path
) -> None:
    passed.away()
    with pytest.raises(errors.Unavailable, match="wait in the spool"):  # the block is the case
        async with passed.client.buffer(f"{lab.id}/v1").writer(spool=tmp_path / "spool", retry_for=0.1) as out:
            assert await out.write(b"a") == 1
    passed.back()
    async with passed.client.buffer(buffer.name).writer(spool=tmp_path / "spool") as out:
        assert await out.write(b"b") == 2
    assert await data_of(buffer) == [b"a", b"b"]
    for wrong in ("v1", "lab/v1/x", ""):
        with pytest.raises(errors.NameInvalid):
            passed.client.buffer(wrong)


async def test_a_full_spool_says_so(passed: Passed, lab: AsyncCatalog, buffer: AsyncBuffer, tmp_path: Path) -> None:
    there = await passed.buffer(lab)
    async with there.writer(spool=tmp_path / "spool", spool_bytes=10_000) as out:
        await out.write(b"a")
        await out.flush()
        passed.away()
        with pytest.raises(errors.StoreFull, match="spool_bytes"):  # noqa: PT012  # the block is the case
            for _ in range(20):
                await out.write(bytes(1000), timeout=0.0)
        passed.back()
    assert len(await data_of(buffer)) > 5


async def test_two_writers_cannot_share_a_spool(buffer: AsyncBuffer, tmp_path: Path) -> None:
    async with buffer.writer(spool=tmp_path / "spool") as out:
        await out.write(b"a")
        with pytest.raises(errors.FailedPrecondition, match="in use"):
            async with buffer.writer(spool=tmp_path / "spool"):
                raise AssertionError
    assert await data_of(buffer) == [b"a"]
