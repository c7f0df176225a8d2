"""What a handle that waits has of a dict and of an array, beside reading by `[…]`. Twin: `awaited_items`."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    import numpy as np

__all__ = ["ArrayItems", "DatasetItems", "ObjectItems", "kept"]

F = TypeVar("F", bound=Callable[..., Any])


def kept(make: F) -> F:
    """Return a function that makes each thing once for the whole process."""
    return cache(make)  # type: ignore[return-value]  # it is called as the function itself is


class _Arrays(Protocol):
    def write_array(self, name: str, value: Any) -> Any: ...
    def has_array(self, name: str) -> bool: ...


class _Objects(Protocol):
    def exists(self, key: str) -> bool: ...


class _Elements(Protocol):
    def read(self) -> Any: ...
    def write(self, key: Any, value: Any) -> None: ...


class DatasetItems:
    """A dataset as a dict of arrays."""

    def __setitem__(self: _Arrays, name: str, value: Any) -> None:
        self.write_array(name, value)

    def __contains__(self: _Arrays, name: object) -> bool:
        return isinstance(name, str) and self.has_array(name)


class ArrayItems:
    """A lazy array as one of numpy's."""

    def __setitem__(self: _Elements, key: Any, value: Any) -> None:
        self.write(key, value)

    def __array__(self: _Elements, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        if copy is False:
            raise ValueError("the elements lie in the store: they cannot be had without a copy")
        elements: np.ndarray[Any, Any] = self.read()
        return elements if dtype is None else elements.astype(dtype, copy=False)


class ObjectItems:
    """Objects as a dict of bytes."""

    def __contains__(self: _Objects, key: object) -> bool:
        return isinstance(key, str) and self.exists(key)
