"""Files and folders that appear whole: written beside their target and put in its place at the end."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from measurand.client.parts import short, sync_folder
from measurand.wire.errors import InvalidArgument

__all__ = ["new_file", "new_zarr_folder"]


@contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """Yield where to write a file; when the context ends well it takes the target's place, else nothing is left."""
    target.parent.mkdir(parents=True, exist_ok=True)
    path = _beside(target)
    try:
        yield path
        with path.open("r+b") as file:
            os.fsync(file.fileno())
        path.replace(target)
        sync_folder(target.parent)
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def new_zarr_folder(target: Path) -> Iterator[Path]:
    """Yield a folder to write a Zarr store into; when the context ends well it takes the target's place.

    Raises
    ------
    InvalidArgument
        FIELD_INVALID: at the target is something else than a Zarr store, which stays.
    """
    if target.exists() and not (target / "zarr.json").is_file():
        raise InvalidArgument(f"{target} is there and is no Zarr store; give another name, or remove it", field="path")
    target.parent.mkdir(parents=True, exist_ok=True)
    path, old = _beside(target), _beside(target)
    path.mkdir()
    try:
        yield path
        if target.exists():  # two renames: for a moment there is none
            target.rename(old)
        path.rename(target)
        sync_folder(target.parent)
    finally:
        shutil.rmtree(path, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _beside(target: Path) -> Path:
    return target.with_name(f".{short(target.name)}.{secrets.token_hex(4)}.part")
