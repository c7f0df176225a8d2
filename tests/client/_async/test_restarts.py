"""What goes on by itself when the server is killed (-9) and another takes its place at the same address."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import pytest
from tests.end_to_end.passing import Proxy, proxy
from tests.servers import Server
from tests.stores import DURABLE, Site, open_site

from measurand.client import AsyncCatalog, AsyncClient, AsyncDataset, errors
from measurand.client._async.upload_streams import AsyncUploadStream
from measurand.client._async.uploads import file_spec, start_upload
from measurand.client.hashing import crc32c, digest
from measurand.client.replay import Chunk

MiB = 1 << 20

pytestmark = pytest.mark.stores(*DURABLE)


class Servers:
    """One server after the other over the same stores, behind one address."""

    def __init__(self, site: Site, passing: Proxy) -> None:
        self.passing = passing
        self._site = site
        self._server: Server | None = None

    def start(self) -> None:
        self._server = self._site.start()
        self.passing.lead_to(self._server.address)

    def kill(self) -> None:
        assert self._server is not None
        self._server.kill()
        self.passing.cut()

    def replace(self) -> None:
        self.kill()
        self.start()

    def stop(self) -> None:
        assert self._server is not None
        self._server.stop()


@pytest.fixture(scope="module")
def servers(stores: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with proxy() as passing, open_site(stores, tmp_path_factory.mktemp("restarts") / "store") as site:
        servers = Servers(site, passing)
        servers.start()
        yield servers
        servers.stop()


@pytest.fixture
async def client(servers: Servers) -> AsyncGenerator[AsyncClient, None]:
    async with AsyncClient(servers.passing.address) as client:
        yield client


async def test_an_upload_completes_and_sends_little_twice(servers: Servers, run: AsyncDataset, tmp_path: Path) -> None:
    data = os.urandom(30 * MiB)
    (tmp_path / "x").write_bytes(data)
    before = servers.passing.sent_bytes
    servers.passing.at(before + 20 * MiB, servers.replace)
    file = await run.upload(tmp_path / "x")
    assert file.blake3 == digest(data)
    assert servers.passing.sent_bytes - before <= len(data) + 18 * MiB
    assert await run.read_bytes("x") == data


async def test_a_stream_of_bytes_that_can_be_read_only_once_completes(servers: Servers, run: AsyncDataset) -> None:
    data = os.urandom(20 * MiB)
    servers.passing.at(servers.passing.sent_bytes + 9 * MiB, servers.replace)
    async with await run.open("x", "wb") as writer:
        for start_ in range(0, len(data), 777_777):
            await writer.write(data[start_ : start_ + 777_777])
    assert await run.read_bytes("x") == data


async def test_a_download_goes_on_at_the_next_byte(servers: Servers, run: AsyncDataset, tmp_path: Path) -> None:
    data = os.urandom(40 * MiB)
    await run.write_bytes("x", data)
    told: list[int] = []

    def tell(done: int, _: int | None) -> None:
        told.append(done)
        if len(told) == 5:
            servers.replace()

    target = await run.download("x", tmp_path / "back", progress=tell)
    assert target.read_bytes() == data
    assert told[-1] == len(data)
    assert parts_in(tmp_path) == []


async def test_a_folder_is_stored_once_each(servers: Servers, run: AsyncDataset, tmp_path: Path) -> None:
    content = {f"{number:04}": os.urandom(8000) for number in range(1500)}
    (tmp_path / "in").mkdir()
    for name, data in content.items():
        (tmp_path / "in" / name).write_bytes(data)
    servers.passing.at(servers.passing.sent_bytes + 5 * MiB, servers.replace)
    sent = await run.upload_dir(tmp_path / "in")
    assert {file.path for file in sent} == content.keys()
    assert len(await run.files(show_superseded=True)) == len(content)
    await run.download_dir(tmp_path / "out")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == content


async def test_a_call_waits_for_the_next_server_and_is_made_once(servers: Servers, lab: AsyncCatalog) -> None:
    servers.kill()
    later = threading.Timer(1.0, servers.start)
    later.start()
    made = await lab.create("while it was away")
    later.join()
    assert [dataset.id for dataset in await lab.find().all()] == [made.id]


async def test_a_watch_goes_on(servers: Servers, lab: AsyncCatalog) -> None:
    changes = await lab.watch()
    await lab.create("before")
    seen = [(await anext(changes)).dataset.title]
    servers.replace()
    await lab.create("after")
    while seen[-1] != "after":
        seen.append((await anext(changes)).dataset.title)
    await changes.aclose()
    assert set(seen) == {"before", "after"}


async def test_where_no_server_ever_answered_the_error_comes_soon_and_says_what_to_do() -> None:
    start_time = time.monotonic()
    async with AsyncClient("127.0.0.1:1") as client:
        with pytest.raises(errors.Unavailable) as caught:
            await client.catalogs()
    assert time.monotonic() - start_time < 25.0  # its patience is 30
    assert "127.0.0.1:1" in str(caught.value) and "measurand serve" in str(caught.value)


def parts_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.suffix == ".part"]


def chunk(offset: int, size: int = MiB) -> Chunk:
    data = bytes(size)
    return Chunk(offset, data, crc32c(data))


async def two_streams(client: AsyncClient, run: AsyncDataset) -> tuple[AsyncUploadStream, AsyncUploadStream]:
    """Return the writer of an upload, and another one that could take over."""
    upload = await start_upload(client._calls, file_spec(f"{run.name}/files/x"), None)
    first = AsyncUploadStream(client._calls, upload, takes_over=False, tell=lambda _: None)
    await first.open()
    return first, AsyncUploadStream(client._calls, upload, takes_over=True, tell=lambda _: None)


async def test_a_writer_that_is_fenced_stops_and_nothing_mixes(client: AsyncClient, run: AsyncDataset) -> None:
    first, second = await two_streams(client, run)
    await first.write(chunk(0))
    await first.flush()
    assert await second.open() == MiB
    await second.write(chunk(MiB))
    await second.flush()
    with pytest.raises(errors.WriterFenced):
        await _write_and_flush(first, chunk(MiB, 10))
    with pytest.raises(errors.WriterFenced):
        await _write_and_flush(first, chunk(MiB + 10, 10))
    await first.close()
    file = await second.commit(digest(bytes(2 * MiB)))
    assert file.size == 2 * MiB


async def _write_and_flush(stream: AsyncUploadStream, piece: Chunk) -> None:
    await stream.write(piece)
    await stream.flush()


async def test_a_writer_whose_own_open_was_noted_unheard_is_not_fenced_by_itself(
    client: AsyncClient, run: AsyncDataset
) -> None:
    writer, other = await two_streams(client, run)
    await writer.write(chunk(0))
    await writer.flush()
    await other.open()  # the server noted an epoch …
    await other.close()
    await writer.close()
    writer._has_unanswered_open = True  # … by an open of the writer's own, whose answer was lost
    await writer.write(chunk(MiB))
    assert (await writer.commit(digest(bytes(2 * MiB)))).size == 2 * MiB


async def test_a_part_that_a_killed_download_left_is_taken_up(run: AsyncDataset, tmp_path: Path) -> None:
    data = os.urandom(5 * MiB)
    file = await run.write_bytes("x", data)
    part = tmp_path / f"x.{file.generation}.part"
    part.write_bytes(data[: 2 * MiB])
    told: list[int] = []
    await run.download("x", tmp_path / "x", progress=lambda done, _: told.append(done))
    assert told[0] == 2 * MiB
    assert (tmp_path / "x").read_bytes() == data


@pytest.mark.parametrize("left", [b"\x00" * 2 * MiB, b"\x00" * 9 * MiB])
async def test_a_damaged_part_is_replaced(run: AsyncDataset, tmp_path: Path, left: bytes) -> None:
    data = os.urandom(5 * MiB)
    file = await run.write_bytes("x", data)
    (tmp_path / f"x.{file.generation}.part").write_bytes(left)
    await run.download("x", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == data


async def test_an_upload_of_a_changed_source_begins_anew(
    client: AsyncClient, run: AsyncDataset, tmp_path: Path
) -> None:
    source = tmp_path / "x"
    source.write_bytes(bytes(3 * MiB))

    def give_up(done: int, _: int | None) -> None:
        if done >= MiB:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await run.upload(source, progress=give_up)
    source.write_bytes(b"1" * (2 * MiB))
    await run.upload(source)
    assert await run.read_bytes("x") == b"1" * (2 * MiB)
