"""The operation `drain`: everything that is in a container goes elsewhere, part by part."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, cast

from measurand.core.containers.healing.choosing import Targets
from measurand.core.containers.healing.pacing import Pace
from measurand.core.containers.placements import PLACEMENTS, Placement, Placements, held_path, in_container
from measurand.core.containers.ports import Parts
from measurand.core.containers.sites import Sites
from measurand.core.operations.jobs import Job
from measurand.core.ports import DocumentStore, Json
from measurand.wire.errors import Conflict, FailedPrecondition, MeasurandError, NotFound

__all__ = ["Draining"]

PAGE = 100
AT_ONCE = 4
MOST_PROBLEMS = 100
_TRIES = 5
_STAGED_SECONDS = 600.0
"""So long it waits for blobs that are being written."""
_STAGED_PAUSE = 2.0


@dataclass(slots=True)
class _Report:
    moved_blobs: int = 0
    moved_bytes: int = 0
    stuck_blobs: int = 0
    problems: list[str] = field(default_factory=list)

    def stick(self, placement: Placement, why: str) -> None:
        self.stuck_blobs += 1
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(f"{placement.blob}: {why}")


class Draining:
    """Does drains. A `Handler`."""

    def __init__(
        self,
        documents: DocumentStore,
        placements: Placements,
        parts: Parts,
        sites: Sites,
        targets: Targets,
        pace: Pace,
        *,
        sleep: Callable[[float], Coroutine[Any, Any, object]] = asyncio.sleep,
    ) -> None:
        self._documents = documents
        self._placements = placements
        self._parts = parts
        self._sites = sites
        self._targets = targets
        self._pace = pace
        self._sleep = sleep

    async def __call__(self, job: Job) -> Mapping[str, Json]:
        """Move what can be moved, and return a DrainReport."""
        asked = cast("Mapping[str, Any]", job.arguments)
        name, is_dry = asked["container"], bool(asked.get("validate_only"))
        state = cast("Mapping[str, Any]", job.state or {})
        await self._sites.refresh()
        if name not in self._sites.all:
            raise NotFound(f"containers/{name}: there is no such container", resource=f"containers/{name}")
        report = _Report(moved_blobs=state.get("blobs", 0), moved_bytes=state.get("bytes", 0))
        total = await self._documents.total(PLACEMENTS, held_path(name), where=in_container(name))
        job.progress(report.moved_bytes, report.moved_bytes + total.total, "bytes", f"{total.count} blobs to move")
        waited = 0.0
        while True:
            report.stuck_blobs, report.problems = 0, []
            staged = await self._pass(job, name, report, is_dry=is_dry)
            if not staged:
                return asdict(report)
            if is_dry or waited >= _STAGED_SECONDS:
                for placement in staged:
                    report.stick(placement, "it is being written; drain again when it is finished")
                return asdict(report)
            job.progress(message=f"waiting for {len(staged)} blobs that are being written")
            await self._sleep(_STAGED_PAUSE)
            waited += _STAGED_PAUSE
            job.check()

    async def _pass(self, job: Job, name: str, report: _Report, *, is_dry: bool) -> list[Placement]:
        """Go over all that has a part there, and return what is being written."""
        staged: list[Placement] = []
        after = ""
        while page := await self._placements.find(container=name, after=after, limit=PAGE):
            site = self._sites.all.get(name)
            if site is not None and not site.container.is_draining and not is_dry:
                raise FailedPrecondition(
                    f"containers/{name} is to keep its parts now, so not all were moved; drain it again to empty it",
                    resource=f"containers/{name}",
                    state="active",
                )
            after = page[-1].blob
            staged += [one for one in page if one.staged]
            whole = [one for one in page if not one.staged]
            for begin in range(0, len(whole), AT_ONCE):
                await asyncio.gather(
                    *(self._empty(one, name, report, is_dry=is_dry) for one in whole[begin : begin + AT_ONCE])
                )
                job.progress(report.moved_bytes, message=f"{report.moved_blobs} blobs moved")
                await job.checkpoint({"blobs": report.moved_blobs, "bytes": report.moved_bytes})
        return staged

    async def _empty(self, placement: Placement, name: str, report: _Report, *, is_dry: bool) -> None:
        """Move the parts of one blob that are in the container."""
        found: Placement | None = placement
        for _ in range(_TRIES):
            if found is None or found.staged:
                return  # removed, or it comes again
            try:
                moved = await self._move(found, name, is_dry=is_dry)
            except (Conflict, NotFound):
                found = await self._placements.fetch(placement.blob, fresh=True)
                continue
            except MeasurandError as error:
                report.stick(placement, error.message)
                return
            report.moved_blobs += 1
            report.moved_bytes += moved
            return
        report.stick(placement, "others keep moving its parts; drain again")

    async def _move(self, placement: Placement, name: str, *, is_dry: bool) -> int:
        moved = 0
        for index in [part.index for part in placement.parts if part.container == name]:
            chosen, problem = self._targets.choose(placement, index // placement.width, [index], avoid=[name])
            if not chosen:
                assert problem is not None
                raise problem
            size = placement.part_bytes(index)
            if not is_dry:
                await self._pace.take(2 * size)
                if self._sites.state(name) == "down":
                    placement = await self._parts.rebuild(placement, chosen)
                else:
                    placement = await self._parts.move(placement, index, chosen[index])
            moved += size
        return moved
