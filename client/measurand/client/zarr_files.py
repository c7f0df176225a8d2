"""Zarr stores in a folder, of format 2 and 3."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from measurand.client import values
from measurand.client.found_arrays import ArrayFile, FoundArray, fitting_chunks, required
from measurand.wire.errors import DocumentInvalid, InvalidArgument

__all__ = ["open_zarr"]

XARRAY_DIMS = "_ARRAY_DIMENSIONS"
"""Where xarray keeps the names of axes in format 2."""


@contextmanager
def open_zarr(path: Path) -> Iterator[ArrayFile]:
    """Yield the arrays and attributes of a Zarr store.

    Raises
    ------
    InvalidArgument
        FIELD_INVALID: it is damaged, or has a codec or dtype that zarr-python does not know.
    """
    zarr = required("zarr", "reading Zarr")
    try:
        root = zarr.open(path, mode="r")
        members = [(path.stem, root)] if isinstance(root, zarr.Array) else root.members(max_depth=None)
        metadata: dict[str, Any] = {} if isinstance(root, zarr.Array) else _decoded(root.attrs)
        arrays = []
        for name, item in sorted(members, key=lambda member: member[0]):
            if isinstance(item, zarr.Array):
                arrays.append(_array_of(name, item))
            elif item.attrs:
                metadata[name if name not in metadata else f"{name}/"] = _decoded(item.attrs)
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise InvalidArgument(f"{path} is damaged, or no Zarr store: {error}", field="path") from error
    yield ArrayFile(tuple(arrays), metadata)


def _array_of(name: str, array: Any) -> FoundArray:
    attributes = _decoded(array.attrs)
    dims = attributes.pop(XARRAY_DIMS, None) or getattr(array.metadata, "dimension_names", None) or ()
    names = tuple(dims) if all(dims) else ()
    return FoundArray(name, array, attributes, names, fitting_chunks(array.chunks, array.dtype.itemsize))


def _decoded(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return attributes as Python values: in a store that was written here, NaN and times stand as Extended JSON."""
    try:
        return values.from_text(json.dumps(dict(attributes)))
    except (DocumentInvalid, ValueError):
        return dict(attributes)
