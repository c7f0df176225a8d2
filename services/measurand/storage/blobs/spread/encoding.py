"""From bytes to frames: stripes are cut, parity is made, headers are put before the pieces."""

from __future__ import annotations

from collections.abc import Sequence

from measurand.core.containers.ports import Coder
from measurand.core.containers.stripes import Layout, Stripe
from measurand.core.ports import Buffer
from measurand.storage.blobs.spread.frames import Frames

__all__ = ["Encoder"]

Rows = Sequence[list[Buffer]]
"""For each row of the code the buffers that are appended to its part."""


class Encoder:
    """Makes the frames of one segment.

    Parameters
    ----------
    frames : Frames
        Of this segment.
    """

    def __init__(self, frames: Frames, coder: Coder, *, data_parts: int, parity_parts: int) -> None:
        self._frames = frames
        self._coder = coder
        self._data_parts = data_parts
        self._parity_parts = parity_parts

    def frames(self, stripe: Stripe, data: Buffer) -> Rows:
        """Return the frame of each row, for a stripe with these bytes."""
        count, size = self._data_parts, stripe.piece_bytes
        view = memoryview(data)
        pieces: list[Buffer] = [view[row * size : (row + 1) * size] for row in range(count)]
        pieces = [piece if len(piece) == size else bytes(piece).ljust(size, b"\0") for piece in pieces]
        rows = range(count, count + self._parity_parts)
        if rows:
            pieces += self._coder.make(count, self._parity_parts, dict(enumerate(pieces)), rows)
        return [[self._frames.header(stripe, row, (piece,)), piece] for row, piece in enumerate(pieces)]

    def all_frames(self, layout: Layout, chunks: Sequence[Buffer]) -> Rows:
        """Return all frames of each row, for a segment with these bytes."""
        rows: list[list[Buffer]] = [[] for _ in range(self._data_parts + self._parity_parts)]
        cutter = _Cutter(chunks)
        for stripe in layout.stripes():
            for row, frame in zip(rows, self.frames(stripe, cutter.take(stripe.size)), strict=True):
                row += frame
        return rows


class _Cutter:
    """Gives the bytes of chunks in pieces of other sizes; copies only what does not lie in one chunk."""

    def __init__(self, chunks: Sequence[Buffer]) -> None:
        self._chunks = [memoryview(chunk) for chunk in reversed(chunks) if len(chunk)]

    def take(self, size: int) -> Buffer:
        """Return the next bytes."""
        if len(self._chunks[-1]) > size:
            chunk = self._chunks[-1]
            self._chunks[-1] = chunk[size:]
            return chunk[:size]
        if len(self._chunks[-1]) == size:
            return self._chunks.pop()
        taken = bytearray(size)
        filled = 0
        while filled < size:
            part = self.take(min(size - filled, len(self._chunks[-1])))
            taken[filled : filled + len(part)] = part
            filled += len(part)
        return taken
