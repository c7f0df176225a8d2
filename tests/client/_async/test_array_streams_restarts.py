"""Streams of frames over servers that are killed (-9) and stay away for a while, without a spool and with one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.end_to_end.kill_rounds import Servers
from tests.end_to_end.passing import proxy
from tests.stores import open_site

from measurand.client import AsyncClient, AsyncDataset, errors
from measurand.client._async import frame_senders
from measurand.client._async.array_chunk_streams import AsyncChunkStream
from measurand.client._transport import aio
from measurand.client.spool import Spool
from measurand.client.stream_plans import plan_stream


class Places(Servers):
    """One server after the other behind one address; it can be away."""

    is_away = False

    def take_away(self) -> None:
        self.current.kill()
        self._passing.cut()
        self.is_away = True

    def bring_back(self) -> None:
        super().bring_back()
        self.is_away = False


@pytest.fixture(scope="module")
def servers(stores: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    with proxy() as passing, open_site(stores, tmp_path_factory.mktemp("away") / "store") as site:
        servers = Places(site, passing)
        yield servers
        servers.current.stop()


@pytest.fixture(autouse=True)
def _there(servers: Places) -> Iterator[None]:
    yield
    if servers.is_away:
        servers.bring_back()


@pytest.fixture
async def client(servers: Places) -> AsyncGenerator[AsyncClient, None]:
    async with AsyncClient(servers._passing.address) as client:
        yield client


def frame(number: int) -> np.ndarray[Any, Any]:
    return np.full(1000, number, "i4")


async def numbers(run: AsyncDataset, name: str = "s") -> list[int]:
    found = np.asarray(await (await run.array(name)).read())
    assert (found == found[:, :1]).all()
    return [int(number) for number in found[:, 0]]


async def test_a_stream_goes_on_with_the_next_server(servers: Places, run: AsyncDataset) -> None:
    async with run.stream_array("s", 1000, "i4", chunks=8) as stream:
        for number in range(60):
            if number == 20:
                servers.replace()
            await stream.write(frame(number))
        assert await stream.flush() == 60
        servers.replace()
        await stream.write(frame(60))
        await stream.write(frame(-3), index=3)  # long seen, and so read and changed
    assert await numbers(run) == [0, 1, 2, -3, *range(4, 61)]


async def test_frames_of_a_grid_go_on_with_the_next_server(servers: Places, run: AsyncDataset) -> None:
    async with run.stream_array("s", 1000, "i4", length=60, chunks=8) as stream:
        for number in reversed(range(60)):
            if number == 30:
                servers.replace()
            await stream.write(frame(number), index=number)
    assert await numbers(run) == [*range(60)]


async def test_while_the_server_is_away_no_more_than_the_window_is_taken(servers: Places, run: AsyncDataset) -> None:
    async with run.stream_array("s", 1000, "i4", window_bytes=40_000) as stream:
        await stream.write(frame(0))
        await stream.flush()
        servers.take_away()
        for number in range(1, 11):
            await stream.write(frame(number), timeout=5)
        with pytest.raises(errors.Unavailable):
            await stream.write(frame(11), timeout=0.2)
        servers.bring_back()
        await stream.write(frame(11))
    assert await numbers(run) == [*range(12)]


async def test_a_stream_gives_up_when_the_server_stays_away(servers: Places, run: AsyncDataset) -> None:
    stream = run.stream_array("s", 1000, "i4", retry_for=0.5)
    await stream.write(frame(0))
    await stream.flush()
    servers.take_away()
    await stream.write(frame(1))
    with pytest.raises(errors.Unavailable):
        await stream.close()
    servers.bring_back()
    assert await numbers(run) == [0]


async def test_an_appender_whose_own_open_was_noted_unheard_is_not_fenced_by_itself(
    client: AsyncClient, run: AsyncDataset
) -> None:
    async with run.stream_array("s", (), "u1") as stream:
        await stream.write(1)
    array = await run.array("s")
    first = AsyncChunkStream(client._calls, array.resource, append=True)
    assert await first.open() == 1
    other = AsyncChunkStream(client._calls, array.resource, append=True)
    await other.open()  # the server noted an epoch …
    await other.close()
    await first.close()
    first._has_unanswered_open = True  # … by an open of the writer's own, whose answer was lost
    await first.grow(2)
    await first.flush()
    await first.finish()
    assert (await array.refresh()).shape == (2,)


async def test_a_spool_takes_frames_while_the_server_is_away(
    servers: Places, run: AsyncDataset, tmp_path: Path
) -> None:
    async with run.stream_array("s", 1000, "i4", spool=tmp_path / "spool", window_bytes=40_000) as stream:
        await stream.write(frame(0))
        assert await stream.flush() == 1
        servers.take_away()
        for number in range(1, 100):
            await stream.write(frame(number), timeout=0)
        assert stream.next_index == 100
        servers.bring_back()
        assert await stream.flush() == 100
        await stream.write(frame(100))
    assert await numbers(run) == [*range(101)]
    assert not (tmp_path / "spool").exists()


async def test_a_full_spool_is_said_so_and_takes_more_when_there_is_room(
    servers: Places, run: AsyncDataset, tmp_path: Path
) -> None:
    async with run.stream_array("s", 1000, "i4", spool=tmp_path / "spool", spool_bytes=100_000) as stream:
        await stream.write(frame(0))
        await stream.flush()
        servers.take_away()
        for number in range(1, 24):
            await stream.write(frame(number), timeout=0)
        with pytest.raises(errors.StoreFull, match="spool_bytes="):
            await stream.write(frame(24), timeout=0.2)
        servers.bring_back()
        for number in range(24, 60):
            await stream.write(frame(number))
    assert await numbers(run) == [*range(60)]


async def test_what_was_spooled_is_sent_by_the_next_run_server_or_no_server(
    servers: Places, client: AsyncClient, run: AsyncDataset, tmp_path: Path
) -> None:
    async def begin() -> Any:
        stream = client.dataset(run.name).stream_array(
            "s", 1000, "i4", chunks=8, resume=True, spool=tmp_path / "spool", retry_for=0.2
        )
        await stream.open()
        return stream

    first = await begin()
    for number in range(20):
        await first.write(frame(number))
    await first.flush()
    servers.take_away()
    for number in range(20, 30):
        await first.write(frame(number))
    await first.write(frame(-5), index=5)  # seen already: the next run must not take it for done
    with pytest.raises(errors.Unavailable, match="wait in the spool"):
        await first.close()
    second = await begin()
    assert (second.next_index, second.position) == (30, 20)
    await second.write(frame(30))
    with pytest.raises(errors.Unavailable, match="wait in the spool"):
        await second.close()
    servers.bring_back()
    third = await begin()
    assert third.next_index == 31
    await third.write(frame(31))
    await third.close()
    assert await numbers(run) == [*range(5), -5, *range(6, 32)]
    assert not (tmp_path / "spool").exists()


async def test_a_spool_of_a_grid_is_sent_by_the_next_run(servers: Places, run: AsyncDataset, tmp_path: Path) -> None:
    stream = run.stream_array("s", 1000, "i4", length=12, chunks=5, spool=tmp_path / "spool", retry_for=0.2)
    await stream.write(frame(7), index=7)
    await stream.flush()
    servers.take_away()
    await aio.sleep(0.1)  # it is noticed
    for number in (11, 3, 0):
        await stream.write(frame(number), index=number)
    with pytest.raises(errors.Unavailable):
        await stream.close()
    servers.bring_back()
    async with run.stream_array("s", 1000, "i4", length=12, chunks=5, fill=-1, spool=tmp_path / "spool") as again:
        for number in (1, 2, 4, 5, 6, 8, 9, 10):
            await again.write(frame(number), index=number)
    assert await numbers(run) == [*range(12)]


async def test_a_spool_whose_array_was_made_anew_is_kept(servers: Places, run: AsyncDataset, tmp_path: Path) -> None:
    stream = run.stream_array("s", 1000, "i4", spool=tmp_path / "spool", retry_for=0.2)
    await stream.write(frame(0))
    await stream.flush()
    await stream.write(frame(1))
    await stream.flush()
    servers.take_away()
    await stream.write(frame(2))
    with pytest.raises(errors.Unavailable, match="frames from 2 on wait"):
        await stream.flush()
    with pytest.raises(errors.Unavailable):
        await stream.close()
    servers.bring_back()
    await run.delete_array("s")
    with pytest.raises(errors.DataLoss, match="keep the spool"):
        await run.stream_array("s", 1000, "i4", spool=tmp_path / "spool").open()
    spool = Spool(tmp_path / "spool", {**stream._plan.about, "server": str(run._calls.address)}, most_bytes=1 << 20)
    assert spool.last - spool.acknowledged == 1
    spool.close()


async def test_a_spool_holds_more_than_the_window_of_frames_in_any_order(run: AsyncDataset, tmp_path: Path) -> None:
    async with run.stream_array("s", 1000, "i4", spool=tmp_path / "spool", window_bytes=40_000) as stream:
        for number in reversed(range(60)):
            await stream.write(frame(number), index=number, timeout=0)
        assert await stream.flush() == 60
    assert await numbers(run) == [*range(60)]


async def test_a_stream_that_rests_is_heard_of_and_outlives_its_server(
    servers: Places, run: AsyncDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frame_senders, "STAY_SECONDS", 0.05)
    async with run.stream_array("s", 1000, "i4", retry_for=30.0) as stream:
        await stream.write(frame(0))
        await stream.flush()
        await aio.sleep(0.3)
        assert (await run.array("s")).growing
        servers.take_away()
        await aio.sleep(0.3)
        servers.bring_back()
        await stream.write(frame(1))
    assert await numbers(run) == [0, 1]


async def test_a_spool_is_for_one_array(run: AsyncDataset, tmp_path: Path, servers: Places) -> None:
    stream = run.stream_array("s", 1000, "i4", spool=tmp_path / "spool", retry_for=0.2)
    with pytest.raises(errors.FailedPrecondition, match="in use"):
        await _open_twice(stream, run.stream_array("s", 1000, "i4", spool=tmp_path / "spool"))
    servers.take_away()
    await stream.write(frame(0))
    with pytest.raises(errors.Unavailable):
        await stream.close()
    with pytest.raises(errors.InvalidArgument, match="something else"):
        await run.stream_array("t", 1000, "i4", spool=tmp_path / "spool").open()


async def _open_twice(first: Any, second: Any) -> None:
    await first.open()
    await second.open()


def test_text_of_any_length_cannot_be_streamed() -> None:
    with pytest.raises(errors.InvalidArgument, match="U20"):
        plan_stream(
            "x", 3, np.dtypes.StringDType(), length=None, chunks=None, fill=None, codec=None, dims=None, attrs=None
        )
