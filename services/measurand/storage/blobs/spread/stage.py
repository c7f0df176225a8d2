"""A blob while it is written bit by bit: a stripe at a time goes to all its parts.

When a container fails, the segment ends: what the others have of it is finished, the part that is lost is made anew
from them somewhere else, and the next segment begins with that container in the place of the one that failed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from measurand.core.blob_rules import missing as no_such
from measurand.core.containers.placements import Part, Placement, Placements, Segment, part_key
from measurand.core.containers.ports import Coder
from measurand.core.means import Means
from measurand.core.ports import Buffer
from measurand.storage.blobs.spread.calling import Calling
from measurand.storage.blobs.spread.choosing import Choosing
from measurand.storage.blobs.spread.cutting import cut
from measurand.storage.blobs.spread.parts import SpreadParts
from measurand.storage.blobs.spread.segment import OpenSegment
from measurand.storage.blobs.spread.shortage import least_parts, shortage
from measurand.wire.errors import ContainersUnavailable, MeasurandError, NotFound, StoreFull

__all__ = ["SpreadStage"]

_IN_FLIGHT = 2
"""So many stripes may be on their way to the containers."""
_MOST_TRIES = 8


class SpreadStage:
    """A `Stage` over containers.

    Parameters
    ----------
    placement : Placement
        Inserted, with one empty segment.
    most_part_bytes : int
        When parts have grown to this size a new segment begins.
    """

    def __init__(
        self,
        placement: Placement,
        calling: Calling,
        choosing: Choosing,
        placements: Placements,
        parts: SpreadParts,
        coder: Coder,
        means: Means,
        *,
        most_part_bytes: int,
    ) -> None:
        self.placement = placement
        self._calling = calling
        self._choosing = choosing
        self._placements = placements
        self._parts = parts
        self._coder = coder
        self._means = means
        self._most_part_bytes = most_part_bytes
        self._whole = placement.data_parts * placement.unit
        self._partial = bytearray()
        self._cut_bytes = 0
        self._durable = 0
        self._broken: MeasurandError | None = None
        self._last_error: MeasurandError | None = None
        self._tried: set[str] = set()
        """Containers that have failed; taken again only if there are no others."""
        self._given_up: set[int] = set()
        """Rows whose parts were late in this segment, and not waited for."""
        self._in_flight: deque[Sequence[asyncio.Task[None]]] = deque()
        self._changing = asyncio.Lock()
        """Held to send a stripe, or to change the segment."""
        self._persisting = asyncio.Lock()
        """Held while parts are made durable. Taken after the other one, never before it."""
        self._segment = self._new_segment()

    @property
    def size(self) -> int:
        """Bytes that were appended so far."""
        return self._cut_bytes + len(self._partial)

    def segments(self) -> tuple[Segment, ...]:
        """Return the segments with all that was sent so far."""
        return (*self.placement.segments[:-1], self._segment.written())

    async def begin(self) -> None:
        """Begin all parts, somewhere else where a container fails."""
        async with self._changing, self._persisting:
            await self._begin_parts()
            await self._mend()

    async def append(self, chunks: Sequence[Buffer]) -> None:
        for chunk in chunks:
            view = memoryview(chunk)
            while len(view):
                taken = view[: self._whole - len(self._partial)]
                self._partial += taken
                view = view[len(taken) :]
                if len(self._partial) == self._whole:
                    await self._sent(self._cut())

    async def persist(self, *, whole: bool = True) -> int:
        data = self._cut() if whole else bytearray()
        wanted = self._cut_bytes
        await self._sent(data)
        for _ in range(_MOST_TRIES):
            async with self._persisting:
                if self._durable < wanted:
                    durable = await self._segment.persist(whole=whole)
                    self._durable = max(self._durable, durable or 0)
                is_done = self._durable >= wanted or (not whole and not self._segment.failed())
            if is_done:
                return min(self._durable, wanted)
            async with self._changing, self._persisting:
                await self._mend()
        raise self._shortage()

    async def close(self) -> None:
        """Let go of the parts, and write down what is durable, for whoever finishes the blob without this process."""
        async with self._changing, self._persisting:
            await self._segment.close()
            if self._durable != self.placement.size:
                noted = cut(self.segments(), self._durable, self.placement)
                noted += (Segment(0, 0),) * (len(self.placement.segments) - len(noted))
                with suppress(NotFound):  # it is finished, or was thrown away
                    await self._replace(replace(self.placement, size=self._durable, segments=noted))

    # -------------------------------------------------------------------------------------------------- the stripes

    def _cut(self) -> bytearray:
        data, self._partial = self._partial, bytearray()
        self._cut_bytes += len(data)
        return data

    async def _sent(self, data: bytearray) -> None:
        """Send a stripe, behind those that were cut before; even if nobody waits for it any more."""
        sending = asyncio.ensure_future(self._send(data))
        try:
            await asyncio.shield(sending)
        except asyncio.CancelledError:
            self._calling.errands.let_go_on(sending)
            raise

    async def _send(self, data: bytearray) -> None:
        async with self._changing:
            if self._broken is not None:
                raise self._broken
            if not data:
                return
            try:
                if self._segment.part_bytes >= self._most_part_bytes:
                    async with self._persisting:
                        await self._next_segment({})
                        await self._mend()
                self._in_flight.append(await self._segment.send(data))
            except MeasurandError as error:
                self._broken = error  # now there is a gap
                raise
            while len(self._in_flight) > _IN_FLIGHT:
                await asyncio.wait(self._in_flight.popleft())
            if self._segment.failed():
                async with self._persisting:
                    await self._mend()

    # ------------------------------------------------------------------------------------------------- the segments

    def _new_segment(self) -> OpenSegment:
        return OpenSegment(self.placement, self._calling, self._coder, self._means, can_wait=self._can_wait)

    async def _begin_parts(self) -> None:
        self._given_up.clear()
        await self._segment.begin(self._row_parts(), self.placement.missing)

    async def _mend(self) -> None:
        """See to it that all parts go on, elsewhere if they must; then the parts of earlier segments are all there."""
        for _ in range(_MOST_TRIES):
            failed = self._segment.failed()
            if not failed:
                return await self._heal()
            now = {self._row_parts()[row].container for row in failed}
            self._tried |= now
            instead = self._instead(failed, self._tried) or self._instead(failed, now)
            if instead is None:
                await self._go_without(failed)
            elif self._segment.size:
                await self._next_segment(instead)
            else:
                await self._begin_elsewhere(instead)
        raise self._shortage()

    async def _go_without(self, failed: Sequence[int]) -> None:
        if self._segment.alive() < least_parts(self.placement):
            raise self._shortage()
        indexes = [self._row_parts()[row].index for row in failed]
        await self._replace(replace(self.placement, missing=(*self.placement.missing, *indexes)))
        self._segment.give_up(failed)
        if self._segment.is_partly_finished():
            await self._next_segment({})

    async def _begin_elsewhere(self, instead: Mapping[int, str]) -> None:
        """Put other parts in the place of those that failed before there was anything in them."""
        old = [self._row_parts()[row] for row in instead]
        parts = [self._new_part(name, self._row_parts()[row].index) for row, name in instead.items()]
        await self._replace(self.placement.with_parts(parts))
        self._segment.give_up(list(instead))
        await self._parts.remove(old)
        await self._begin_parts()

    async def _next_segment(self, instead: Mapping[int, str]) -> None:
        """Finish what is written of the parts, and go on in new ones."""
        old = self._segment
        if not await old.finish():
            return  # whoever called looks again
        placement, parts = self.placement, self._row_parts()
        lost = [parts[row].index for row in old.failed()]
        gone = old.given_up()
        instead = {**instead, **(self._instead(gone, ()) or {})}
        first = len(placement.segments) * placement.width
        new = [self._new_part(instead.get(row, part.container), first + row) for row, part in enumerate(parts)]
        missing = [first + row for row in gone if row not in instead]
        await self._replace(
            replace(
                placement,
                segments=(*self.segments(), Segment(0, 0)),
                parts=(*placement.parts, *new),
                missing=(*placement.missing, *lost, *missing),
            )
        )
        self._durable = max(self._durable, old.base + old.size)
        self._segment = self._new_segment()
        await old.close()
        await self._begin_parts()

    async def _heal(self) -> None:
        """Make the parts anew that containers lost in the middle of a segment, where an acknowledgement needs them."""
        for _ in range(_MOST_TRIES):
            placement = self.placement
            closed = len(placement.segments) - 1
            lost = [index for index in placement.missing if index // placement.width < closed]
            if not lost or placement.policy.acknowledge != "all":
                return
            try:
                self.placement = await self._parts.rebuild(placement, self._elsewhere(placement, lost))
            except (ContainersUnavailable, StoreFull) as error:
                self._last_error = error
        raise self._shortage()

    # ----------------------------------------------------------------------------------------------- who and where

    def _row_parts(self) -> Sequence[Part]:
        return self.placement.parts_of(len(self.placement.segments) - 1)

    def _can_wait(self, row: int) -> bool:
        """Tell whether nobody can take the place of a part that is late, beside those that were given up already."""
        rows = sorted({*self._segment.failed(), *self._given_up, row})
        is_enough = self.placement.width - len(rows) >= least_parts(self.placement)
        parts = self._row_parts()
        tried = self._tried | {parts[each].container for each in rows}
        if not is_enough and self._instead(rows, tried) is None:
            return True
        self._given_up.add(row)
        return False

    def _instead(self, rows: Sequence[int], failed: Collection[str]) -> dict[int, str] | None:
        """Return a container for each of these rows, or None if there are not so many."""
        parts = self._row_parts()
        size = max(self._segment.size, self._whole)
        return self._choosing.instead_of(self.placement, parts, rows, failed, size)

    def _elsewhere(self, placement: Placement, lost: Sequence[int]) -> dict[int, str]:
        """Return containers for parts of segments that are written."""
        found: dict[int, str] = {}
        for segment in {index // placement.width for index in lost}:
            first = segment * placement.width
            rows = [index - first for index in lost if index // placement.width == segment]
            parts, size = placement.parts_of(segment), placement.segments[segment].size
            chosen = self._choosing.instead_of(placement, parts, rows, {parts[row].container for row in rows}, size)
            if chosen is None:
                raise self._shortage()
            found |= {first + row: name for row, name in chosen.items()}
        return found

    def _new_part(self, container: str, index: int) -> Part:
        return Part(container, part_key(self.placement.blob, self._means.random_bytes(3).hex(), index), index)

    async def _replace(self, placement: Placement) -> None:
        """Change the placement. Raises NotFound when it is finished, or gone."""
        changed = await self._placements.replace(placement)
        if changed is None:
            raise no_such(placement.blob)
        self.placement = changed

    def _shortage(self) -> MeasurandError:
        errors = self._segment.errors() + ([self._last_error] if self._last_error is not None else [])
        return shortage(errors, self.placement.width, self._segment.alive())
