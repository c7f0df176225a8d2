"""Where the bytes of a blob lie in its parts: the arithmetic of stripes and frames.

A segment of a blob is cut into stripes of `data_parts` units, each of which becomes one frame in every part. The last
stripe is as short as it must be, and others may have been closed early: only those are written down.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

__all__ = ["HEADER_BYTES", "UNIT_BYTES", "Layout", "Stripe", "piece_bytes"]

HEADER_BYTES = 64
"""Size of the header of each frame."""

UNIT_BYTES = 1 << 20
"""Bytes of data in each data part of a whole stripe."""


@dataclass(frozen=True, slots=True)
class Stripe:
    """One stripe of a segment.

    Parameters
    ----------
    number : int
        From 0.
    offset, size : int
        Which bytes of the segment it holds.
    frame_offset, piece_bytes : int
        Where its frame begins in every part, and how many bytes follow the frame's header.
    """

    number: int
    offset: int
    size: int
    frame_offset: int
    piece_bytes: int

    @property
    def end(self) -> int:
        """Where its bytes end in the segment."""
        return self.offset + self.size

    @property
    def frame_end(self) -> int:
        """Where its frame ends in every part."""
        return self.frame_offset + HEADER_BYTES + self.piece_bytes


class Layout:
    """The stripes of one segment.

    Parameters
    ----------
    size : int
        Bytes of the segment. Its last stripe may hold more than that, if it is among the `shorts`.
    data_parts, unit : int
        A whole stripe has `data_parts * unit` bytes.
    shorts : sequence of (int, int)
        Stripes that have another size than these numbers tell: number and bytes, by number.
    """

    __slots__ = ("_frame_offsets", "_numbers", "_offsets", "_shorts", "_unit", "_whole", "data_parts", "size")

    def __init__(
        self, size: int, data_parts: int, unit: int = UNIT_BYTES, shorts: Sequence[tuple[int, int]] = ()
    ) -> None:
        self.size = size
        self.data_parts = data_parts
        self._unit = unit
        self._whole = data_parts * unit
        self._shorts = dict(shorts)
        # From each of these stripes on to the next all have the whole size: where those rows begin.
        self._numbers, self._offsets, self._frame_offsets = [0], [0], [0]
        for number, bytes_ in shorts:
            offset, frame_offset = self._begin(number)
            self._numbers.append(number + 1)
            self._offsets.append(offset + bytes_)
            self._frame_offsets.append(frame_offset + HEADER_BYTES + piece_bytes(bytes_, data_parts))

    @property
    def part_bytes(self) -> int:
        """Bytes of each part."""
        return self.at(self.size - 1).frame_end if self.size else 0

    def at(self, offset: int) -> Stripe:
        """Return the stripe that holds the byte at `offset`."""
        row = max(bisect_right(self._offsets, offset) - 1, 0)
        return self.stripe(self._numbers[row] + (offset - self._offsets[row]) // self._whole)

    def stripe(self, number: int) -> Stripe:
        """Return the stripe with this number."""
        offset, frame_offset = self._begin(number)
        size = self._shorts.get(number)
        if size is None:
            size = min(self._whole, self.size - offset)
        return Stripe(number, offset, size, frame_offset, piece_bytes(size, self.data_parts))

    def stripes(self, offset: int = 0, length: int | None = None) -> Iterator[Stripe]:
        """Yield the stripes that hold `length` bytes from `offset` (None: to the end)."""
        end = self.size if length is None else offset + length
        if offset >= end:
            return
        stripe = self.at(offset)
        yield stripe
        while stripe.end < end:
            stripe = self.stripe(stripe.number + 1)
            yield stripe

    def _begin(self, number: int) -> tuple[int, int]:
        row = bisect_right(self._numbers, number) - 1
        more = number - self._numbers[row]
        return (
            self._offsets[row] + more * self._whole,
            self._frame_offsets[row] + more * (HEADER_BYTES + self._unit),
        )


def piece_bytes(size: int, data_parts: int) -> int:
    """Return the size of each piece of a stripe of so many bytes."""
    return -(-size // data_parts)
