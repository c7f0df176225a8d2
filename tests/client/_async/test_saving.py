"""A whole measurement in one call; and sealing, after which it changes no more."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from tests.stores import DURABLE

from measurand.client import AsyncCatalog, AsyncDataset, DataFile, errors
from measurand.client._transport import aio

MiB = 1 << 20

pytestmark = pytest.mark.stores(*DURABLE)


async def test_a_measurement_is_saved_by_one_call(lab: AsyncCatalog, tmp_path: Path) -> None:
    large = os.urandom(3 * MiB)
    (tmp_path / "large.bin").write_bytes(large)
    (tmp_path / "small.txt").write_text("small")
    parent = await lab.create("parent")
    data = DataFile(
        "rabi",
        {"f": 5.1e9},
        files=[tmp_path / "large.bin", str(tmp_path / "small.txt")],
        tags=["t1"],
        kind="run",
        parents=[parent],
        id="rabi-1",
    )
    run = await lab.save(data)
    assert (run.id, run.title, run.metadata, run.tags, run.kind) == ("rabi-1", "rabi", {"f": 5.1e9}, ("t1",), "run")
    assert (run.state, run.revision, run.parents) == ("open", 1, (parent.name,))
    assert [file.path for file in await run.files()] == ["large.bin", "small.txt"]
    assert await run.read_bytes("large.bin") == large
    assert await lab.get("rabi-1") == run


async def test_files_have_the_names_of_a_mapping(lab: AsyncCatalog) -> None:
    run = await lab.save(DataFile("t", files={"raw/a": b"abc", "b": bytearray(b"")}))
    assert {file.path: await run.read_bytes(file.path) for file in await run.files()} == {"raw/a": b"abc", "b": b""}


async def test_arrays_are_saved_with_what_is_said_of_them(lab: AsyncCatalog) -> None:
    iq = np.arange(12.0).reshape(3, 4)
    data = DataFile(
        "rabi",
        arrays={"iq": iq, "n": 5},
        dims={"iq": ("sweep", "time")},
        attrs={"iq": {"units": "V"}},
        files={"a": b""},
    )
    run = await lab.save(data, request_id="arrays")
    array = await run.array("iq")
    assert (await array.read(...)).tobytes() == iq.tobytes()
    assert (array.dims, array.attrs) == (("sweep", "time"), {"units": "V"})
    assert await (await run.array("n")).read(...) == 5
    assert await lab.save(data, request_id="arrays") == run


async def test_the_arrays_of_a_sealed_dataset_change_no_more(lab: AsyncCatalog) -> None:
    run = await lab.save(DataFile("rabi", arrays={"x": np.arange(3)}))
    await run.seal()
    with pytest.raises(errors.Sealed):
        await run.write_array("x", np.arange(4))
    with pytest.raises(errors.Sealed):
        await run.create_array("y", (3,), "f8")
    assert (await (await run.array("x")).read(...)).tolist() == [0, 1, 2]


async def test_metadata_alone_is_saved_too(lab: AsyncCatalog) -> None:
    run = await lab.save(DataFile("t", {"n": 1}), request_id="alone")
    assert await lab.save(DataFile("t", {"n": 1}), request_id="alone") == run
    assert await lab.count() == 1


async def test_what_cannot_be_saved_leaves_nothing(lab: AsyncCatalog, tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidArgument, match="would both be called"):
        await lab.save(DataFile("t", files=["x/a.txt", "y/a.txt"]))
    with pytest.raises(errors.InvalidArgument, match="iq"):
        await lab.save(DataFile("t", dims={"iq": ("t",)}))
    with pytest.raises(errors.NameInvalid):
        await lab.save(DataFile("t", files={"good": b"1", "../bad": b"2"}, id="left"))
    assert await lab.count() == 0
    with pytest.raises(errors.NotFound):
        await lab.get("left")


async def test_a_save_that_fails_here_leaves_nothing_on_the_server(lab: AsyncCatalog, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await lab.save(DataFile("t", files=[tmp_path / "none"], id="left"))
    assert (await lab.save(DataFile("t", id="left"))).state == "open"


async def test_a_repeated_save_makes_one_dataset_and_finishes_what_was_begun(lab: AsyncCatalog, tmp_path: Path) -> None:
    missing = tmp_path / "late.bin"
    data = DataFile("t", {"n": 1}, files={"a": b"abc", "late.bin": missing})
    with pytest.raises(FileNotFoundError):
        await lab.save(data, request_id="one")
    assert await lab.count() == 0
    missing.write_bytes(b"late")
    run = await lab.save(data, request_id="one")
    assert (run.state, run.revision) == ("open", 1)
    assert await run.read_bytes("late.bin") == b"late"
    await run.update({"n": 2})
    again = await lab.save(data, request_id="one")
    assert (again, again.metadata, await lab.count()) == (run, {"n": 2}, 1)
    with pytest.raises(errors.RequestIdReused):
        await lab.save(DataFile("other", files={"a": b"abc"}), request_id="one")


async def test_a_sealed_dataset_changes_in_its_tags_alone(run: AsyncDataset, lab: AsyncCatalog) -> None:
    await run.write_bytes("a", b"abc")
    with pytest.raises(errors.Conflict):
        await run.seal(if_match="old")
    await run.seal()
    assert (run.state, run.plain_url) == ("sealed", "")
    assert "sealed" in repr(run)
    with pytest.raises(errors.Sealed, match="parent"):
        await run.update({"n": 1})
    with pytest.raises(errors.Sealed):
        await run.write_bytes("a", b"new")
    with pytest.raises(errors.Sealed):
        await run.upload(os.urandom(2 * MiB), "b")
    with pytest.raises(errors.Sealed):
        await run.delete_file("a")
    await run.add_tags("good")
    await run.delete()
    await run.undelete()
    assert (run.state, run.tags, await run.read_bytes("a")) == ("sealed", ("good",), b"abc")
    assert [found.id async for found in lab.find("state = sealed")] == [run.id]
    child = await lab.create("again", parents=[run])
    assert child.parents == (run.name,)


async def test_what_was_written_before_the_sealing_is_in_it_and_nothing_else(run: AsyncDataset) -> None:
    async def write(number: int) -> tuple[str, bytes] | None:
        if number == 20:
            await run.seal(force=True)
            return None
        path, data = f"f{number % 15:02}", b"%d" % number
        try:
            await run.write_bytes(path, data)
        except errors.Sealed:
            return None
        return path, data

    written = {pair for pair in await aio.parallel(write, range(40), bound=8) if pair is not None}
    there = {file.path: await run.read_bytes(file.path) for file in await run.files()}
    assert set(there) == {path for path, _ in written}
    assert set(there.items()) <= written


async def test_an_open_upload_keeps_a_dataset_from_being_sealed(run: AsyncDataset) -> None:
    file = await run.open("a", "wb")
    await file.write(os.urandom(2 * MiB))
    with pytest.raises(errors.ResourceInUse):
        await run.seal()
    await run.seal(force=True)
    with pytest.raises(errors.MeasurandError):
        await file.close()
    assert await run.files() == []


async def test_what_is_not_sealed_is_not_published(run: AsyncDataset) -> None:
    with pytest.raises(errors.FailedPrecondition):
        await run.publish()
