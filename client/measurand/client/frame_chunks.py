"""Frames as the chunks that hold them, and back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from measurand.chunks.grid import Grid
from measurand.client.array_layouts import Elements, Layout
from measurand.client.array_plans import decode
from measurand.client.frames import Job
from measurand.client.hashing import Bytes
from measurand.wire.errors import SelectionInvalid

__all__ = ["FrameChunks", "as_frame"]


def as_frame(frame: Any, shape: tuple[int, ...], dtype: np.dtype[Any], name: str, *, copy: bool) -> Elements:
    """Return a frame in C order, in the stream's dtype.

    Parameters
    ----------
    copy : bool
        The caller may change what was given as soon as this returns.

    Raises
    ------
    SelectionInvalid
        SELECTION_INVALID: it has another shape or dtype; it is not cast. The byte order may be another.
    """
    if isinstance(frame, (np.ndarray, np.generic)):
        given = np.asarray(frame)
        if given.dtype.newbyteorder("=") != dtype.newbyteorder("="):
            raise SelectionInvalid(
                f"{name}: a frame of {given.dtype} for a stream of {dtype}; convert it with .astype({str(dtype)!r})"
            )
    else:
        given = np.asarray(frame, dtype)
    if given.shape != shape:
        raise SelectionInvalid(f"{name}: a frame of shape {given.shape} for a stream of frames of shape {shape}")
    return np.array(given, dtype, order="C", copy=copy or None)


@dataclass(frozen=True, slots=True)
class FrameChunks:
    """How the frames of one array lie in its chunks.

    Parameters
    ----------
    layout : Layout
        Of the array.
    leading : int
        The number of axes before those of a frame.
    """

    layout: Layout
    leading: int

    @property
    def frames_shape(self) -> tuple[int, ...]:
        """Frames of a block along each leading axis."""
        return self.layout.grid.chunk_shape[: self.leading]

    @property
    def frame_grid(self) -> Grid:
        """The chunks that one frame meets."""
        grid = self.layout.grid
        return Grid(grid.shape[self.leading :], grid.chunk_shape[self.leading :])

    def indexes(self, block: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        """Yield the index of each chunk of a block."""
        return (block + within for within in self.frame_grid.indexes())

    def encode(self, job: Job) -> list[tuple[tuple[int, ...], Bytes]]:
        """Return the encoded chunks of a block by their index; what has no frame is fill."""
        return [(index, self.changed(job, index, None)) for index in self.indexes(job.block)]

    def changed(self, job: Job, index: tuple[int, ...], before: Bytes | None) -> Bytes:
        """Return one encoded chunk of a block.

        Parameters
        ----------
        before : bytes, optional
            As it is stored; the frames of the job are laid over it. None: nothing of it has to stay.
        """
        layout, shape = self.layout, self.layout.grid.chunk_shape
        span = self.frame_grid.span(index[self.leading :])
        part = tuple(slice(0, key.stop - key.start) for key in span)
        if before is None and len(job.frames) == 1 and all(length == 1 for length in self.frames_shape):
            (frame,) = job.frames.values()
            only = frame[span]
            if only.shape == shape[self.leading :] and only.flags.c_contiguous:
                return layout.pipeline.encode(only.reshape(shape))
        if before is not None:
            chunk = np.array(decode(layout, index, before))
        elif len(job.frames) * int(np.prod([key.stop - key.start for key in span])) == int(np.prod(shape)):
            chunk = np.empty(shape, layout.dtype)
        else:
            chunk = layout.new_chunk()
        for place, frame in job.frames.items():
            chunk[place + part] = frame[span]
        return layout.pipeline.encode(chunk)

    def frames_of(self, chunks: dict[tuple[int, ...], Bytes | None], block: tuple[int, ...]) -> Elements:
        """Return the frames of a block, shape `frames_shape` + that of a frame, from its encoded chunks."""
        layout = self.layout
        frames = np.empty(self.frames_shape + self.frame_grid.shape, layout.dtype)
        whole = tuple(slice(None) for _ in self.frames_shape)
        for index in self.indexes(block):
            data, span = chunks[index], self.frame_grid.span(index[self.leading :])
            part = tuple(slice(0, key.stop - key.start) for key in span)
            frames[whole + span] = layout.fill if data is None else decode(layout, index, data)[whole + part]
        return frames
