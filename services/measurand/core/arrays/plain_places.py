"""Where sealed arrays lie as plain Zarr, beside the blobs and for everybody to read: what a store must promise for it.

A layout is named by a path, `{catalog}/{dataset}`, and is made of items: metadata, and chunks of which the bytes are in
blobs already. It shares these with the index where the store can do so, and has a copy of its own where it cannot.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Chunk", "Item", "PlainObjects", "PlainPlace", "Text"]


@dataclass(frozen=True, slots=True)
class Text:
    """A `zarr.json` of a layout.

    Parameters
    ----------
    path : str
        Within the layout: segments of valid Unicode between slashes, none of them `.` or `..`.
    """

    path: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk of a layout.

    Parameters
    ----------
    path : str
        As that of a text.
    blob : str
        The key of the blob that has its bytes.
    offset, size : int
        Which part of it.
    crc32c : int
        Of these bytes.
    """

    path: str
    blob: str
    offset: int
    size: int
    crc32c: int


Item = Text | Chunk


class PlainPlace(Protocol):
    """Makes whole layouts at once.

    Errors, here and of `PlainObjects`: as those of the stores, `NotFound` when a blob is gone, and `DataLoss` when its
    bytes are not those of `crc32c`.
    """

    @property
    def objects(self) -> PlainObjects | None:
        """Makes of the same layouts something better, bit by bit. None: there is nothing better."""
        ...

    async def lay_out(self, path: str, items: AsyncIterator[Sequence[Item]]) -> str:
        """Make a layout in the place of what is there, and return its URL. Durable when it returns.

        Everybody sees all of it or nothing, whatever happens meanwhile.
        """
        ...

    async def is_laid_out(self, path: str) -> bool:
        """Tell whether there is a layout, whatever is in it."""
        ...

    async def remove(self, path: str) -> None:
        """Remove all that there is of a layout. Removing what is not there changes nothing."""
        ...


class PlainObjects(Protocol):
    """Makes layouts of which each item is an object, bit by bit: the root's metadata comes last, and opens it."""

    async def clear(self, path: str) -> None:
        """Remove all objects of a layout, the root's metadata first."""
        ...

    async def put(self, path: str, items: Sequence[Item]) -> None:
        """Make some items, in the place of what is there. Durable when it returns."""
        ...

    def url(self, path: str) -> str:
        """Return the URL of the layout."""
        ...
