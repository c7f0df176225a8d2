"""A store does not answer at any one call, before or after its effect: users of the client notice nothing of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.core.stumbling import Stumble, stumbling
from tests.servers import in_process, memory_config

from measurand.client import AsyncCatalog, AsyncClient, AsyncDataset
from measurand.server.patterns import compile_pattern
from measurand.storage.blobs.memory import Memory as MemoryBlobs
from measurand.storage.documents.memory import Memory as MemoryDocuments
from measurand.wire.errors import NotFound

KiB = 1024
CONTENT = bytes(range(256)) * 5 * KiB  # 1.25 MiB: more than one chunk
MOST_CALLS = 400

pytestmark = pytest.mark.usefixtures("_own_places")


@dataclass
class Bench:
    """A client of a server over stores that stumble when they are told to."""

    client: AsyncClient
    stumble: Stumble
    folder: Path

    async def run(self, name: str) -> tuple[AsyncCatalog, AsyncDataset]:
        """Return a new catalog, and a dataset in it with two files."""
        lab = await self.client.create_catalog(name)
        run = await lab.create("run", {"n": 1}, id="run")
        await run.write_bytes("old", b"old")
        await run.write_bytes("large", CONTENT)
        return lab, run


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    stumble = Stumble(-1, after=False, times=0)
    documents, blobs = stumbling(MemoryDocuments(compile_pattern), MemoryBlobs(), stumble)

    monkeypatch.setattr("measurand.storage.documents.memory.Memory", lambda _: documents)
    monkeypatch.setattr("measurand.storage.blobs.memory.Memory", lambda: blobs)
    async with in_process(memory_config()) as process, AsyncClient(str(process.address)) as client:
        yield Bench(client, stumble, tmp_path)


# ------------------------------------------------------------------------------------ what a user does, and then finds


async def create(bench: Bench, lab: AsyncCatalog, run: AsyncDataset) -> None:
    made = await lab.create("new", {"n": 2})
    assert made.revision == 1
    bench.stumble.times = 0
    assert sorted(one.title for one in await lab.find().all()) == ["new", "run"]


async def create_many(bench: Bench, lab: AsyncCatalog, run: AsyncDataset) -> None:
    made = await lab.create_many({"title": f"{number}"} for number in range(5))
    bench.stumble.times = 0
    assert [one.title for one in made if isinstance(one, AsyncDataset)] == list("01234")
    assert await lab.count() == 6


async def update(bench: Bench, lab: AsyncCatalog, run: AsyncDataset) -> None:
    await run.update({"n": 2})
    assert (run.metadata, run.revision) == ({"n": 2}, 2)
    await run.add_tags("t")
    assert (run.tags, run.revision) == (("t",), 3)
    bench.stumble.times = 0
    assert len(await run.history()) == 3


async def delete_and_bring_back(bench: Bench, lab: AsyncCatalog, run: AsyncDataset) -> None:
    await run.delete()
    await run.undelete()
    bench.stumble.times = 0
    assert ((await lab.get("run")).revision, await run.read_bytes("old")) == (3, b"old")


async def purge(bench: Bench, lab: AsyncCatalog, run: AsyncDataset) -> None:
    await run.purge(force=True)
    bench.stumble.times = 0
    with pytest.raises(NotFound):
        await lab.get("run")
    with pytest.raises(NotFound):
        await run.purge(force=True)


async def write_small(bench: Bench, lab: AsyncCatalog, run: AsyncDataset) -> None:
    first = await run.write_bytes("new", b"1", if_generation=0)
    await run.write_bytes("new", b"2", if_generation=first.generation)
    bench.stumble.times = 0
    assert await run.read_bytes("new") == b"2"
    assert len([file for file in await run.files(show_superseded=True) if file.path == "new"]) == 2


async def upload(bench: Bench, lab: AsyncCatalog, run: AsyncDataset) -> None:
    file = await run.upload(CONTENT[::-1], "new")
    bench.stumble.times = 0
    assert file.size == len(CONTENT)
    assert await run.read_bytes("new") == CONTENT[::-1]
    assert len(await run.files(show_superseded=True)) == 3


async def copy(bench: Bench, lab: AsyncCatalog, run: AsyncDataset) -> None:
    await run.copy_file("large", "new", if_generation=0)
    bench.stumble.times = 0
    assert await run.read_bytes("new") == CONTENT
    assert len(await run.files(show_superseded=True)) == 3


async def delete_file(bench: Bench, lab: AsyncCatalog, run: AsyncDataset) -> None:
    await run.delete_file("old", if_generation=(await run.stat("old")).generation)
    await run.delete_file("large")
    bench.stumble.times = 0
    assert await run.files(show_superseded=True) == []


async def read(bench: Bench, lab: AsyncCatalog, run: AsyncDataset) -> None:
    assert (await run.read_bytes("old"), await run.read_bytes("large")) == (b"old", CONTENT)
    assert (await run.download("large", bench.folder)).read_bytes() == CONTENT
    assert [one.id for one in await lab.find("metadata.n = 1").all()] == ["run"]
    assert [file.path for file in await run.files()] == ["large", "old"]


async def send_folder(bench: Bench, lab: AsyncCatalog, run: AsyncDataset) -> None:
    folder = bench.folder / "in"
    folder.mkdir(exist_ok=True)
    contents = {f"{number}": bytes([number]) * 100 * number for number in range(8)}
    for path, content in contents.items():
        (folder / path).write_bytes(content)
    sent = await run.upload_dir(folder)
    assert {file.path for file in sent} == contents.keys()
    bench.stumble.times = 0
    assert len(await run.files(show_superseded=True)) == 10
    for path, content in contents.items():
        assert await run.read_bytes(path) == content


async def fetch_folder(bench: Bench, lab: AsyncCatalog, run: AsyncDataset) -> None:
    target = bench.folder / lab.id
    await run.download_dir(target)
    assert {path.name: path.read_bytes() for path in target.iterdir()} == {"old": b"old", "large": CONTENT}


async def watch(bench: Bench, lab: AsyncCatalog, run: AsyncDataset) -> None:
    changes = await lab.watch()
    for number in range(3):
        await lab.create(f"{number}")
    seen: dict[str, None] = {}
    while len(seen) < 3:
        seen[(await anext(changes)).dataset.title] = None
    await changes.aclose()
    assert list(seen) == ["0", "1", "2"]


DONE: list[Callable[[Bench, AsyncCatalog, AsyncDataset], Awaitable[None]]] = [
    create,
    create_many,
    update,
    delete_and_bring_back,
    purge,
    write_small,
    upload,
    copy,
    delete_file,
    read,
    send_folder,
    fetch_folder,
    watch,
]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("do", DONE, ids=lambda do: do.__name__)
async def test_the_client_tries_again_and_all_is_done_once(
    bench: Bench, do: Callable[[Bench, AsyncCatalog, AsyncDataset], Awaitable[None]], after: bool
) -> None:
    stumble = bench.stumble
    stumble.after = after
    for at in range(MOST_CALLS):
        stumble.times = 0
        lab, run = await bench.run(f"lab-{at}")
        stumble.at, stumble.times = (first := stumble.calls + at), 2
        await asyncio.wait_for(do(bench, lab, run), 60)
        if stumble.calls <= first:
            return
    raise AssertionError(f"it did not end within {MOST_CALLS} calls")
