"""The spool of a writer of a buffer: records on this machine's disk, and how the server knows them.

The file `writer.json` in the folder of the spool names the writer. Its records have there the numbers of the spool less
`base`. Where it is not known for certain that a number stands for the same record at both ends, the writer takes a new
id: so a machine that has lost its last second of records does not take others for them.
"""

from __future__ import annotations

import json
import os
import struct
from dataclasses import dataclass
from pathlib import Path

from measurand.client import names
from measurand.client.parts import sync_folder
from measurand.client.records import Given
from measurand.client.spool import Spool

__all__ = ["Identity", "SpooledRecords"]

HEAD = struct.Struct("<I")
"""Size of the header, which is followed by the data."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a writer is to the server.

    Parameters
    ----------
    id : str
        Random, and nobody else's.
    base : int
        The number before the first under this id.
    """

    id: str
    base: int = 0


class SpooledRecords:
    """The records of one writer in a folder, which is made if need be.

    Parameters
    ----------
    folder : Path
        Nobody else may use it at the same time.
    buffer, server : str
        Where the records go. A folder that has records for another buffer is refused.
    most_bytes : int
        So much of the disk is taken at most.

    Raises
    ------
    FailedPrecondition
        STATE_WRONG: another process uses the folder.
    InvalidArgument
        FIELD_INVALID: it holds records of something else, or a newer release has written it.
    """

    def __init__(self, folder: Path, buffer: str, server: str, *, most_bytes: int) -> None:
        self._about = {"buffer": buffer, "server": server}
        self.spool = Spool(folder, self._about, most_bytes=most_bytes)
        self._path = folder / "writer.json"
        try:
            self.first_new = self.spool.last + 1
            """The number of the first record of this process."""
            found = None if self.spool.is_new else self._found()
            self.identity = found or self.renew(self.spool.acknowledged)
        except BaseException:
            self.spool.close()
            raise

    @property
    def acknowledged(self) -> int:
        """Records up to this number are durable."""
        return self.spool.acknowledged

    @property
    def last(self) -> int:
        """Number of the last record."""
        return self.spool.last

    def renew(self, base: int) -> Identity:
        """Take a new id for what comes behind this number."""
        self.identity = Identity(names.request_id(), base)
        temporary = self._path.with_suffix(".new")
        with temporary.open("w", encoding="utf-8") as file:
            json.dump({**self._about, "id": self.identity.id, "base": base}, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)
        sync_folder(self.spool.folder)
        return self.identity

    def append(self, record: Given) -> int:
        """Add a record and return its number. Errors: as `Spool.append`."""
        return self.spool.append(HEAD.pack(len(record.header)), record.header, record.data)

    def next(self, after: int) -> tuple[int, Given] | None:
        """Return the first record with a larger number, or None."""
        found = self.spool.next(after)
        if found is None:
            return None
        (size,) = HEAD.unpack_from(found.data)
        begin = HEAD.size + size
        return found.number, Given(bytes(found.data[HEAD.size : begin]), bytes(found.data[begin:]))

    def acknowledge(self, number: int) -> None:
        """Note that the records up to this one are durable."""
        self.spool.acknowledge(number)

    def close(self) -> None:
        """Let others use the folder; remove what it holds where all of it is durable."""
        if self.acknowledged < self.last:
            self.spool.close()
            return
        # First the name: whoever finds records that are acknowledged without it begins behind them.
        self._path.unlink(missing_ok=True)
        self.spool.remove()

    def _found(self) -> Identity | None:
        try:
            there = json.loads(self._path.read_text("utf-8"))
            identity = Identity(str(there["id"]), int(there["base"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        is_same = all(there.get(key) == value for key, value in self._about.items())
        return identity if is_same and identity.base <= self.spool.acknowledged else None
