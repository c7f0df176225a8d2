"""What only the local store promises about its folder, which others may meddle with."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.conformance.test_blobs import content, keys_of
from tests.storage.local_place import LocalPlace, names, open_files

from measurand.core.ports import BlobStore
from measurand.wire.errors import DataLoss, MeasurandError, Unavailable


@pytest.fixture
def place(tmp_path: Path) -> LocalPlace:
    return LocalPlace(tmp_path / "blobs")


@pytest.fixture
async def store(place: LocalPlace) -> AsyncIterator[BlobStore]:
    opened = place.open()
    yield opened
    await opened.close()


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret").write_bytes(b"secret")
    return folder


def planted(link: Path, target: Path) -> None:
    if link.is_dir():
        link.rename(link.with_name(f"{link.name} away"))
    else:
        link.unlink(missing_ok=True)
    link.symlink_to(target)


@pytest.mark.parametrize("what", ["blobs", "shard"])
async def test_a_folder_that_is_a_link_is_not_entered(
    store: BlobStore, place: LocalPlace, outside: Path, what: str
) -> None:
    blob = await store.put("secret", [b"x"])
    folder = place.path("secret").parent
    planted(folder if what == "shard" else folder.parent, outside if what == "shard" else outside.parent)
    for call in (content(store, blob), store.stat("secret"), store.delete("secret"), store.put("secret", [b"y"])):
        with pytest.raises(Unavailable):
            await call
    assert names(outside) == ["secret"]
    assert (outside / "secret").read_bytes() == b"secret"


async def test_a_staging_folder_that_is_a_link_is_not_entered(
    store: BlobStore, place: LocalPlace, outside: Path
) -> None:
    await store.put("a", [b"x"])
    planted(place.root / "staging", outside)
    for call in (store.put("b", [b"y"]), store.stage("b"), store.discard("secret"), store.finish("secret", 3)):
        with pytest.raises(Unavailable):
            await call
    assert (outside / "secret").read_bytes() == b"secret"


async def test_a_file_that_is_a_link_is_neither_read_nor_written(
    store: BlobStore, place: LocalPlace, outside: Path
) -> None:
    blob = await store.put("a", [b"123456"])
    planted(place.path("a"), outside / "secret")
    with pytest.raises(DataLoss):
        await content(store, blob)
    with pytest.raises(DataLoss):
        await store.stat("a")
    planted(place.root / "staging" / "b", outside / "secret")
    with pytest.raises(MeasurandError):
        await store.finish("b", 3)
    with pytest.raises(MeasurandError):
        await store.stage("b")
    assert await keys_of(store) == []
    await store.delete("a")
    await store.discard("b")
    assert (outside / "secret").read_bytes() == b"secret"


async def test_a_pipe_in_the_place_of_a_blob_does_not_hang_the_reader(store: BlobStore, place: LocalPlace) -> None:
    blob = await store.put("a", [b"x"])
    path = place.path("a")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DataLoss):
        await content(store, blob)


async def test_files_of_strangers_are_no_blobs(store: BlobStore, place: LocalPlace) -> None:
    await store.put("a", [b"x"])
    folder = place.path("a").parent
    for stranger in (folder / ".DS_Store", folder / "UPPER", folder / "b", place.root / "staging" / "x~"):
        stranger.write_bytes(b"")
    (folder / "c").mkdir()
    (place.root / "blobs" / "zz").write_bytes(b"")
    (place.root / "blobs" / "lost+found").mkdir()
    assert [blob.key async for blob in store.scan() if (await store.stat(blob.key)).size] == ["a"]
    assert await keys_of(store) == ["a"]


async def test_a_folder_that_was_put_back_is_used_from_then_on(
    store: BlobStore, place: LocalPlace, tmp_path: Path
) -> None:
    await store.put("a", [b"old"])
    place.root.rename(tmp_path / "old")
    shutil.copytree(tmp_path / "old", place.root)
    await store.put("b", [b"new"])
    assert place.look() == {"a": b"old", "b": b"new"}
    assert LocalPlace(tmp_path / "old").look() == {"a": b"old"}


async def test_a_closed_store_keeps_no_file_open_and_works_when_it_is_asked_again(
    store: BlobStore, place: LocalPlace
) -> None:
    blob = await store.put("a", [b"x"])
    await store.close()
    before = open_files()
    await store.close()
    assert await content(store, blob) == b"x"
    await store.put("b", [b"y"])
    assert open_files() == before
    assert place.look() == {"a": b"x", "b": b"y"}
