"""NumPy's files: .npy is one array, .npz is several."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from measurand.client.found_arrays import ArrayFile, FoundArray
from measurand.wire.errors import InvalidArgument

__all__ = ["open_npy", "open_npz"]


@contextmanager
def open_npy(path: Path) -> Iterator[ArrayFile]:
    """Yield the one array of a .npy file, under the name of the file."""
    yield ArrayFile((_found(path, path, path.stem),))


@contextmanager
def open_npz(path: Path) -> Iterator[ArrayFile]:
    """Yield the arrays of a .npz file, under the names of its members."""
    from zipfile import BadZipFile, ZipFile

    with tempfile.TemporaryDirectory(prefix="measurand-npz-") as scratch:
        # A member is written out first: only so can any slice of it be read, compressed or not.
        folder = Path(scratch)
        found = []
        try:
            with ZipFile(path) as archive:
                for number, member in enumerate(sorted(archive.namelist())):
                    target = folder / f"{number}.npy"
                    with archive.open(member) as source, target.open("wb") as copy:
                        while block := source.read(1 << 20):
                            copy.write(block)
                    found.append(_found(path, target, member.removesuffix(".npy")))
        except BadZipFile as error:
            raise InvalidArgument(f"{path} is damaged, or no .npz file: {error}", field="path") from error
        yield ArrayFile(tuple(found))


def _found(path: Path, file: Path, name: str) -> FoundArray:
    """Return the array of a .npy file that is, or came out of, the one at the path."""
    import numpy as np

    from measurand.client.file_arrays import FileArray

    try:
        value = np.load(file, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise InvalidArgument(f"{path}: {name} is no array of numbers: {error}", field="path", array=name) from error
    order: Literal["C", "F"] = "C" if value.flags.c_contiguous else "F"
    return FoundArray(name, FileArray(file, value.dtype, value.shape, offset=value.offset, order=order))
