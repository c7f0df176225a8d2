"""Servers that are killed (-9) where it hurts: at each step of an unfreeze, and in the middle of a measurement."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import pytest
from tests.end_to_end.falling import FALLS
from tests.end_to_end.fleet import Servant, until
from tests.end_to_end.passing import proxy
from tests.stores import Site

from measurand.client import Buffer, Client, errors
from measurand.v1 import buffers_pb2, buffers_pb2_grpc

STEPS = (1, 2, 3)
"""Writes after which it dies: the window is closed; that has been written down; the dataset is made."""
RATE = 16384
SECONDS = 4

pytestmark = pytest.mark.usefixtures("_own_places")


@contextmanager
def serving(site: Site, program: str, *options: str) -> Iterator[Servant]:
    servant = Servant(site, *options, program=program)
    servant.start()
    try:
        yield servant
    finally:
        servant.stop()


def unfreeze_until_it_falls(address: str, buffer: Buffer, token: str, falls: Path) -> None:
    """Unfreeze, and do not ask again when a server has died of it."""
    while falls.exists():
        with grpc.insecure_channel(address) as channel, contextlib.suppress(grpc.RpcError):
            request = buffers_pb2.UnfreezeBufferRequest(name=buffer.name, freeze_token=token)
            buffers_pb2_grpc.BufferServiceStub(channel).UnfreezeBuffer(request, timeout=60)


def check_halfway(buffer: Buffer, stored: list[bytes], window: int) -> None:
    """The window is sealed, or is being sealed, and the next is open: the counters are its own, and nothing is gone."""
    stats = buffer.stats()
    assert (stats.state, stats.window, stats.records, stats.bytes) == ("ACTIVE", window + 1, 0, 0)
    assert stats.batches in (window - 1, window)
    assert [record.data for record in buffer.records(data=True)] == stored


def check_batches(buffer: Buffer, stored: list[bytes], windows: int) -> None:
    batches = buffer.batches()[::-1]
    assert [batch.window for batch in batches] == list(range(1, windows + 1))
    assert [record.data for batch in batches for record in batch.records(data=True)] == stored
    log = [event.kind for event in buffer.log()]
    assert log.count("sealed") == windows


@pytest.mark.stores("embedded")
def test_an_unfreeze_that_is_killed_at_any_step_loses_nothing_and_is_brought_to_its_end(
    site: Site, tmp_path: Path
) -> None:
    falls = tmp_path / "falls"
    site = replace(site, environment={**site.environment, FALLS: str(falls)})
    stored: list[bytes] = []
    with serving(site, "tests.end_to_end.falling", "--workers", "2") as servant, Client(servant.address) as client:
        buffer = client.create_catalog("lab").create_buffer("v1")

        def fill(window: int) -> str:
            for number in range(3):
                stored.append(b"%d %d" % (window, number))
                buffer.append(stored[-1])
            return buffer.freeze(force=True).token

        for window, step in enumerate(STEPS, 1):
            token = fill(window)
            falls.write_text(str(step))
            if step != 2:  # else the one who asks waits for another server by itself
                unfreeze_until_it_falls(servant.address, buffer, token, falls)
                check_halfway(buffer, stored, window)
            if step == 1:  # nobody asks again: it is done in the background
                until(lambda: buffer.stats().batches == 1)
            batch = buffer.unfreeze()
            assert batch is not None
            assert (batch.window, len(batch), falls.exists()) == (window, 3, False)
            check_halfway(buffer, stored, window)
        check_batches(buffer, stored, len(STEPS))
        assert buffer.append(b"new") == len(stored) + 1


@pytest.mark.stores("embedded")
def test_a_measurement_in_real_time_outlives_the_death_of_its_server_and_a_cut(site: Site) -> None:
    strain = np.random.default_rng(27).normal(size=RATE * SECONDS) * 1e-21
    edges = [round(RATE * k / 10) for k in range(10 * SECONDS + 1)]
    blocks = [strain[a:b] for a, b in itertools.pairwise(edges)]
    afters = [0, 3, 17]

    with serving(site, "measurand.server.run") as servant, proxy() as passing, Client(passing.address) as client:
        passing.lead_to(servant.address)
        buffer = client.create_catalog("lab").create_buffer("v1")

        def follow(after: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
            with Client(passing.address) as other:
                return np.concatenate([record.array for record in other.catalog("lab").buffer("v1").tail(after)])

        def trouble() -> None:
            time.sleep(SECONDS / 3)
            servant.kill()
            passing.cut()
            time.sleep(SECONDS / 8)
            servant.start()
            time.sleep(SECONDS / 8)
            passing.lead_to()
            passing.cut()
            time.sleep(SECONDS / 8)
            passing.lead_to(servant.address)

        with ThreadPoolExecutor(len(afters)) as pool:
            tails = [pool.submit(follow, after) for after in afters]
            troubling = threading.Thread(target=trouble)
            troubling.start()
            begin = time.monotonic()
            with buffer.writer() as out:
                for number, block in enumerate(blocks, 1):
                    time.sleep(max(0.0, begin + number / 10 - time.monotonic()))
                    out.write(block, {"channel": "strain"}, gps=1e9 + (number - 1) / 10)
            troubling.join()
            buffer.finish()
            for after, tail in zip(afters, tails, strict=True):
                assert tail.result(60).tobytes() == strain[edges[after] :].tobytes()
        assert servant.logs, "it was not killed"
        records = list(buffer.records(data=True))
        assert [record.seq for record in records] == list(range(1, len(blocks) + 1))
        assert np.concatenate([record.array for record in records]).tobytes() == strain.tobytes()
        with pytest.raises(errors.FailedPrecondition):
            buffer.append(b"late")
