"""The port, over containers: blobs with a policy go there in parts, the others to the home store as they are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

from measurand.core.blob_rules import check_key, check_range, closing, missing, short
from measurand.core.containers.placements import PARTS, Placement, Placements
from measurand.core.containers.ports import Coder, Health, Sites, Tell
from measurand.core.means import Means
from measurand.core.placement.policies import Policy
from measurand.core.ports import Blob, BlobStore, Buffer, Stage, StoredBlob
from measurand.storage.blobs.spread.calling import Calling, Patience
from measurand.storage.blobs.spread.choosing import Choosing
from measurand.storage.blobs.spread.errands import Errands
from measurand.storage.blobs.spread.parts import SpreadParts
from measurand.storage.blobs.spread.reading import Reading
from measurand.storage.blobs.spread.recoding import Recoding
from measurand.storage.blobs.spread.rewriting import Rewriting
from measurand.storage.blobs.spread.staging import Staging
from measurand.storage.blobs.spread.writing import Writing
from measurand.wire.errors import NotFound

__all__ = ["Spread"]

_USUAL_POLICY = Policy(losses=2)
MOST_PART_BYTES = 256 << 20
_PATIENCE = Patience()
_AT_ONCE = 500


def _say_nothing(placement: Placement, index: int, health: Health) -> None:
    """Where nobody heals."""


class Spread:
    """Blobs in parts.

    Parameters
    ----------
    home : BlobStore, optional
        Where blobs without a policy go. None: into containers, too.
    sites : Sites
        The containers.
    placements : Placements
        Where the parts are.
    coder : Coder
        Makes parity parts.
    means : Means
        Clocks, chance, sums and threads.
    usual_policy : Policy
        Of blobs without a policy, where there is no home store.
    tell : Tell
        Hears of parts that readers find missing or damaged.
    most_part_bytes : int
        So large is a part of a blob that is written bit by bit; then it goes on in others.
    patience : Patience
        How long containers may take.
    """

    def __init__(
        self,
        home: BlobStore | None,
        sites: Sites,
        placements: Placements,
        coder: Coder,
        means: Means,
        *,
        usual_policy: Policy = _USUAL_POLICY,
        tell: Tell = _say_nothing,
        most_part_bytes: int = MOST_PART_BYTES,
        patience: Patience = _PATIENCE,
    ) -> None:
        self._home = home
        self._sites = sites
        self._placements = placements
        self._usual_policy = usual_policy
        self._errands = Errands()
        calling = self._calling = Calling(sites, self._errands, monotonic=means.monotonic, patience=patience)
        choosing = Choosing(sites, random_bytes=means.random_bytes)
        self._writing = Writing(calling, choosing, placements, coder, means)
        self._reading = Reading(calling, placements, coder, means, tell)
        self.parts = SpreadParts(calling, placements, coder, means)
        """Single parts, for those who heal."""
        self._staging = Staging(
            calling, choosing, placements, self.parts, coder, means, most_part_bytes=most_part_bytes
        )
        rewriting = Rewriting(
            calling,
            choosing,
            self.parts,
            placements.documents,
            coder,
            means,
            most_part_bytes=most_part_bytes,
        )
        self.recoding = Recoding(home, sites, placements, choosing, rewriting, self._reading, self.parts, usual_policy)
        """Whole blobs, for those who change policies."""

    def __repr__(self) -> str:
        return f"spread({self._sites!r})" if self._home is None else f"spread({self._home!r}, {self._sites!r})"

    async def put(self, key: str, chunks: Iterable[Buffer], *, policy: Policy | None = None) -> Blob:
        check_key(key)
        if policy is None and self._home is not None:
            return await self._home.put(key, chunks)
        return await self._writing.put(key, chunks, policy or self._usual_policy)

    async def open(self, blob: Blob, offset: int = 0, length: int | None = None) -> AsyncIterator[Buffer]:
        check_key(blob.key)
        count = check_range(blob, offset, length)
        is_home = self._home is not None and self._sites.is_empty  # found out without a look at the documents
        placement = None if is_home else await self._find(blob.key)
        if placement is not None:
            if placement.size < offset + count:
                raise short(blob.key, offset + count, placement.size)
            chunks = self._reading.read(placement, offset, count)
        elif self._home is not None:
            chunks = self._home.open(blob, offset, count)
        else:
            raise missing(blob.key)
        async with closing(chunks):
            try:
                async for chunk in chunks:
                    yield chunk
                    offset, count = offset + len(chunk), count - len(chunk)
            except NotFound:
                # Perhaps it has gone from home into containers meanwhile, or back.
                was_spread, placement = placement is not None, await self._find(blob.key, fresh=True)
                if (placement is not None) == was_spread or (placement is None and self._home is None):
                    raise
            else:
                return
        if placement is not None:
            chunks = self._reading.read(placement, offset, count)
        else:
            assert self._home is not None
            chunks = self._home.open(blob, offset, count)
        async with closing(chunks):
            async for chunk in chunks:
                yield chunk

    async def stat(self, key: str) -> StoredBlob:
        check_key(key)
        placement = await self._find(key, fresh=True)
        if placement is not None:
            return StoredBlob(key, placement.size, placement.modified_time)
        if self._home is None:
            raise missing(key)
        return await self._home.stat(key)

    async def delete(self, key: str) -> None:
        """Remove it: from then on nobody finds it. Parts in containers that are away are garbage when they return."""
        check_key(key)
        while (placement := await self._find(key, fresh=True)) is not None:
            if await self._placements.remove(placement):
                await self._calling.remove(placement.parts)
        if self._home is not None:
            await self._home.delete(key)

    async def scan(self, prefix: str = "") -> AsyncIterator[StoredBlob]:
        after = ""
        while page := await self._placements.find(prefix, after=after, limit=_AT_ONCE):
            for placement in page:
                size = self._staging.size_of(placement) if placement.staged else placement.size
                yield StoredBlob(placement.blob, size, placement.modified_time, placement.staged)
            after = page[-1].blob
        if self._home is not None:
            async with closing(self._home.scan(prefix)) as blobs:
                async for blob in blobs:
                    if not blob.key.startswith(PARTS):  # it is a container as well
                        yield blob

    async def stage(self, key: str, *, policy: Policy | None = None) -> Stage:
        check_key(key)
        if policy is None and self._home is not None:
            return await self._home.stage(key)
        return await self._staging.stage(key, policy or self._usual_policy)

    async def finish(self, key: str, size: int) -> Blob:
        check_key(key)
        placement = await self._fetch(key)
        if placement is not None:
            return await self._staging.finish(placement, size)
        if self._home is None:
            raise missing(key)
        return await self._home.finish(key, size)

    async def discard(self, key: str) -> None:
        check_key(key)
        while (placement := await self._fetch(key)) is not None and placement.staged:
            if await self._placements.remove(placement):
                await self._staging.discard(placement)
        if self._home is not None:
            await self._home.discard(key)

    async def close(self) -> None:
        await self._errands.close()
        if self._home is not None:
            await self._home.close()

    async def _find(self, key: str, *, fresh: bool = False) -> Placement | None:
        """Return where a finished blob is; None: not in containers."""
        placement = await self._placements.fetch(key, fresh=fresh)
        is_doubtful = placement.staged if placement is not None else self._home is None
        if is_doubtful and not fresh:  # it may have been finished since
            placement = await self._placements.fetch(key, fresh=True)
        return None if placement is None or placement.staged else placement

    async def _fetch(self, key: str) -> Placement | None:
        return await self._placements.fetch(key, fresh=True)
