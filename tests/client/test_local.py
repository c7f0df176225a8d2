from __future__ import annotations

import os
from pathlib import Path

import pytest

from measurand.client.errors import InvalidArgument
from measurand.client.local import attributes_of, local_path, mtime_of, restore_attributes, scan


@pytest.mark.parametrize(
    "name",
    [
        "",
        "..",
        "a/../b",
        "/etc/passwd",
        "a//b",
        "./a",
        "..\\a",
        "a\\..\\..\\b",
        "C:\\a",
        "C:a",
        "\\\\host\\share\\a",
        "a\x00b",
    ],
)
@pytest.mark.parametrize("is_windows", [False, True])
def test_a_name_that_leads_out_on_any_system_has_no_place(tmp_path: Path, name: str, is_windows: bool) -> None:
    with pytest.raises(ValueError, match=r"."):
        local_path(tmp_path.resolve(), name, is_windows=is_windows)


@pytest.mark.parametrize("name", ["con", "NUL.txt", "a/COM1", "lpt9.tar.gz", "a.", "a ", "a?b", "a\\b", "a<b", "a\tb"])
def test_what_windows_cannot_hold_is_refused_there_only(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        local_path(tmp_path.resolve(), name, is_windows=True)
    assert local_path(tmp_path.resolve(), name, is_windows=False) == tmp_path.resolve() / name


@pytest.mark.parametrize("name", ["a", "a/b.txt", "console.log", "ünï/日本", "a b", ".hidden", "a..b"])
@pytest.mark.parametrize("is_windows", [False, True])
def test_ordinary_names_lie_below_the_folder(tmp_path: Path, name: str, is_windows: bool) -> None:
    assert local_path(tmp_path.resolve(), name, is_windows=is_windows) == tmp_path.resolve().joinpath(*name.split("/"))


def test_a_link_that_lies_in_the_target_leads_nothing_out(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/link").symlink_to(tmp_path)
    with pytest.raises(ValueError, match="link"):
        local_path((tmp_path / "in").resolve(), "link/x")


def test_a_folder_is_scanned_by_name_with_slashes(tmp_path: Path) -> None:
    (tmp_path / "b/c").mkdir(parents=True)
    (tmp_path / "b/c/x").write_bytes(b"12")
    (tmp_path / "a").write_bytes(b"")
    assert [(entry.name, entry.size) for entry in scan(tmp_path)] == [("a", 0), ("b/c/x", 2)]


def test_links_within_the_folder_are_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/x").write_bytes(b"1")
    (tmp_path / "folder").symlink_to("real")
    (tmp_path / "file").symlink_to("real/x")
    assert [entry.name for entry in scan(tmp_path)] == ["file", "folder/x", "real/x"]


@pytest.mark.parametrize("target", ["/etc/hostname", "..", ".", "nowhere"])
def test_other_links_are_refused_with_their_path(tmp_path: Path, target: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/link").symlink_to(target)
    with pytest.raises(InvalidArgument, match="link"):
        scan(tmp_path / "in")


def test_what_is_neither_file_nor_folder_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidArgument, match="pipe"):
        scan(tmp_path)


@pytest.mark.parametrize("mtime_ns", [0, 1_795_256_732_123_456_789, -1, 999_999_999])
def test_time_and_mode_come_back_to_the_nanosecond(tmp_path: Path, mtime_ns: int) -> None:
    attributes = attributes_of(mtime_ns, 0o640)
    assert mtime_of(attributes) == mtime_ns
    path = tmp_path / "x"
    path.touch()
    restore_attributes(path, attributes)
    assert (path.stat().st_mtime_ns, path.stat().st_mode & 0o777) == (mtime_ns, 0o640)


@pytest.mark.parametrize(
    "attributes", [{}, {"mtime": "yesterday", "mode": "rwx"}, {"mtime": "2026-99-99T00:00:00Z", "mode": "9"}]
)
def test_attributes_that_say_nothing_change_nothing(tmp_path: Path, attributes: dict[str, str]) -> None:
    path = tmp_path / "x"
    path.touch()
    before = path.stat()
    restore_attributes(path, attributes)
    assert (path.stat().st_mtime_ns, path.stat().st_mode) == (before.st_mtime_ns, before.st_mode)


def test_no_set_user_id_comes_from_a_store(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.touch()
    restore_attributes(path, {"mode": "4755"})
    assert path.stat().st_mode & 0o7777 == 0o755
