"""Writing a finished blob anew in other parts, and then naming them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from measurand.core.blob_rules import short
from measurand.core.containers.placements import Part, Placement, Segment, part_key
from measurand.core.containers.ports import Coder
from measurand.core.containers.rewrites import Rewrite
from measurand.core.containers.stripes import HEADER_BYTES, UNIT_BYTES, Layout
from measurand.core.means import Means
from measurand.core.placement.policies import Policy
from measurand.core.ports import Buffer, DocumentStore
from measurand.storage.blobs.spread.calling import Calling
from measurand.storage.blobs.spread.choosing import Choosing
from measurand.storage.blobs.spread.encoding import Encoder
from measurand.storage.blobs.spread.frames import Frames
from measurand.storage.blobs.spread.parts import PartWriter, SpreadParts, changed

__all__ = ["Name", "Rewriting"]

Name = Callable[[Placement], Awaitable[bool]]
"""Names new parts in a document, and tells whether nobody was quicker."""


class Rewriting:
    """Writes blobs whose size is known, stripe by stripe."""

    def __init__(
        self,
        calling: Calling,
        choosing: Choosing,
        parts: SpreadParts,
        documents: DocumentStore,
        coder: Coder,
        means: Means,
        *,
        most_part_bytes: int,
    ) -> None:
        self._calling = calling
        self._choosing = choosing
        self._parts = parts
        self._documents = documents
        self._coder = coder
        self._means = means
        self._most_stripes = max(most_part_bytes // (HEADER_BYTES + UNIT_BYTES), 1)

    async def write(self, key: str, size: int, chunks: AsyncIterator[Buffer], policy: Policy, name: Name) -> None:
        """Store the bytes of a blob in new parts, and have them named. They are removed if that does not go well.

        Raises
        ------
        Conflict
            ETAG_MISMATCH: somebody else has moved or removed the blob meanwhile.
        """
        placement = self._placed(key, size, policy)
        # Of a single segment the parts are staged until shortly before they are named.
        is_long = len(placement.segments) > 1
        rewrite = Rewrite(self._documents, self._means, placement.parts[0].key) if is_long else None
        try:
            await self._write_all(placement, _Source(key, chunks), rewrite)
        except BaseException:
            await asyncio.shield(self._parts.remove(placement.parts))
            raise
        if not await name(placement):
            await self._parts.remove(placement.parts)
            raise changed(placement)
        if rewrite is not None:
            await rewrite.end()

    async def _write_all(self, placement: Placement, source: _Source, rewrite: Rewrite | None) -> None:
        for segment in range(len(placement.segments)):
            if rewrite is not None:
                await rewrite.renew()
            await self._write(placement, segment, source)
        if rewrite is not None:
            await rewrite.check()

    def _placed(self, key: str, size: int, policy: Policy) -> Placement:
        decision, now = self._choosing.choose(policy, size), self._means.now()
        data_parts, width = decision.data_parts, decision.data_parts + decision.parity_parts
        attempt, most = self._means.random_bytes(3).hex(), self._most_stripes * decision.data_parts * UNIT_BYTES
        sizes = [min(most, size - begin) for begin in range(0, size, most)]
        return Placement(
            blob=key,
            uid=self._means.random_bytes(16).hex(),
            size=size,
            data_parts=data_parts,
            parity_parts=decision.parity_parts,
            segments=tuple(Segment(each, Layout(each, data_parts).part_bytes) for each in sizes),
            parts=tuple(
                Part(name, part_key(key, attempt, segment * width + row), segment * width + row)
                for segment in range(len(sizes))
                for row, name in enumerate(decision.chosen)
            ),
            policy=policy,
            create_time=now,
            modified_time=now,
        )

    async def _write(self, placement: Placement, segment: int, source: _Source) -> None:
        code = {"data_parts": placement.data_parts, "parity_parts": placement.parity_parts}
        base = sum(each.size for each in placement.segments[:segment])
        frames = Frames(placement.uid, segment, base, crc32c=self._means.crc32c, **code)
        encoder = Encoder(frames, self._coder, **code)
        writers = [
            PartWriter(self._calling, part, placement.part_bytes(part.index)) for part in placement.parts_of(segment)
        ]
        for stripe in placement.layout(segment).stripes():
            data = await source.take(stripe.size)
            rows = await self._means.in_thread(encoder.frames, stripe, data)
            await _all([writer.write(row) for writer, row in zip(writers, rows, strict=True)])
        await _all([writer.end() for writer in writers])


class _Source:
    """Gives the bytes of chunks in pieces of other sizes."""

    def __init__(self, key: str, chunks: AsyncIterator[Buffer]) -> None:
        self._key = key
        self._chunks = chunks
        self._held = bytearray()

    async def take(self, size: int) -> Buffer:
        """Return the next bytes."""
        while len(self._held) < size:
            chunk = await anext(self._chunks, None)
            if chunk is None:
                raise short(self._key, size, len(self._held))
            self._held += chunk
        taken, self._held = self._held[:size], self._held[size:]
        return taken


async def _all(calls: Sequence[Awaitable[None]]) -> None:
    """Wait for all of them, also when one fails: nothing goes on behind the caller's back."""
    for outcome in await asyncio.gather(*calls, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome
