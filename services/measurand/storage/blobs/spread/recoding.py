"""Storing a blob under another policy: its key stays, so that no document that names it changes.

The new parts, or the blob in the home store, are whole before the placement changes; the old ones go after it. Readers
that find them gone look again and read on.
"""

from __future__ import annotations

from dataclasses import replace

from measurand.core.blob_rules import check_key, closing, missing
from measurand.core.containers.placements import Placement, Placements
from measurand.core.containers.ports import Sites
from measurand.core.placement.evening import misplaced
from measurand.core.placement.policies import Policy
from measurand.core.ports import Blob, BlobStore
from measurand.storage.blobs.spread.choosing import Choosing
from measurand.storage.blobs.spread.parts import SpreadParts, changed
from measurand.storage.blobs.spread.reading import Reading
from measurand.storage.blobs.spread.rewriting import Rewriting
from measurand.wire.errors import AlreadyExists, NotFound

__all__ = ["Recoding"]


class Recoding:
    """Stores blobs anew. A `Recodes`.

    Parameters
    ----------
    home : BlobStore, optional
        Where blobs without a policy go. None: into containers under `usual_policy`.
    """

    def __init__(
        self,
        home: BlobStore | None,
        sites: Sites,
        placements: Placements,
        choosing: Choosing,
        rewriting: Rewriting,
        reading: Reading,
        parts: SpreadParts,
        usual_policy: Policy,
    ) -> None:
        self._home = home
        self._sites = sites
        self._placements = placements
        self._choosing = choosing
        self._rewriting = rewriting
        self._reading = reading
        self._parts = parts
        self._usual_policy = usual_policy

    async def recode(self, key: str, policy: Policy | None, *, is_dry: bool = False) -> int | None:
        check_key(key)
        placement = await self._placements.fetch(key, fresh=True)
        if placement is not None and placement.staged:
            return None
        goes_home = policy is None and self._home is not None
        wanted = policy or self._usual_policy
        if placement is None:
            return None if goes_home else await self._out_of_home(key, wanted, is_dry=is_dry)
        if not goes_home and self._is_right(placement, wanted):
            await self._tidy(placement, wanted, is_dry=is_dry)
            return None
        if not is_dry:
            await (self._into_home(placement) if goes_home else self._anew(placement, wanted))
        return placement.size

    def _is_right(self, placement: Placement, policy: Policy) -> bool:
        """Tell whether the parts of a blob are what and where a policy wants them."""
        if placement.policy == policy:
            return True
        decision = self._choosing.choose(policy, placement.size)
        if (decision.data_parts, decision.parity_parts) != (placement.data_parts, placement.parity_parts):
            return False
        if policy.containers or policy.min_zones:
            return False
        rows = [placement.parts_of(segment) for segment in range(len(placement.segments))]
        return not any(misplaced(policy, self._sites.field, [part.container for part in row]) for row in rows)

    async def _tidy(self, placement: Placement, policy: Policy, *, is_dry: bool) -> None:
        """Note the policy of a blob that is as it says, and remove what is left in the home store of it."""
        if is_dry:
            return
        if placement.policy != policy and await self._placements.replace(replace(placement, policy=policy)) is None:
            raise changed(placement)
        if self._home is not None:
            await self._home.delete(placement.blob)

    async def _out_of_home(self, key: str, policy: Policy, *, is_dry: bool) -> int:
        if self._home is None:
            raise missing(key)
        size = (await self._home.stat(key)).size
        if is_dry:
            return size

        async def name(written: Placement) -> bool:
            try:
                await self._placements.insert(written)
            except AlreadyExists:
                return False
            return True

        async with closing(self._home.open(Blob(key, size))) as chunks:
            await self._rewriting.write(key, size, chunks, policy, name)
        await self._home.delete(key)
        return size

    async def _into_home(self, placement: Placement) -> None:
        assert self._home is not None
        try:
            await self._home.stat(placement.blob)  # by whoever died before the next step
        except NotFound:
            await self._copy(placement, self._home)
        if not await self._placements.remove(placement):
            raise changed(placement)
        await self._parts.remove(placement.parts)

    async def _copy(self, placement: Placement, home: BlobStore) -> None:
        key, size = placement.blob, placement.size
        await home.discard(key)
        stage = await home.stage(key)
        try:
            async with closing(self._reading.read(placement, 0, size)) as chunks:
                async for chunk in chunks:
                    await stage.append([chunk])
                    await stage.persist(whole=False)
            await stage.persist()
        finally:
            await stage.close()
        await home.finish(key, size)

    async def _anew(self, placement: Placement, policy: Policy) -> None:
        key, size = placement.blob, placement.size

        async def name(written: Placement) -> bool:
            named = replace(
                written,
                create_time=placement.create_time,
                modified_time=placement.modified_time,
                revision=placement.revision,
            )
            return await self._placements.replace(named) is not None

        async with closing(self._reading.read(placement, 0, size)) as chunks:
            await self._rewriting.write(key, size, chunks, policy, name)
        await self._parts.remove(placement.parts)
