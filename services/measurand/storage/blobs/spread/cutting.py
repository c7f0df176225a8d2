"""The first bytes of a row of segments."""

from __future__ import annotations

from collections.abc import Sequence

from measurand.core.containers.placements import Placement, Segment
from measurand.core.containers.stripes import Layout

__all__ = ["cut"]


def cut(segments: Sequence[Segment], size: int, placement: Placement) -> tuple[Segment, ...]:
    """Return the segments that hold the first `size` bytes, and no more stripes than those need.

    Parts that are finished already stay longer than that; nobody reads what is behind.
    """
    kept: list[Segment] = []
    for segment in segments:
        if size <= 0:
            break
        if segment.size <= size:
            kept.append(segment)
        else:
            layout = Layout(segment.size, placement.data_parts, placement.unit, segment.shorts)
            last = layout.at(size - 1)
            shorts = [short for short in segment.shorts if short[0] < last.number]
            if last.end > size:
                shorts.append((last.number, last.size))
            kept.append(Segment(size, last.frame_end, tuple(shorts)))
        size -= segment.size
    return tuple(kept)
