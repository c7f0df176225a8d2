"""Rounds in which containers break by chance while clients write and read: for the suite a few, for the soak many."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import replace

from tests.spreading import Ill, Ward, content, noise

from measurand.core.containers.placements import Placement, Placements
from measurand.core.placement.policies import Policy, parse_policy
from measurand.core.ports import Blob
from measurand.storage.blobs.spread import Spread
from measurand.storage.blobs.spread.calling import Patience
from measurand.wire.errors import StoreFull, Unavailable

__all__ = ["play", "repair", "sweep"]

POLICIES = ("replicate:2", "replicate:3", "erasure:2+1", "erasure:2+3", "erasure:4+2")
SIZES = (0, 1, 5_000, 100_000, 1_500_000)
ILLS: tuple[Ill, ...] = ("hung", "down", "full", "garbage", "wiped")
PATIENCE = Patience(least=0.15, most=2.0)


async def play(seed: int, *, clients: int = 8) -> int:
    """Play two rounds of losses and repairs, and return how many blobs were acknowledged; all of them are checked."""
    rounds = _Rounds(seed)
    try:
        for _ in range(2):
            await rounds.play(clients)
        return await rounds.end()
    finally:
        for store in rounds.stores:
            await store.close()


class _Rounds:
    def __init__(self, seed: int) -> None:
        self.chance = chance = random.Random(seed)
        policy = parse_policy(chance.choice(POLICIES))
        self.policy = replace(policy, acknowledge=chance.choice(["all", "all", "quorum"]))
        self.ward = Ward(policy.parts + chance.randint(0, 3), "losses:2")
        self.stores = [
            self.ward.open(most_part_bytes=chance.choice([30_000, 200_000, 256 << 20]), patience=PATIENCE)
            for _ in range(2)
        ]
        self.kept: dict[Blob, bytes] = {}
        self._number = 0

    async def play(self, clients: int) -> None:
        """Let clients write and read while containers break, look at all that was acknowledged, and repair."""
        victims = self.chance.sample(sorted(self.ward.fickle), self.chance.randint(0, _losses(self.policy)))
        # What hangs is waited for where nobody can take its place, and this is to be quick.
        spares = len(self.ward.fickle) - self.policy.parts
        ills = ILLS if spares >= len(victims) else ILLS[1:]
        running = [asyncio.ensure_future(self._client()) for _ in range(clients)]
        for name in victims:
            await asyncio.sleep(0.05 * self.chance.random())
            self.ward.break_(self.chance.choice(ills), name)
        await asyncio.gather(*running)
        await self._check_all()
        self.ward.break_("", *victims)
        await repair(self.ward, self.stores[1])

    async def end(self) -> int:
        """See that every part is whole, that all may be lost again, and that nothing is left of what is removed."""
        store = self.stores[0]
        for blob in self.kept:
            placement = await self.ward.placement(blob.key)
            for part in placement.parts:
                assert await store.parts.check(placement, part.index) == "ok", part
        most = self.policy.parts - (self.policy.data_parts or 1)
        self.ward.break_("wiped", *self.chance.sample(sorted(self.ward.fickle), most))
        await self._check_all()
        for blob in self.kept:
            await store.delete(blob.key)
        await store.close()  # what goes on beside is given up
        await sweep(self.ward)
        assert not self.ward.part_keys()
        return len(self.kept)

    async def _client(self) -> None:
        for _ in range(3):
            self._number += 1
            key, data = f"b/{self._number}", noise(self.chance.choice(SIZES), self._number)
            with suppress(Unavailable, StoreFull):
                if self.chance.random() < 0.5:
                    blob = await self._store().put(key, [data], policy=self.policy)
                else:
                    blob = await self._write(key, data)
                self.kept[blob] = data[: blob.size]
            if self.kept:
                blob = self.chance.choice(list(self.kept))
                offset = self.chance.randint(0, blob.size)
                length = self.chance.randint(0, blob.size - offset)
                found = await content(self._store(), blob, offset, length)
                assert found == self.kept[blob][offset : offset + length], blob

    async def _write(self, key: str, data: bytes) -> Blob:
        """Write bit by bit, perhaps die, and let the same or another process finish what was acknowledged."""
        store = self._store()
        stage = await store.stage(key, policy=self.policy)
        dies = self.chance.random() < 0.4
        durable = at = 0
        step = max(self.chance.choice([777, 50_000, 400_000]), len(data) // 30)
        try:
            while at < len(data):
                await stage.append([data[at : at + step]])
                at = min(at + step, len(data))
                if self.chance.random() < 0.4:
                    durable = max(durable, await stage.persist(whole=self.chance.random() < 0.5))
            if self.chance.random() < 0.8:
                durable = await stage.persist()
                assert durable == len(data)
        finally:
            if not dies:
                await stage.close()
        size = self.chance.choice([durable, durable, self.chance.randint(0, durable)])
        return await (self._store() if not dies else next(each for each in self.stores if each is not store)).finish(
            key, size
        )

    async def _check_all(self) -> None:
        for blob, data in self.kept.items():
            assert await content(self._store(), blob) == data, blob

    def _store(self) -> Spread:
        return self.chance.choice(self.stores)


async def repair(ward: Ward, store: Spread) -> None:
    """Make all parts good, and throw away what is staged, as those who heal and collect do."""
    async for stored in store.scan():
        if stored.staged:
            await store.discard(stored.key)
            continue
        placement: Placement = await ward.placement(stored.key)
        for segment in range(len(placement.segments)):
            parts = placement.parts_of(segment)
            bad = {
                part.index: part.container for part in parts if await store.parts.check(placement, part.index) != "ok"
            }
            if bad:
                placement = await store.parts.rebuild(placement, bad)


async def sweep(ward: Ward) -> None:
    """Remove the parts that no placement names, as the garbage collector does after the grace time."""
    placements = Placements(ward.documents)
    for container, key in ward.part_keys():
        found = await placements.of_part(key)
        if found is None or all((part.container, part.key) != (container, key) for part in found.parts):
            await ward.fickle[container].discard(key)
            await ward.fickle[container].delete(key)


def _losses(policy: Policy) -> int:
    """Return how many losses an acknowledgement survives."""
    parity_parts = policy.parts - (policy.data_parts or 1)
    return parity_parts if policy.acknowledge == "all" else parity_parts // 2
