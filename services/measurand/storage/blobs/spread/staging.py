"""Staged blobs: begun, finished by whoever comes, thrown away."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

from measurand.core.blob_rules import missing, short, taken
from measurand.core.containers.placements import Part, Placement, Placements, Segment, part_key
from measurand.core.containers.ports import Coder
from measurand.core.means import Means
from measurand.core.placement.policies import Policy
from measurand.core.ports import Blob, Stage
from measurand.storage.blobs.spread.calling import Calling
from measurand.storage.blobs.spread.choosing import Choosing
from measurand.storage.blobs.spread.cutting import cut
from measurand.storage.blobs.spread.parts import SpreadParts
from measurand.storage.blobs.spread.recovering import recovered
from measurand.storage.blobs.spread.shortage import least_parts, shortage
from measurand.storage.blobs.spread.stage import SpreadStage
from measurand.wire.errors import AlreadyExists, Conflict, DataLoss, MeasurandError, NotFound

__all__ = ["Staging"]

_REMEMBERED = 1024


class Staging:
    """Staged blobs of this process, and those that others have left."""

    def __init__(
        self,
        calling: Calling,
        choosing: Choosing,
        placements: Placements,
        parts: SpreadParts,
        coder: Coder,
        means: Means,
        *,
        most_part_bytes: int,
    ) -> None:
        self._calling = calling
        self._choosing = choosing
        self._placements = placements
        self._parts = parts
        self._coder = coder
        self._means = means
        self._most_part_bytes = most_part_bytes
        self._stages: OrderedDict[str, SpreadStage] = OrderedDict()

    def size_of(self, placement: Placement) -> int:
        """Return how many bytes of a staged blob are there, as far as this process knows."""
        stage = self._stage_of(placement)
        return placement.size if stage is None else stage.size

    async def stage(self, key: str, policy: Policy) -> Stage:
        """Begin a blob."""
        decision = self._choosing.choose(policy, None)
        attempt, now = self._means.random_bytes(3).hex(), self._means.now()
        placement = Placement(
            blob=key,
            uid=self._means.random_bytes(16).hex(),
            size=0,
            data_parts=decision.data_parts,
            parity_parts=decision.parity_parts,
            segments=(Segment(0, 0),),
            parts=tuple(Part(name, part_key(key, attempt, row), row) for row, name in enumerate(decision.chosen)),
            policy=policy,
            create_time=now,
            modified_time=now,
            staged=True,
        )
        try:
            placement = await self._placements.insert(placement)
        except AlreadyExists:
            raise taken(key) from None
        stage = SpreadStage(
            placement,
            self._calling,
            self._choosing,
            self._placements,
            self._parts,
            self._coder,
            self._means,
            most_part_bytes=self._most_part_bytes,
        )
        try:
            await stage.begin()
        except BaseException:
            await asyncio.shield(self._throw_away(stage))
            raise
        self._stages[key] = stage
        while len(self._stages) > _REMEMBERED:
            self._stages.popitem(last=False)  # the longest ago; its writer goes on, and others finish what it noted
        return stage

    async def finish(self, placement: Placement, size: int) -> Blob:
        """Make a finished blob of the first bytes."""
        key = placement.blob
        if not placement.staged:
            if placement.size < size:
                raise short(key, size, placement.size)
            return Blob(key, size)
        segments = await self._segments(placement, size)
        there = sum(segment.size for segment in segments)
        if there < size:
            raise short(key, size, there)
        wanted = cut(segments, size, placement)
        try:
            finished = await self._finished(placement, wanted)
        except Conflict:
            finished = None
        if finished is not None:
            finished = await self._placements.replace(
                replace(finished, staged=False, size=size, modified_time=self._means.now())
            )
        if finished is None:  # another process has changed it
            found = await self._placements.fetch(key, fresh=True)
            if found is None:
                raise missing(key)
            return await self.finish(found, size)
        self._stages.pop(key, None)
        await self._parts.remove(placement.parts[len(finished.parts) :])
        return Blob(key, size)

    async def discard(self, placement: Placement) -> None:
        """Throw the parts of a staged blob away, whose placement is removed."""
        self._stages.pop(placement.blob, None)
        await self._parts.remove(placement.parts)

    async def _segments(self, placement: Placement, size: int) -> Sequence[Segment]:
        """Return what there is of a staged blob, at least as far as `size` if there is so much."""
        stage = self._stage_of(placement)
        if stage is not None and len(stage.placement.segments) == len(placement.segments):
            return stage.segments()
        if size <= placement.size or size <= sum(segment.size for segment in placement.segments[:-1]):
            return placement.segments
        return await recovered(placement, size, self._calling, self._means)

    async def _finished(self, placement: Placement, wanted: Sequence[Segment]) -> Placement | None:
        """Finish the parts of the last segment and return the placement as it is then; None: it has changed."""
        parts = placement.parts[: len(wanted) * placement.width]
        found = replace(
            placement,
            segments=tuple(wanted),
            parts=parts,
            missing=tuple(index for index in placement.missing if index < len(parts)),
        )
        if len(wanted) < len(placement.segments):
            return found
        last = parts[-placement.width :]
        size = wanted[-1].part_bytes
        given_up: set[int] = set()
        ends = await asyncio.gather(
            *(self._finish_part(placement, last, row, size, given_up) for row in range(len(last)))
        )
        errors = {part.index: error for part, error in zip(last, ends, strict=True) if error is not None}
        failed = sorted({*errors, *(index for index in found.missing if index >= last[0].index)})
        if len(last) - len(failed) >= least_parts(placement):
            return replace(found, missing=tuple(sorted({*found.missing, *failed})))
        if len(last) - len(failed) < placement.data_parts:
            raise self._lost(placement, errors)
        lost = [index - last[0].index for index in failed]
        instead = self._choosing.instead_of(
            placement, last, lost, {part.container for part in last if part.index in errors}, wanted[-1].size
        )
        if instead is None:
            raise shortage(list(errors.values()), least_parts(placement), len(last) - len(failed))
        kept = replace(found, missing=tuple(sorted({*found.missing, *failed})))
        changed = await self._placements.replace(kept)
        if changed is None:
            return None
        return await self._parts.rebuild(changed, {last[row].index: name for row, name in instead.items()})

    async def _finish_part(
        self, placement: Placement, parts: Sequence[Part], row: int, size: int, given_up: set[int]
    ) -> MeasurandError | None:
        part = parts[row]

        def can_wait() -> bool:
            rows = sorted({*given_up, row})
            tried = {parts[each].container for each in rows}
            if self._choosing.instead_of(placement, parts, rows, tried, size) is None:
                return True
            given_up.add(row)
            return False

        try:
            await self._calling.in_time(
                part.container, "write", 0, lambda store: store.finish(part.key, size), can_wait=can_wait
            )
        except MeasurandError as error:
            given_up.add(row)
            return error
        return None

    def _lost(self, placement: Placement, errors: dict[int, MeasurandError]) -> MeasurandError:
        gone = [index for index, error in errors.items() if isinstance(error, NotFound | DataLoss)]
        if len(gone) <= placement.parity_parts:
            return shortage(list(errors.values()), placement.data_parts, placement.width - len(errors))
        lost = ", ".join(f"{placement.parts[index].key} in {placement.parts[index].container}" for index in gone)
        return DataLoss(
            f"{placement.blob}: {placement.data_parts} of its {placement.width} parts are needed and these are gone: "
            f"{lost}; upload it again",
            resource=placement.blob,
            parts=lost,
        )

    def _stage_of(self, placement: Placement) -> SpreadStage | None:
        stage = self._stages.get(placement.blob)
        return stage if stage is not None and stage.placement.uid == placement.uid else None

    async def _throw_away(self, stage: SpreadStage) -> None:
        found = await self._placements.fetch(stage.placement.blob, fresh=True)
        if found is not None and found.uid == stage.placement.uid and await self._placements.remove(found):
            await self._parts.remove(found.parts)
        await stage.close()
