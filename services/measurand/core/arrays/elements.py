"""What core does not do itself with arrays: decoding, encoding and copying elements. Handed in by `server.compose`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from measurand.chunks.selections import Part
from measurand.chunks.spec import item_bytes
from measurand.core.arrays.documents import Array
from measurand.core.ports import Buffer
from measurand.wire.errors import InvalidArgument

__all__ = ["Box", "Elements", "Placed", "Region", "element_bytes"]


@dataclass(frozen=True, slots=True)
class Placed:
    """A chunk, and which of its elements go where."""

    part: Part
    encoded: Buffer


class Box(Protocol):
    """Elements that are being gathered from chunks; what no chunk has is the fill value."""

    def put(self, chunks: Sequence[Placed]) -> None:
        """Decode chunks and take elements from them. Blocking. Raises DataLoss when one cannot be decoded."""
        ...

    def elements(self) -> Buffer:
        """Return all of them, in C order and little-endian."""
        ...


class Region(Protocol):
    """Elements that are to be written into chunks."""

    def change(self, part: Part, encoded: Buffer | None) -> Buffer:
        """Return a chunk with those elements that belong into it changed, encoded. Blocking.

        Parameters
        ----------
        encoded : buffer, optional
            The chunk as it is. None: it was never written, or nothing of it stays.

        Raises
        ------
        DataLoss
            STORED_DATA_CORRUPT: it cannot be decoded.
        """
        ...


class Elements(Protocol):
    """Makes boxes and regions."""

    def box(self, array: Array, shape: Sequence[int]) -> Box:
        """Return room for elements of an array. Blocking."""
        ...

    def region(self, array: Array, shape: Sequence[int], data: Buffer) -> Region:
        """Return elements in C order, little-endian, as they are to be written; a single one stands for all."""
        ...

    def trimmed(self, array: Array, lengths: Sequence[int], encoded: Buffer) -> Buffer | None:
        """Return a chunk that has the fill value beyond so many elements along each axis, encoded. Blocking.

        Returns
        -------
        buffer or None
            None: it is so already.

        Raises
        ------
        DataLoss
            STORED_DATA_CORRUPT: it cannot be decoded.
        """
        ...


def element_bytes(array: Array) -> int:
    """Return the size of an element. Raises InvalidArgument for text of any length, which has none."""
    if array.data_type == "string":
        raise InvalidArgument(
            f"{array.name}: text of any length has no plain elements; read and write its chunks", field="name"
        )
    return item_bytes(array.data_type)
