"""NumPy's own files, written as the elements come: .npy, and .npz of several."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any
from zipfile import ZIP_STORED, ZipFile

import numpy as np

from measurand.wire.errors import InvalidArgument

__all__ = ["NpyWriter", "NpzWriter", "fixed_dtype"]


def fixed_dtype(dtype: np.dtype[Any], longest: int) -> np.dtype[Any]:
    """Return the dtype that a .npy file has: text of any length gets the length of the longest, in characters."""
    return np.dtype(f"U{max(1, longest)}") if dtype.kind == "T" else dtype


class NpyWriter:
    """Writes the elements of one array in C order.

    Parameters
    ----------
    file : binary file
        Where to.
    shape : tuple of int
        Of the array.
    dtype : dtype
        See `fixed_dtype`.
    """

    def __init__(self, file: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._file = file
        self._dtype = dtype
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)

    def write(self, block: Any) -> None:
        """Write the next elements."""
        self._file.write(np.ascontiguousarray(block, self._dtype).reshape(-1).view("u1").data)


class NpzWriter:
    """Writes arrays into an archive that `numpy.load` reads, uncompressed.

    Parameters
    ----------
    path : Path
        The archive.
    """

    def __init__(self, path: Path) -> None:
        self._archive = ZipFile(path, "w", ZIP_STORED, allowZip64=True)
        self._member: IO[bytes] | None = None

    def begin(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NpyWriter:
        """Begin the next array; the one before is done."""
        self._end()
        try:
            self._member = self._archive.open(f"{name}.npy", "w", force_zip64=True)
        except UnicodeError as error:
            raise InvalidArgument(f"no .npz file can hold the name {name!a}", field="arrays") from error
        return NpyWriter(self._member, shape, dtype)

    def close(self) -> None:
        """End the archive."""
        self._end()
        self._archive.close()

    def _end(self) -> None:
        if self._member is not None:
            self._member.close()
            self._member = None
