"""Everything at once, at two servers: repairs, drains, evening out, recoding, puts, deletes, losses, and readers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from tests.core.containers.infirmary import GRACE, Infirmary, Ward, read
from tests.core.containers.test_moving_parts import LAB, contents, lay_out, named, set_policy
from tests.spreading import noise

from measurand.core.placement.policies import parse_policy
from measurand.core.ports import Blob
from measurand.storage.blobs.memory import Memory
from measurand.wire.errors import MeasurandError, NotFound

POLICIES = ("erasure:4+2", "replicate:3", "erasure:2+2")


@pytest.mark.parametrize("seed", range(3))
async def test_all_of_it_at_once_leaves_every_blob_whole_and_nothing_else(seed: int) -> None:
    chance = random.Random(seed)
    infirmary = Infirmary(9, home=Memory())
    servers = [await infirmary.open(), await infirmary.open()]
    blobs = await lay_out(infirmary, servers[0], 4, parse_policy("erasure:4+2"), largest=200_000)
    mine: dict[Blob, bytes] = {}

    async def put() -> None:
        data = noise(chance.randint(0, 30_000), chance.randint(0, 1 << 30))
        blob = await chance.choice(servers).put(f"m/{len(mine)}-{chance.randint(0, 1 << 30)}", data)
        mine[blob] = data

    async def delete() -> None:
        if mine:
            blob = chance.choice(list(mine))
            del mine[blob]
            await chance.choice(servers).spread.delete(blob.key)

    async def look() -> None:
        wanted = dict(mine)
        for blob, data in wanted.items():
            try:
                assert await read(chance.choice(servers), [blob]) == {blob.key: data}
            except NotFound:
                assert blob not in mine
        assert await read(chance.choice(servers), blobs) == contents(blobs)

    async def lose() -> None:
        infirmary.wipe(chance.choice([name for name in infirmary.stores if name != "c0"]))
        await chance.choice(servers).repair()

    async def drain() -> None:
        await infirmary.drain("c0")
        await chance.choice(servers).drain("c0")
        await infirmary.drain("c0", draining=False)

    async def recode() -> None:
        await set_policy(infirmary, LAB, parse_policy(chance.choice(POLICIES)))
        await chance.choice(servers).recode(LAB)

    async def heal() -> None:
        ward: Ward = chance.choice(servers)
        await ward.automatic.run_once()
        await ward.garbage.run_once()
        await ward.told.pass_on()

    async def even_out() -> None:
        await chance.choice(servers).rebalance()

    async def several(work: Callable[[], Coroutine[Any, Any, None]], times: int) -> None:
        for _ in range(times):
            try:
                await work()
            except MeasurandError as error:
                if error.retry_seconds is None and not isinstance(error, NotFound):
                    raise
            await asyncio.sleep(0)

    works = ((put, 12), (delete, 6), (look, 5), (lose, 2), (drain, 2), (recode, 3), (heal, 4), (even_out, 2))
    await asyncio.gather(*(several(work, times) for work, times in works))
    await infirmary.pass_time(20)
    last = await servers[0].repair(verify_bytes=True)
    assert last["stuck_parts"] == 0
    assert (await servers[1].repair(verify_bytes=True))["safe_blobs"] == len(blobs) + len(mine)
    assert await read(servers[1], {**blobs, **mine}) == {**contents(blobs), **contents(mine)}
    infirmary.passed += GRACE.total_seconds()
    await servers[0].repair(containers=sorted(infirmary.stores), collect_garbage=True)
    assert infirmary.part_keys() == await named(servers[0])
    await infirmary.close()
