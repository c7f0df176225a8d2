"""Arrays that lie in a file as they would in memory: a slice of one is read when it is taken, and no more is kept."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import numpy as np

__all__ = ["FileArray"]


class FileArray:
    """An array in a file.

    Not a memory map that stays: what was read of one counts as memory of the process until it is closed.

    Parameters
    ----------
    path : Path
        The file.
    dtype : dtype
        Of the elements, in either byte order.
    shape : tuple of int
        Length along each axis.
    offset : int
        Where the elements begin, in bytes.
    order : str
        "C" or "F".
    """

    chunks = None  # as a dataset of h5py has it that is in one piece

    def __init__(
        self,
        path: Path,
        dtype: np.dtype[Any],
        shape: tuple[int, ...],
        *,
        offset: int = 0,
        order: Literal["C", "F"] = "C",
    ) -> None:
        self.dtype = dtype
        self.shape = shape
        self.size = math.prod(shape)
        self._path = path
        self._offset = offset
        self._order = order

    def __getitem__(self, key: Any) -> Any:
        if not self.size:
            return np.empty(self.shape, self.dtype)[key]
        mapped = np.memmap(self._path, self.dtype, "r", self._offset, self.shape, self._order)
        return np.array(mapped[key])
