"""Arrays of a dataset as xarray sees them: lined up by the names of their axes, read when they are needed."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import xarray
from xarray.backends import BackendArray
from xarray.core import indexing

from measurand.chunks.axes import named_axes

__all__ = ["Handle", "view"]


class Handle(Protocol):
    """What is needed of the handle of an array; reading it blocks."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Length along each axis."""
        ...

    @property
    def dtype(self) -> Any:
        """Of its elements."""
        ...

    @property
    def chunks(self) -> tuple[int, ...]:
        """Length of a chunk along each axis."""
        ...

    @property
    def dims(self) -> tuple[str | None, ...]:
        """Names of the axes, None for one without."""
        ...

    @property
    def attrs(self) -> Mapping[str, Any]:
        """Attributes."""
        ...

    def __getitem__(self, key: Any) -> Any:
        """Read a part, as numpy would select it."""
        ...


def view(arrays: Mapping[str, Handle], attributes: Mapping[str, Any], close: Callable[[], None]) -> xarray.Dataset:
    """Return arrays as a Dataset of xarray.

    Arrays with one axis that bear the name of an axis are its coordinate, and they alone are read at once, since
    xarray makes an index of them. Those that an attribute `coordinates` names (a text, as in the CF conventions) are
    coordinates too.

    Parameters
    ----------
    arrays : mapping
        Handles by the names that they get.
    attributes : mapping
        Of the whole.
    close : callable
        Lets the connection go; called when the Dataset is closed.
    """
    axes = named_axes({name: (array.shape, array.dims) for name, array in arrays.items()})
    variables = {}
    coordinates: set[str] = set()
    for name, array in arrays.items():
        chunks = dict(zip(axes[name], array.chunks, strict=True))
        attrs = dict(array.attrs)
        if isinstance(words := attrs.get("coordinates"), str):
            coordinates.update(words.split())
        lazy = indexing.LazilyIndexedArray(Lazy(array))
        variables[name] = xarray.Variable(axes[name], lazy, attrs, {"preferred_chunks": chunks})
    dataset = xarray.Dataset(variables, attrs=attributes).set_coords(sorted(coordinates & variables.keys()))
    dataset.set_close(Closing(close))
    return dataset


class Lazy(BackendArray):
    """An array that is read where it is indexed.

    Parameters
    ----------
    array : Handle
        Its handle.
    """

    def __init__(self, array: Handle) -> None:
        self.array = array
        self.shape = tuple(array.shape)
        self.dtype = array.dtype
        self._token = uuid.uuid4().hex

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._read)

    def __dask_tokenize__(self) -> str:
        return self._token  # what was written meanwhile is another array to dask

    def _read(self, key: tuple[Any, ...]) -> Any:
        return self.array[key]


class Closing:
    """Closes a connection; where a Dataset was unpickled there is none to be closed.

    Parameters
    ----------
    close : callable
        What does it.
    """

    def __init__(self, close: Callable[[], None]) -> None:
        self._close = close

    def __call__(self) -> None:
        self._close()

    def __reduce__(self) -> tuple[Any, ...]:
        return Closing, (_nothing,)


def _nothing() -> None:
    """Stand for a connection that is another's."""
