"""What a new array shall be, from what users type: shapes, dtypes, chunks, codecs by name."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np

from measurand.chunks import chains, data_types
from measurand.chunks.codecs import choose
from measurand.chunks.dtypes import as_native, data_type_of, dtype_of, fill_bytes
from measurand.chunks.spec import ArraySpec, completed
from measurand.client import values
from measurand.v1 import arrays_pb2
from measurand.wire.errors import InvalidArgument

__all__ = ["message_of", "new_spec", "storable"]

TEXT = np.dtypes.StringDType()
Elements = np.ndarray[Any, Any]


def storable(value: Any) -> tuple[Elements, np.dtype[Any]]:
    """Return a value as an array, and the dtype that it is stored as. An array is neither copied nor changed.

    What is in chunks already (an h5py.Dataset, a zarr.Array, an array of dask) stays what it is: it may be larger than
    memory, and slices of it are read when they are stored.

    Raises
    ------
    InvalidArgument
        FIELD_INVALID: it is no array, or of a dtype that cannot be stored.
    """
    if hasattr(value, "chunks") and hasattr(value, "dtype") and not isinstance(value, np.ndarray):
        return value, dtype_of(data_type_of(value.dtype))
    array = np.asarray(value) if hasattr(value, "dtype") else as_native(value)
    if array.dtype.kind in "OT":
        array = as_native(array)
    return array, dtype_of(data_type_of(array.dtype))


def new_spec(
    shape: int | Sequence[int],
    dtype: Any,
    *,
    chunks: int | Sequence[int | None] | None = None,
    shards: int | Sequence[int | None] | None = None,
    dims: Sequence[str | None] = (),
    fill: Any = None,
    codec: str | None = None,
    elements: Elements | None = None,
) -> ArraySpec:
    """Return what a new array shall be, with everything chosen that was left open.

    Parameters
    ----------
    chunks, shards : int, sequence or None
        None, or -1, for an axis: all of it.
    elements : ndarray, optional
        What will be written: its first chunk tells which codec is worth its time.

    Raises
    ------
    InvalidArgument
        FIELD_INVALID: it cannot be stored so; the text names the parameter.
    """
    lengths = _lengths(shape, "shape")
    data_type = data_type_of(TEXT if dtype is str or dtype == "string" else dtype)
    if dims and len(dims) != len(lengths):
        raise InvalidArgument(f"dims: {len(dims)} names for {len(lengths)} axes; give one for each", field="dims")
    if shards is not None and chunks is None:
        raise InvalidArgument("shards: give the chunks that lie in a shard, too", field="chunks")
    spec = completed(
        ArraySpec(
            shape=lengths,
            data_type=data_type,
            chunk_shape=_chunks(chunks, lengths, "chunks") if chunks is not None else (),
            fill_value=fill_bytes(fill, dtype_of(data_type)) if fill is not None else b"",
            dimension_names=tuple(name or "" for name in dims),
        )
    )
    codecs = _codecs(spec, codec, elements)
    if shards is None:
        return completed(replace(spec, codecs=codecs))
    codecs = chains.sharded(spec.chunk_shape, codecs)
    return completed(replace(spec, chunk_shape=_chunks(shards, lengths, "shards"), codecs=codecs))


def message_of(spec: ArraySpec, attrs: Mapping[str, Any] | None) -> arrays_pb2.Array:
    """Return the message of a new array."""
    message = arrays_pb2.Array(
        shape=spec.shape,
        data_type=spec.data_type,
        chunk_shape=spec.chunk_shape,
        fill_value=spec.fill_value,
        codecs=spec.codecs,
        dimension_names=spec.dimension_names,
    )
    if attrs:
        message.attributes.json = values.to_text(attrs)
    return message


def _codecs(spec: ArraySpec, codec: str | None, elements: Elements | None) -> str:
    if codec is not None and codec.lstrip().startswith("["):
        return codec
    if codec is not None:
        return chains.named(cast("chains.Compressor", codec), data_types.parse(spec.data_type))
    if elements is None or not elements.size:
        return spec.codecs
    first = np.asarray(elements[tuple(slice(0, length) for length in spec.chunk_shape)])
    return choose(np.ascontiguousarray(first, dtype_of(spec.data_type)).reshape(first.shape), spec.data_type)


def _lengths(given: Any, field: str) -> tuple[int, ...]:
    try:
        return tuple(operator.index(length) for length in (given if isinstance(given, (list, tuple)) else (given,)))
    except TypeError:
        raise InvalidArgument(f"{field}: {given!r} is neither an int nor several", field=field) from None


def _chunks(given: Any, shape: tuple[int, ...], field: str) -> tuple[int, ...]:
    lengths = given if isinstance(given, (list, tuple)) else (given,)
    if len(lengths) != len(shape):
        raise InvalidArgument(
            f"{field}: {given!r} for {len(shape)} axes; give one length for each, None for all of an axis", field=field
        )
    return _lengths(
        [max(1, whole) if item in (None, -1) else item for item, whole in zip(lengths, shape, strict=True)], field
    )
