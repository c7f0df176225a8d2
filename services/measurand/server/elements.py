"""Elements of arrays by numpy and the codecs of Zarr: for callers who know neither, the server decodes and encodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from measurand.chunks.codecs import Pipeline
from measurand.chunks.dtypes import dtype_of, filled
from measurand.chunks.selections import Part
from measurand.core.arrays.documents import Array
from measurand.core.arrays.elements import Box, Placed, Region
from measurand.core.arrays.making import spec_of_array
from measurand.core.ports import Buffer
from measurand.wire.errors import DataLoss

__all__ = ["NumpyElements"]


class NumpyElements:
    """Makes boxes and regions that are numpy arrays. An `Elements`."""

    def __repr__(self) -> str:
        return "elements(numpy)"

    def box(self, array: Array, shape: Sequence[int]) -> Box:
        return _Box(array, shape)

    def region(self, array: Array, shape: Sequence[int], data: Buffer) -> Region:
        return _Region(array, shape, data)

    def trimmed(self, array: Array, lengths: Sequence[int], encoded: Buffer) -> Buffer | None:
        pipeline = Pipeline.of(spec_of_array(array))
        before = pipeline.decode(encoded)
        kept = tuple(map(slice, lengths))
        after = pipeline.filled()
        after[kept] = before[kept]
        # Compared as bytes: NaNs are not equal to themselves, and signed zeros are to each other.
        if array.data_type != "string" and after.tobytes() == before.tobytes():
            return None
        return pipeline.encode(after)


class _Chunks:
    """The chunks of an array, decoded and encoded."""

    def __init__(self, array: Array) -> None:
        self._array = array
        self._pipeline = Pipeline.of(spec_of_array(array))

    def decode(self, part: Part, encoded: Buffer) -> npt.NDArray[Any]:
        try:
            return self._pipeline.decode(encoded)
        except DataLoss as error:
            raise DataLoss(
                f"{self._array.name}: chunk {list(part.index)} cannot be decoded; write it anew ({error.message})",
                resource=self._array.name,
                index="/".join(map(str, part.index)),
            ) from error

    def filled(self) -> npt.NDArray[Any]:
        return self._pipeline.filled()

    def encode(self, chunk: npt.NDArray[Any]) -> Buffer:
        return self._pipeline.encode(chunk)


class _Box:
    def __init__(self, array: Array, shape: Sequence[int]) -> None:
        self._chunks = _Chunks(array)
        self._elements = filled(tuple(shape), array.fill_value, dtype_of(array.data_type))

    def put(self, chunks: Sequence[Placed]) -> None:
        for chunk in chunks:
            part = chunk.part
            self._elements[part.out_key] = self._chunks.decode(part, chunk.encoded)[part.chunk_key]

    def elements(self) -> Buffer:
        return self._elements.reshape(-1).view(np.uint8).data


class _Region:
    def __init__(self, array: Array, shape: Sequence[int], data: Buffer) -> None:
        self._array = array
        self._chunks = _Chunks(array)
        self._dtype = dtype_of(array.data_type)
        elements = np.frombuffer(data, np.uint8)
        if self._dtype.kind == "b":  # whatever is not 0 is True, which is 1 to every reader
            elements = (elements != 0).view(np.uint8)
        given = elements.view(self._dtype)
        self._elements = np.broadcast_to(given[0], shape) if given.size == 1 else given.reshape(shape)

    def change(self, part: Part, encoded: Buffer | None) -> Buffer:
        chunk = self._chunks.filled() if encoded is None else np.array(self._chunks.decode(part, encoded))
        chunk[part.chunk_key] = self._elements[part.out_key]
        return self._chunks.encode(chunk)
