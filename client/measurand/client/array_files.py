"""Files of arrays, as other programs write them: NumPy's .npy and .npz, HDF5, Zarr.

What is read of them is read when it is needed: a file may be larger than memory. h5py and zarr are imported for files
of their kind only; `pip install 'measurand[arrays]'` brings them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from measurand.client.found_arrays import ArrayFile
from measurand.client.hdf5_files import open_hdf5
from measurand.client.numpy_files import open_npy, open_npz
from measurand.client.zarr_files import open_zarr
from measurand.wire.errors import InvalidArgument

__all__ = ["OPENERS", "open_array_file"]

Opener = Callable[[Path], AbstractContextManager[ArrayFile]]

OPENERS: dict[str, Opener] = {
    ".npy": open_npy,
    ".npz": open_npz,
    ".h5": open_hdf5,
    ".hdf5": open_hdf5,
    ".zarr": open_zarr,
}
"""How files of arrays are opened, by how they are called."""


@contextmanager
def open_array_file(path: Path) -> Iterator[ArrayFile]:
    """Yield what a file of arrays holds; it is open, and can be read, as long as the context lasts.

    Raises
    ------
    InvalidArgument
        FIELD_INVALID: it is of no kind that is known, is damaged, or has an array of a dtype that cannot be stored;
        the text names the array.
    """
    from measurand.chunks.dtypes import data_type_of

    opener = OPENERS.get(path.suffix.lower())
    if opener is None:
        raise InvalidArgument(f"{path} is none of {', '.join(OPENERS)}; store it as a file with `upload`", field="path")
    with opener(path) as found:
        for array in found.arrays:
            try:
                data_type_of(array.value.dtype)
            except InvalidArgument as error:
                raise InvalidArgument(
                    f"{path}: {array.name} has dtype {array.value.dtype}, which no array can have: {error.message}",
                    field="dtype",
                    array=array.name,
                ) from error
        yield found
