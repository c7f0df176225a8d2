"""Making one blob whole again: what is bad is made anew from what is left, and nothing else is touched."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta

from measurand.core.containers.healing.choosing import Targets
from measurand.core.containers.healing.looking import Looking, Seen
from measurand.core.containers.healing.pacing import Pace
from measurand.core.containers.healing.wanted import Want, Wanted
from measurand.core.containers.placements import Placement, Placements
from measurand.core.containers.ports import Parts
from measurand.wire.errors import Conflict, DataLoss, MeasurandError, NotFound

__all__ = ["Mended", "Mending"]

logger = logging.getLogger(__name__)

_TRIES = 5
_TARGET_TRIES = 3
_HOLD_SECONDS = 1.5
_AGAIN = timedelta(minutes=1)
_STUCK_AGAIN = timedelta(minutes=5)
_LOST_AGAIN = timedelta(days=1)


@dataclass(slots=True)
class Mended:
    """What came of it.

    Parameters
    ----------
    waiting : int
        Parts that are left alone for now, because their containers may come back.
    stuck : int
        Parts that could not be made good.
    is_lost : bool
        It can no longer be read in full.
    """

    parts: int = 0
    written_bytes: int = 0
    read_bytes: int = 0
    waiting: int = 0
    stuck: int = 0
    why: str = ""
    is_lost: bool = False


class Mending:
    """Mends blobs one by one.

    Parameters
    ----------
    pace : Pace
        What is read and written for it is let through by this.
    """

    def __init__(
        self, looking: Looking, parts: Parts, placements: Placements, targets: Targets, wanted: Wanted, pace: Pace
    ) -> None:
        self._looking = looking
        self._parts = parts
        self._placements = placements
        self._targets = targets
        self._wanted = wanted
        self._pace = pace
        self.repaired_parts = 0
        """So many this process has made anew."""
        self.repaired_bytes = 0

    async def wanted(self, want: Want, *, patience_seconds: float) -> Mended:
        """Mend a blob that was taken off the list, and put it back there if it is not whole then."""
        placement = await self._placements.fetch(want.blob, fresh=True)
        if placement is None or placement.staged:
            await self._wanted.done(want)
            return Mended()
        damaged = [part.index for part in placement.parts if want.bad.get(part.key) == "damaged"]
        async with _Held(self._wanted, want) as held:
            mended = await self.mend(placement, patience_seconds=patience_seconds, verified=damaged)
        if mended.parts:
            logger.info(
                "event=repaired blob=%s rank=%d parts=%d stuck=%d", want.blob, want.rank, mended.parts, mended.stuck
            )
        if mended.is_lost or mended.stuck:
            logger.warning("event=repair_stuck blob=%s parts=%d why=%s", want.blob, mended.stuck, mended.why)
            pause = _LOST_AGAIN if mended.is_lost else _STUCK_AGAIN if not mended.parts else _AGAIN
            await self._wanted.put_off(replace(held.want, stuck=mended.stuck, why=mended.why), pause)
        else:
            await self._wanted.done(held.want)  # what waits is asked for again when its time has come
        return mended

    async def mend(self, placement: Placement, *, patience_seconds: float, verified: list[int] | None = None) -> Mended:
        """Mend a blob, whatever is found bad now.

        Parameters
        ----------
        patience_seconds : float
            Parts in containers that are down for less than that are left alone.
        verified : list of int
            The bytes of these parts are looked at, too.
        """
        mended = Mended()
        for _ in range(_TRIES):
            seen = await self._looking.look(placement, verify_bytes=False, verified=verified or ())
            try:
                await self._mend(seen, mended, patience_seconds)
            except Conflict:
                found = await self._placements.fetch(placement.blob, fresh=True)
                if found is None or found.staged:
                    break  # nobody needs it any more
                placement = found
            else:
                break
        return mended

    async def _mend(self, seen: Seen, mended: Mended, patience_seconds: float) -> None:
        placement, bad = seen.placement, seen.bad
        mended.waiting = mended.stuck = 0
        todo: list[int] = []
        for index, health in sorted(bad.items()):
            container = placement.parts[index].container
            if health == "unreachable" and not self._looking.is_away(container, patience_seconds):
                mended.waiting += 1
            else:
                todo.append(index)
        placement = await self._clear(placement, bad)
        for segment in range(len(placement.segments)):
            indexes = [index for index in todo if index // placement.width == segment]
            if indexes:
                placement = await self._rebuild(placement, segment, indexes, bad, mended)

    async def _clear(self, placement: Placement, bad: Mapping[int, object]) -> Placement:
        """Take parts off the missing ones that came after all."""
        came = [index for index in placement.missing if index not in bad]
        if came:
            sure = await self._looking.look(placement, verify_bytes=True, only=came)
            came = [index for index in came if index not in sure.bad]
        if not came:
            return placement
        left = tuple(index for index in placement.missing if index not in came)
        changed = await self._placements.replace(replace(placement, missing=left))
        if changed is None:
            raise Conflict(f"{placement.blob}: its parts were moved meanwhile; look again", resource=placement.blob)
        return changed

    async def _rebuild(
        self, placement: Placement, segment: int, indexes: list[int], bad: Mapping[int, str], mended: Mended
    ) -> Placement:
        size = placement.segments[segment].part_bytes
        problem: MeasurandError | None = None
        for tries in range(_TARGET_TRIES):
            chosen, problem = self._targets.choose(placement, segment, indexes)
            if not chosen:
                break
            read, written = size * placement.data_parts, size * len(chosen)
            await self._pace.take(read + written)
            try:
                placement = await self._parts.rebuild(placement, chosen)
            except Conflict:
                raise
            except NotFound:
                raise Conflict(f"{placement.blob}: it was removed meanwhile", resource=placement.blob) from None
            except DataLoss as error:
                problem, mended.is_lost = error, True
                break
            except MeasurandError as error:  # too few can be reached, or a container does not take its part
                problem = error
                if tries < _TARGET_TRIES - 1:
                    continue  # one that has just failed is not chosen again
                break
            mended.parts += len(chosen)
            mended.read_bytes += read
            mended.written_bytes += written
            self.repaired_parts += len(chosen)
            self.repaired_bytes += written
            indexes = [index for index in indexes if index not in chosen]
            break
        if indexes and problem is not None:
            mended.stuck += len(indexes)
            mended.why = problem.message
        return placement


class _Held:
    """Keeps others from a blob for as long as one is at work on it."""

    def __init__(self, wanted: Wanted, want: Want) -> None:
        self.want = want
        self._wanted = wanted
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> _Held:
        self._task = asyncio.create_task(self._hold(), name=f"repair of {self.want.blob}")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait((self._task,))

    async def _hold(self) -> None:
        while True:
            await asyncio.sleep(_HOLD_SECONDS)
            with suppress(MeasurandError):
                self.want = await self._wanted.hold(self.want) or self.want
