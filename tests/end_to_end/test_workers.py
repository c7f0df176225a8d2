"""Several processes on one port: they share the stores, are started again, and end together."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

import psutil
import pytest
from tests.end_to_end.serving import channel_to, instance, make_run, serve, until
from tests.servers import Server, running, start
from tests.stores import DURABLE, Site

from measurand.v1 import catalogs_pb2, catalogs_pb2_grpc, containers_pb2, containers_pb2_grpc


async def instances_of(server: Server, at_least: int) -> set[str]:
    """Ask over new connections until so many processes have answered."""
    found: set[str] = set()
    async with asyncio.timeout(60):
        while len(found) < at_least:
            async with channel_to(server) as channel:
                found.add(await instance(channel))
    return found


def workers_of(server: Server) -> list[psutil.Process]:
    return psutil.Process(server.process.pid).children()


@pytest.mark.stores(*DURABLE)
async def test_workers_share_one_port_and_one_store_and_end_together(site: Site) -> None:
    with site.running("--workers", "2", "--http", "127.0.0.1:0") as server:
        workers = workers_of(server)
        assert len(workers) == 2
        if site.kind == "embedded":  # else nothing is kept in the folder by which to find them
            assert server.presence["address"] == server.address
        assert len(await instances_of(server, 2)) == 2
        async with channel_to(server) as channel:
            await make_run(channel)
        for _ in range(20):
            async with channel_to(server) as channel:
                stub = catalogs_pb2_grpc.CatalogServiceStub(channel)
                assert (await stub.GetCatalog(catalogs_pb2.GetCatalogRequest(name="catalogs/lab"))).name
        page = await asyncio.to_thread(server.page, "/metrics")
        assert 'worker="0"' in page and 'worker="1"' in page
        assert await asyncio.to_thread(server.stop) == 0
        assert not any(worker.is_running() for worker in workers)


@pytest.mark.stores("embedded")
async def test_workers_that_start_at_once_share_their_containers(site: Site) -> None:
    with site.running("--workers", "3", "--containers", "3") as server:
        for _ in range(10):
            async with channel_to(server) as channel:
                stub = containers_pb2_grpc.ContainerServiceStub(channel)
                found = (await stub.ListContainers(containers_pb2.ListContainersRequest())).containers
            assert [one.name for one in found] == [f"containers/local-{number}" for number in (1, 2, 3)]
            assert {one.state for one in found} == {containers_pb2.CONTAINER_STATE_ACTIVE}


@pytest.mark.stores(*DURABLE)
async def test_a_worker_that_dies_is_started_again(site: Site) -> None:
    with site.running("--workers", "2") as server:
        before = {worker.pid for worker in workers_of(server)}
        killed = before.copy().pop()
        os.kill(killed, signal.SIGKILL)
        await asyncio.to_thread(until, lambda: len({worker.pid for worker in workers_of(server)} - {killed}) == 2)
        assert "event=worker_died" in server.log
        assert len(await instances_of(server, 2)) == 2
        assert await asyncio.to_thread(server.stop) == 0


def test_workers_do_not_outlive_a_parent_that_was_killed(tmp_path: Path) -> None:
    with running(tmp_path, "--workers", "2") as server:
        workers = workers_of(server)
        server.process.kill()
        psutil.wait_procs(workers, timeout=30)
        assert not any(worker.is_running() for worker in workers)


def test_a_second_group_on_the_port_is_refused(tmp_path: Path) -> None:
    with running(tmp_path / "one", "--workers", "2") as server:
        done = serve("--data", str(tmp_path / "two"), "--listen", server.address, "--http", "off", "--workers", "2")
        assert done.returncode == 1
        assert f"--listen {server.address}" in done.stderr


def test_workers_that_cannot_start_are_an_error_and_leave_nothing_running(tmp_path: Path) -> None:
    start(tmp_path).stop()
    (tmp_path / "deployment").write_text("another\n")
    done = serve("--data", str(tmp_path), "--listen", "127.0.0.1:0", "--http", "off", "--workers", "2")
    assert done.returncode == 1
    assert "another document store" in done.stderr and "--workers" in done.stderr
    assert json.dumps(str(tmp_path)) not in " ".join(" ".join(one.info["cmdline"] or ()) for one in cmdlines())


def cmdlines() -> list[psutil.Process]:
    return list(psutil.process_iter(["cmdline"]))
