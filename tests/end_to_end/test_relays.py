"""Callers of two servers on one buffer: one server commits for both, and may die of `kill -9` while it does."""

from __future__ import annotations

import contextlib
import itertools
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import psutil
import pytest
from tests.end_to_end.serving import until
from tests.servers import Server
from tests.stores import DURABLE, Site

from measurand.client import Buffer, Client, errors

CALLERS = 4
RELAYED, MORE = 20, 100
SECONDS = 120.0


class Caller:
    """Appends record after record, until it is told to stop."""

    def __init__(self, number: int, buffer: Buffer) -> None:
        self.number = number
        self.stored: dict[int, bytes] = {}
        self._buffer = buffer
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        for number in itertools.count():
            if self._stop.is_set():
                return
            data = b"%d %d" % (self.number, number)
            with contextlib.suppress(errors.MeasurandError):  # its server has gone: this record is stored or is not
                self.stored[self._buffer.append(data, timeout=2)] = data


@contextmanager
def serving(site: Site) -> Iterator[list[Server]]:
    """Give two servers of one set of stores, or one of two workers."""
    sites = [site, site.beside(site.folder.with_name("other"))] if site.kind == "fleet" else [site]
    options = ["--workers", "2"] if site.kind == "embedded" else []
    with ExitStack() as ending:
        yield [ending.enter_context(one.running("--http", "127.0.0.1:0", *options)) for one in sites]


def relayed_to(server: Server) -> int:
    """Return how often a server, or its workers, have committed for others."""
    lines = re.findall(r"^measurand_calls_total\{.*RelayAppends.*\} ([\d.]+)", server.page("/metrics"), re.MULTILINE)
    return int(sum(map(float, lines)))


def kill(server: Server) -> None:
    """Kill a server, or one of its workers, whose parent starts another one."""
    workers = psutil.Process(server.process.pid).children()
    if workers:
        workers[0].kill()
    else:
        server.kill()


def stored(callers: Sequence[Caller]) -> dict[int, bytes]:
    return {place: data for caller in callers for place, data in dict(caller.stored).items()}


@pytest.mark.stores(*DURABLE)
@pytest.mark.usefixtures("_own_places")
def test_who_commits_for_others_is_killed_and_nothing_is_lost_or_stored_twice(site: Site) -> None:
    with serving(site) as servers, ExitStack() as ending:
        clients = [ending.enter_context(Client(servers[n % len(servers)].address)) for n in range(2 * CALLERS)]
        clients[0].create_catalog("lab").create_buffer("live")
        callers = [Caller(n, client.catalog("lab").buffer("live")) for n, client in enumerate(clients)]
        for caller in callers:
            ending.callback(caller.stop)
        until(lambda: any(relayed_to(server) > RELAYED for server in servers), SECONDS)
        leader = max(servers, key=relayed_to)
        kill(leader)
        before = len(stored(callers))
        until(lambda: len(stored(callers)) > before + MORE, SECONDS)
        for caller in callers:
            caller.stop()
        (survivor, *_) = [
            client for n, client in enumerate(clients) if len(servers) == 1 or servers[n % 2] is not leader
        ]
        kept = {one.seq: one.data for one in survivor.catalog("lab").buffer("live").records(data=True)}
        assert sorted(kept) == list(range(1, len(kept) + 1))
        assert len(set(kept.values())) == len(kept)
        acknowledged = stored(callers)
        assert {place: kept[place] for place in acknowledged} == acknowledged
