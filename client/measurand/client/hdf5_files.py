"""HDF5 files: groups become paths, attributes stay with what they were on, dimension scales name the axes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from measurand.client.found_arrays import ArrayFile, FoundArray, fitting_chunks, required
from measurand.wire.errors import InvalidArgument

__all__ = ["open_hdf5"]

INTERNAL = frozenset(
    {"CLASS", "NAME", "DIMENSION_LIST", "DIMENSION_LABELS", "REFERENCE_LIST"}
    | {"_NCProperties", "_Netcdf4Coordinates", "_Netcdf4Dimid", "_nc3_strict"}
)
"""Attributes by which HDF5 and netCDF themselves keep track; what they say is in the dims."""

CACHE_BYTES = 64 << 20
"""Of decoded chunks of each dataset: ours meet several of them."""


@contextmanager
def open_hdf5(path: Path) -> Iterator[ArrayFile]:
    """Yield the arrays and attributes of an HDF5 file.

    Hard links to one object count once, soft links within the file are left out, links to other files are followed.

    Raises
    ------
    InvalidArgument
        FIELD_INVALID: it is damaged, leads to a file that is not there, or has a dataset that is no array.
    """
    h5py = required("h5py", "reading HDF5")
    try:
        file = h5py.File(path, "r", rdcc_nbytes=CACHE_BYTES)
    except OSError as error:
        raise InvalidArgument(f"{path} is damaged, or no HDF5 file: {error}", field="path") from error
    with file:
        metadata: dict[str, Any] = attributes_of(h5py, file.attrs)
        arrays = []
        for name, item in _walk(h5py, path, file, "", {_identity(h5py, file)}):
            if isinstance(item, h5py.Group):
                if attributes := attributes_of(h5py, item.attrs):
                    metadata[name if name not in metadata else f"{name}/"] = attributes
            else:
                arrays.append(_array_of(h5py, path, name, item))
        yield ArrayFile(tuple(arrays), metadata)


def attributes_of(h5py: Any, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return attributes as Python values; references lead nowhere outside their file and are left out."""
    found = {}
    for key, value in attributes.items():
        if key not in INTERNAL and not isinstance(value, (h5py.Reference, h5py.RegionReference)):
            found[key] = _plain(h5py, value)
    return found


def _plain(h5py: Any, value: Any) -> Any:
    import numpy as np

    if isinstance(value, h5py.Empty):
        return None
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufcmM" and value.ndim:
        return value
    if isinstance(value, (np.ndarray, np.generic)):
        return _plain(h5py, value.tolist())
    if isinstance(value, list):
        return [_plain(h5py, item) for item in value]
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
    return value


def _walk(h5py: Any, path: Path, group: Any, prefix: str, seen: set[Any]) -> Iterator[tuple[str, Any]]:
    for key in group:
        name = f"{prefix}{key}"
        link = group.get(key, getlink=True)
        if isinstance(link, h5py.SoftLink):
            continue
        try:
            item = group[key]
        except (KeyError, OSError) as error:
            there = f"{link.path} in {link.filename}" if isinstance(link, h5py.ExternalLink) else "nothing"
            raise InvalidArgument(f"{path}: {name} leads to {there}: {error}", field="path", array=name) from error
        identity = _identity(h5py, item)
        if identity in seen or isinstance(item, h5py.Datatype):
            continue
        seen.add(identity)
        yield name, item
        if isinstance(item, h5py.Group):
            yield from _walk(h5py, path, item, f"{name}/", seen)


def _identity(h5py: Any, item: Any) -> tuple[int, int]:
    """Return what stands for an object, whatever leads to it."""
    about = h5py.h5o.get_info(item.id)
    return about.fileno, about.addr


def _array_of(h5py: Any, path: Path, name: str, dataset: Any) -> FoundArray:
    if dataset.shape is None:
        raise InvalidArgument(
            f"{path}: {name} is a dataset without elements (H5S_NULL), which no array can be",
            field="path",
            array=name,
        )
    import numpy as np

    attributes = {
        key: value.tolist() if isinstance(value, np.ndarray) else value
        for key, value in attributes_of(h5py, dataset.attrs).items()
    }
    if (words := h5py.check_enum_dtype(dataset.dtype)) is not None:
        attributes["enum"] = {word: int(number) for word, number in words.items()}
    value = dataset
    if h5py.check_string_dtype(dataset.dtype) is not None and dataset.dtype.kind == "O":
        value = Text(dataset)
    chunks = fitting_chunks(dataset.chunks, dataset.dtype.itemsize)
    return FoundArray(name, value, attributes, _axes_of(dataset), chunks)


def _axes_of(dataset: Any) -> tuple[str, ...]:
    if dataset.is_scale and dataset.ndim == 1:
        return (dataset.name.rpartition("/")[2],)
    names = [dim.label or (dim[0].name.rpartition("/")[2] if len(dim) else "") for dim in dataset.dims]
    return tuple(names) if all(names) else ()


class Text:
    """Text of any length in an HDF5 file, as NumPy has it.

    Parameters
    ----------
    dataset : h5py.Dataset
        Of strings.
    """

    def __init__(self, dataset: Any) -> None:
        import numpy as np

        self._dataset = dataset
        self.shape: tuple[int, ...] = dataset.shape
        self.size: int = dataset.size
        self.chunks: Any = None
        self.dtype = np.dtypes.StringDType()

    def __getitem__(self, key: Any) -> Any:
        import numpy as np

        return np.asarray(self._dataset.asstr()[key], dtype=self.dtype)
