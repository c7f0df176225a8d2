"""What only a folder has: one file for a chunk in both places, names, links that are not to be had, kills."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from tests.conformance.blobs import local, local_path
from tests.core.rooms import make_rooms

from measurand.core.arrays.plain_places import Chunk, Item, Text
from measurand.core.collector import Collector
from measurand.server.crc32c import make_crc32c
from measurand.storage.blobs.local import Local
from measurand.wire.errors import NameInvalid, NotFound

ROOT = Path(__file__).resolve().parents[2]
crc32c = make_crc32c()
DATA = bytes(range(256)) * 40


async def given(*items: Item) -> AsyncIterator[Sequence[Item]]:
    yield items


def chunk(path: str = "iq/c/0", blob: str = "arrays/a", offset: int = 0, data: bytes = DATA) -> Chunk:
    return Chunk(path, blob, offset, len(data), crc32c(data, 0))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Local]:
    store = local(tmp_path)
    await store.put("arrays/a", [DATA])
    yield store
    await store.close()


async def test_a_chunk_of_its_own_takes_no_room_twice_and_cannot_be_written_to(store: Local, tmp_path: Path) -> None:
    url = await store.plain(crc32c).lay_out("lab/run", given(Text("zarr.json", b"{}"), chunk()))
    file = tmp_path / "sealed/lab/run.zarr/iq/c/0"
    assert url == (tmp_path / "sealed/lab/run.zarr").as_uri()
    assert file.samefile(local_path(tmp_path, "arrays/a"))
    assert not file.stat().st_mode & 0o222
    await store.delete("arrays/a")
    assert file.read_bytes() == DATA


async def test_the_collector_takes_no_notice(store: Local, tmp_path: Path) -> None:
    await store.plain(crc32c).lay_out("lab/run", given(Text("zarr.json", b"{}"), chunk()))
    rooms = make_rooms()
    collected = await Collector(rooms.documents, store, rooms.means, rooms.limits).run_once()
    assert collected.scanned == 1
    assert (tmp_path / "sealed/lab/run.zarr/iq/c/0").read_bytes() == DATA


async def test_where_no_link_can_be_made_it_is_a_copy(
    store: Local, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "sealed").symlink_to(tmp_path_factory.mktemp("elsewhere"))
    await store.plain(crc32c).lay_out("lab/run", given(chunk()))
    file = tmp_path / "sealed/lab/run.zarr/iq/c/0"
    assert file.read_bytes() == DATA
    assert not file.samefile(local_path(tmp_path, "arrays/a"))


@pytest.mark.parametrize("path", ["../out", "a/../../out", "/out", "a//b", "a/./b", "a\0b", "", "a/.."])
async def test_nothing_lands_outside(store: Local, tmp_path: Path, path: str) -> None:
    plain = store.plain(crc32c)
    with pytest.raises(NameInvalid):
        await plain.lay_out("lab/run", given(Text("zarr.json", b"{}"), Text(path, b"x")))
    with pytest.raises(NameInvalid):
        await plain.lay_out(f"lab/{path}/x", given(Text("zarr.json", b"{}")))
    assert list((tmp_path / "sealed").rglob("*")) == [tmp_path / "sealed/lab"]


async def test_a_failure_in_the_middle_leaves_what_was_there(store: Local, tmp_path: Path) -> None:
    plain = store.plain(crc32c)
    await plain.lay_out("lab/run", given(Text("zarr.json", b"old")))
    with pytest.raises(NotFound):
        await plain.lay_out("lab/run", given(Text("zarr.json", b"new"), chunk(blob="arrays/none")))
    (place,) = (tmp_path / "sealed/lab").iterdir()
    assert (place / "zarr.json").read_bytes() == b"old"


async def test_two_at_once_both_end_and_one_is_there(store: Local, tmp_path: Path) -> None:
    """As two servers over one folder, one of which took the other for dead."""
    plain = store.plain(crc32c)

    async def slowly() -> AsyncIterator[Sequence[Item]]:
        yield [Text("zarr.json", b"first")]
        await plain.lay_out("lab/run", given(Text("zarr.json", b"second"), chunk()))
        yield [chunk()]

    await plain.lay_out("lab/run", slowly())
    (place,) = (tmp_path / "sealed/lab").iterdir()
    assert (place / "zarr.json").read_bytes() == b"first"
    assert (place / "iq/c/0").read_bytes() == DATA


def test_a_kill_at_any_step_leaves_the_whole_or_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.storage.plain_kills", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    new, again = map(int, done.stdout.split())
    assert new > 20 and again > new
