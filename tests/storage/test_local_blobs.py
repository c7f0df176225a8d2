"""What only the local store promises about crashes, and about what is on the disk when it answers."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.conformance.test_blobs import content, keys_of, noise
from tests.conformance.test_staged_blobs import staged
from tests.storage.local_place import LocalPlace, raising

from measurand.core.ports import Blob, BlobStore
from measurand.storage.blobs.local import disk, files, folders
from measurand.storage.blobs.local import store as port
from measurand.wire.errors import Unavailable


@pytest.fixture
def place(tmp_path: Path) -> LocalPlace:
    return LocalPlace(tmp_path / "blobs")


@pytest.fixture
async def store(place: LocalPlace) -> AsyncIterator[BlobStore]:
    opened = place.open()
    yield opened
    await opened.close()


WRITER = """
import asyncio, random, sys
from pathlib import Path
from measurand.storage.blobs.local import Local

def in_thread(work, *args):
    return asyncio.get_running_loop().run_in_executor(None, work, *args)

async def main(kind):
    store = Local(Path(sys.argv[1]), in_thread=in_thread)
    if kind == "puts":
        for index in range(100_000):
            await store.put(f"p/{index}", [random.Random(index).randbytes(20_000)])
            print(index, flush=True)
    stage, chance = await store.stage("s/1.1"), random.Random(7)
    while True:
        appending = asyncio.ensure_future(stage.append([chance.randbytes(50_000) for _ in range(4)]))
        size = await stage.persist()
        await appending
        print(size, flush=True)

asyncio.run(main(sys.argv[2]))
"""


def killed(root: Path, kind: str, *, after: int) -> int:
    """Kill a writer in mid write, when it has acknowledged more than `after`; return its last acknowledgement."""
    command = [sys.executable, "-c", WRITER, str(root), kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        last = -1
        while last <= after:
            last = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        for line in writer.stdout.read().split("\n")[:-1]:
            last = int(line)
    return last


async def test_after_a_kill_another_process_finishes_exactly_what_was_persisted(place: LocalPlace) -> None:
    persisted = killed(place.root, "stage", after=3_000_000)
    store = place.open()
    (left,) = [blob async for blob in store.scan()]
    assert (left.key, left.staged) == ("s/1.1", True)
    assert left.size >= persisted
    blob = await store.finish("s/1.1", persisted)
    assert await content(store, blob) == noise(persisted, 7)
    assert place.look() == {"s/1.1": noise(persisted, 7)}
    assert place.leftovers() == 0


async def test_after_a_kill_every_acknowledged_put_is_whole_and_the_rest_can_be_discarded(place: LocalPlace) -> None:
    acknowledged = killed(place.root, "puts", after=50)
    store = place.open()
    for index in range(acknowledged + 1):
        assert await content(store, Blob(f"p/{index}", 20_000)) == noise(20_000, index)
    for key, data in place.look().items():
        assert data == noise(20_000, int(key.removeprefix("p/")))
    async for blob in store.scan():
        if blob.staged:
            await store.discard(blob.key)
    assert place.leftovers() == 0


def crash_between_names(place: LocalPlace, key: str) -> None:
    """Leave a finished blob with both its names, as a crash in the middle of `finish` does."""
    path = place.path(key)
    (place.root / "staging" / path.name).hardlink_to(path)


async def test_a_blob_with_two_names_is_finished_and_scanned_once(store: BlobStore, place: LocalPlace) -> None:
    await staged(store, "a/b", noise(5000))
    blob = await store.finish("a/b", 5000)
    crash_between_names(place, "a/b")
    assert [(found.key, found.staged) async for found in store.scan()] == [("a/b", False)]
    assert await store.finish("a/b", 5000) == blob
    assert place.leftovers() == 0
    assert place.look() == {"a/b": noise(5000)}


async def test_finishing_a_blob_with_two_names_never_cuts_it(store: BlobStore, place: LocalPlace) -> None:
    await staged(store, "a", noise(5000))
    await store.finish("a", 5000)
    crash_between_names(place, "a")
    await store.finish("a", 10)
    assert place.look() == {"a": noise(5000)}


async def test_removing_a_blob_with_two_names_removes_both(store: BlobStore, place: LocalPlace) -> None:
    await store.put("a", [b"x"])
    crash_between_names(place, "a")
    await store.delete("a")
    assert await keys_of(store) == []
    assert place.leftovers() == 0


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """What was made durable, in order: its inode, and how many names it had by then."""
    calls: list[tuple[int, int]] = []

    def noted(descriptor: int, *, is_folder: bool = False) -> None:
        disk.make_durable(descriptor, is_folder=is_folder)
        facts = os.fstat(descriptor)
        calls.append((facts.st_ino, facts.st_nlink))

    monkeypatch.setattr(files, "make_durable", noted)
    monkeypatch.setattr(folders, "make_durable", noted)
    monkeypatch.setattr(port, "make_durable", noted)
    return calls


async def test_a_put_makes_the_bytes_durable_then_the_name(
    store: BlobStore, place: LocalPlace, synced: list[tuple[int, int]]
) -> None:
    await store.put("first", [b"x"])
    first = place.path("first")
    inodes = [inode for inode, _ in synced]
    made = {path.stat().st_ino for path in (place.root.parent, place.root, place.root / "blobs")}
    assert made <= set(inodes), "the folders that were made must not be lost with it"
    assert inodes.index(first.stat().st_ino) < inodes.index(first.parent.stat().st_ino)

    synced.clear()
    await store.delete("first")
    await store.put("first", [b"x"])
    again = place.path("first")
    assert synced[0] == (again.stat().st_ino, 1), "its bytes come first, while it has one name only"
    assert [inode for inode, _ in synced[1:]] == [again.parent.stat().st_ino]


async def test_a_stage_is_durable_with_its_name_and_finish_makes_the_new_name_durable(
    store: BlobStore, place: LocalPlace, synced: list[tuple[int, int]]
) -> None:
    stage = await store.stage("a")
    await stage.append([b"x"])
    synced.clear()
    await stage.persist()
    path = place.root / "staging" / "a"
    assert [inode for inode, _ in synced] == [path.stat().st_ino, path.parent.stat().st_ino]
    await stage.close()
    await store.finish("a", 1)
    synced.clear()
    await store.finish("a", 1)
    assert place.path("a").parent.stat().st_ino in [inode for inode, _ in synced], "the first answer may have been lost"


async def test_a_stage_whose_bytes_the_disk_refused_is_never_persisted_again(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = await store.stage("a")
    await stage.append([b"12345"])
    with monkeypatch.context() as patch:
        patch.setattr(port, "make_durable", raising(errno.EIO))
        with pytest.raises(Unavailable):
            await stage.persist()
    with pytest.raises(Unavailable):
        await stage.persist()
    await stage.close()
