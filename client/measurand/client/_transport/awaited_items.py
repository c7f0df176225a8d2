"""What an awaited handle cannot have of a dict and of an array, and what to write instead. Twin: `blocking_items`.

Reading can be awaited: `await run["iq"]`, `await iq[1:, ::2]`. Assigning, `in`, and numpy's own calls cannot.
"""

from __future__ import annotations

from typing import Any, NoReturn

__all__ = ["ArrayItems", "DatasetItems", "ObjectItems", "kept"]


def kept(make: Any) -> Any:
    """Return the function itself: what belongs to an event loop is not shared."""
    return make


class DatasetItems:
    """A dataset as a dict of arrays."""

    def __setitem__(self, name: str, value: Any) -> NoReturn:
        raise TypeError(f"an assignment cannot be awaited; use `await run.write_array({name!r}, …)`")

    def __contains__(self, name: object) -> NoReturn:
        raise TypeError(f"`in` cannot be awaited; use `await run.has_array({name!r})`")

    def __iter__(self) -> NoReturn:
        raise TypeError("use `async for name in run`")


class ArrayItems:
    """A lazy array as one of numpy's."""

    def __setitem__(self, key: Any, value: Any) -> NoReturn:
        raise TypeError("an assignment cannot be awaited; use `await array.write(key, value)`")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NoReturn:
        raise TypeError("reading has to be awaited; use `await array.read()`")

    def __iter__(self) -> NoReturn:
        raise TypeError("use `async for row in array`")


class ObjectItems:
    """Objects as a dict of bytes."""

    def __contains__(self, key: object) -> NoReturn:
        raise TypeError(f"`in` cannot be awaited; use `await objects.exists({key!r})`")
