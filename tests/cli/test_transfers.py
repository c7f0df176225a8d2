"""`put` and `get`: what goes in comes out, and what was cut off goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.cli.conftest import Contents, Desk


def test_a_folder_comes_back_as_it_went_in(
    desk: Desk, catalog: str, tree: Path, tmp_path: Path, contents: Contents
) -> None:
    put = desk.ask("put", str(tree), catalog, "--title", "qubit T1")
    assert put["dataset"]["title"] == "qubit T1"
    assert {file["path"] for file in put["files"]} == set(contents(tree))
    got = desk.ask("get", f"{catalog}/{put['dataset']['id']}", "-o", str(tmp_path / "back"))
    assert got["failed"] == {}
    assert contents(tmp_path / "back") == contents(tree)
    assert (tmp_path / "back/a.csv").stat().st_mtime_ns == (tree / "a.csv").stat().st_mtime_ns


def test_the_second_time_nothing_is_sent_or_fetched_again(desk: Desk, catalog: str, tree: Path, tmp_path: Path) -> None:
    single = tmp_path / "single.txt"
    single.write_text("one")
    place = f"{catalog}/run"
    assert len(desk.ask("put", str(tree), str(single), place, "--create")["files"]) == 5
    again = desk.ask("put", str(tree), str(single), place)
    assert (again["files"], len(again["skipped"])) == ([], 5)
    assert len(desk.ask("get", place, "-o", str(tmp_path / "back"))["files"]) == 5
    assert desk.ask("get", place, "-o", str(tmp_path / "back"))["files"] == []


def test_one_file_or_one_folder_is_fetched(desk: Desk, catalog: str, tree: Path, tmp_path: Path) -> None:
    place = f"{catalog}/run"
    desk.do("put", str(tree), place, "--create")
    assert desk.do("get", f"{place}/files/a.csv", "-o", "-") == "a,b\n1,2\n"
    desk.do("get", f"{place}/files/raw/b.bin", "-o", str(tmp_path))
    assert (tmp_path / "b.bin").read_bytes() == (tree / "raw/b.bin").read_bytes()
    desk.do("get", f"{place}/files/raw/", "-o", str(tmp_path / "raw"))
    assert sorted(path.name for path in (tmp_path / "raw").rglob("*")) == ["b.bin", "deep", "größe 1.txt"]


def test_files_can_be_put_below_a_folder(desk: Desk, catalog: str, tree: Path) -> None:
    desk.do("put", str(tree / "a.csv"), str(tree / "raw"), f"{catalog}/run/files/day 1/", "--create")
    paths = [file["path"] for file in desk.ask("ls", f"{catalog}/run")]
    assert paths == ["day 1/a.csv", "day 1/b.bin", "day 1/deep/größe 1.txt"]
    assert [file["path"] for file in desk.ask("ls", f"{catalog}/run/files/day 1/deep/")] == paths[2:]


def test_a_zarr_store_that_is_put_as_files_keeps_its_name(desk: Desk, catalog: str, tmp_path: Path) -> None:
    (tmp_path / "iq.zarr/c").mkdir(parents=True)
    (tmp_path / "iq.zarr/zarr.json").write_text("{}")
    (tmp_path / "iq.zarr/c/0").write_bytes(b"\0")
    desk.do("put", str(tmp_path / "iq.zarr"), f"{catalog}/run", "--create", "--as-file")
    assert [file["path"] for file in desk.ask("ls", f"{catalog}/run")] == ["iq.zarr/c/0", "iq.zarr/zarr.json"]


def test_metadata_is_taken_from_options_and_a_file(desk: Desk, catalog: str, tree: Path, tmp_path: Path) -> None:
    (tmp_path / "meta.json").write_text(
        '{"temperature": 1.0, "fridge": "BF4", "large": {"$numberLong": "9007199254740993"}}'
    )
    options = ["--meta", "temperature=0.012", "--meta", "device.wafer=W1", "--meta", '"gain (dB)"=[1, 2.5]']
    options += [
        "--meta",
        "note=a=b",
        "--meta",
        "ok=true",
        "--meta",
        'text="5"',
        "--meta-file",
        str(tmp_path / "meta.json"),
    ]
    put = desk.ask("put", str(tree / "a.csv"), catalog, *options, "--tag", "t1", "--tag", "t2", "--kind", "run")
    assert put["dataset"]["metadata"] == {
        "temperature": 0.012,
        "fridge": "BF4",
        "large": {"$numberLong": "9007199254740993"},
        "device": {"wafer": "W1"},
        "gain (dB)": [1, 2.5],
        "note": "a=b",
        "ok": True,
        "text": "5",
    }
    assert (put["dataset"]["tags"], put["dataset"]["kind"], put["dataset"]["title"]) == (["t1", "t2"], "run", "a.csv")
    more = desk.ask(
        "put", str(tree / "a.csv"), f"{catalog}/{put['dataset']['id']}", "--meta", "ok=false", "--tag", "t3"
    )
    assert more["dataset"]["metadata"]["ok"] is False
    assert more["dataset"]["metadata"]["fridge"] == "BF4"
    assert more["dataset"]["tags"] == ["t1", "t2", "t3"]


def test_what_is_not_there_is_named_and_made_only_on_demand(desk: Desk, catalog: str, tree: Path) -> None:
    code, error = desk.fail("put", str(tree), "no-such-catalog")
    assert code == 3
    assert "--create" in error["message"]
    assert desk.fail("put", str(tree), f"{catalog}/run")[0] == 3
    assert desk.fail("get", f"{catalog}/run")[0] == 3
    desk.do("put", str(tree), f"{catalog}-new/run", "--create")
    assert desk.fail("get", f"{catalog}-new/run/files/nothing")[0] == 3
    assert desk.ask("show", f"{catalog}-new/run")["title"] == "out"


@pytest.mark.parametrize(
    "arguments",
    [
        ["put", "no-such-path", "lab"],
        ["put", ".", "lab/run/files/a.csv"],
        ["put", ".", "lab/run/arrays/a"],
        ["put", ".", "lab", "--meta", "no-pair"],
        ["put", ".", "lab", "--meta", "a[0]=1"],
        ["put", ".", "lab", "--meta", "a=1", "--meta", "a.b=1"],
        ["put", ".", "lab", "--meta", "a=1", "--meta", "a=2"],
        ["get", "lab"],
        ["get", "lab/run", "-o", "-"],
    ],
    ids=" ".join,
)
def test_slips_are_usage_errors(desk: Desk, arguments: list[str]) -> None:
    assert desk.run(*arguments).exit_code == 2


def test_a_put_that_failed_goes_on_with_its_dataset(desk: Desk, catalog: str, tree: Path, tmp_path: Path) -> None:
    single = tmp_path / "first.txt"
    single.write_text("first")
    link = tree / "link"
    link.symlink_to(tmp_path)
    code, error = desk.fail("put", str(single), str(tree), catalog)
    assert (code, error["reason"]) == (1, "FIELD_INVALID")
    begun = [dataset["id"] for dataset in desk.ask("ls", catalog)]
    link.unlink()
    again = desk.ask("put", str(single), str(tree), catalog)
    assert [again["dataset"]["id"]] == begun
    assert again["skipped"] == ["first.txt"]
    assert len(again["files"]) == 4
    another = desk.ask("put", str(single), str(tree), catalog)
    assert another["dataset"]["id"] not in begun, "what was finished is not gone on with"


def test_a_put_that_was_cut_off_can_be_begun_anew(desk: Desk, catalog: str, tree: Path, tmp_path: Path) -> None:
    (tree / "link").symlink_to(tmp_path)
    desk.fail("put", str(tree), catalog)
    (tree / "link").unlink()
    desk.do("put", str(tree), catalog, "--new")
    assert len(desk.ask("ls", catalog)) == 2


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no kill -9")
def test_a_put_that_was_killed_completes_when_it_is_run_again(desk: Desk, catalog: str, tmp_path: Path) -> None:
    source = tmp_path / "frames.bin"
    block = os.urandom(1 << 20)
    with source.open("wb") as file:
        for number in range(96):
            file.write(number.to_bytes(8, "big") + block[8:])
    command = [sys.executable, "-m", "measurand.cli.main", "put", str(source), catalog]
    process = subprocess.Popen(
        command, env={**os.environ, **desk.environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    journal = Path(desk.environment["XDG_STATE_HOME"]) / "measurand" / "uploads"
    deadline = time.monotonic() + 60
    while not list(journal.glob("*.json")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)  # until the upload has begun, in the other process
    process.kill()
    process.wait()
    again = desk.ask("put", str(source), catalog)
    assert [dataset["id"] for dataset in desk.ask("ls", catalog)] == [again["dataset"]["id"]]
    desk.do("get", f"{catalog}/{again['dataset']['id']}/files/frames.bin", "-o", str(tmp_path / "back.bin"))
    assert (tmp_path / "back.bin").read_bytes() == source.read_bytes()


def test_quiet_says_only_where_things_are(desk: Desk, catalog: str, tree: Path) -> None:
    result = desk.run("put", str(tree), f"{catalog}/run", "--create", "-q")
    assert (result.stdout, result.stderr) == (f"{catalog}/run\n", "")
    result = desk.run("-q", "get", f"{catalog}/run", "-o", str(tree / "back"))
    assert (result.stdout, result.stderr) == ("", "")
