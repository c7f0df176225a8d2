"""Private servers: `file:///folder` and `memory:`."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import psutil
import pytest

from measurand.client import AsyncClient, errors
from measurand.client._transport import aio


def ended(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


async def wait_until_ended(pid: int) -> None:
    deadline = time.monotonic() + 30.0
    while not ended(pid):
        assert time.monotonic() < deadline, f"process {pid} goes on"
        await aio.sleep(0.05)


async def test_a_folder_has_one_server_which_ends_with_its_last_client(tmp_path: Path) -> None:
    folder = tmp_path / "my data"
    first, second = AsyncClient(folder.as_uri()), AsyncClient(folder.as_uri())
    lab = await first.create_catalog("lab")
    await lab.create("kept")
    assert await (await second.catalog("lab")).count() == 1
    notice = json.loads((folder / "server.json").read_text())
    await first.close()
    assert await (await second.catalog("lab")).count() == 1
    assert not ended(notice["pid"])
    await second.close()
    await wait_until_ended(notice["pid"])
    async with AsyncClient(folder.as_uri()) as third:
        assert await (await third.catalog("lab")).count() == 1
        pid = json.loads((folder / "server.json").read_text())["pid"]
    await wait_until_ended(pid)


async def test_a_notice_that_a_killed_server_left_does_not_mislead(tmp_path: Path) -> None:
    stale = {"address": "127.0.0.1:1", "pid": os.getpid(), "instance_id": "gone", "private": True}
    (tmp_path / "server.json").write_text(json.dumps(stale))
    async with AsyncClient(tmp_path.as_uri()) as client:
        await client.create_catalog("lab")
        pid = json.loads((tmp_path / "server.json").read_text())["pid"]
    await wait_until_ended(pid)


async def test_programs_that_start_at_once_end_up_on_one_server(tmp_path: Path) -> None:
    clients = [AsyncClient(tmp_path.as_uri()) for _ in range(3)]

    async def connect(client: AsyncClient) -> str:
        return str((await client.server())["instance_id"])

    instances = await aio.parallel(connect, clients, bound=3)
    pid = json.loads((tmp_path / "server.json").read_text())["pid"]
    assert len(set(instances)) == 1
    for client in clients:
        await client.close()
    await wait_until_ended(pid)


async def test_memory_is_each_clients_own_and_gone_with_it() -> None:
    async with AsyncClient("memory:") as one, AsyncClient("memory:") as other:
        await one.create_catalog("lab")
        assert await other.catalogs() == []
        folders = [client._calls._private.folder for client in (one, other) if client._calls._private is not None]
    assert len(folders) == 2
    assert not any(folder.exists() for folder in folders)


async def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where a folder must be")
    async with AsyncClient((tmp_path / "data").as_uri()) as client:
        with pytest.raises((errors.Unavailable, OSError)) as caught:
            await client.catalogs()
    assert "data" in str(caught.value)


async def test_a_closed_client_says_so(tmp_path: Path) -> None:
    client = AsyncClient("127.0.0.1:1")
    await client.close()
    with pytest.raises(errors.FailedPrecondition, match="closed"):
        await client.catalogs()
