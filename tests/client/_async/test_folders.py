from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.stores import DURABLE

from measurand.client import AsyncDataset, errors

pytestmark = pytest.mark.stores(*DURABLE)

MiB = 1 << 20


def make_tree(folder: Path) -> dict[str, bytes]:
    """Write files of all sizes, names and depths; returns them by path."""
    content = {f"many/{number:03}.txt": os.urandom(number * 37) for number in range(400)}
    content |= {
        "a/same.csv": b"1",
        "b/same.csv": b"2",
        "ünï/日 本.txt": b"3",
        "empty": b"",
        "large.bin": os.urandom(9 * MiB),
    }
    content |= {"a/medium.bin": os.urandom(3 * MiB), "a/exact.bin": os.urandom(MiB), "deep/" * 10 + "x": b"4"}
    for path, data in content.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    (folder / "a/same.csv").chmod(0o600)
    os.utime(folder / "empty", ns=(1, 1_000_000_001))
    return content


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def test_a_folder_comes_back_as_it_was(run: AsyncDataset, tmp_path: Path) -> None:
    content = make_tree(tmp_path / "in")
    told: list[tuple[int, int | None]] = []
    sent = await run.upload_dir(tmp_path / "in", progress=lambda done, total: told.append((done, total)))
    assert (len(sent.files), sent.skipped, sent.failed) == (len(content), (), {})
    assert told[-1] == (sent.size, sent.size) == (sum(map(len, content.values())),) * 2
    got = await run.download_dir(tmp_path / "out")
    assert tree(tmp_path / "out") == content
    assert (len(got.files), got.size) == (len(content), sent.size)
    assert (tmp_path / "out/a/same.csv").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "out/empty").stat().st_mtime_ns == 1_000_000_001


async def test_a_prefix_stands_before_the_paths_and_is_taken_off(run: AsyncDataset, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/x").write_bytes(b"1")
    await run.upload_dir(tmp_path / "in", "raw/first")
    await run.write_bytes("raw/firstborn", b"not below it")
    assert [file.path for file in await run.files()] == ["raw/first/x", "raw/firstborn"]
    await run.download_dir(tmp_path / "out", "raw/first")
    assert tree(tmp_path / "out") == {"x": b"1"}


async def test_run_again_both_ways_move_only_what_is_new(run: AsyncDataset, tmp_path: Path) -> None:
    make_tree(tmp_path / "in")
    await run.upload_dir(tmp_path / "in")
    (tmp_path / "in/new").write_bytes(b"new")
    (tmp_path / "in/empty").write_bytes(b"no more")
    again = await run.upload_dir(tmp_path / "in")
    assert [file.path for file in again] == ["empty", "new"]
    await run.download_dir(tmp_path / "out")
    (tmp_path / "out/empty").unlink()
    got = await run.download_dir(tmp_path / "out")
    assert [file.path for file in got] == ["empty"]
    assert len(got.skipped) == len(again.skipped) + 1


async def test_a_file_with_other_bytes_is_kept_unless_it_is_to_be_written_over(
    run: AsyncDataset, tmp_path: Path
) -> None:
    for path, data in (("same", b"12345"), ("other", b"12345"), ("longer", b"12345"), ("new", b"12345")):
        await run.write_bytes(path, data)
    target = tmp_path / "out"
    target.mkdir()
    for path, data in (("same", b"12345"), ("other", b"54321"), ("longer", b"1234567")):
        (target / path).write_bytes(data)
    got = await run.download_dir(target, missing="report")
    assert ([file.path for file in got.files], got.skipped) == (["new"], ("same",))
    assert got.failed.keys() == {"other", "longer"} and all("EXISTS" in text for text in got.failed.values())
    assert ((target / "other").read_bytes(), (target / "longer").read_bytes()) == (b"54321", b"1234567")
    with pytest.raises(errors.FailedPrecondition, match="overwrite"):
        await run.download_dir(target)
    again = await run.download_dir(target, overwrite=True)
    assert {file.path for file in again.files} == {"other", "longer"} and not again.failed
    assert {path.read_bytes() for path in target.iterdir()} == {b"12345"}


async def test_a_link_that_leads_out_stops_everything(run: AsyncDataset, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/x").write_bytes(b"1")
    (tmp_path / "in/link").symlink_to("/etc/passwd")
    with pytest.raises(errors.InvalidArgument, match="leads out"):
        await run.upload_dir(tmp_path / "in")
    assert await run.files() == []


async def test_a_name_that_leads_out_on_any_system_is_reported_and_not_written(
    run: AsyncDataset, tmp_path: Path
) -> None:
    await run.write_bytes("fine", b"1")
    await run.write_bytes("..\\out", b"2")
    await run.write_bytes("C:out", b"3")
    got = await run.download_dir(tmp_path / "to/deep", missing="report")
    assert set(got.failed) == {"..\\out", "C:out"}
    assert all(reason.startswith("OUTSIDE_FOLDER") for reason in got.failed.values())
    assert tree(tmp_path) == {"to/deep/fine": b"1"}
    with pytest.raises(errors.FailedPrecondition, match="OUTSIDE_FOLDER"):
        await run.download_dir(tmp_path / "to/deep")


async def test_a_file_where_a_folder_must_be_is_reported(run: AsyncDataset, tmp_path: Path) -> None:
    await run.write_bytes("a/x", b"1")
    await run.write_bytes("b", b"2")
    (tmp_path / "a").write_bytes(b"in the way")
    got = await run.download_dir(tmp_path, missing="report")
    assert list(got.failed) == ["a/x"]
    assert (tmp_path / "b").read_bytes() == b"2"


async def test_one_bad_name_does_not_stop_the_others(run: AsyncDataset, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/good").write_bytes(b"1")
    (tmp_path / "in/bad\nname").write_bytes(b"2")
    result = await run.upload_dir(tmp_path / "in", errors="report")
    assert [file.path for file in result] == ["good"]
    assert isinstance(result.failed["bad\nname"], errors.NameInvalid)
    with pytest.raises(errors.NameInvalid):
        await run.upload_dir(tmp_path / "in")


async def test_an_empty_folder_is_no_error(run: AsyncDataset, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    assert (await run.upload_dir(tmp_path / "in")).files == ()
    assert (await run.download_dir(tmp_path / "out")).files == ()
