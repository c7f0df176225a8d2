"""The segment of a staged blob that is being written: its stripes, on their way into all its parts."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from measurand.core.containers.placements import Part, Placement, Segment
from measurand.core.containers.ports import Coder
from measurand.core.containers.stripes import Stripe, piece_bytes
from measurand.core.means import Means
from measurand.storage.blobs.spread.calling import Calling
from measurand.storage.blobs.spread.encoding import Encoder
from measurand.storage.blobs.spread.frames import Frames
from measurand.storage.blobs.spread.lanes import Lane
from measurand.wire.errors import MeasurandError

__all__ = ["OpenSegment"]

_IN_THREAD_BYTES = 64 * 1024


class OpenSegment:
    """The last segment of a placement.

    Parameters
    ----------
    can_wait : callable
        Tells of a row whether nobody can take the place of its part when that is late.
    """

    def __init__(
        self, placement: Placement, calling: Calling, coder: Coder, means: Means, *, can_wait: Callable[[int], bool]
    ) -> None:
        self.base = sum(each.size for each in placement.segments[:-1])
        """Where it begins in the blob."""
        self.size = self.part_bytes = 0
        self._durable = self.base
        self._number = 0
        self._shorts: list[tuple[int, int]] = []
        self._ends: deque[tuple[int, int]] = deque()
        """Of the stripes that may not be durable yet: where they end in every part, and in the blob."""
        self._lanes: list[Lane | None] = [None] * placement.width
        self._calling = calling
        self._means = means
        self._can_wait = can_wait
        self._data_parts = placement.data_parts
        self._whole = placement.data_parts * placement.unit
        code = {"data_parts": placement.data_parts, "parity_parts": placement.parity_parts}
        frames = Frames(placement.uid, len(placement.segments) - 1, self.base, crc32c=means.crc32c, **code)
        self._encoder = Encoder(frames, coder, **code)

    def written(self) -> Segment:
        """Return it with all that was sent so far."""
        return Segment(self.size, self.part_bytes, tuple(self._shorts))

    async def begin(self, parts: Sequence[Part], missing: Sequence[int]) -> None:
        """Begin the parts that are not begun, but for those that are missing for good."""
        begun = []
        for row, part in enumerate(parts):
            if self._lanes[row] is None and part.index not in missing:
                lane = self._lanes[row] = Lane(part, self._calling, can_wait=partial(self._can_wait, row))
                begun.append(lane.begin())
        await asyncio.gather(*begun)

    async def send(self, data: bytearray) -> Sequence[asyncio.Task[None]]:
        """Send a stripe to all parts, and return what can be waited for."""
        size = len(data)
        stripe = Stripe(self._number, self.size, size, self.part_bytes, piece_bytes(size, self._data_parts))
        if size < _IN_THREAD_BYTES:
            rows = self._encoder.frames(stripe, data)
        else:
            rows = await self._means.in_thread(self._encoder.frames, stripe, data)
        if size != self._whole:
            self._shorts.append((stripe.number, size))
        self._number, self.size, self.part_bytes = stripe.number + 1, stripe.end, stripe.frame_end
        self._ends.append((self.part_bytes, self.base + self.size))
        return [lane.send(row) for lane, row in zip(self._lanes, rows, strict=True) if lane is not None]

    async def persist(self, *, whole: bool) -> int | None:
        """Make what was sent so far durable, or some of it, and return where in the blob that ends.

        None: it did not go well everywhere.
        """
        lanes = [lane for lane in self._lanes if lane is not None]
        sent = self.base + self.size
        if self._durable == sent or not lanes:
            return self._durable
        amounts = await asyncio.gather(*(self._made_durable(lane, whole=whole) for lane in lanes))
        if self.failed():
            return None
        while self._ends and self._ends[0][0] <= min(amounts):
            _, self._durable = self._ends.popleft()
        if whole:
            self._durable = max(self._durable, sent)
        return self._durable

    def failed(self) -> list[int]:
        """Return the rows whose parts have failed. Raises what nobody has foreseen."""
        for lane in self._lanes:
            if lane is not None and lane.fault is not None:
                raise lane.fault
        return [row for row, lane in enumerate(self._lanes) if lane is not None and lane.error is not None]

    def given_up(self) -> list[int]:
        """Return the rows that have no part any more."""
        return [row for row, lane in enumerate(self._lanes) if lane is None]

    def alive(self) -> int:
        """Return how many parts are being written."""
        return sum(lane is not None and lane.error is None for lane in self._lanes)

    def errors(self) -> list[MeasurandError]:
        """Return why parts have failed."""
        return [lane.error for lane in self._lanes if lane is not None and lane.error is not None]

    def give_up(self, rows: Sequence[int]) -> None:
        """Go on without these parts."""
        for row in rows:
            self._lanes[row] = None

    async def finish(self) -> bool:
        """Finish the parts that have not failed, and tell whether all of these went well."""
        lanes = [lane for lane in self._lanes if lane is not None and lane.error is None]
        await asyncio.gather(*(lane.finish(self.part_bytes) for lane in lanes))
        return all(lane.error is None for lane in lanes)

    def is_partly_finished(self) -> bool:
        """Tell whether some parts are finished, so that nothing can be appended any more."""
        return any(lane is not None and lane.is_finished for lane in self._lanes)

    async def close(self) -> None:
        """Let go of the parts."""
        lanes, self._lanes = self._lanes, [None] * len(self._lanes)
        await self._calling.errands.all_of(lane.close() for lane in lanes if lane is not None)

    async def _made_durable(self, lane: Lane, *, whole: bool) -> int:
        await lane.drained()
        return await lane.persist(whole=whole)
