"""A data folder as a server leaves it, and the commands that move it, run in this process."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from click.testing import CliRunner, Result
from tests.core.array_rooms import ArrayRooms
from tests.core.busy import Busy
from tests.core.rooms import Clock, Rooms
from tests.core.sums import sums_in_backup

from measurand.cli.main import main
from measurand.core.limits import Limits
from measurand.core.moving.contents import CONTENTS
from measurand.core.moving.lines import Sum, sum_up
from measurand.core.names import ArrayName
from measurand.core.principal import LOCAL_USER
from measurand.server.config import Config, load
from measurand.server.folder import open_folder
from measurand.server.means import in_threads, make_means
from measurand.server.metrics import Metrics
from measurand.server.stores import open_blobs, open_documents


def measurand(*words: str | Path) -> Result:
    """Run a command."""
    return CliRunner().invoke(main, [str(word) for word in words], prog_name="measurand")


def config_of(folder: Path) -> Config:
    return load({"data": folder})


@asynccontextmanager
async def rooms_of(config: Config) -> AsyncIterator[Rooms]:
    """The rooms of a server over the stores of a configuration."""
    clock = Clock(datetime.now(UTC))
    with ThreadPoolExecutor(4) as threads:
        means = replace(make_means(threads), now=lambda: clock.time, monotonic=lambda: clock.running)
        if config.uses_folder:
            open_folder(config.data)
        documents = await open_documents(config.documents_place)
        blobs = await open_blobs(config.blobs_place, documents.deployment_id, means, in_threads(threads), Metrics())
        try:
            yield Rooms(clock, means, Limits(), documents.store, blobs.store)
        finally:
            await blobs.store.close()
            await documents.store.close()


def fill(config: Config, *, steps: int = 30, seed: int = 1, busy: Busy | None = None) -> Busy:
    """Let a laboratory work in a store, or go on doing so."""

    async def work() -> Busy:
        async with rooms_of(config) as rooms:
            working = busy or Busy(rooms, random.Random(seed))
            working.rooms = rooms
            if busy is None:
                await working.begin()
            for _ in range(steps):
                await working.step()
            return working

    return asyncio.run(work())


def sums_of(config: Config, *, with_running: bool) -> Mapping[str, Sum]:
    """Return what the documents of a store come to."""

    async def add() -> Mapping[str, Sum]:
        async with rooms_of(config) as rooms:
            if not with_running:
                return await sums_in_backup(rooms.documents)
            return await sum_up(rooms.documents, CONTENTS, with_running=True)

    return asyncio.run(add())


def files_of(config: Config, busy: Busy) -> int:
    """Compare all files and arrays that were acknowledged with what is stored, and return how many there are."""

    async def compare() -> int:
        count = 0
        async with rooms_of(config) as rooms:
            for name, known in busy.known.items():
                for path, data in known.files.items():
                    assert await replace(rooms, name=name).content(path) == data
                    count += 1
                for path, rows in known.arrays.items():
                    arrays = ArrayRooms(rooms)
                    array = await arrays.arrays.get(LOCAL_USER, ArrayName(name.catalog, name.dataset, path))
                    assert await arrays.read(array) == rows
                    count += 1
        return count

    return asyncio.run(compare())
