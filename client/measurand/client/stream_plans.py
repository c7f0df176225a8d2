"""What a stream of frames is to be: the array that holds them, and how frames are named."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from measurand.chunks import data_types
from measurand.chunks.dtypes import data_type_of, dtype_of
from measurand.chunks.spec import default_chunk_shape
from measurand.client.array_specs import message_of, new_spec
from measurand.client.frames import Place, flat_of, place_of
from measurand.v1 import arrays_pb2
from measurand.wire.errors import Conflict, InvalidArgument, SelectionInvalid

__all__ = ["StreamPlan", "plan_stream"]


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """A stream as it was asked for.

    Parameters
    ----------
    name : str
        Resource name of the array.
    frame_shape : tuple of int
        Shape of a frame.
    dtype : dtype
        Of the elements, little-endian.
    length : tuple of int, optional
        How many frames there are along each leading axis. None: they are appended.
    array : Array
        What is made if there is none.
    """

    name: str
    frame_shape: tuple[int, ...]
    dtype: np.dtype[Any]
    length: tuple[int, ...] | None
    array: arrays_pb2.Array

    @property
    def frame_bytes(self) -> int:
        """Size of a frame."""
        return self.dtype.itemsize * int(np.prod(self.frame_shape, dtype=object))

    @property
    def lengths(self) -> tuple[int, ...]:
        """Of the leading axes; what grows has none."""
        return (0,) if self.length is None else self.length

    @property
    def about(self) -> dict[str, Any]:
        """What frames in a spool are."""
        return {
            "array": self.name,
            "data_type": self.array.data_type,
            "frame_shape": list(self.frame_shape),
            "length": None if self.length is None else list(self.length),
        }

    def flat(self, index: Any) -> int:
        """Return the number of the frame with an index.

        Raises
        ------
        SelectionInvalid
            SELECTION_INVALID: there is no such frame.
        """
        try:
            place = tuple(operator.index(at) for at in (index if isinstance(index, tuple | list) else (index,)))
        except TypeError as error:
            raise SelectionInvalid(f"{self.name}: {index!r} is no index of a frame; give an int") from error
        if len(place) != len(self.lengths):
            raise SelectionInvalid(f"{self.name}: {index!r} for frames along {len(self.lengths)} axes")
        for axis, (at, length) in enumerate(zip(place, self.lengths, strict=True)):
            if at < 0 or (self.length is not None and at >= length):
                raise SelectionInvalid(
                    f"{self.name}: no frame {index!r}; there are {self.length or 'those from 0 on'}", axis=axis
                )
        return flat_of(place, self.lengths)

    def place(self, flat: int) -> Place:
        """Return the place of the frame with a number.

        Raises
        ------
        SelectionInvalid
            SELECTION_INVALID: the array is full.
        """
        place = place_of(flat, self.lengths)
        if self.length is not None and place[0] >= self.length[0]:
            raise SelectionInvalid(f"{self.name}: all {self.length} frames were written; give the index of one")
        return place

    def index(self, flat: int) -> int | tuple[int, ...]:
        """Return what users call the frame with a number."""
        place = place_of(flat, self.lengths)
        return place[0] if len(place) == 1 else place

    def check(self, array: arrays_pb2.Array) -> None:
        """Refuse an array that cannot hold the frames.

        Raises
        ------
        Conflict
            ETAG_MISMATCH: its dtype or shape is another one.
        """
        leading = len(self.lengths)
        shape = tuple(array.shape)
        fits = (
            array.data_type == self.array.data_type
            and shape[leading:] == self.frame_shape
            and (self.length is None or shape[:leading] == self.length)
            and len(shape) == leading + len(self.frame_shape)
        )
        if not fits:
            raise Conflict(
                f"{self.name} is there and has dtype {array.data_type} and shape {shape}, which does not fit frames of "
                f"{self.array.data_type} and shape {self.frame_shape}; give the stream another name",
                resource=self.name,
                etag=array.etag,
            )


def plan_stream(
    name: str,
    frame_shape: int | Sequence[int],
    dtype: npt.DTypeLike,
    *,
    length: int | Sequence[int] | None,
    chunks: int | Sequence[int] | None,
    fill: object,
    codec: str | None,
    dims: Sequence[str | None] | None,
    attrs: Mapping[str, Any] | None,
) -> StreamPlan:
    """Return the plan of a stream; see `stream_array` for the parameters.

    Raises
    ------
    InvalidArgument
        FIELD_INVALID: frames of text of any length.
    """
    shape, leading = _as_shape(frame_shape), (0,) if length is None else _as_shape(length)
    item_bytes = data_types.item_bytes(data_type_of(dtype))
    if length is None:
        chunk_shape = default_chunk_shape(leading + shape, item_bytes)
    else:
        chunk_shape = (1,) * len(leading) + default_chunk_shape(shape, item_bytes)
    if chunks is not None:
        given = _as_shape(chunks)
        chunk_shape = given + chunk_shape[len(given) :]
    spec = new_spec(leading + shape, dtype, chunks=chunk_shape, dims=dims or (), fill=fill, codec=codec)
    if spec.data_type == "string":
        raise InvalidArgument(
            f"{name}: text of any length cannot be streamed; use a dtype such as 'U20'", field="dtype"
        )
    return StreamPlan(
        name, shape, dtype_of(spec.data_type), None if length is None else leading, message_of(spec, attrs)
    )


def _as_shape(shape: int | Sequence[int]) -> tuple[int, ...]:
    return tuple(map(operator.index, shape)) if isinstance(shape, Sequence) else (operator.index(shape),)
