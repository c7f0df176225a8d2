"""Single parts: looked at, read, made anew from others, for those who heal and for writers that lose a container."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from measurand.core.blob_rules import closing
from measurand.core.containers.placements import Part, Placement, Placements, part_key
from measurand.core.containers.ports import Coder, Health
from measurand.core.means import Means
from measurand.core.ports import Blob, BlobStore, Buffer, Stage
from measurand.storage.blobs.spread.calling import Calling
from measurand.storage.blobs.spread.fetching import Fetch
from measurand.storage.blobs.spread.frames import Frames
from measurand.storage.blobs.spread.hedging import Allowance
from measurand.storage.blobs.spread.runs import Run, runs_of
from measurand.storage.blobs.spread.sources import Replaced, Source
from measurand.wire.errors import Conflict, ContainersUnavailable, DataLoss, MeasurandError, NotFound, Unavailable

__all__ = ["PartWriter", "SpreadParts", "changed"]

Result = TypeVar("Result")

_SMALL_BYTES = 2 << 20
"""Parts up to this size are put at once; larger ones are staged, and cost no more memory than a run."""


def _say_nothing(placement: Placement, index: int, health: Health) -> None:
    """Whoever heals sees for himself."""


class SpreadParts:
    """The parts of spread blobs. A `Parts`."""

    def __init__(self, calling: Calling, placements: Placements, coder: Coder, means: Means) -> None:
        self._calling = calling
        self._placements = placements
        self._coder = coder
        self._means = means
        self._allowance = Allowance()

    async def check(self, placement: Placement, index: int, *, verify_bytes: bool = True) -> Health:
        part, size = placement.parts[index], placement.part_bytes(index)
        try:
            found = await self._calling.in_time(
                part.container, "read", 0, lambda store: store.stat(part.key), can_wait=lambda: True
            )
            if found.size < size:
                return "damaged"
            if verify_bytes:
                async with closing(self.read(placement, index)) as chunks:
                    async for _ in chunks:
                        pass
        except NotFound:
            return "missing"
        except DataLoss:
            return "damaged"
        except MeasurandError:
            return "unreachable"
        return "ok"

    async def read(self, placement: Placement, index: int) -> AsyncIterator[Buffer]:
        part = placement.parts[index]
        segment, row = divmod(index, placement.width)
        frames = self._frames(placement, segment)
        blob = Blob(part.key, placement.part_bytes(index))
        for run in self._runs(placement, segment):

            async def read(store: BlobStore, run: Run = run) -> Buffer:
                async with closing(store.open(blob, run.frame_offset, run.part_bytes)) as chunks:
                    return b"".join([chunk async for chunk in chunks])

            data = memoryview(
                await self._calling.in_time(part.container, "read", run.part_bytes, read, can_wait=lambda: True)
            )
            for stripe in run.stripes:
                begin = stripe.frame_offset - run.frame_offset
                if not frames.is_right(stripe, row, data[begin : stripe.frame_end - run.frame_offset]):
                    raise DataLoss(
                        f"{part.key} in {part.container}: stripe {stripe.number} is damaged", resource=placement.blob
                    )
            yield data

    async def rebuild(self, placement: Placement, indexes: Mapping[int, str]) -> Placement:
        new = {index: self._new_part(placement, index, name) for index, name in indexes.items()}
        written: list[Part] = []
        try:
            for segment in sorted({index // placement.width for index in new}):
                parts = [part for index, part in sorted(new.items()) if index // placement.width == segment]
                written += parts
                await self._rebuild(placement, segment, parts)
        except BaseException:
            await asyncio.shield(self.remove(written))
            raise
        return await self._swap(placement, written)

    async def move(self, placement: Placement, index: int, container: str) -> Placement:
        part = self._new_part(placement, index, container)
        writer = PartWriter(self._calling, part, placement.part_bytes(index))
        try:
            async with closing(self.read(placement, index)) as chunks:
                async for chunk in chunks:
                    await writer.write([chunk])
            await writer.end()
        except (NotFound, DataLoss):
            await self.remove([part])
            return await self.rebuild(placement, {index: container})
        except BaseException:
            await asyncio.shield(self.remove([part]))
            raise
        return await self._swap(placement, [part])

    async def remove(self, parts: Sequence[Part]) -> None:
        """Remove parts that nobody names, finished or not, where that goes soon; elsewhere they are garbage."""
        await self._calling.remove(parts, staged=True)

    async def _rebuild(self, placement: Placement, segment: int, parts: Sequence[Part]) -> None:
        """Write these parts of one segment, run by run."""
        rows = [part.index % placement.width for part in parts]
        frames = self._frames(placement, segment)
        writers = [PartWriter(self._calling, part, placement.part_bytes(part.index)) for part in parts]
        source = Source(placement, self._placements, turn=0)
        for run in self._runs(placement, segment):
            fetch = Fetch(
                run, source, self._calling, self._coder, self._allowance, self._means, _say_nothing, doubted=rows
            )
            try:
                pieces = await fetch.rows(rows)
            except (Replaced, NotFound):  # recoded, or removed
                raise changed(placement) from None
            for row, writer in zip(rows, writers, strict=True):
                chunks: list[Buffer] = []
                for stripe, piece in zip(run.stripes, pieces, strict=True):
                    chunks += [frames.header(stripe, row, (piece[row],)), piece[row]]
                await writer.write(chunks)
        await asyncio.gather(*(writer.end() for writer in writers))

    async def _swap(self, placement: Placement, parts: Sequence[Part]) -> Placement:
        """Name new parts in the place of old ones, and remove those."""
        # Should this fail, nobody knows which of them are named now: those that are not are garbage.
        replaced = await self._placements.replace(placement.with_parts(parts))
        if replaced is None:
            await self.remove(parts)
            raise changed(placement)
        await self.remove([placement.parts[part.index] for part in parts])
        return replaced

    def _new_part(self, placement: Placement, index: int, container: str) -> Part:
        key = part_key(placement.blob, self._means.random_bytes(3).hex(), index)
        return Part(container, key, index)

    def _frames(self, placement: Placement, segment: int) -> Frames:
        return Frames(
            placement.uid,
            segment,
            sum(each.size for each in placement.segments[:segment]),
            data_parts=placement.data_parts,
            parity_parts=placement.parity_parts,
            crc32c=self._means.crc32c,
        )

    def _runs(self, placement: Placement, segment: int) -> Sequence[Run]:
        base = sum(each.size for each in placement.segments[:segment])
        return list(runs_of(placement, base, placement.segments[segment].size))


class PartWriter:
    """Writes one part: at once if it is small, else staged."""

    def __init__(self, calling: Calling, part: Part, size: int) -> None:
        self._calling = calling
        self._part = part
        self._size = size
        self._held: list[Buffer] = []
        self._stage: Stage | None = None

    async def write(self, chunks: Sequence[Buffer]) -> None:
        """Append whole frames."""
        if self._size <= _SMALL_BYTES:
            self._held += chunks
            return
        stage = self._stage
        if stage is None:
            stage = self._stage = await self._call(0, lambda store: store.stage(self._part.key))
        await self._call(sum(map(len, chunks)), lambda _: stage.append(chunks))
        await self._call(0, lambda _: stage.persist(whole=False))

    async def end(self) -> None:
        """Make it durable."""
        stage = self._stage
        if stage is None:
            await self._call(self._size, lambda store: store.put(self._part.key, self._held))
            return
        try:
            await self._call(0, lambda _: stage.persist())
        finally:
            await stage.close()
        await self._call(0, lambda store: store.finish(self._part.key, self._size))

    async def _call(self, size: int, work: Callable[[BlobStore], Coroutine[Any, Any, Result]]) -> Result:
        name = self._part.container
        try:
            return await self._calling.in_time(name, "write", size, work, can_wait=lambda: True)
        except (Unavailable, NotFound) as error:
            raise ContainersUnavailable(
                f"{self._part.key}: {name} does not take it; try again, or choose another container ({error})",
                retry_seconds=5.0,
                container=name,
            ) from error


def changed(placement: Placement) -> Conflict:
    """Return the error that says that somebody else was quicker."""
    return Conflict(f"{placement.blob}: its parts were moved meanwhile; look again", resource=placement.blob)
