"""`measurand copy-store` over folders: run while the source serves, and once more; what it says, what it refuses."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.server.moving_folder import config_of, files_of, fill, measurand, rooms_of, sums_of

from measurand.core.file_documents import FILES, file_of
from measurand.core.principal import LOCAL_USER
from measurand.core.upload_writer import Ack
from measurand.core.uploads import UPLOADS, UploadState, upload_of
from measurand.server.folder import Presence


async def nothing(_: Ack) -> None:
    """Nobody listens."""


def copied(source: Path, target: Path) -> str:
    done = measurand("copy-store", "--from-data", source, "--to-data", target)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_store_that_nobody_serves_is_copied_in_one_run(tmp_path: Path) -> None:
    old, new = config_of(tmp_path / "old"), config_of(tmp_path / "new")
    busy = fill(old, steps=60)
    assert "the copy is whole; serve it with" in copied(old.data, new.data)
    assert sums_of(new, with_running=True) == sums_of(old, with_running=True)
    assert files_of(new, busy) > 5
    again = measurand("copy-store", "--from-data", old.data, "--to-data", new.data)
    assert again.exit_code == 1 and "name an empty one" in again.stderr


def blobs_of(data: Path) -> int:
    return sum(len(list(data.glob(f"blobs/*/{kind}+*"))) for kind in ("files", "arrays"))


def test_a_served_store_is_copied_and_then_what_is_left(tmp_path: Path) -> None:
    old, new = config_of(tmp_path / "old"), config_of(tmp_path / "new")
    busy = fill(old, steps=60)

    async def while_served() -> str:
        presence = Presence(old.data, address="127.0.0.1:1", instance_id="here", is_private=False)
        assert await presence.claim()
        try:
            return await asyncio.to_thread(copied, old.data, new.data)
        finally:
            presence.release()

    assert "stop its servers and run this again" in asyncio.run(while_served())
    refused = measurand("serve", "--data", new.data, "--http", "off")
    assert refused.exit_code == 1 and "unfinished copy of" in refused.stderr
    fill(old, steps=10, busy=busy)
    before = blobs_of(new.data)
    said = copied(old.data, new.data)
    assert "the copy is whole" in said
    added = blobs_of(new.data) - before
    assert f"copied {added} blobs" in said and 0 < added < before
    assert sums_of(new, with_running=True) == sums_of(old, with_running=True)
    assert files_of(new, busy) > 5


def test_an_upload_that_was_interrupted_goes_on_in_the_copy(tmp_path: Path) -> None:
    old, new = config_of(tmp_path / "old"), config_of(tmp_path / "new")
    fill(old, steps=80)
    copied(old.data, new.data)

    async def go_on() -> int:
        async with rooms_of(new) as rooms:
            found = [upload_of(item.document) for item in await rooms.documents.find(UPLOADS, limit=1000)]
            running = [one for one in found if one.state is UploadState.OPEN and one.persisted_size]
            for upload in running:
                writer = await rooms.uploads.open_writer(LOCAL_USER, upload.id, None, nothing)
                assert writer.upload.persisted_size == upload.persisted_size == upload.size
                await writer.close()
                file = await rooms.uploads.ends.commit(LOCAL_USER, upload.id, upload.size, upload.digests, None)
                content = await rooms.documents.fetch(FILES, str(file.name))
                assert content is not None and file_of(content).size == upload.size
            return len(running)

    assert asyncio.run(go_on()) > 0


def test_a_copy_with_damaged_files_is_not_whole_until_they_are_gone(tmp_path: Path) -> None:
    old, new = config_of(tmp_path / "old"), config_of(tmp_path / "new")
    fill(old, steps=60)

    async def damage() -> str:
        async with rooms_of(old) as rooms:
            files = [file_of(item.document) for item in await rooms.documents.find(FILES, limit=1000)]
        file = next(file for file in files if file.extents and file.extents[0].blob.checks is not None)
        [path] = old.data.glob(f"blobs/*/{file.extents[0].blob.key.replace('/', '+')}")
        path.write_bytes(b"x" * path.stat().st_size)
        return str(file.name)

    name = asyncio.run(damage())
    done = measurand("copy-store", "--from-data", old.data, "--to-data", new.data)
    assert done.exit_code == 1 and f"damaged: {name}" in done.stderr and "the copy is not whole" in done.stderr
    assert measurand("serve", "--data", new.data, "--http", "off").exit_code == 1

    async def remove() -> None:
        async with rooms_of(old) as rooms:
            for item in await rooms.documents.find(FILES, limit=1000):
                if (
                    file_of(item.document).extents
                    == file_of(await rooms.documents.fetch(FILES, name) or item.document).extents
                ):
                    await rooms.files.delete(LOCAL_USER, file_of(item.document).name)

    asyncio.run(remove())
    assert "the copy is whole" in copied(old.data, new.data)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "name --from-data"),
        (("--from-data", "TMP/none", "--to-data", "TMP/new"), "there is no such store"),
        (("--from-data", "TMP/old", "--to-documents", "sqlite:///x"), "name --to-data"),
        (("--from-data", "TMP/old", "--to-data", "TMP/new", "--to-blobs", "ftp://x"), "--to-blobs"),
        (("--from-data", "TMP/old", "--to-data", "TMP/old"), "name an empty one"),
        (("--from-data", "TMP/old", "--to-data", "TMP/new", "--to-blobs", "file://TMP/old"), "another document store"),
        (("--from-data", "TMP/old", "--to-data", "TMP/new", "--to-documents", "memory:"), "memory: ends with"),
    ],
)
def test_what_cannot_be_is_refused_and_says_why(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    fill(config_of(tmp_path / "old"), steps=1)
    done = measurand("copy-store", *(word.replace("TMP", str(tmp_path)) for word in words))
    assert done.exit_code in (1, 2)
    assert said in done.stderr


def test_a_target_with_something_in_it_is_refused(tmp_path: Path) -> None:
    fill(config_of(tmp_path / "old"), steps=1)
    (tmp_path / "new" / "blobs" / "00").mkdir(parents=True)

    async def put() -> None:
        from concurrent.futures import ThreadPoolExecutor

        from measurand.server.means import in_threads
        from measurand.storage.blobs.local import Local

        with ThreadPoolExecutor(1) as threads:
            store = Local(tmp_path / "new", in_thread=in_threads(threads))
            await store.put("files/stranger", [b"x"])
            await store.close()

    asyncio.run(put())
    done = measurand("copy-store", "--from-data", tmp_path / "old", "--to-data", tmp_path / "new")
    assert done.exit_code == 1 and "files/stranger" in done.stderr
