"""A store that goes away while people work: killed or frozen for a while, and then back. For tests and for the soak.

IN-42: no process ends; calls succeed after a retry within their deadline, or fail UNAVAILABLE and say when to come
again; the health says so; soon after the store is back everything works at its full rate; nothing that was acknowledged
is lost, and whoever watches goes on to watch.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
from tests.end_to_end.fleet import Fleet, Victim, health_of
from tests.end_to_end.looking import Watcher
from tests.end_to_end.serving import until

from measurand.client import Catalog, Client
from measurand.client.errors import MeasurandError, Timeout, Unavailable
from measurand.v1 import datasets_pb2, datasets_pb2_grpc, files_pb2, files_pb2_grpc

__all__ = ["CALL_SECONDS", "Outage", "Worker", "suffer"]

CALL_SECONDS = 8.0
RAW_SECONDS = 15.0
"""What a call without retries is given: longer than a server waits for a store."""
WORKERS = 4


@dataclass(slots=True)
class Outage:
    """What an outage came to.

    Parameters
    ----------
    before, after : float
        Calls in a second, before the store went away and from the moment on at which it was back.
    recovered_seconds : float
        From when the store was back to when the first call succeeded at each server.
    answers : set of str
        The codes that calls without retries ended with while it was away.
    """

    before: float = 0.0
    after: float = 0.0
    recovered_seconds: float = 0.0
    away_seconds: float = 0.0
    answers: set[str] = field(default_factory=set)
    done: int = 0
    refused: int = 0


class Worker:
    """Edits a dataset of its own and puts files into it, and notes what was acknowledged."""

    def __init__(self, lab: Catalog, name: str) -> None:
        self.run = lab.create(name, {"n": 0}, id=name)
        self.number = 0
        self.may_be = {0}
        self.files: dict[str, bytes] = {}
        self.maybe: dict[str, bytes] = {}
        self.times: list[float] = []
        self.refused = 0
        self.without_hint: list[Unavailable] = []
        self.longest = 0.0

    def work(self, ended: threading.Event) -> None:
        while not ended.is_set():
            self._try(self._edit)
            self._try(self._put)

    def _try(self, step: Callable[[], None]) -> None:
        begin = time.monotonic()
        try:
            step()
        except Unavailable as error:
            self.refused += 1
            self.without_hint += [] if error.retry_seconds else [error]
        except Timeout:
            self.refused += 1
        else:
            self.times.append(time.monotonic())
        finally:
            self.longest = max(self.longest, time.monotonic() - begin)

    def _edit(self) -> None:
        number = max(self.may_be) + 1
        self.may_be.add(number)
        self.run.update({"n": number}, if_match=None)
        self.number, self.may_be = number, {number}

    def _put(self) -> None:
        path, data = f"{len(self.files) + len(self.maybe)}", uuid.uuid4().bytes * 200
        self.maybe[path] = data
        self.run.write_bytes(path, data)
        self.files[path] = self.maybe.pop(path)

    def check(self, lab: Catalog) -> None:
        """Everything that was acknowledged is there."""
        run = lab.get(self.run.id)
        assert run.metadata["n"] in self.may_be, (run, self.may_be)
        there = {file.path for file in run.files()}
        assert self.files.keys() <= there <= self.files.keys() | self.maybe.keys()
        for path in there:
            assert run.read_bytes(path) == {**self.maybe, **self.files}[path]
        assert not self.without_hint, "whoever is refused is told when to come again"
        # A call was tried again until its deadline, and where that had passed for a change, once more.
        assert self.longest < 2 * CALL_SECONDS + 3.0, self.longest


def suffer(fleet: Fleet, victim: Victim, *, frozen: bool, before: float, away: float, after: float) -> Outage:
    """Take a store away for `away` seconds from people who work, and look whether everything is as it must be."""
    outage, pids = Outage(away_seconds=away), fleet.pids()
    store, ended = fleet.of(victim), threading.Event()
    name = f"outage-{uuid.uuid4()}"
    with Client(fleet.address, timeout=CALL_SECONDS) as client, ThreadPoolExecutor(WORKERS) as threads:
        lab = client.create_catalog(name)
        watcher = Watcher(fleet.address, name)
        workers = [Worker(lab, f"w{number}") for number in range(WORKERS)]
        working = [threads.submit(worker.work, ended) for worker in workers]
        try:
            time.sleep(before)
            gone = time.monotonic()
            (store.pause if frozen else store.kill)()
            try:
                outage.answers = _ask(fleet, name, victim, gone + away)
            finally:
                time.sleep(max(0.0, gone + away - time.monotonic()))
                (store.resume if frozen else store.start)()
            back = time.monotonic()
            _wait_until_working(fleet, name)
            outage.recovered_seconds = time.monotonic() - back
            fleet.wait_until_well()
            assert fleet.pids() == pids, "a server has ended"
            time.sleep(after)
            end = time.monotonic()
        finally:
            ended.set()
        for one in working:
            one.result(60)
        times = [moment for worker in workers for moment in worker.times]
        outage.before = sum(moment < gone for moment in times) / before
        outage.after = sum(end - after < moment < end for moment in times) / after
        outage.done, outage.refused = len(times), sum(worker.refused for worker in workers)
        for worker in workers:
            worker.check(lab)
            watcher.wait_for(worker.run.id, lab.get(worker.run.id).revision, 60.0)
        watcher.close()
    return outage


def _ask(fleet: Fleet, catalog: str, victim: Victim, until_: float) -> set[str]:
    """Make calls without any retries while the store is away; returns their codes. The health says so, too."""
    answers: set[str] = set()
    is_told = False
    with grpc.insecure_channel(fleet.servants["a"].address) as channel:
        while time.monotonic() < until_:
            begin = time.monotonic()
            try:
                _call(channel, catalog, victim)
            except grpc.RpcError as error:
                failure: Any = error
                answers.add(failure.code().name)
                trailers = dict(failure.trailing_metadata() or ())
                if failure.code() is grpc.StatusCode.UNAVAILABLE:
                    assert b"RetryInfo" in trailers["grpc-status-details-bin"]
            assert time.monotonic() - begin < RAW_SECONDS + 1.0
            is_told = is_told or health_of(fleet.servants["a"].address) == "NOT_SERVING"
    assert is_told, "the health did not say that a store is away"
    return answers


def _call(channel: grpc.Channel, catalog: str, victim: Victim) -> None:
    """Make a call that needs the store that is away."""
    if victim == "mongod":
        request = datasets_pb2.GetDatasetRequest(name=f"catalogs/{catalog}/datasets/w0")
        datasets_pb2_grpc.DatasetServiceStub(channel).GetDataset(request, timeout=RAW_SECONDS)
    else:
        spec = files_pb2.FileSpec(name=f"catalogs/{catalog}/datasets/w0/files/raw")
        request_ = files_pb2.PutFileRequest(file=spec, data=b"raw")
        files_pb2_grpc.FileServiceStub(channel).PutFile(request_, timeout=RAW_SECONDS)


def _wait_until_working(fleet: Fleet, catalog: str) -> None:
    """Return when a call succeeds at each server that needs both stores."""
    for number, servant in enumerate(fleet.servants.values()):
        with Client(servant.address, timeout=CALL_SECONDS) as client:

            def works(client: Client = client, path: str = f"probe-{number}") -> bool:
                try:
                    client.catalog(catalog).get("w0").write_bytes(path, b"probe")
                    client.catalog(catalog).get("w0").delete_file(path)
                except MeasurandError:
                    return False
                return True

            until(works, 60)
