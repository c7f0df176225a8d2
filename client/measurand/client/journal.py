"""Uploads that a program has begun: a program that is killed and run again goes on where it was.

One small file an upload, in the user's folder for state. Losing it costs nothing but the bytes sent so far.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_state_path

from measurand.client.sources import FileSource

__all__ = ["Journal"]

KEPT_SECONDS = 7 * 24 * 3600.0
"""Older entries are dropped: the server has dropped their uploads long since."""


@dataclass(frozen=True, slots=True)
class Journal:
    """The entry of one upload.

    Parameters
    ----------
    path : Path
        Where it stands.
    facts : str
        What must be unchanged for the upload to go on: size and time of the source.
    """

    path: Path
    facts: str

    @classmethod
    def of(cls, address: str, name: str, source: FileSource, *, folder: Path | None = None) -> Journal:
        """Return the entry for sending a source to a file of a server; it need not exist.

        Parameters
        ----------
        address, name : str
            The server and the resource name of the file.
        source : FileSource
            What is sent.
        folder : Path, optional
            Where entries lie; the platform's place for state unless given.
        """
        folder = folder or user_state_path("measurand") / "uploads"
        key = "\n".join((address, name, str(source.path.absolute())))
        facts = f"{source.size} {source.mtime_ns}"
        return cls(folder / f"{hashlib.sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}.json", facts)

    def read(self) -> tuple[str, bool] | None:
        """Return the upload that was begun, and whether its source is unchanged; None: none was."""
        try:
            content = json.loads(self.path.read_text("utf-8"))
            return str(content["upload"]), content["facts"] == self.facts
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, upload: str) -> None:
        """Note an upload. A folder that cannot be written only means that a later run begins anew."""
        temporary = self.path.with_suffix(f".{os.getpid()}")
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._drop_old()
            temporary.write_text(json.dumps({"upload": upload, "facts": self.facts}), "utf-8")
            temporary.replace(self.path)

    def remove(self) -> None:
        """Forget the upload: it is done, or of no more use."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _drop_old(self) -> None:
        limit = time.time() - KEPT_SECONDS
        for path in self.path.parent.glob("*.json"):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < limit:
                    path.unlink()
