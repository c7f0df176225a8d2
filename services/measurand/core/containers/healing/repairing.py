"""The operation `repair`: look at all blobs, then make good what is bad, the most endangered first."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from measurand.core.arrays.blocks import BLOCKS
from measurand.core.containers.healing.counting import Tally
from measurand.core.containers.healing.garbage import Garbage
from measurand.core.containers.healing.looking import Looking, Seen
from measurand.core.containers.healing.mending import Mended, Mending
from measurand.core.containers.healing.pacing import Pace
from measurand.core.containers.healing.wanted import Wanted, want_of
from measurand.core.containers.placements import PLACEMENTS, Placement, Placements
from measurand.core.means import Means
from measurand.core.naming import namers_of
from measurand.core.operations.jobs import Job
from measurand.core.ports import DocumentStore, Json

__all__ = ["AT_ONCE", "Repairing"]

AT_ONCE = 4
"""So many blobs are worked on beside one another."""
PAGE = 100
_LOOKS = 5
"""At a blob whose parts are moved all the time."""
_POLL_SECONDS = 1.0
NOW = float("-inf")
"""Who asks for a repair does not want to wait for containers that are down."""


class Repairing:
    """Does repairs. A `Handler`.

    Parameters
    ----------
    pace : Pace
        For the bytes that are only looked at.
    """

    def __init__(
        self,
        documents: DocumentStore,
        placements: Placements,
        looking: Looking,
        mending: Mending,
        wanted: Wanted,
        garbage: Garbage,
        pace: Pace,
        means: Means,
    ) -> None:
        self._documents = documents
        self._placements = placements
        self._looking = looking
        self._mending = mending
        self._wanted = wanted
        self._garbage = garbage
        self._pace = pace
        self._means = means

    async def __call__(self, job: Job) -> Mapping[str, Json]:
        """Look, mend, collect garbage if asked to, and return a RepairReport."""
        asked = cast("Mapping[str, Any]", job.arguments)
        state = cast("Mapping[str, Any]", job.state or {})
        run = _Run(job, asked, Tally.of(state.get("tally", {})))
        await self._looking.refresh()
        for name in sorted(run.only):
            self._looking.check_name(name)
        job.progress(run.tally.checked_blobs, await self._documents.count(PLACEMENTS), "blobs", "looking")
        if state.get("step", "look") == "look":
            await self._look_at_all(run, state.get("after", ""))
            await run.note("mend")
        if not run.is_dry and state.get("step") != "collect":
            await self._mend_all(run)
            await run.note("collect")
        if asked.get("collect_garbage"):
            garbage = Tally()
            job.progress(message="collecting garbage")
            await self._garbage.collect_now(garbage.name_garbage, run.only, is_dry=run.is_dry)
            run.tally.garbage_blobs, run.tally.garbage_bytes = garbage.garbage_blobs, garbage.garbage_bytes
            run.tally.garbage = garbage.garbage
        return run.tally.body()

    async def _look_at_all(self, run: _Run, after: str) -> None:
        """Count how all blobs stand, and put those that are not whole on the list."""
        while page := await self._placements.find(after=after, limit=PAGE):
            chosen = [one for one in page if not one.staged and run.concerns(one)]
            found: list[Seen] = []
            for begin in range(0, len(chosen), AT_ONCE):
                looks = await asyncio.gather(*(self._look(run, one) for one in chosen[begin : begin + AT_ONCE]))
                found += [seen for seen in looks if seen is not None]
            for seen in found:
                run.tally.count(seen)
                if seen.standing == "lost":
                    run.tally.name_lost(await self._resources(seen.placement.blob))
            after = page[-1].blob
            bad = [seen for seen in found if seen.bad or seen.placement.missing]
            if run.is_dry:
                for seen in bad:
                    _foresee(seen, run.tally)
            else:
                wants = [want_of(seen.placement, seen.bad, self._means.now()) for seen in bad]
                await self._wanted.ask(wants, is_new=True)
                if run.verifies:  # reading everything takes long
                    await self._mend_all(run)
            run.job.progress(run.tally.checked_blobs, message="looking")
            await run.note("look", after)

    async def _look(self, run: _Run, placement: Placement) -> Seen | None:
        """Return how a blob stands. None: it was removed meanwhile."""
        for left in reversed(range(_LOOKS)):
            if run.verifies:
                await self._pace.take(placement.stored_bytes)
            seen = await self._looking.look(placement, verify_bytes=run.verifies)
            if not seen.bad:
                if run.verifies and not run.is_dry:
                    await self._placements.replace(replace(placement, verified=self._means.now()))
                return seen
            current = await self._placements.fetch(placement.blob, fresh=True)
            if current is None or current.staged:
                return None
            if current.parts == placement.parts or not left:
                return seen
            placement = current  # its parts were moved: what is not where it was is not bad
        raise AssertionError("the last look returns")

    async def _mend_all(self, run: _Run) -> None:
        """Mend what is on the list and due, wherever it came from."""
        while (wants := await self._wanted.take(AT_ONCE)) or await self._wanted.has_held():
            if not wants:  # others are at work on the rest, or were
                await asyncio.sleep(_POLL_SECONDS)
                run.job.check()
                continue
            outcomes = await asyncio.gather(*(self._mending.wanted(want, patience_seconds=NOW) for want in wants))
            for mended in outcomes:
                run.add(mended)
            tally = run.tally
            run.job.progress(message=f"{tally.repaired_parts} parts, {tally.repaired_bytes} bytes made anew")
            await run.job.checkpoint({"step": "mend" if not run.verifies else "look", **run.state()})

    async def _resources(self, blob: str) -> Sequence[str]:
        """Return the names of what stands on a blob."""
        return [
            str(document.body["array"]) if collection == BLOCKS else document.key.partition("\0")[0]
            for collection, document in await namers_of(self._documents, blob)
        ]


class _Run:
    """One run of a repair: what is asked, and what was found so far."""

    def __init__(self, job: Job, asked: Mapping[str, Any], tally: Tally) -> None:
        self.job = job
        self.tally = tally
        self.only = frozenset(asked.get("containers", ()))
        self.verifies = bool(asked.get("verify_bytes"))
        self.is_dry = bool(asked.get("validate_only"))
        self._after = ""

    def concerns(self, placement: Placement) -> bool:
        return not self.only or any(part.container in self.only for part in placement.parts)

    def add(self, mended: Mended) -> None:
        tally = self.tally
        tally.repaired_parts += mended.parts
        tally.repaired_bytes += mended.written_bytes
        tally.read_bytes += mended.read_bytes
        tally.stuck_parts += mended.stuck

    def state(self) -> Mapping[str, Json]:
        return {"after": self._after, "tally": self.tally.body()}

    async def note(self, step: str, after: str = "") -> None:
        self._after = after
        await self.job.checkpoint({"step": step, **self.state()})


def _foresee(seen: Seen, tally: Tally) -> None:
    """Count what would be made anew."""
    if seen.standing == "lost":
        return
    placement = seen.placement
    for segment in range(len(placement.segments)):
        count = sum(index // placement.width == segment for index in seen.bad)
        size = placement.segments[segment].part_bytes
        tally.repaired_parts += count
        tally.repaired_bytes += size * count
        tally.read_bytes += size * placement.data_parts if count else 0
