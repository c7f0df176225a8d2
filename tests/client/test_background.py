"""Saving beside the program: it never waits, nothing is lost at its ends, and no error goes unheard."""

from __future__ import annotations

import asyncio
import gc
import logging
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.stores import DURABLE

from measurand.client import AsyncClient, Catalog, Client, DataFile, errors

pytestmark = pytest.mark.stores(*DURABLE)


@pytest.fixture
def name() -> str:
    return f"lab-{uuid.uuid4()}"


@pytest.fixture
def lab(address: str, name: str) -> Iterator[Catalog]:
    with Client(address) as client:
        yield client.create_catalog(name)


def run(number: int) -> DataFile:
    return DataFile(f"run {number}", {"n": number}, files={"a": b"%d" % number})


def numbers(lab: Catalog) -> list[int]:
    return [found.metadata["n"] for found in lab.find()]


def test_what_is_saved_in_the_background_is_saved_in_order(lab: Catalog) -> None:
    futures = [lab.save_in_background(run(number)) for number in range(5)]
    datasets = [future.result(60) for future in futures]
    assert numbers(lab) == list(range(5))
    assert [dataset.read_bytes("a") for dataset in datasets] == [b"%d" % number for number in range(5)]


def test_the_end_of_the_client_waits_for_what_is_not_saved_yet(address: str, name: str, lab: Catalog) -> None:
    with Client(address) as client:
        mine = client.catalog(name)
        hold = threading.Event()
        with mine.background() as work:
            work.submit(hold.wait)
            for number in range(10):
                work.save(run(number))
            assert numbers(lab) == []
            hold.set()
        assert numbers(lab) == list(range(10))
        for number in range(10, 20):
            mine.save_in_background(run(number))
    assert numbers(lab) == list(range(20))


async def test_a_running_loop_is_not_in_the_way(address: str, name: str) -> None:
    async with AsyncClient(address) as client:
        lab = await client.create_catalog(name)
        future = lab.save_in_background(run(1))
        # The loop stands still, as a cell of a notebook does.
        dataset = future.result(60)
        assert await dataset.read_bytes("a") == b"1"
        assert (await asyncio.wrap_future(lab.save_in_background(run(2)))).title == "run 2"
        async with lab.background() as work:
            saved = work.save(run(3))
        assert saved.done()
        lab.save_in_background(run(4))
    with Client(address) as sync:
        assert numbers(sync.catalog(name)) == [1, 2, 3, 4]


def test_a_private_server_is_shared() -> None:
    with Client("memory:") as client:
        lab = client.create_catalog("lab")
        lab.save_in_background(run(1)).result(60)
        assert numbers(lab) == [1]


def test_a_failure_is_raised_where_it_is_asked_for_and_the_rest_goes_on(
    lab: Catalog, caplog: pytest.LogCaptureFixture
) -> None:
    failing = lab.save_in_background(DataFile("bad", files={"../a": b""}))
    good = lab.save_in_background(run(1))
    with pytest.raises(errors.NameInvalid):
        failing.result(60)
    assert good.result(60).title == "run 1"
    del failing
    gc.collect()
    assert caplog.records == []


def test_a_failure_that_nobody_asks_for_is_logged(lab: Catalog, caplog: pytest.LogCaptureFixture) -> None:
    with lab.background() as work:
        work.save(DataFile("bad run", files={"../a": b""}))
    gc.collect()
    (record,) = caplog.records
    assert record.levelno == logging.ERROR and "bad run" in record.getMessage() and "../a" in record.getMessage()


def test_anything_can_be_done_beside(lab: Catalog) -> None:
    with lab.background() as work:
        three = work.submit(divmod, 7, 2)
        fails = work.submit(divmod, 7, 0)
        cancelled = threading.Event()
        work.submit(cancelled.wait)
        never = work.submit(pytest.fail, "it was cancelled")
        assert never.cancel()
        assert "wait" in work.left()[-2]
        cancelled.set()
    assert three.result() == (3, 1) and isinstance(fails.exception(), ZeroDivisionError)
    with pytest.raises(errors.FailedPrecondition):
        work.submit(print)


PROGRAM = """
import sys, threading
from measurand.client import Client, DataFile, background
background.EXIT_SECONDS = float(sys.argv[3])
lab = Client(sys.argv[1]).catalog(sys.argv[2])
for number in range(20):
    lab.save_in_background(DataFile(f"run {number}", {"n": number}, files={"a": b"%d" % number, "b": b""}))
kept = lab.save_in_background(DataFile("bad run", files={"../a": b""}))
if sys.argv[4] == "stuck":
    work = lab.background()
    work.submit(threading.Event().wait)
    work.save(DataFile("too late", files={"a": b""}))
print("end", flush=True)
"""


@pytest.mark.parametrize("way", ["done", "stuck"])
def test_the_end_of_the_interpreter_waits_and_says_what_is_left(
    address: str, name: str, lab: Catalog, tmp_path: Path, way: str
) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    command = [sys.executable, str(program), address, name, "60" if way == "done" else "5", way]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stdout) == (0, "end\n")
    if way == "done":
        assert numbers(lab) == list(range(20))
        assert "bad run failed in the background" in ended.stderr and "before this was done" not in ended.stderr
    else:
        assert "before this was done: Event.wait, too late" in ended.stderr
