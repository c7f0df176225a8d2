"""What `put` does with files of arrays: .npy, .npz, HDF5 and Zarr become arrays, streamed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measurand.cli.status import Failure, failure_of
from measurand.wire.errors import InvalidArgument

if TYPE_CHECKING:
    from measurand.client.found_arrays import FoundArray

__all__ = ["SUFFIXES", "Opened", "opened"]

SUFFIXES = (".npy", ".npz", ".h5", ".hdf5", ".zarr")
"""Of the files that hold arrays. Here as well, so that `--help` needs no client."""


@dataclass(frozen=True, slots=True)
class Opened:
    """What the files hold.

    Parameters
    ----------
    arrays : tuple of FoundArray
        All of their arrays.
    metadata : dict
        What the files say of themselves.
    paths : sequence of Path
        The files.
    """

    arrays: tuple[FoundArray, ...]
    metadata: dict[str, Any]
    paths: Sequence[Path]


@contextmanager
def opened(paths: Sequence[Path]) -> Iterator[Opened]:
    """Yield what files of arrays hold; nothing is read of the elements yet.

    Raises
    ------
    Failure
        Two files hold an array of one name, or one of them an array that cannot be stored.
    """
    from measurand.client.array_files import open_array_file

    holders: dict[str, Path] = {}
    arrays: list[FoundArray] = []
    metadata: dict[str, Any] = {}
    with ExitStack() as stack:
        for path in paths:
            try:
                file = stack.enter_context(open_array_file(path))
            except InvalidArgument as error:
                raise failure_of(error, "--as-file stores the file as it is") from error
            for array in file.arrays:
                if array.name in holders:
                    raise Failure(
                        f"{holders[array.name]} and {path} both hold {array.name}; put each into a dataset of its own"
                    )
                holders[array.name] = path
            arrays += file.arrays
            metadata.update(file.metadata)
        yield Opened(tuple(arrays), metadata, paths)
