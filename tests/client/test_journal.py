from __future__ import annotations

import os
from pathlib import Path

from measurand.client.journal import KEPT_SECONDS, Journal
from measurand.client.sources import FileSource


def entry(tmp_path: Path, *, server: str = "host:1", name: str = "catalogs/c/datasets/d/files/x") -> Journal:
    return Journal.of(server, name, FileSource(tmp_path / "source"), folder=tmp_path / "state")


def test_what_was_begun_is_found_until_it_is_removed(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"1")
    assert entry(tmp_path).read() is None
    entry(tmp_path).write("uploads/1")
    assert entry(tmp_path).read() == ("uploads/1", True)
    assert entry(tmp_path, server="other:1").read() is None
    assert entry(tmp_path, name="catalogs/c/datasets/d/files/y").read() is None
    entry(tmp_path).remove()
    assert entry(tmp_path).read() is None


def test_a_changed_source_is_told(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"1")
    entry(tmp_path).write("uploads/1")
    (tmp_path / "source").write_bytes(b"12")
    assert entry(tmp_path).read() == ("uploads/1", False)


def test_a_damaged_or_unwritable_journal_only_means_beginning_anew(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"1")
    (tmp_path / "state").write_text("no folder")
    entry(tmp_path).write("uploads/1")
    assert entry(tmp_path).read() is None
    (tmp_path / "state").unlink()
    entry(tmp_path).write("uploads/1")
    entry(tmp_path).path.write_text("{")
    assert entry(tmp_path).read() is None


def test_old_entries_are_dropped(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"1")
    old = entry(tmp_path, server="gone:1")
    old.write("uploads/1")
    long_ago = old.path.stat().st_mtime - KEPT_SECONDS - 60
    os.utime(old.path, (long_ago, long_ago))
    entry(tmp_path).write("uploads/2")
    assert old.read() is None
