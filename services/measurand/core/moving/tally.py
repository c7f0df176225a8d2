"""How far a command came, for whoever watches it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Tally"]


@dataclass(slots=True)
class Tally:
    """Counts what was looked at and what had to be written, all in all."""

    documents: int = 0
    written: int = 0
    blobs: int = 0
    copied: int = 0
    copied_bytes: int = 0
