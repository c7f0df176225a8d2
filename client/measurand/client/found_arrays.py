"""What is found in files of arrays, whatever their format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from measurand.client.progress import Meter
from measurand.wire.errors import FeatureDisabled

__all__ = ["ArrayFile", "FoundArray", "Metered", "fitting_chunks", "required"]

LEAST_CHUNK, MOST_CHUNK = 64 << 10, 64 << 20
"""Chunks of the source are kept if they are of such a size, in bytes."""


@dataclass(frozen=True, slots=True)
class FoundArray:
    """An array of a file.

    Parameters
    ----------
    name : str
        The name it gets, with `/` between groups.
    value : array-like
        Has `shape` and `dtype`; slices of it are read from the file when they are taken.
    attributes : mapping
        What the file says of it, such as units.
    dims : tuple of str
        Names of its axes, empty if it has none.
    chunks : tuple of int, optional
        How it is chunked in the file, where that is a good size.
    """

    name: str
    value: Any
    attributes: Mapping[str, Any] = field(default_factory=dict)
    dims: tuple[str, ...] = ()
    chunks: tuple[int, ...] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of its elements; of text of any length those that numpy keeps for each beside the text itself."""
        return int(self.value.size) * int(self.value.dtype.itemsize)


@dataclass(frozen=True, slots=True)
class ArrayFile:
    """What a file holds.

    Parameters
    ----------
    arrays : tuple of FoundArray
        Its arrays, by name.
    metadata : mapping
        What it says of itself: the attributes of its root, and those of each group under the group's path.
    """

    arrays: tuple[FoundArray, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)


class Metered:
    """An array of which it is told how much was read.

    Parameters
    ----------
    value : array-like
        As in FoundArray.
    meter : Meter
        Counts the bytes.
    """

    chunks = None  # it is read slice by slice

    def __init__(self, value: Any, meter: Meter) -> None:
        self.dtype = value.dtype
        self.shape: tuple[int, ...] = value.shape
        self.size: int = value.size
        self._value = value
        self._meter = meter

    def __getitem__(self, key: Any) -> Any:
        part = self._value[key]
        self._meter.add(part.nbytes)
        return part


def fitting_chunks(chunks: tuple[int, ...] | None, item_bytes: int) -> tuple[int, ...] | None:
    """Return the chunk shape of a source if chunks of it are neither tiny nor huge, else None."""
    size = item_bytes
    for length in chunks or ():
        size *= length
    return tuple(chunks) if chunks and LEAST_CHUNK <= size <= MOST_CHUNK else None


def required(name: str, purpose: str) -> ModuleType:
    """Return a package that not everybody has.

    Raises
    ------
    FeatureDisabled
        It is not installed; the text says how to install it.
    """
    import importlib

    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or name.partition(".")[0] != error.name.partition(".")[0]:
            raise
        raise FeatureDisabled(f"{purpose} needs {name}; pip install 'measurand[arrays]'", feature=name) from error
