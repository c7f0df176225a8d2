"""What an array is, and its `zarr.json`. Standard library only: core knows arrays by this module."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from measurand.chunks import chains, data_types, fills
from measurand.chunks.data_types import item_bytes
from measurand.wire.errors import InvalidArgument

__all__ = [
    "MAX_ATTRIBUTES_BYTES",
    "MAX_AXES",
    "MAX_CHUNK_BYTES",
    "ArraySpec",
    "block_shape",
    "check",
    "completed",
    "default_chunk_shape",
    "group_json",
    "item_bytes",
    "spec_of",
    "zarr_json",
]

MAX_AXES = 32
MAX_CHUNK_BYTES = 128 * 2**20
"""Of a chunk before encoding."""
MAX_ATTRIBUTES_BYTES = 65536
CHUNK_BYTES = 2**20
BLOCK_CHUNKS = 256
MAX_ELEMENTS = 2**63


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """What is said of an array when it is made.

    Parameters
    ----------
    shape : tuple of int
        Length along each axis.
    data_type : str
        As in `Array.data_type`: a name, or JSON.
    chunk_shape : tuple of int
        Length of a chunk along each axis. Empty: `completed` chooses.
    fill_value : bytes
        One element, little-endian. Empty: NaN, NaT, 0, False or empty text.
    codecs : str
        JSON of the codec chain. Empty: `completed` chooses.
    dimension_names : tuple of str
        One for each axis, empty where an axis has none; or none at all.
    attributes : mapping
        JSON values.
    """

    shape: tuple[int, ...]
    data_type: str
    chunk_shape: tuple[int, ...] = ()
    fill_value: bytes = b""
    codecs: str = ""
    dimension_names: tuple[str, ...] = ()
    attributes: Mapping[str, object] = field(default_factory=dict)


def completed(spec: ArraySpec) -> ArraySpec:
    """Return the array with what was left open chosen: chunk shape, fill value and codecs; and checked.

    Raises
    ------
    InvalidArgument
        FIELD_INVALID: see `check`.
    """
    data_type = data_types.parse(spec.data_type)
    _check_shape(spec.shape)
    whole = replace(
        spec,
        data_type=data_type.text,
        chunk_shape=spec.chunk_shape or default_chunk_shape(spec.shape, data_type.item_bytes),
        fill_value=spec.fill_value or fills.default(data_type),
        codecs=spec.codecs or chains.default(data_type),
    )
    check(whole)
    return whole


def check(spec: ArraySpec) -> None:
    """Refuse an array that cannot be stored.

    Raises
    ------
    InvalidArgument
        FIELD_INVALID, naming the field: more than 32 axes, 2⁶³ elements, chunks of nothing or of more than 128 MiB, a
        data type, fill value or codecs that are not known or do not fit each other, names for some axes only,
        attributes of more than 64 KiB.
    """
    _check_shape(spec.shape)
    data_type = data_types.parse(spec.data_type)
    chunks = spec.chunk_shape
    if len(chunks) != len(spec.shape) or any(length < 1 for length in chunks):
        raise _invalid("chunk_shape", f"{list(chunks)}: each of {len(spec.shape)} axes needs a length of at least 1")

    size = math.prod(chunks) * data_type.item_bytes
    if size > MAX_CHUNK_BYTES:
        raise _invalid("chunk_shape", f"a chunk would have {size} bytes, and at most {MAX_CHUNK_BYTES} are allowed")
    fills.check(data_type, spec.fill_value)
    chains.check(chains.parse(spec.codecs), data_type, chunks)
    if len(spec.dimension_names) not in (0, len(spec.shape)):
        raise _invalid(
            "dimension_names", f"{len(spec.dimension_names)} names for {len(spec.shape)} axes: name all or none"
        )
    attributes = len(_json("attributes", spec.attributes).encode())
    if attributes > MAX_ATTRIBUTES_BYTES:
        raise _invalid("attributes", f"{attributes} bytes, and at most {MAX_ATTRIBUTES_BYTES} are allowed")


def zarr_json(spec: ArraySpec) -> str:
    """Return the complete `zarr.json` of an array that `check` finds nothing wrong with."""
    return _json("attributes", _array_form(spec), indent=2)


def _array_form(spec: ArraySpec) -> dict[str, object]:
    """Return what `zarr_json` writes."""
    data_type = data_types.parse(spec.data_type)
    form: dict[str, object] = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(spec.shape),
        "data_type": data_type.json,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(spec.chunk_shape)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": fills.to_json(data_type, spec.fill_value),
        "codecs": json.loads(spec.codecs),
        "attributes": dict(spec.attributes),
    }
    if spec.dimension_names:
        form["dimension_names"] = [name or None for name in spec.dimension_names]
    return form


def group_json(
    attributes: Mapping[str, object] | None = None, members: Mapping[str, ArraySpec | None] | None = None
) -> str:
    """Return the `zarr.json` of a group.

    Parameters
    ----------
    attributes : mapping, optional
        JSON values.
    members : mapping, optional
        Everything below the group by its path, arrays and (as None) groups: consolidated, so that zarr-python and
        xarray open all of it with one read.
    """
    form = _group_form(attributes)
    if members is not None:
        metadata = {path: _group_form(None) if spec is None else _array_form(spec) for path, spec in members.items()}
        form["consolidated_metadata"] = {"kind": "inline", "must_understand": False, "metadata": metadata}
    return _json("attributes", form, indent=2)


def spec_of(text: str) -> ArraySpec:
    """Return the array that a `zarr.json` tells of, checked but for its attributes: zarr-python writes NaN into them.

    Raises
    ------
    InvalidArgument
        FIELD_INVALID: `zarr_metadata` when it is no Zarr v3 array on a regular grid with default chunk keys, else the
        field that cannot be stored here.
    """
    try:
        form = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _invalid("zarr_metadata", f"not JSON: {error}") from error
    match form:
        case {
            "zarr_format": 3,
            "node_type": "array",
            "shape": list(shape),
            "data_type": data_type,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunk_shape)}},
            "chunk_key_encoding": {"name": "default", **encoding},
            "fill_value": fill,
            "codecs": list(codecs),
        } if not form.get("storage_transformers") and all(type(length) is int for length in (*shape, *chunk_shape)):
            pass
        case _:
            raise _invalid("zarr_metadata", "not a Zarr v3 array on a regular grid")
    if encoding not in ({}, {"configuration": {}}, {"configuration": {"separator": "/"}}):
        raise _invalid("zarr_metadata", "chunk keys other than c/0/1 are not written here")
    known = data_types.of_json(data_type)
    names, attributes = form.get("dimension_names") or [], form.get("attributes") or {}
    if not isinstance(names, list) or not all(name is None or isinstance(name, str) for name in names):
        raise _invalid("dimension_names", "a list of names is wanted")
    if not isinstance(attributes, dict):
        raise _invalid("attributes", "an object is wanted")
    spec = ArraySpec(
        shape=tuple(shape),
        data_type=known.text,
        chunk_shape=tuple(chunk_shape),
        fill_value=fills.from_json(known, fill),
        codecs=json.dumps(codecs),
        dimension_names=tuple(name or "" for name in names),
        attributes=attributes,
    )
    check(replace(spec, attributes={}))
    return spec


def default_chunk_shape(shape: tuple[int, ...], item_bytes: int) -> tuple[int, ...]:
    """Return chunks of about 1 MiB: whole trailing axes first, and the axis that is cut in equal lengths.

    An axis without elements is one that will grow, and gets all the room that is left.
    """
    room = max(1, CHUNK_BYTES // item_bytes)
    chunks: list[int] = []
    for length in reversed(shape):
        pieces = -(-length // room)
        chunks.append(-(-length // pieces) if length else room)
        room = max(1, room // chunks[-1])
    return tuple(reversed(chunks))


def block_shape(shape: tuple[int, ...], chunk_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the tile, in chunks, whose chunks share one index document: at most 256, whole trailing axes first.

    The first axis gets all the room that is left, since it is the one that grows.
    """
    room = BLOCK_CHUNKS
    block: list[int] = []
    for length, chunk in zip(reversed(shape[1:]), reversed(chunk_shape[1:]), strict=True):
        block.append(min(room, max(1, -(-length // chunk))))
        room //= block[-1]
    return tuple(reversed([*block, room][: len(shape)])) if shape else ()


def _check_shape(shape: tuple[int, ...]) -> None:
    if len(shape) > MAX_AXES:
        raise _invalid("shape", f"{len(shape)} axes, and at most {MAX_AXES} are allowed")
    if any(length < 0 for length in shape):
        raise _invalid("shape", f"{list(shape)} has a negative length")
    # An axis may grow from nothing, so the others alone must fit, too.
    if math.prod(length or 1 for length in shape) >= MAX_ELEMENTS:
        raise _invalid("shape", f"{list(shape)} has 2^63 elements or more")


def _group_form(attributes: Mapping[str, object] | None) -> dict[str, object]:
    return {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes or {})}


def _json(name: str, value: object, indent: int | None = None) -> str:
    """Return JSON that every reader understands: no bare NaN, which Python would write."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)
    except (TypeError, ValueError, RecursionError) as error:
        raise _invalid(name, f"not JSON: {error}") from error


def _invalid(name: str, problem: str) -> InvalidArgument:
    return InvalidArgument(f"{name}: {problem}", field=name)
