"""Putting a blob: all parts side by side, each in a container of its own, and then the document that names them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from measurand.core.blob_rules import taken
from measurand.core.containers.placements import Part, Placement, Placements, Segment, part_key
from measurand.core.containers.ports import Coder
from measurand.core.containers.stripes import Layout
from measurand.core.means import Means
from measurand.core.placement.policies import Policy
from measurand.core.ports import Blob, BlobStore, Buffer
from measurand.storage.blobs.spread.calling import Calling
from measurand.storage.blobs.spread.choosing import Choosing
from measurand.storage.blobs.spread.encoding import Encoder
from measurand.storage.blobs.spread.frames import Frames
from measurand.storage.blobs.spread.shortage import least_parts, shortage
from measurand.wire.errors import AlreadyExists, MeasurandError

__all__ = ["Writing"]

_IN_THREAD_BYTES = 256 * 1024
_STRAGGLE_SECONDS = 0.05


class Writing:
    """Writes blobs whose bytes are all there."""

    def __init__(
        self, calling: Calling, choosing: Choosing, placements: Placements, coder: Coder, means: Means
    ) -> None:
        self._calling = calling
        self._choosing = choosing
        self._placements = placements
        self._coder = coder
        self._means = means

    async def put(self, key: str, chunks: Iterable[Buffer], policy: Policy) -> Blob:
        """Store a blob; durable in as many parts as its policy asks for when it returns."""
        held = [chunk for chunk in chunks if len(chunk)]
        size = sum(map(len, held))
        placement, layout = self._placed(key, policy, size)
        if size:
            rows = await self._encoded(placement, layout, held)
            put = _Put(self._calling, self._choosing, placement, layout, rows)
            try:
                placement = await put.run()
            except BaseException:
                await asyncio.shield(self._calling.remove(put.tried))
                raise
        try:
            await self._placements.insert(placement)
        except AlreadyExists:
            found = await self._placements.fetch(key, fresh=True)
            if found is None or found.uid != placement.uid:  # it is not our own, whose first answer was lost
                await self._calling.remove(placement.parts)
                raise taken(key) from None
        return Blob(key, size)

    def _placed(self, key: str, policy: Policy, size: int) -> tuple[Placement, Layout]:
        decision = self._choosing.choose(policy, size)
        layout = Layout(size, decision.data_parts)
        attempt = self._means.random_bytes(3).hex()
        now = self._means.now()
        placement = Placement(
            blob=key,
            uid=self._means.random_bytes(16).hex(),
            size=size,
            data_parts=decision.data_parts,
            parity_parts=decision.parity_parts,
            segments=(Segment(size, layout.part_bytes),) if size else (),
            parts=tuple(Part(name, part_key(key, attempt, row), row) for row, name in enumerate(decision.chosen))
            if size
            else (),
            policy=policy,
            create_time=now,
            modified_time=now,
        )
        return placement, layout

    async def _encoded(self, placement: Placement, layout: Layout, chunks: Sequence[Buffer]) -> Sequence[list[Buffer]]:
        code = {"data_parts": placement.data_parts, "parity_parts": placement.parity_parts}
        frames = Frames(placement.uid, 0, 0, crc32c=self._means.crc32c, **code)
        encoder = Encoder(frames, self._coder, **code)
        if layout.size < _IN_THREAD_BYTES:
            return encoder.all_frames(layout, chunks)
        return await self._means.in_thread(encoder.all_frames, layout, chunks)


class _Put:
    """The parts of one blob on their way.

    Parameters
    ----------
    placement : Placement
        Where they are to go.
    rows : sequence
        The bytes of each part.
    """

    def __init__(
        self,
        calling: Calling,
        choosing: Choosing,
        placement: Placement,
        layout: Layout,
        rows: Sequence[Sequence[Buffer]],
    ) -> None:
        self._calling = calling
        self._choosing = choosing
        self._placement = placement
        self._layout = layout
        self._rows = rows
        self._containers = [part.container for part in placement.parts]
        self._failed: list[str] = []
        self._given_up: set[int] = set()
        self.tried: list[Part] = []

    async def run(self) -> Placement:
        """Write them and return where they are."""
        calls = [asyncio.ensure_future(self._write(row)) for row in range(len(self._rows))]
        try:
            missing = await self._wait(calls)
        finally:
            self._calling.errands.give_up(calls)
        parts = tuple(
            replace(part, container=name) for part, name in zip(self._placement.parts, self._containers, strict=True)
        )
        return replace(self._placement, parts=parts, missing=missing)

    async def _wait(self, calls: Sequence[asyncio.Task[None]]) -> tuple[int, ...]:
        """Return which parts are not durable when enough of them are."""
        enough = least_parts(self._placement)
        waiting = set(calls)
        while waiting:
            _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            whole = [call for call in calls if call.done() and call.exception() is None]
            if len(calls) - len(whole) - len(waiting) > len(calls) - enough:
                raise _failure([call for call in calls if call.done()], enough, len(whole))
            if len(whole) >= enough and waiting and enough < len(calls):
                await asyncio.wait(waiting, timeout=_STRAGGLE_SECONDS)
                break
        return tuple(row for row, call in enumerate(calls) if not call.done() or call.exception() is not None)

    async def _write(self, row: int) -> None:
        """Write one part, and into another container where one fails."""
        key, chunks = self._placement.parts[row].key, self._rows[row]
        while True:
            name = self._containers[row]
            self.tried.append(Part(name, key, row))

            async def put(store: BlobStore) -> None:
                await store.put(key, chunks)

            try:
                await self._calling.in_time(
                    name, "write", self._layout.part_bytes, put, can_wait=lambda: self._can_wait(row)
                )
            except MeasurandError:
                self._failed.append(name)
                another = self._another(row)
                if another is None:
                    raise
                self._containers[row] = another
            else:
                return

    def _can_wait(self, row: int) -> bool:
        """Tell whether nobody can take the place of a part that is late, beside those that were given up already."""
        if self._elsewhere({*self._given_up, row}) is None:
            return True
        self._given_up.add(row)
        return False

    def _another(self, row: int) -> str | None:
        self._given_up.discard(row)
        found = self._elsewhere({row})
        return None if found is None else found[row]

    def _elsewhere(self, rows: Collection[int]) -> dict[int, str] | None:
        parts = [Part(name, "", index) for index, name in enumerate(self._containers)]
        failed = {*self._failed, *(self._containers[row] for row in rows)}
        return self._choosing.instead_of(self._placement, parts, sorted(rows), failed, self._layout.size)


def _failure(calls: Sequence[asyncio.Task[None]], needed: int, available: int) -> BaseException:
    known: list[MeasurandError] = []
    for call in calls:
        error = call.exception()
        if isinstance(error, MeasurandError):
            known.append(error)
        elif error is not None:
            return error
    return shortage(known, needed, available)
