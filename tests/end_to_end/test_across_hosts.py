"""ME-4: client and server share nothing but the connection: no memory, no disk, no paths."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.stores import Site

CLIENT = """
import json, sys

opened = []
sys.addaudithook(lambda event, given: opened.append(str(given[0])) if event in ("open", "mmap.__new__") else None)

import numpy as np
from measurand.client import Client

with Client(sys.argv[1]) as client:
    lab = client.create_catalog("lab")
    run = lab.create("far away")
    values = np.random.default_rng(0).standard_normal((300, 400))
    run["iq"] = values
    with run.stream_array("frames", frame_shape=(64,), dtype="u2") as frames:
        for number in range(100):
            frames.write(np.full(64, number, "u2"))
    run.write_bytes("note.txt", b"cooled down")
    assert run["iq"][...].tobytes() == values.tobytes()
    assert (run["frames"][-1] == 99).all()
    assert run.read_bytes("note.txt") == b"cooled down"
    run.seal()
print(json.dumps(opened))
"""


@pytest.mark.stores("embedded")
def test_a_client_opens_nothing_of_the_servers(site: Site, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with site.running() as server:
        done = subprocess.run(
            [sys.executable, "-c", CLIENT, server.address], cwd=elsewhere, capture_output=True, text=True, timeout=120
        )
    assert done.returncode == 0, done.stderr
    opened = json.loads(done.stdout.splitlines()[-1])
    assert opened, "the hook sees nothing"
    assert not [path for path in opened if str(site.folder) in path or "/dev/shm" in path]
