"""Puts that were begun: run again, they go on with the dataset that they made, instead of making another.

One small file a put, in the user's folder for state. Losing it costs nothing but a second dataset.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Unfinished"]


@dataclass(frozen=True, slots=True)
class Unfinished:
    """The note of one put.

    Parameters
    ----------
    path : Path
        Where it stands.
    """

    path: Path

    @classmethod
    def of(
        cls,
        server: str,
        catalog: str,
        title: str,
        sources: Iterable[Path],
        folder: Path | None = None,
        *,
        unchanged: Iterable[Path] = (),
    ) -> Unfinished:
        """Return the note for putting these sources into a catalog of a server; it need not exist.

        Sources that were `unchanged` then and are not now have another note.
        """
        if folder is None:
            from platformdirs import user_state_path

            folder = user_state_path("measurand") / "puts"
        times = [source.stat().st_mtime_ns for source in unchanged]
        facts = json.dumps([server, catalog, title, *(str(source.absolute()) for source in sources), *times])
        return cls(folder / f"{hashlib.sha256(facts.encode()).hexdigest()[:32]}.txt")

    def read(self) -> str:
        """Return the id of the dataset that was begun; empty: none was."""
        try:
            return self.path.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError):
            return ""

    def write(self, dataset: str) -> None:
        """Note the id that the dataset will have. Where it cannot be noted, a later run makes another dataset."""
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(dataset, "utf-8")

    def remove(self) -> None:
        """Forget it: everything is stored."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)
