"""A measurement as a program has it in hand, before it is stored."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from measurand.client.storage import Storage
from measurand.wire.errors import InvalidArgument

__all__ = ["DataFile"]


@dataclass
class DataFile:
    """All of one measurement, to be stored by one call: `lab.save(DataFile("rabi", {…}, arrays={"iq": iq}))`.

    Parameters
    ----------
    title : str
        Free text.
    metadata : mapping
        What was measured and how.
    arrays : mapping
        Array-likes by name.
    files : sequence of path, or mapping
        Files of this machine, which keep their names; or by their paths in the dataset: paths, bytes-likes or open
        binary files.
    tags : iterable of str
        Words to find it by.
    kind : str
        What sort of thing it is, such as `run`.
    parents : iterable of AsyncDataset or str
        What it was derived from: handles, ids in the catalog, or names.
    dims : mapping
        Names of the axes of some arrays: `{"iq": ("sweep", "time")}`.
    attrs : mapping
        Units and whatever else is to be said of some arrays: `{"iq": {"units": "V"}}`.
    chunks : mapping
        Lengths of the chunks of some arrays along each axis, as in `create_array`.
    started, ended : datetime, optional
        When the measurement was; naive ones are local time.
    id : str, optional
        An id of your own, such as `run-17`; the server makes a ULID unless given.
    storage : str or Storage, optional
        How often and where all of it is kept, such as `erasure:4+2`; as the catalog says unless given.
    """

    title: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, Any] = field(default_factory=dict)
    files: Sequence[str | os.PathLike[str]] | Mapping[str, Any] = ()
    tags: Iterable[str] = ()
    kind: str = ""
    parents: Iterable[Any] = ()
    dims: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    attrs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    chunks: Mapping[str, Sequence[int | None]] = field(default_factory=dict)
    started: datetime | None = None
    ended: datetime | None = None
    id: str | None = None
    storage: str | Storage | None = None

    def sources(self) -> dict[str, Any]:
        """Return what is to become files, by their paths in the dataset.

        Raises
        ------
        InvalidArgument
            FIELD_INVALID: two files have the same name.
        """
        if isinstance(self.files, Mapping):
            return dict(self.files)
        found: dict[str, Any] = {}
        for given in [self.files] if isinstance(self.files, (str, os.PathLike)) else self.files:
            name = Path(given).name
            if name in found:
                raise InvalidArgument(
                    f"files: {found[name]} and {given} would both be called {name}; give a mapping of paths to files",
                    field="files",
                )
            found[name] = given
        return found

    def check(self) -> None:
        """Raise InvalidArgument where dims, attrs or chunks are given of an array that there is not."""
        given_of: dict[str, Mapping[str, Any]] = {"dims": self.dims, "attrs": self.attrs, "chunks": self.chunks}
        for kind, given in given_of.items():
            if strangers := [name for name in given if name not in self.arrays]:
                raise InvalidArgument(
                    f"{kind}: there is no array {strangers[0]!r}; arrays are {', '.join(self.arrays) or 'none'}",
                    field=kind,
                )
