"""A container and its server in one event loop: registered, heard of, and found to be the same again."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from tests.servers import free_config, in_process

from measurand.core.ports import Blob
from measurand.server.container.process import ContainerProcess
from measurand.server.container.settings import Settings, settings_of
from measurand.server.crc32c import make_crc32c
from measurand.server.process import Process
from measurand.storage.blobs.remote import Remote
from measurand.v1 import containers_pb2
from measurand.v1.containers_pb2_grpc import ContainerServiceStub
from measurand.wire.errors import AlreadyExists, FailedPrecondition, LeaseHeld, LeaseLost, Unavailable

C1 = "containers/c1"


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beats are asked for every fifth of a second."""
    monkeypatch.setattr("measurand.services.containers.BEAT_SECONDS", 0.2)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Process]:
    async with in_process(free_config(data=tmp_path / "server")) as process:
        yield process


@pytest.fixture
async def containers(server: Process) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(str(server.address)) as channel:
        yield ContainerServiceStub(channel)


@pytest.fixture
def settings(server: Process, tmp_path: Path) -> Settings:
    given = {"servers": [str(server.address)], "data": tmp_path / "c1", "listen": "127.0.0.1:0", "advertise": None}
    more = {"name": "", "title": "", "zone": "here", "labels": (), "weight": 2.0, "max_bytes": "1GiB"}
    return settings_of({**given, **more, "http": "off", "insecure": False})


@asynccontextmanager
async def served(settings: Settings) -> AsyncIterator[asyncio.Task[None]]:
    process = ContainerProcess(settings)
    await process.start()
    reporting = asyncio.ensure_future(process.report())
    try:
        yield reporting
    finally:
        reporting.cancel()
        await asyncio.gather(reporting, return_exceptions=True)
        await process.stop()


async def until(look: Callable[[], Awaitable[Any]]) -> Any:
    async with asyncio.timeout(30):
        while True:
            try:
                found = await look()
            except grpc.aio.AioRpcError:
                found = None
            if found:
                return found
            await asyncio.sleep(0.05)


async def heard(containers: Any) -> containers_pb2.Container:
    """Return the container as soon as it has told how full it is."""

    async def look() -> Any:
        found = await containers.GetContainer(containers_pb2.GetContainerRequest(name=C1))
        return found if found.stats.capacity_bytes else None

    found: containers_pb2.Container = await until(look)
    return found


def kept(settings: Settings) -> Any:
    return json.loads((settings.folder / "container.json").read_text())


async def test_it_registers_as_it_was_told_and_tells_how_full_it_is(containers: Any, settings: Settings) -> None:
    async with served(settings):
        found = await heard(containers)
    assert (found.kind, found.zone, found.weight) == (containers_pb2.CONTAINER_KIND_REMOTE, "here", 2.0)
    assert (found.max_bytes, found.state) == (1 << 30, containers_pb2.CONTAINER_STATE_ACTIVE)
    assert 0 < found.stats.free_bytes <= found.stats.capacity_bytes
    assert found.etag.startswith(kept(settings)["uid"])


async def test_every_verb_works(containers: Any, settings: Settings) -> None:
    async with served(settings):
        await heard(containers)
        report = await containers.CheckContainer(containers_pb2.CheckContainerRequest(name=C1))
    assert report.healthy, report
    assert len(report.results) >= 6


async def test_it_is_the_same_container_when_it_is_started_again(containers: Any, settings: Settings) -> None:
    async with served(settings):
        before, first = await heard(containers), kept(settings)
    async with served(replace(settings, zone="there")):
        after = await until(lambda: _changed(containers, before.uri))
    assert (after.create_time, after.zone) == (before.create_time, "there")
    assert kept(settings) == first


async def _changed(containers: Any, uri: str) -> Any:
    found = await containers.GetContainer(containers_pb2.GetContainerRequest(name=C1))
    return found if found.uri != uri else None


async def test_an_answer_that_was_lost_leaves_no_container_that_nobody_can_take_up(
    containers: Any, settings: Settings
) -> None:
    async with served(settings):
        before, first = await heard(containers), kept(settings)
    # As if it had been killed before it could write the answer down.
    (settings.folder / "container.json").write_text(json.dumps({**first, "uid": "", "lease_id": ""}))
    async with served(settings):
        await until(lambda: _changed(containers, before.uri))
        assert await until(lambda: _same(settings, first))


async def _same(settings: Settings, first: Any) -> bool:
    return bool(kept(settings) == first)


async def test_another_folder_does_not_become_the_container(
    containers: Any, settings: Settings, tmp_path: Path
) -> None:
    async with served(settings):
        await heard(containers)
        (tmp_path / "other").mkdir()
        async with served(replace(settings, folder=tmp_path / "other/c1")) as reporting:
            with pytest.raises(AlreadyExists, match="container of this name"):
                await reporting


async def test_one_that_was_removed_ends(containers: Any, settings: Settings) -> None:
    async with served(settings) as reporting:
        await heard(containers)
        await containers.RemoveContainer(containers_pb2.RemoveContainerRequest(name=C1))
        with pytest.raises(LeaseLost, match="was removed"):
            await reporting


async def test_a_folder_is_served_once(containers: Any, settings: Settings) -> None:
    async with served(settings):
        with pytest.raises(LeaseHeld):
            await ContainerProcess(settings).start()
        await heard(containers)


async def test_a_folder_of_another_deployment_is_refused(containers: Any, settings: Settings, tmp_path: Path) -> None:
    async with served(settings):
        await heard(containers)
    async with (
        in_process(free_config(data=tmp_path / "other")) as other,
        served(replace(settings, servers=[str(other.address)])) as reporting,
    ):
        with pytest.raises(FailedPrecondition, match="holds blobs of deployment"):
            await reporting


async def test_it_goes_by_what_the_server_says_that_it_is_to_be(containers: Any, settings: Settings) -> None:
    async with served(settings):
        uri = (await heard(containers)).uri
        store = await _store_of(containers, settings)
        await store.put("before", [b"1"])
        wanted = containers_pb2.Container(name=C1, read_only=True)
        await containers.UpdateContainer(containers_pb2.UpdateContainerRequest(container=wanted))
        numbers = itertools.count()
        await until(lambda: _refuses(store, f"tried/{next(numbers)}"))
        assert b"".join([bytes(chunk) async for chunk in store.open(Blob("before", 1))]) == b"1"
        assert (await containers.GetContainer(containers_pb2.GetContainerRequest(name=C1))).uri == uri
        await store.close()


async def _store_of(containers: Any, settings: Settings) -> Remote:
    """Return the store as servers of the deployment have it."""
    found = await containers.GetContainer(containers_pb2.GetContainerRequest(name=C1))
    deployment = (settings.folder / "deployment").read_text().split()[0]
    target = found.uri.removeprefix("grpc://")
    uid = found.etag.rpartition("-")[0]
    return Remote(target, deployment_id=deployment, container_uid=uid, crc32c=make_crc32c())


async def _refuses(store: Remote, key: str) -> bool:
    try:
        await store.put(key, [b"1"])
    except Unavailable as error:
        return "read_only" in error.message
    return False
