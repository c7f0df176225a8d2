"""ME-15 to ME-17: frames in any order from many writers, no more memory than a window, readers beside the writer."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from tests.end_to_end import filling
from tests.end_to_end.slowed import BYTES_PER_SECOND
from tests.servers import Server

from measurand.client import Catalog, Client
from measurand.client.errors import Unavailable

MiB = 1 << 20
LONG = bool(os.environ.get("MEASURAND_LONG_TESTS"))
"""The counts and times of the behaviours as they are written; else a fifth or less."""


def test_four_writers_fill_an_array_in_random_order(shared: Server, lab: Catalog) -> None:
    run, length = lab.create("shuffled"), 10_000 if LONG else 2000
    command = [sys.executable, "-m", "tests.end_to_end.filling", shared.address, f"{lab.id}/{run.id}", "s", str(length)]
    writers = [subprocess.Popen([*command, str(writer), "4"]) for writer in range(4)]
    assert [writer.wait(60) for writer in writers] == [0] * 4
    found = np.asarray(run["s"])
    assert found.shape == (length, filling.ELEMENTS)
    assert (found == np.arange(float(length))[:, None]).all()


def test_frames_in_random_order_of_which_some_come_twice(lab: Catalog) -> None:
    run, length = lab.create("shuffled"), 300
    chance = random.Random(8)
    order = [*range(length), *chance.sample(range(length), 60)]
    chance.shuffle(order)
    last: dict[int, int] = {}
    with run.stream_array("s", (32, 32), "i4") as stream:
        for number, row in enumerate(order):
            stream.write(np.full((32, 32), number, "i4"), index=row)
            last[row] = number
            if number % 50 == 49:
                stream.flush()
    found = np.asarray(run["s"])
    assert [int(frame[0, 0]) for frame in found] == [last[row] for row in range(length)]
    assert (found == found[:, :1, :1]).all()


@pytest.mark.usefixtures("_own_places")
def test_a_fast_producer_waits_for_a_slow_store_and_needs_little_memory(tmp_path: Path) -> None:
    rate, seconds = 10 * MiB, 30 if LONG else 2
    frames = rate * seconds // (2 * MiB) + 32
    source = np.random.default_rng(0).integers(0, 1 << 16, (1024, 1024), "u2")
    environment = {BYTES_PER_SECOND: str(rate)}
    server = Server(tmp_path / "store", environment=environment, program="tests.end_to_end.slowed")
    try:
        server.wait_until_serving()
        with Client(server.address) as client:
            run = client.create_catalog("lab").create("slow")
            processes = [psutil.Process(), psutil.Process(server.process.pid)]
            with run.stream_array("s", (1024, 1024), "u2", codec="none") as stream:
                before = [process.memory_info().rss for process in processes]
                most, refused = [0, 0], 0
                for number in range(frames):
                    source[0, 0] = number
                    while True:
                        try:
                            stream.write(source, timeout=0.1)
                            break
                        except Unavailable:  # it was not taken, and the stream goes on
                            refused += 1
                    now = [process.memory_info().rss - start for process, start in zip(processes, before, strict=True)]
                    most = [max(pair) for pair in zip(most, now, strict=True)]
            assert refused > 0, "the store was not slow"
            assert max(most) < 150 * MiB, f"client and server grew by {most}"
            array = run["s"]
            assert array.shape[0] == frames
            assert [int(array[row, 0, 0]) for row in range(0, frames, 7)] == [*range(0, frames, 7)]
            assert (array[frames - 1, 1:] == source[1:]).all()
    finally:
        server.stop()


def test_readers_see_only_whole_frames_in_an_array_that_never_shrinks(shared: Server, lab: Catalog) -> None:
    run, rate = lab.create("live"), 200
    readers, seconds = (5, 60) if LONG else (2, 2)
    frames = rate * seconds
    with run.stream_array("s", 8192, "f8") as stream:
        command = [sys.executable, "-m", "tests.end_to_end.following", shared.address, f"{lab.id}/{run.id}", "s"]
        processes = [
            subprocess.Popen([*command, str(frames)], stdout=subprocess.PIPE, text=True) for _ in range(readers)
        ]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "looking\n"
        begin = time.monotonic()
        for row in range(frames):
            stream.write(np.full(8192, row, "f8"))
            time.sleep(max(0.0, begin + (row + 1) / rate - time.monotonic()))
        assert stream.flush() == frames
        for process in processes:
            with process:
                seen = json.loads(process.communicate(timeout=60)[0])
            assert seen["torn"] == []
            assert seen["lengths"] == sorted(set(seen["lengths"]))
            assert len(seen["lengths"]) > seconds  # it was woken again and again
