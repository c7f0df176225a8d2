"""`measurand backup` and `measurand restore` over folders: what they say, what they refuse."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from tests.core.busy import Busy
from tests.server.moving_folder import config_of, files_of, fill, measurand, rooms_of, sums_of

from measurand.core.file_documents import FILES, file_of
from measurand.core.leases import Lease
from measurand.server.stores import open_documents


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Busy]:
    folder = tmp_path_factory.mktemp("moving") / "store"
    return folder, fill(config_of(folder), steps=60)


def test_a_store_is_backed_up_and_restored(filled: tuple[Path, Busy], tmp_path: Path) -> None:
    folder, busy = filled
    made = measurand("backup", tmp_path / "backups", "--data", folder)
    assert made.exit_code == 0, made.output
    assert "the store as it was on" in made.stdout and " ms after" not in made.stdout
    again = measurand("backup", tmp_path / "backups", "--data", folder)
    listed = measurand("restore", tmp_path / "backups", "--list")
    ids = [line.split()[0] for line in listed.stdout.splitlines()]
    assert [f"backup {one}" in result.stdout for one, result in zip(ids, (made, again), strict=True)] == [True, True]
    new = config_of(tmp_path / "new")
    done = measurand("restore", tmp_path / "backups", "--data", new.data, "--backup", ids[0])
    assert done.exit_code == 0, done.output
    assert f"restored backup {ids[0]}" in done.stdout
    assert sums_of(new, with_running=True) == sums_of(config_of(folder), with_running=False)
    assert files_of(new, busy) > 5


def test_the_lines_and_the_manifest_of_a_backup_can_be_read_without_us(
    filled: tuple[Path, Busy], tmp_path: Path
) -> None:
    folder, busy = filled
    assert measurand("backup", tmp_path, "--data", folder).exit_code == 0
    [path] = tmp_path.glob("blobs/*/backups+*+manifest.json")
    manifest = json.loads(path.read_text())
    lines = [
        json.loads(line)
        for part in sorted(tmp_path.glob("blobs/*/backups+*+documents+files.*.jsonl"))
        for line in part.read_text().splitlines()
    ]
    assert len(lines) == manifest["documents"]["files"]["count"]
    for line in lines:
        data = b""
        for extent in line["body"]["extents"]:
            [blob] = tmp_path.glob(f"blobs/*/{extent['blob'].replace('/', '+')}")
            data += blob.read_bytes()[extent["offset"] : extent["offset"] + extent["size"]]
        assert data in busy.sent


def test_old_backups_are_removed_where_that_is_asked(filled: tuple[Path, Busy], tmp_path: Path) -> None:
    folder, _ = filled
    runs = [measurand("backup", tmp_path, "--data", folder, "--keep", "2") for _ in range(3)]
    assert [done.stdout.count("removed backup") for done in runs] == [0, 0, 1]
    assert len(measurand("restore", tmp_path, "--list").stdout.splitlines()) == 2


def test_the_restored_store_is_a_deployment_of_its_own(filled: tuple[Path, Busy], tmp_path: Path) -> None:
    folder, _ = filled
    measurand("backup", tmp_path / "backups", "--data", folder)
    measurand("restore", tmp_path / "backups", "--data", tmp_path / "new")

    async def ids() -> list[str]:
        opened = [await open_documents(config_of(path).documents_place) for path in (folder, tmp_path / "new")]
        for each in opened:
            await each.store.close()
        return [each.deployment_id for each in opened]

    old, new = asyncio.run(ids())
    assert old != new
    mixed = measurand(
        "backup",
        tmp_path / "other",
        "--documents",
        f"sqlite://{folder}/documents.sqlite",
        "--blobs",
        f"file://{tmp_path}/new",
    )
    assert mixed.exit_code == 1 and "another document store" in mixed.stderr


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("backup", "TMP/b", "--data", "TMP/nothing"), "there is no such store"),
        (("backup", "STORE", "--data", "STORE"), "name another place for backups"),
        (("backup", "ftp://host/x", "--data", "STORE"), "TARGET"),
        (("backup", "TMP/b", "--documents", "memory:"), "memory: ends with its process"),
        (("restore", "TMP/nothing", "--data", "TMP/n"), "there are no backups here"),
        (("restore", "TMP/backups", "--data", "STORE"), "name an empty one"),
        (("restore", "TMP/backups", "--data", "TMP/n", "--backup", "x"), "there is no backup x; there are: 2"),
        (("restore", "STORE", "--data", "TMP/n"), "name another place for backups"),
    ],
)
def test_what_cannot_be_is_refused_and_says_why(
    filled: tuple[Path, Busy], tmp_path: Path, command: tuple[str, ...], said: str
) -> None:
    folder, _ = filled
    assert measurand("backup", tmp_path / "backups", "--data", folder).exit_code == 0
    words = [word.replace("TMP", str(tmp_path)).replace("STORE", str(folder)) for word in command]
    done = measurand(*words)
    assert done.exit_code in (1, 2)
    assert said in done.stderr
    assert not (tmp_path / "nothing").exists()


def test_a_place_of_backups_is_no_place_for_a_server(filled: tuple[Path, Busy], tmp_path: Path) -> None:
    folder, _ = filled
    measurand("backup", tmp_path / "backups", "--data", folder)
    done = measurand("serve", "--data", tmp_path / "new", "--blobs", f"file://{tmp_path}/backups", "--http", "off")
    assert done.exit_code == 1 and "backups are kept here" in done.stderr


def test_backups_of_two_deployments_are_kept_apart(filled: tuple[Path, Busy], tmp_path: Path) -> None:
    folder, _ = filled
    other = tmp_path / "other"
    fill(config_of(other), steps=3)
    assert measurand("backup", tmp_path / "backups", "--data", folder).exit_code == 0
    done = measurand("backup", tmp_path / "backups", "--data", other)
    assert done.exit_code == 1 and "name another place" in done.stderr


def test_two_backups_at_once_are_refused(
    filled: tuple[Path, Busy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = filled
    monkeypatch.setattr("measurand.server.moving.one_at_a_time.SECONDS", 0.2)

    async def hold() -> tuple[int, str]:
        async with rooms_of(config_of(folder)) as rooms:
            lease = Lease(rooms.documents, rooms.means, name="backup", owner="another")
            running = asyncio.create_task(
                asyncio.to_thread(measurand, "backup", tmp_path / "backups", "--data", folder)
            )
            while not running.done():
                assert await lease.try_hold()
                await asyncio.sleep(0.02)
            await lease.release()
            result = running.result()
            return result.exit_code, result.stderr

    code, said = asyncio.run(hold())
    assert code == 6 and "another backup of this store is running" in said


def test_a_store_with_damaged_files_is_backed_up_all_the_same_and_every_run_names_them(tmp_path: Path) -> None:
    config = config_of(tmp_path / "store")
    busy = fill(config, steps=80)

    async def damage() -> tuple[str, str]:
        """Flip a byte of a file that shares its blob, and take away the blob of one that was uploaded."""
        async with rooms_of(config) as rooms:
            files = [file_of(item.document) for item in await rooms.documents.find(FILES, limit=1000)]
        shared = next(file for file in files if file.size and file.extents[0].blob.checks is None)
        uploaded = next(file for file in files if file.extents and file.extents[0].blob.checks is not None)
        [path] = config.data.glob(f"blobs/*/{shared.extents[0].blob.key.replace('/', '+')}")
        data = bytearray(path.read_bytes())
        data[shared.extents[0].offset] ^= 1
        path.write_bytes(data)
        [path] = config.data.glob(f"blobs/*/{uploaded.extents[0].blob.key.replace('/', '+')}")
        path.unlink()
        return str(shared.name), str(uploaded.name)

    names = asyncio.run(damage())
    for _ in range(2):
        done = measurand("backup", tmp_path / "backups", "--data", config.data)
        assert done.exit_code == 1
        assert "are damaged in the store; the rest is backed up" in done.stderr
        for name in names:
            assert f"damaged: {name}" in done.stderr
    restored = measurand("restore", tmp_path / "backups", "--data", tmp_path / "new")
    assert restored.exit_code == 1 and "all else is restored" in restored.stderr
    new = config_of(tmp_path / "new")
    for name in names:
        assert f"damaged: {name}" in restored.stderr
        for known in busy.known.values():
            known.files = {path: data for path, data in known.files.items() if not name.endswith(path)}
    assert files_of(new, busy) > 0


def test_a_byte_that_a_backup_has_lost_is_found_when_it_is_restored(tmp_path: Path) -> None:
    config = config_of(tmp_path / "store")
    fill(config, steps=40)
    assert measurand("backup", tmp_path / "backups", "--data", config.data).exit_code == 0
    blob = max((tmp_path / "backups").glob("blobs/*/files+*"), key=lambda path: path.stat().st_size)
    data = bytearray(blob.read_bytes())
    data[0] ^= 1
    blob.write_bytes(data)
    done = measurand("restore", tmp_path / "backups", "--data", tmp_path / "new")
    assert done.exit_code == 1 and "damaged: catalogs/" in done.stderr
