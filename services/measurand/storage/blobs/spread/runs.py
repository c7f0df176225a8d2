"""What a reader asks for at once: a few stripes that follow one another, about a unit from each part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from measurand.core.containers.placements import Placement
from measurand.core.containers.stripes import HEADER_BYTES, UNIT_BYTES, Stripe

__all__ = ["Run", "runs_of"]

_MOST_BYTES = UNIT_BYTES + HEADER_BYTES


@dataclass(frozen=True, slots=True)
class Run:
    """Some stripes of one segment.

    Parameters
    ----------
    segment : int
        Which one.
    base : int
        Where it begins in the blob.
    stripes : tuple of Stripe
        One after the other.
    begin, end : int
        Which bytes of the segment are wanted of them.
    """

    segment: int
    base: int
    stripes: tuple[Stripe, ...]
    begin: int
    end: int

    @property
    def frame_offset(self) -> int:
        """Where their frames begin in every part."""
        return self.stripes[0].frame_offset

    @property
    def part_bytes(self) -> int:
        """Bytes of their frames in every part."""
        return self.stripes[-1].frame_end - self.frame_offset

    def rows(self, stripe: Stripe) -> range:
        """Return the data rows that hold what is wanted of a stripe."""
        first = max(self.begin - stripe.offset, 0) // stripe.piece_bytes
        last = (min(self.end, stripe.end) - 1 - stripe.offset) // stripe.piece_bytes
        return range(first, last + 1)


def runs_of(placement: Placement, offset: int, length: int) -> Iterator[Run]:
    """Yield what has to be read, in order, for `length` bytes from `offset`."""
    base = 0
    for index, segment in enumerate(placement.segments):
        begin, end = max(offset - base, 0), min(offset + length - base, segment.size)
        held: list[Stripe] = []
        if begin < end:
            for stripe in placement.layout(index).stripes(begin, end - begin):
                if held and stripe.frame_end - held[0].frame_offset > _MOST_BYTES:
                    yield Run(index, base, tuple(held), max(begin, held[0].offset), min(end, held[-1].end))
                    held = []
                held.append(stripe)
            yield Run(index, base, tuple(held), max(begin, held[0].offset), min(end, held[-1].end))
        base += segment.size
