"""One run of stripes, from whichever parts give it first.

The data parts are asked first. One that fails is replaced by another; one that is later than usual has another asked
beside it, where the allowance permits. As soon as there are enough pieces of every stripe the rest is called off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from measurand.core.blob_rules import closing
from measurand.core.containers.placements import Part
from measurand.core.containers.ports import Coder, Health, Tell
from measurand.core.containers.stripes import HEADER_BYTES, Stripe
from measurand.core.means import Means
from measurand.core.ports import Blob, BlobStore, Buffer
from measurand.storage.blobs.spread.calling import Calling
from measurand.storage.blobs.spread.frames import Frames
from measurand.storage.blobs.spread.hedging import Allowance
from measurand.storage.blobs.spread.runs import Run
from measurand.storage.blobs.spread.sources import Source
from measurand.wire.errors import ContainersUnavailable, DataLoss, MeasurandError, NotFound, Unavailable

__all__ = ["Fetch"]

_IN_THREAD_BYTES = 64 * 1024

Pieces = Sequence[memoryview | None]
"""What a part gave for each stripe of a run; None: damaged."""


class Fetch:
    """The pieces of one run.

    Parameters
    ----------
    doubted : sequence of int
        Rows that are asked last.
    """

    def __init__(
        self,
        run: Run,
        source: Source,
        calling: Calling,
        coder: Coder,
        allowance: Allowance,
        means: Means,
        tell: Tell,
        *,
        doubted: Sequence[int] = (),
    ) -> None:
        self._run = run
        self._source = source
        self._calling = calling
        self._coder = coder
        self._allowance = allowance
        self._means = means
        self._tell = tell
        placement = source.placement
        self._needed = placement.data_parts
        self._code = (placement.data_parts, placement.parity_parts)
        self._frames = Frames(
            placement.uid,
            run.segment,
            run.base,
            data_parts=placement.data_parts,
            parity_parts=placement.parity_parts,
            crc32c=means.crc32c,
        )
        self._pieces: list[dict[int, Buffer]] = [{} for _ in run.stripes]
        self._pending: dict[int, asyncio.Task[Pieces]] = {}
        self._asked: dict[int, Part] = {}
        self._started: dict[int, float] = {}
        self._late: set[int] = set()
        self._forborne: set[int] = set()
        self._found: dict[int, Health] = {}
        self._doubted = frozenset(doubted)
        self._last_error: MeasurandError | None = None
        self._in_full = False
        """Also rows of stripes that are wanted for the padding in them."""

    async def bytes(self) -> list[Buffer]:
        """Return what is wanted of the run, in order."""
        await self._gather(self._wanted())
        chunks: list[Buffer] = []
        for stripe, pieces in zip(self._run.stripes, self._pieces, strict=True):
            rows = self._run.rows(stripe) if self._needed > 1 else range(1)
            whole = await self._completed(pieces, rows)
            for row in rows:
                begin = stripe.offset + row * stripe.piece_bytes
                end = min(begin + stripe.piece_bytes, stripe.end, self._run.end)
                start = max(self._run.begin, begin)
                if start < end:
                    chunks.append(memoryview(whole[row])[start - begin : end - begin])
        return chunks

    async def rows(self, rows: Sequence[int]) -> list[dict[int, Buffer]]:
        """Return the pieces of these rows of each stripe of the run."""
        self._in_full = True
        await self._gather(rows)
        return [await self._completed(pieces, rows) for pieces in self._pieces]

    # -------------------------------------------------------------------------------------------------- the pieces

    async def _gather(self, wanted: Sequence[int]) -> None:
        """Ask parts until there are enough pieces."""
        self._ask(self._first(wanted))
        try:
            while not self._is_whole(wanted):
                if not self._pending and not self._ask_more() and not await self._ask_moved():
                    raise self._lost()
                done, _ = await asyncio.wait(
                    self._pending.values(), timeout=self._wait(), return_when=asyncio.FIRST_COMPLETED
                )
                for row in [row for row, call in self._pending.items() if call in done]:
                    await self._take(row, self._pending.pop(row))
                if not done:
                    self._hasten()
        finally:
            for row, call in self._pending.items():
                if row in self._late:
                    self._calling.outlast(self._part(row).container, call)
                else:
                    self._calling.errands.give_up((call,))

    def _wanted(self) -> Sequence[int]:
        if self._needed == 1:
            return (self._order()[0],)
        rows = {row for stripe in self._run.stripes for row in self._run.rows(stripe)}
        return sorted(rows)

    def _first(self, wanted: Sequence[int]) -> Sequence[int]:
        """Return the rows to begin with: those that are wanted, unless some of them had better be avoided."""
        usable = [row for row in self._order(wanted) if not self._is_avoided(row)]
        if len(usable) < self._needed or all(row in usable for row in wanted):
            return [row for row in wanted if row not in self._found]
        return usable[: self._needed]

    def _order(self, wanted: Sequence[int] = ()) -> list[int]:
        """Return the rows that were not asked yet, best first."""
        width = sum(self._code)
        rows = [row for row in range(width) if row not in self._found and row not in self._started]
        turn = self._source.turn if self._needed == 1 else 0

        def rank(row: int) -> tuple[object, ...]:
            busy = self._calling.reads(self._part(row).container) if self._needed == 1 else 0
            return self._is_avoided(row), row not in wanted, busy, (row + turn) % width

        return sorted(rows, key=rank)

    def _is_avoided(self, row: int) -> bool:
        part = self._part(row)
        if row in self._doubted:
            return True
        return part.index in self._source.placement.missing or self._calling.sites.is_avoided(part.container)

    def _is_whole(self, wanted: Sequence[int]) -> bool:
        for stripe, pieces in zip(self._run.stripes, self._pieces, strict=True):
            if len(pieces) >= self._needed:
                continue
            rows = self._run.rows(stripe) if self._needed > 1 and not self._in_full else wanted
            if not all(row in pieces for row in wanted if row in rows or row >= self._needed):
                return False
        return True

    def _short(self) -> int:
        """Return how many more parts have to be asked, if those that are late never answer."""
        fewest = min(len(pieces) for pieces in self._pieces)
        return self._needed - fewest - len(self._pending.keys() - self._late)

    def _ask_more(self) -> bool:
        rows = self._order()[: max(self._short(), 0)]
        self._ask(rows)
        return bool(rows)

    async def _ask_moved(self) -> bool:
        """Ask parts that failed and are elsewhere by now; False: there are none."""
        await self._source.refresh()
        moved = [row for row in self._found if self._part(row) != self._asked[row]]
        for row in moved:
            del self._found[row]
        self._ask(moved)
        return bool(moved)

    def _ask(self, rows: Sequence[int]) -> None:
        for row in rows:
            self._started[row] = self._means.monotonic()
            part = self._asked[row] = self._part(row)
            self._pending[row] = asyncio.ensure_future(self._request(part))
        self._allowance.earn(len(rows))

    async def _request(self, part: Part) -> Pieces:
        """Return what a part gives, each piece proved."""
        run = self._run
        blob = Blob(part.key, self._source.placement.part_bytes(part.index))

        async def read(store: BlobStore) -> Buffer:
            async with closing(store.open(blob, run.frame_offset, run.part_bytes)) as chunks:
                held = [chunk async for chunk in chunks]
            return held[0] if len(held) == 1 else b"".join(held)

        data = memoryview(await self._calling.noted(part.container, "read", run.part_bytes, read))
        return [self._proved(stripe, part.index % sum(self._code), data) for stripe in run.stripes]

    def _proved(self, stripe: Stripe, row: int, data: memoryview) -> memoryview | None:
        begin = stripe.frame_offset - self._run.frame_offset
        frame = data[begin : begin + HEADER_BYTES + stripe.piece_bytes]
        return frame[HEADER_BYTES:] if self._frames.is_right(stripe, row, frame) else None

    async def _take(self, row: int, call: asyncio.Task[Pieces]) -> None:
        """Take what a part gave, or look elsewhere."""
        self._late.discard(row)
        asked = self._asked[row]  # the placement may have been found anew since
        try:
            given = call.result()
        except NotFound:
            with suppress(Unavailable):  # others may still have enough
                await self._source.refresh()
            if self._part(row) != asked:
                self._ask((row,))  # it was moved
                return
            self._note(row, "missing")
        except DataLoss:
            self._note(row, "damaged")
        except MeasurandError as error:
            self._last_error = error
            self._found[row] = "unreachable"
        else:
            for pieces, piece in zip(self._pieces, given, strict=True):
                if piece is not None:
                    pieces[row] = piece
            if all(piece is not None for piece in given):
                return
            self._note(row, "damaged")
        self._ask_more()

    def _note(self, row: int, health: Health) -> None:
        self._found[row] = health
        self._tell(self._source.placement, self._part(row).index, health)

    def _part(self, row: int) -> Part:
        return self._source.placement.parts_of(self._run.segment)[row]

    # ---------------------------------------------------------------------------------------------------- being late

    def _limits(self, row: int) -> tuple[float, bool]:
        """Return when something is to be done about a part that has not answered, and whether it is the last time."""
        container, started = self._part(row).container, self._started[row]
        if row in self._late:
            return started + self._calling.most_seconds, True
        if row in self._forborne:
            return started + self._calling.patience(container, "read"), False
        return started + self._calling.lateness(container, "read"), False

    def _wait(self) -> float:
        soonest = min(self._limits(row)[0] for row in self._pending)
        return max(soonest - self._means.monotonic(), 0.001)

    def _hasten(self) -> None:
        """Ask others beside those that are late."""
        now = self._means.monotonic()
        for row in list(self._pending):
            at, is_last = self._limits(row)
            if at > now:
                continue
            if is_last:
                self._calling.errands.give_up((self._pending.pop(row),))
                self._late.discard(row)
                self._found[row] = "unreachable"
                self._ask_more()
                continue
            self._late.add(row)
            wanted = max(min(self._short(), len(self._order())), 0)
            if row in self._forborne or self._allowance.spend(wanted):
                self._ask_more()
            else:  # asked again when it is very late, which takes nothing from the allowance
                self._late.discard(row)
                self._forborne.add(row)

    # ------------------------------------------------------------------------------------------------------ the end

    async def _completed(self, pieces: dict[int, Buffer], rows: Sequence[int]) -> dict[int, Buffer]:
        """Return the pieces with those of the rows that have to be computed."""
        if self._needed == 1:
            piece = next(iter(pieces.values()))
            return dict.fromkeys(rows, piece)
        absent = [row for row in rows if row not in pieces]
        if not absent:
            return pieces
        have = dict(sorted(pieces.items())[: self._needed])
        if len(next(iter(have.values()))) < _IN_THREAD_BYTES:
            made = self._coder.make(*self._code, have, absent)
        else:
            made = await self._means.in_thread(self._coder.make, *self._code, have, absent)
        return {**pieces, **dict(zip(absent, made, strict=True))}

    def _lost(self) -> MeasurandError:
        """Return the error that says why there are too few pieces."""
        placement = self._source.placement
        available = min(len(pieces) for pieces in self._pieces)
        gone = {row for row, health in self._found.items() if health != "unreachable"}
        if sum(self._code) - len(gone) >= self._needed:
            away = sorted({self._part(row).container for row, health in self._found.items() if health == "unreachable"})
            return ContainersUnavailable(
                f"{placement.blob}: {self._needed} of its parts are needed and {available} can be read; bring "
                f"{', '.join(away)} back, then try again",
                retry_seconds=5.0,
                needed=self._needed,
                available=available,
            )
        lost = ", ".join(
            f"{self._part(row).key} in {self._part(row).container} ({self._found[row]})" for row in sorted(gone)
        )
        return DataLoss(
            f"{placement.blob}: {self._needed} of its {sum(self._code)} parts are needed and these are gone: {lost}; "
            "restore it from a copy",
            resource=placement.blob,
            parts=lost,
        )
