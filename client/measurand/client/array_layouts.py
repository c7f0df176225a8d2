"""What it takes to read and write the chunks of one array: its grid, its codecs, its fill value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from measurand.chunks.codecs import Pipeline
from measurand.chunks.dtypes import dtype_of, fill_of
from measurand.chunks.grid import Grid
from measurand.chunks.spec import ArraySpec
from measurand.v1 import arrays_pb2

__all__ = ["Layout", "layout_of", "spec_of_message"]

Elements = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Layout:
    """How the elements of an array lie in chunks.

    Parameters
    ----------
    name : str
        The array's resource name.
    uid : str
        Of this array and no other that has its name.
    fill : ndarray, shape ()
        What unwritten elements read as.
    """

    name: str
    uid: str
    dtype: np.dtype[Any]
    grid: Grid
    pipeline: Pipeline
    fill: Elements

    @property
    def chunk_bytes(self) -> int:
        """Size of a chunk before encoding; of text, as far as it is known."""
        return self.dtype.itemsize * int(np.prod(self.grid.chunk_shape, dtype=object))

    def new_box(self, shape: tuple[int, ...]) -> Elements:
        """Return an array of the dtype, yet to be filled."""
        return np.empty(shape, self.dtype)

    def new_chunk(self) -> Elements:
        """Return a chunk that nothing was written to."""
        chunk = np.empty(self.grid.chunk_shape, self.dtype)
        chunk[...] = self.fill
        return chunk


def spec_of_message(array: arrays_pb2.Array) -> ArraySpec:
    """Return what a message says of how an array is stored; its attributes are left out."""
    return ArraySpec(
        shape=tuple(array.shape),
        data_type=array.data_type,
        chunk_shape=tuple(array.chunk_shape),
        fill_value=array.fill_value,
        codecs=array.codecs,
        dimension_names=tuple(array.dimension_names),
        attributes={},
    )


def layout_of(array: arrays_pb2.Array) -> Layout:
    """Return the layout of the array that a message tells of."""
    dtype = dtype_of(array.data_type)
    fill = np.asarray(fill_of(array.fill_value, dtype), dtype)
    grid = Grid(tuple(array.shape), tuple(array.chunk_shape))
    return Layout(array.name, array.uid, dtype, grid, Pipeline.of(spec_of_message(array)), fill)
