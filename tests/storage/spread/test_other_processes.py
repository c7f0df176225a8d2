"""Blobs over containers of several kinds, some of which are other processes that stop and come again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tests.remote_places import BlobServer, OpenDoor, remote_at
from tests.spreading import StillSites, content, noise, spread_over

from measurand.core.ports import BlobStore
from measurand.server.patterns import compile_pattern
from measurand.storage.blobs.local import Local
from measurand.storage.blobs.memory import Memory
from measurand.storage.documents.memory import Memory as Documents

MiB = 1 << 20


class Mixed:
    """Two folders, three places in memory and two processes, and a store over them."""

    def __init__(self, folder: Path, opening: AsyncExitStack) -> None:
        self._folder = folder
        self._opening = opening
        self.servers = {name: self._serve(name) for name in ("remote-1", "remote-2")}
        stores: dict[str, BlobStore] = {name: remote_at(server.port) for name, server in self.servers.items()}
        stores |= {name: self._local(name) for name in ("local-1", "local-2")}
        stores |= {f"memory-{number}": Memory() for number in (1, 2, 3)}
        for each in stores.values():
            opening.push_async_callback(each.close)
        self.store = spread_over(StillSites(stores), Documents(compile_pattern), "erasure:4+2")

    async def stop(self, name: str) -> None:
        await self.servers[name].stop()

    def start_again(self, name: str) -> None:
        self.servers[name] = self._serve(name, self.servers[name].port)

    def _serve(self, name: str, port: int = 0) -> BlobServer:
        server = BlobServer(OpenDoor(self._local(name)), port)
        self._opening.push_async_callback(server.stop)
        return server

    def _local(self, name: str) -> Local:
        return Local(self._folder / name, in_thread=asyncio.to_thread)


@pytest.fixture
async def mixed(tmp_path: Path) -> AsyncIterator[Mixed]:
    async with AsyncExitStack() as opening:
        made = Mixed(tmp_path, opening)
        opening.push_async_callback(made.store.close)
        yield made


@pytest.mark.parametrize("size", [0, 1, 5 * MiB + 7])
async def test_kinds_mix_in_one_blob(mixed: Mixed, size: int) -> None:
    blob = await mixed.store.put("a", [noise(size)])
    assert await content(mixed.store, blob) == noise(size)


async def test_processes_that_stop_while_a_blob_is_read_are_done_without(mixed: Mixed) -> None:
    data = noise(40 * MiB)
    blob = await mixed.store.put("a", [data[at : at + MiB] for at in range(0, len(data), MiB)])
    read = bytearray()
    async for chunk in mixed.store.open(blob):
        if not read:
            for name in mixed.servers:
                await mixed.stop(name)
        read += chunk
    assert read == data


async def test_a_process_that_is_started_anew_while_a_blob_is_written_costs_nothing(mixed: Mixed) -> None:
    data = noise(16 * MiB)
    stage = await mixed.store.stage("a")
    for at in range(0, len(data), 4 * MiB):
        await stage.append([data[at : at + 4 * MiB]])
        assert await stage.persist() == at + 4 * MiB
        if at == 4 * MiB:
            await mixed.stop("remote-1")
            mixed.start_again("remote-1")
    await stage.close()
    assert await content(mixed.store, await mixed.store.finish("a", len(data))) == data
