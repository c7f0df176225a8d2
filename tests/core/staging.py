"""How a store may take what is staged, and how large the blobs of an upload may become: each must do the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tests.core.rooms import Rooms, make_rooms
from tests.flaky import unreliable
from tests.parted import Parted

from measurand.core.limits import Limits
from measurand.core.ports import BlobStore

__all__ = ["STAGING", "Staging"]


@dataclass(frozen=True, slots=True)
class Staging:
    """A way of staging.

    Parameters
    ----------
    part_bytes : int
        Size of the parts that the store writes; 0: it writes what it gets.
    piece_bytes : int
        As in `Limits`; 0: as large as there.
    is_unreliable : bool
        Calls of the store fail, and are tried again.
    """

    part_bytes: int = 0
    piece_bytes: int = 0
    is_unreliable: bool = False

    def make_rooms(self, limits: Limits) -> Rooms:
        """Return rooms whose store stages so."""
        return make_rooms(
            replace(limits, piece_bytes=self.piece_bytes) if self.piece_bytes else limits, wrap=self._wrap
        )

    def _wrap(self, inner: BlobStore) -> BlobStore:
        parted = Parted(inner, part_bytes=self.part_bytes) if self.part_bytes else inner
        return unreliable(parted) if self.is_unreliable else parted


STAGING: Mapping[str, Staging] = {
    "at once": Staging(),
    "in parts": Staging(part_bytes=24),
    "in parts larger than the window": Staging(part_bytes=100),
    "in small pieces": Staging(piece_bytes=20),
    "in parts of small pieces": Staging(part_bytes=12, piece_bytes=30),
    "in parts that need several tries": Staging(part_bytes=24, piece_bytes=60, is_unreliable=True),
}
