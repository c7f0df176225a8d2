"""What the pages and the examples tell people to type, typed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from tests.servers import running

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "TMPDIR"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))


def run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_quickstart_brings_every_byte_back_and_leaves_nothing(tmp_path: Path) -> None:
    before = set(psutil.Process().children(recursive=True))  # what earlier tests have left to end by itself
    said = run([sys.executable, str(ROOT / "examples/quickstart.py"), "--megabytes", "16"], tmp_path)
    assert "Every byte came back" in said
    assert not list((tmp_path / "TMPDIR").iterdir())
    mine = set(psutil.Process().children(recursive=True)) - before
    assert not [child for child in mine if "serve" in child.cmdline()]


def test_getting_started_runs_as_it_is_written(tmp_path: Path) -> None:
    page = (ROOT / "docs/getting-started.md").read_text()
    examples = "\n".join(re.findall(r"```python\n(.+?)```", page, re.DOTALL))
    assert "/home/me/measurements" in examples
    (tmp_path / "example.py").write_text(examples.replace("/home/me/measurements", str(tmp_path / "measurements")))
    (tmp_path / "trace.csv").write_text("second,kelvin\n0,0.012\n")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/settings.json").write_text("{}")
    np.save(tmp_path / "out/frames.npy", np.zeros((4, 64, 64), np.uint16))
    np.save(tmp_path / "frames.npy", np.zeros((4, 64, 64), np.uint16))
    said = run([sys.executable, "-W", "error", "example.py"], tmp_path)
    assert "qubit T1 {'temperature': 0.012, 'fridge': 'BF4'}" in said
    assert "RESOURCE_NOT_FOUND" in said


def test_the_page_on_arrays_runs_as_it_is_written(tmp_path: Path) -> None:
    page = (ROOT / "docs/arrays.md").read_text()
    examples = "\n".join(re.findall(r"```python\n(.+?)```", page, re.DOTALL))
    (tmp_path / "example.py").write_text(f"{examples}\nclient.close()\n")
    run([sys.executable, "-W", "error", "example.py"], tmp_path)
    assert {path.name for path in tmp_path.iterdir()} >= {"table.csv", "run.npz", "iq.npy", "run.zarr"}


def test_the_data_file_way_of_working_runs(tmp_path: Path) -> None:
    said = run([sys.executable, "-W", "error", str(ROOT / "examples/data_file.py")], tmp_path)
    assert said.endswith("all of it is as it should be\n")
    assert not list((tmp_path / "TMPDIR").iterdir())


def test_a_detector_and_its_trainers_share_a_buffer(tmp_path: Path) -> None:
    said = run([sys.executable, "-W", "error", str(ROOT / "examples/buffer.py"), "--blocks", "40"], tmp_path)
    assert "100 blocks are in 3 batches, each once" in said
    assert "run-2: trained on records 41 to 80" in said


@pytest.mark.skipif(shutil.which("bash") is None, reason="the page is for a shell")
def test_the_tutorial_on_losing_a_site_runs_as_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs/tutorial-losing-a-site.md").read_text()
    assert "measurand serve --data ~/eight-sites --containers 8\n" in page
    commands = "\n".join(re.findall(r"```sh\n(.+?)```", page, re.DOTALL)).replace("~/", f"{tmp_path}/")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    with running(tmp_path / "eight-sites", "--containers", "8") as server:
        monkeypatch.setenv("MEASURAND_URL", server.address)
        said = run(["bash", "-euo", "pipefail", "-c", commands], tmp_path)
    assert "every byte is there" in said
    assert "2 blobs: 2 safe, 0 degraded, 0 at risk, 0 lost" in said
    assert "7 containers" not in said and said.count("new-site") == 1


def test_the_page_of_buffers_runs_as_it_is_written(tmp_path: Path) -> None:
    page = (ROOT / "docs/buffers.md").read_text()
    examples = "\n".join(re.findall(r"```python\n(.+?)```", page, re.DOTALL))
    (tmp_path / "example.py").write_text(f"{examples}\nclient.close()\n")
    run([sys.executable, "-W", "error", "example.py"], tmp_path)


def test_the_page_of_objects_runs_as_it_is_written(tmp_path: Path) -> None:
    page = (ROOT / "docs/objects.md").read_text()
    examples = "\n".join(re.findall(r"```python\n(.+?)```", page, re.DOTALL))
    (tmp_path / "example.py").write_text(examples)
    said = run([sys.executable, "-W", "error", "example.py"], tmp_path)
    assert "model" in said
