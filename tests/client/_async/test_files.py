from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3
from tests.stores import DURABLE

from measurand.client import AsyncCatalog, AsyncDataset, errors

pytestmark = pytest.mark.stores(*DURABLE)

MiB = 1 << 20
SIZES = [0, 1, MiB, MiB + 1, 5 * MiB + 17]


@pytest.mark.parametrize("size", SIZES)
async def test_a_file_comes_back_by_every_way(run: AsyncDataset, tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "x.bin").write_bytes(data)
    file = await run.upload(tmp_path / "x.bin")
    assert (file.path, file.size, file.blake3) == ("x.bin", size, blake3(data).hexdigest())
    assert await run.read_bytes("x.bin") == data
    buffer = bytearray(size + 3)
    assert await run.read_into("x.bin", buffer) == size
    assert buffer == data + bytes(3)
    target = await run.download("x.bin", tmp_path / "back.bin")
    assert target.read_bytes() == data
    async with await run.open("x.bin") as opened:
        assert await opened.read() == data
    assert await run.stat("x.bin") == file


@pytest.mark.parametrize("size", SIZES)
async def test_bytes_arrays_and_open_files_are_sources_too(run: AsyncDataset, size: int) -> None:
    data = os.urandom(size)
    await run.write_bytes("bytes", data)
    await run.upload(np.frombuffer(data, "u1"), "array")
    file = io.BytesIO(b"skipped" + data)
    file.seek(len(b"skipped"))
    await run.upload(file, "file")
    async with await run.open("written", "wb") as writer:
        for start in range(0, size, 300_000):
            await writer.write(data[start : start + 300_000])
    for path in ("bytes", "array", "file", "written"):
        assert await run.read_bytes(path) == data


async def test_time_and_mode_travel_with_a_file(run: AsyncDataset, tmp_path: Path) -> None:
    source = tmp_path / "x"
    source.write_bytes(b"1")
    source.chmod(0o640)
    os.utime(source, ns=(1, 1_795_256_732_123_456_789))
    file = await run.upload(source, attributes={"shot": "7"})
    assert file.attributes == {"mtime": "2026-11-21T10:25:32.123456789Z", "mode": "0640", "shot": "7"}
    (tmp_path / "to").mkdir()
    target = await run.download("x", tmp_path / "to")
    assert (target.stat().st_mtime_ns, target.stat().st_mode & 0o777) == (1_795_256_732_123_456_789, 0o640)


async def test_ranges_are_exact(run: AsyncDataset) -> None:
    data = os.urandom(3 * MiB)
    await run.write_bytes("x", data)
    for offset, length in [(0, 10), (MiB - 5, 10), (2 * MiB, None), (-10, None), (-10, 4), (5, 2 * MiB + 3), (0, 0)]:
        end = None if length is None else (offset if offset >= 0 else len(data) + offset) + length
        assert await run.read_bytes("x", offset=offset, length=length) == data[offset:end]
    with pytest.raises(errors.OutOfRange):
        await run.read_bytes("x", offset=len(data) + 1)


async def test_a_new_upload_makes_a_new_generation_and_readers_go_on(run: AsyncDataset) -> None:
    old, new = os.urandom(3 * MiB), os.urandom(2 * MiB)
    first = await run.write_bytes("x", old)
    async with await run.open("x") as reader:
        begun = await reader.read(10)
        second = await run.write_bytes("x", new)
        assert begun + await reader.read() == old
    assert second.generation > first.generation
    assert await run.read_bytes("x") == new
    assert await run.read_bytes("x", generation=first.generation) == old
    assert [file.is_superseded for file in await run.files(show_superseded=True)] == [False, True]


async def test_a_condition_on_the_generation_is_kept(run: AsyncDataset, tmp_path: Path) -> None:
    file = await run.write_bytes("x", b"1", if_generation=0)
    with pytest.raises(errors.GenerationMismatch):
        await run.write_bytes("x", b"2", if_generation=0)
    (tmp_path / "large").write_bytes(bytes(2 * MiB))
    with pytest.raises(errors.GenerationMismatch):
        await run.upload(tmp_path / "large", "x", if_generation=file.generation + 1)
    assert (await run.upload(tmp_path / "large", "x", if_generation=file.generation)).size == 2 * MiB


async def test_files_are_listed_copied_and_removed(lab: AsyncCatalog, run: AsyncDataset) -> None:
    await run.write_bytes("a/x", b"1")
    await run.write_bytes("b", b"2")
    other = await lab.create("other")
    await other.copy_file("a/x", "c", dataset=run)
    assert await other.read_bytes("c") == b"1"
    assert [file.path for file in await run.files()] == ["a/x", "b"]
    assert [file.path for file in await run.files("a/")] == ["a/x"]
    await run.delete_file("b")
    await run.delete_file("b")
    assert [file.path for file in await run.files()] == ["a/x"]
    with pytest.raises(errors.NotFound) as caught:
        await run.read_bytes("b")
    assert caught.value.reason == "RESOURCE_NOT_FOUND"


@pytest.mark.parametrize("path", ["../x", "/x", "a//b", "a/../b", "", "a\nb", "x" * 300, "\udcff"])
async def test_hostile_names_are_refused_and_nothing_is_stored(run: AsyncDataset, path: str) -> None:
    with pytest.raises(errors.NameInvalid):
        await run.write_bytes(path, b"x")
    assert await run.files() == []


@pytest.mark.parametrize("size", [1000, 3 * MiB])
async def test_progress_is_told_to_the_end(run: AsyncDataset, tmp_path: Path, size: int) -> None:
    (tmp_path / "x").write_bytes(bytes(size))
    told: list[tuple[int, int | None]] = []
    await run.upload(tmp_path / "x", progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (size, size)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    told.clear()
    await run.download("x", tmp_path / "back", progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (size, size)


async def test_a_writer_that_fails_stores_nothing(run: AsyncDataset) -> None:
    async def fail() -> None:
        async with await run.open("x", "wb") as writer:
            await writer.write(bytes(3 * MiB))
            await writer.flush()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    assert await run.files() == []


async def test_a_file_object_reads_in_any_order(run: AsyncDataset) -> None:
    data = os.urandom(4 * MiB)
    await run.write_bytes("x", data)
    async with await run.open("x") as reader:
        for position, size in [(3 * MiB, 10), (0, 5), (5, 100_000), (100_005, 2 * MiB), (MiB, MiB + 1), (len(data), 5)]:
            assert reader.seek(position) == position
            assert await reader.read(size) == data[position : position + size]
        reader.seek(-3, 2)
        buffer = bytearray(10)
        assert await reader.readinto(buffer) == 3
        assert buffer[:3] == data[-3:]
        assert reader.tell() == len(data)
    with pytest.raises(errors.FailedPrecondition):
        await reader.read(1)


async def test_a_file_object_gives_lines(run: AsyncDataset) -> None:
    lines = [b"x" * length + b"\n" for length in (0, 5, 70_000, 200_000, 3)] + [b"last"]
    await run.write_bytes("x", b"".join(lines))
    async with await run.open("x") as reader:
        assert [line async for line in reader] == lines
        reader.seek(1)
        assert await reader.readline(3) == b"xxx"


async def test_files_are_found_by_their_name_over_all_datasets(lab: AsyncCatalog) -> None:
    one, other, gone = [await lab.create(title) for title in ("one", "other", "gone")]
    for run in (one, other, gone):
        await run.write_bytes("raw/found-me.csv", b"1")
    await other.write_bytes("found-me.csv", b"2")
    await other.write_bytes("found-me.csv.old", b"3")
    await gone.delete()
    found = await lab.find_files("found-me.csv")
    assert sorted((file.dataset, file.path) for file in found) == sorted(
        [(one.id, "raw/found-me.csv"), (other.id, "found-me.csv"), (other.id, "raw/found-me.csv")]
    )
    assert await lab.find_files("raw") == []
