"""Files of arrays in, arrays out in the forms of other programs, and what is shown of them."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray
import zarr
from tests.cli.conftest import Desk
from tests.servers import running

from measurand.client import Client

FRAMES = np.random.default_rng(5).integers(0, 60_000, (40, 128, 96)).astype("u2")
IQ = np.frombuffer(bytes.fromhex("010000000000f07f 01000000addef87f 0000000000000080 000000000000f0bf"), "f8")
TIME = np.linspace(0, 1e-4, 4)


def bits(value: Any) -> tuple[Any, ...]:
    array = np.asarray(value)
    return array.dtype, array.shape, array.tobytes()


def write_npy(folder: Path) -> tuple[Path, dict[str, Any]]:
    np.save(folder / "sweep.npy", np.asfortranarray(FRAMES))
    return folder / "sweep.npy", {"sweep": FRAMES}


def write_npz(folder: Path) -> tuple[Path, dict[str, Any]]:
    arrays: dict[str, Any] = {"iq": IQ, "time": TIME, "zero": np.array(5, "i1"), "none": np.zeros((0, 3))}
    np.savez_compressed(folder / "sweep.npz", **arrays)
    return folder / "sweep.npz", arrays


def write_hdf5(folder: Path) -> tuple[Path, dict[str, Any]]:
    with h5py.File(folder / "sweep.h5", "w") as file:
        file.attrs["operator"] = "me"
        entry = file.create_group("entry")
        entry.attrs["bias (V)"] = 0.25
        entry["iq"], entry["time"] = IQ, TIME
        entry["time"].make_scale()
        entry["iq"].dims[0].attach_scale(entry["time"])
        entry["iq"].attrs["units"] = "V"
        entry.create_dataset("frames", data=FRAMES, chunks=(4, 128, 96), compression="gzip")
        file["be"] = np.arange(3, dtype=">i4")
    return folder / "sweep.h5", {
        "entry/iq": IQ,
        "entry/time": TIME,
        "entry/frames": FRAMES,
        "be": np.arange(3, dtype="i4"),
    }


def write_zarr(folder: Path) -> tuple[Path, dict[str, Any]]:
    root = zarr.open_group(folder / "sweep.zarr", mode="w", attributes={"operator": "me"})
    root.create_array("iq", data=IQ, dimension_names=["time"], attributes={"units": "V"})
    root.create_array("entry/frames", data=FRAMES, chunks=(4, 128, 96))
    return folder / "sweep.zarr", {"iq": IQ, "entry/frames": FRAMES}


Writer = Callable[[Path], tuple[Path, dict[str, Any]]]


@pytest.mark.parametrize("write", [write_npy, write_npz, write_hdf5, write_zarr])
def test_a_file_of_arrays_becomes_a_dataset_and_comes_back_bit_for_bit(
    desk: Desk, catalog: str, tmp_path: Path, write: Writer
) -> None:
    path, arrays = write(tmp_path)
    put = desk.ask("put", str(path), catalog, "--meta", "fridge=BF4")
    assert {array["array"] for array in put["arrays"]} == set(arrays)
    assert put["files"] == []
    assert put["dataset"]["title"] == path.name
    assert put["dataset"]["metadata"]["fridge"] == "BF4"
    place = f"{catalog}/{put['dataset']['id']}"
    desk.do("get", place, "-o", str(tmp_path / "back.npz"))
    with np.load(tmp_path / "back.npz") as back:
        assert {name: bits(back[name]) for name in back.files} == {name: bits(value) for name, value in arrays.items()}
    assert [found["id"] for found in desk.ask("ls", catalog)] == [put["dataset"]["id"]]


def test_what_a_file_says_of_itself_and_of_its_arrays_is_kept(desk: Desk, catalog: str, tmp_path: Path) -> None:
    path, _ = write_hdf5(tmp_path)
    put = desk.ask("put", str(path), f"{catalog}/run", "--create", "--meta", "operator=you")
    assert put["dataset"]["metadata"] == {"operator": "you", "entry": {"bias (V)": 0.25}}
    shown = desk.ask("show", f"{catalog}/run/arrays/entry/iq")
    assert (shown["dims"], shown["attrs"], shown["shape"], shown["dtype"]) == (["time"], {"units": "V"}, [4], "float64")
    assert desk.ask("show", f"{catalog}/run/arrays/entry/frames")["chunks"] == [4, 128, 96]


def test_other_files_and_as_file_stay_files(desk: Desk, catalog: str, tmp_path: Path) -> None:
    path, _ = write_npy(tmp_path)
    (tmp_path / "note.txt").write_text("cold")
    desk.do("put", str(path), str(tmp_path / "note.txt"), f"{catalog}/both", "--create")
    assert [row["path"] for row in desk.ask("ls", f"{catalog}/both")] == ["arrays/sweep", "note.txt"]
    desk.do("put", str(path), f"{catalog}/file", "--create", "--as-file")
    assert [row["path"] for row in desk.ask("ls", f"{catalog}/file")] == ["sweep.npy"]
    desk.do("put", str(path), f"{catalog}/below/files/raw/", "--create")
    assert [row["path"] for row in desk.ask("ls", f"{catalog}/below")] == ["raw/sweep.npy"]


def test_arrays_are_put_into_a_dataset_that_is_there(desk: Desk, catalog: str, tmp_path: Path) -> None:
    path, _ = write_npy(tmp_path)
    desk.do("put", str(path), f"{catalog}/run", "--create")
    np.save(path, IQ)
    desk.do("put", str(path), f"{catalog}/run")
    desk.do("get", f"{catalog}/run/arrays/sweep", "-o", str(tmp_path / "back.npy"))
    assert (tmp_path / "back.npy").read_bytes() == path.read_bytes()


def test_an_array_that_cannot_be_stored_is_named_and_nothing_is_made(desk: Desk, catalog: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "odd.h5", "w") as file:
        file["fine"] = IQ
        file.create_dataset("entry/ragged", (3,), dtype=h5py.vlen_dtype("i4"))
    code, error = desk.fail("put", str(tmp_path / "odd.h5"), catalog)
    assert (code, error["reason"]) == (1, "FIELD_INVALID")
    assert "entry/ragged" in error["message"]
    assert "--as-file" in error["message"]
    np.save(tmp_path / "objects.npy", np.array([1, "a"], dtype=object), allow_pickle=True)
    assert "objects" in desk.fail("put", str(tmp_path / "objects.npy"), catalog)[1]["message"]
    (tmp_path / "broken.npz").write_bytes(b"PK nothing")
    assert "broken.npz" in desk.fail("put", str(tmp_path / "broken.npz"), catalog)[1]["message"]
    assert desk.ask("ls", catalog) == []


def test_two_files_with_an_array_of_one_name_are_refused(desk: Desk, catalog: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        np.savez(tmp_path / f"{name}.npz", iq=IQ)
    code, error = desk.fail("put", str(tmp_path / "a.npz"), str(tmp_path / "b.npz"), catalog)
    assert code == 1
    assert "iq" in error["message"]
    assert desk.ask("ls", catalog) == []


@pytest.fixture
def run(desk: Desk, catalog: str, tmp_path: Path) -> str:
    """A dataset with arrays."""
    (tmp_path / "in").mkdir()
    np.savez(tmp_path / "in/run.npz", frames=FRAMES, iq=IQ, time=TIME, label=np.array(["a", "b,c", "", "é"]))
    desk.do("put", str(tmp_path / "in/run.npz"), f"{catalog}/run", "--create")
    return f"{catalog}/run"


def test_an_array_is_fetched_under_its_name_unless_told_otherwise(
    desk: Desk, run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert desk.ask("get", f"{run}/arrays/frames")["to"] == "frames.npy"
    assert bits(np.load("frames.npy")) == bits(FRAMES)
    desk.do("get", f"{run}/arrays/frames", "-o", str(tmp_path / "in"))
    assert bits(np.load(tmp_path / "in/frames.npy")) == bits(FRAMES)


def test_a_table_is_fetched(desk: Desk, run: str, tmp_path: Path) -> None:
    desk.do("get", f"{run}/arrays/label", "-o", str(tmp_path / "label.csv"))
    with (tmp_path / "label.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["label"], ["a"], ["b,c"], [""], ["é"]]
    code, error = desk.fail("get", run, "-o", str(tmp_path / "all.csv"))
    assert (code, error["reason"]) == (1, "FIELD_INVALID")
    assert not (tmp_path / "all.csv").exists()


def test_a_dataset_becomes_a_zarr_store_that_needs_no_server(desk: Desk, run: str, tmp_path: Path) -> None:
    target = tmp_path / "out.zarr"
    desk.do("get", run, "-o", str(target))
    desk.do("get", run, "-o", str(target))  # in the place of the one that is there
    root: Any = zarr.open_group(target, mode="r")
    assert {name: bits(root[name][...]) for name in ("frames", "iq", "time")} == {
        "frames": bits(FRAMES),
        "iq": bits(IQ),
        "time": bits(TIME),
    }
    with xarray.open_zarr(target) as opened:
        assert bits(opened["frames"].values) == bits(FRAMES)
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".part")] == []


def test_what_was_fetched_as_zarr_is_opened_when_the_server_has_gone(home: dict[str, str], tmp_path: Path) -> None:
    np.savez(tmp_path / "sweep.npz", f=np.array([5.0e9, 5.1e9]), v=IQ[2:])
    with running(tmp_path / "data") as server:
        desk = Desk({**home, "MEASURAND_URL": server.address})
        desk.do("put", str(tmp_path / "sweep.npz"), "lab/run", "--create")
        with Client(server.address) as client:
            client.catalog("lab").get("run")["v"].update(dims=("f",))
        desk.do("get", "lab/run", "-o", str(tmp_path / "out.zarr"))
    with xarray.open_zarr(tmp_path / "out.zarr") as opened:
        assert bits(opened["v"].values) == bits(IQ[2:])
        assert float(opened["v"].sel(f=5.09e9, method="nearest")) == IQ[3]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no kill -9")
def test_a_put_that_was_killed_shows_nothing_and_completes_when_it_is_run_again(
    desk: Desk, catalog: str, tmp_path: Path
) -> None:
    arrays = {f"a{number}": np.random.default_rng(number).bytes(8 << 20) for number in range(8)}
    np.savez(tmp_path / "sweep.npz", **{name: np.frombuffer(data, "u1") for name, data in arrays.items()})  # type: ignore[arg-type]
    command = [sys.executable, "-m", "measurand.cli.main", "put", str(tmp_path / "sweep.npz"), catalog]
    process = subprocess.Popen(
        command, env={**os.environ, **desk.environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    notes = Path(desk.environment["XDG_STATE_HOME"]) / "measurand" / "puts"
    deadline = time.monotonic() + 60
    while not list(notes.glob("*.txt")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)  # until the dataset is about to be made, in the other process
    process.kill()
    process.wait()
    assert desk.ask("ls", catalog) == []
    again = desk.ask("put", str(tmp_path / "sweep.npz"), catalog)
    assert [dataset["id"] for dataset in desk.ask("ls", catalog)] == [again["dataset"]["id"]]
    desk.do("get", f"{catalog}/{again['dataset']['id']}", "-o", str(tmp_path / "back.npz"))
    with np.load(tmp_path / "back.npz") as back:
        assert {name: back[name].tobytes() for name in back.files} == arrays


def test_a_folder_that_is_no_zarr_store_is_left_alone(desk: Desk, run: str, tmp_path: Path) -> None:
    (tmp_path / "mine.zarr").mkdir()
    (tmp_path / "mine.zarr/thesis.tex").write_text("all of it")
    assert desk.fail("get", run, "-o", str(tmp_path / "mine.zarr"))[1]["reason"] == "FIELD_INVALID"
    assert (tmp_path / "mine.zarr/thesis.tex").read_text() == "all of it"


def test_a_target_stays_as_it_was_when_fetching_fails(desk: Desk, run: str, tmp_path: Path) -> None:
    (tmp_path / "old.npy").write_bytes(b"old")
    assert desk.fail("get", f"{run}/arrays/nothing", "-o", str(tmp_path / "old.npy"))[0] == 3
    assert (tmp_path / "old.npy").read_bytes() == b"old"


def test_show_tells_how_an_array_is_stored_and_some_of_it(desk: Desk, run: str) -> None:
    shown = desk.ask("show", f"{run}/arrays/frames")
    assert shown["size"] == FRAMES.nbytes
    assert shown["stored"] > 0
    assert shown["ratio"] == round(np.prod([-(-40 // shown["chunks"][0]), *shown["chunks"]]) * 2 / shown["stored"], 3)
    said = desk.do("show", f"{run}/arrays/frames")
    assert "(40, 128, 96)" in said
    for element in (FRAMES[0, 0, 0], FRAMES[0, -1, 0], FRAMES[0, 0, -1], FRAMES[0, -1, -1]):
        assert str(element) in said
    listed = desk.do("show", run)
    assert all(name in listed for name in ("frames", "iq", "time", "label", "uint16"))


def test_a_plot_is_drawn_in_the_terminal_or_written(desk: Desk, run: str, tmp_path: Path) -> None:
    assert "▁▃▆█" in desk.do("show", f"{run}/arrays/time", "--plot")
    assert "[20, :, :]" in desk.do("show", f"{run}/arrays/frames", "--plot")
    desk.do("show", f"{run}/arrays/frames", "--plot", str(tmp_path / "frames.png"))
    assert (tmp_path / "frames.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert desk.run("show", f"{run}/arrays/label", "--plot").exit_code == 1
    assert desk.run("show", run, "--plot").exit_code == 2


def test_an_array_is_listed_and_removed(desk: Desk, run: str) -> None:
    assert [row["array"] for row in desk.ask("ls", f"{run}/arrays")] == ["frames", "iq", "label", "time"]
    desk.do("rm", f"{run}/arrays/iq")
    assert [row["array"] for row in desk.ask("ls", run)] == ["frames", "label", "time"]
    assert desk.fail("show", f"{run}/arrays/iq")[0] == 3


@pytest.mark.parametrize(
    "arguments",
    [
        ["get", "lab/run/arrays/iq", "-o", "-"],
        ["get", "lab/run/arrays/iq", "-o", "iq.mat"],
        ["get", "lab/run/arrays/", "-o", "all.npy"],
        ["rm", "lab/run/arrays/"],
        ["rm", "lab/run/arrays/iq", "--purge"],
        ["show", "lab/run/arrays/iq", "--plot", "picture.jpg"],
        ["history", "lab/run/arrays/iq"],
    ],
    ids=" ".join,
)
def test_slips_are_usage_errors(desk: Desk, arguments: list[str]) -> None:
    assert desk.run(*arguments).exit_code == 2
