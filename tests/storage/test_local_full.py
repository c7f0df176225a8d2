"""What only the local store promises about disks that are full, bad or gone."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.conformance.test_blobs import content, keys_of, noise
from tests.storage.local_place import LocalPlace, raising

from measurand.core.ports import BlobStore
from measurand.storage.blobs.local import disk, files
from measurand.storage.blobs.local.disk import translating
from measurand.wire.errors import DataLoss, MeasurandError, StoreFull, Unavailable

MiB = 1 << 20


@pytest.fixture
def place(tmp_path: Path) -> LocalPlace:
    return LocalPlace(tmp_path / "blobs")


@pytest.fixture
async def store(place: LocalPlace) -> AsyncIterator[BlobStore]:
    opened = place.open()
    yield opened
    await opened.close()


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let the system refuse bytes beyond `size` of a file, in the middle of a write."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[LocalPlace]:
    """A file system of 4 MiB, where the system lets us have one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m,nr_inodes=200", "tmpfs", str(folder)]
    if sys.platform != "linux" or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs the rights to; the tests with a limit on files run everywhere")
    try:
        yield LocalPlace(folder / "blobs")
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


async def test_a_full_disk_is_said_and_leaves_nothing_of_a_put(tiny_disk: LocalPlace) -> None:
    store = tiny_disk.open()
    kept = await store.put("kept", [noise(3 * MiB)])
    with pytest.raises(StoreFull):
        await store.put("more", [noise(2 * MiB)])
    assert tiny_disk.leftovers() == 0
    assert await content(store, kept) == noise(3 * MiB)
    await store.delete("kept")
    assert await content(store, await store.put("more", [noise(2 * MiB)])) == noise(2 * MiB)


async def test_a_full_disk_stops_a_stage_and_keeps_what_was_persisted(tiny_disk: LocalPlace) -> None:
    store = tiny_disk.open()
    await store.put("filler", [noise(1 * MiB)])
    stage = await store.stage("a")
    await stage.append([noise(2 * MiB)])
    assert await stage.persist() == 2 * MiB
    with pytest.raises(StoreFull):
        await stage.append([noise(2 * MiB)])
    assert await stage.persist() == 2 * MiB
    await store.delete("filler")
    await stage.append([b"the end"])
    assert await stage.persist() == 2 * MiB + 7
    await stage.close()
    assert await content(store, await store.finish("a", 2 * MiB + 7)) == noise(2 * MiB) + b"the end"


async def test_a_disk_without_room_for_more_names_is_full(tiny_disk: LocalPlace) -> None:
    store = tiny_disk.open()

    async def fill() -> None:
        for index in range(1000):
            await store.put(f"a/{index}", [b"x"])

    with pytest.raises(StoreFull):
        await fill()
    assert tiny_disk.leftovers() == 0
    assert await keys_of(store) == sorted(tiny_disk.look())


async def test_an_append_that_was_written_half_takes_nothing(store: BlobStore) -> None:
    stage = await store.stage("a")
    await stage.append([noise(900_000)])
    with largest_file(1_000_000), pytest.raises(StoreFull):
        await stage.append([b"x" * 90_000, b"y" * 90_000])
    assert await stage.persist() == 900_000
    await stage.append([b"the end"])
    assert await stage.persist() == 900_007
    await stage.close()
    assert await content(store, await store.finish("a", 900_007)) == noise(900_000) + b"the end"


async def test_a_put_that_was_written_half_leaves_nothing(store: BlobStore, place: LocalPlace) -> None:
    with largest_file(100_000), pytest.raises(StoreFull):
        await store.put("a", [noise(150_000)])
    assert place.look() == {}
    assert place.leftovers() == 0


@pytest.mark.parametrize(
    ("number", "is_reading", "kind"),
    [
        (errno.ENOSPC, False, StoreFull),
        (errno.EDQUOT, False, StoreFull),
        (errno.EIO, True, DataLoss),
        (errno.EIO, False, Unavailable),
        (errno.EMFILE, True, Unavailable),
        (errno.EACCES, False, Unavailable),
        (errno.EROFS, False, Unavailable),
        (errno.ESTALE, True, Unavailable),
    ],
)
def test_each_error_of_the_system_has_its_own(number: int, *, is_reading: bool, kind: type[MeasurandError]) -> None:
    with pytest.raises(kind) as caught, translating("a/b", is_reading=is_reading):
        raising(number)()
    assert type(caught.value) is kind
    assert "a/b" in caught.value.message
    assert (caught.value.retry_seconds is not None) == (kind is Unavailable)


async def test_a_sector_that_cannot_be_read_is_data_loss_after_what_can(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = await store.put("a", [noise(3 * MiB)])
    read = disk.read

    def failing_read(descriptor: int, offset: int, size: int) -> bytes:
        return raising(errno.EIO)() if offset + size > 2 * MiB else read(descriptor, offset, size)

    monkeypatch.setattr(files, "read", failing_read)
    chunks = store.open(blob)
    assert bytes(await anext(chunks)) + bytes(await anext(chunks)) == noise(3 * MiB)[: 2 * MiB]
    with pytest.raises(DataLoss):
        await anext(chunks)


async def test_a_disk_that_is_gone_is_unavailable_and_not_an_empty_store(store: BlobStore, place: LocalPlace) -> None:
    blob = await store.put("a", [b"x"])
    place.root.rename(place.root.parent / "away")
    for call in (content(store, blob), store.stat("a"), store.put("b", [b"y"]), store.stage("c"), keys_of(store)):
        with pytest.raises(Unavailable):
            await call
    (place.root.parent / "away").rename(place.root)
    assert await content(store, blob) == b"x"
