"""Room in memory for chunks that come in parts: each waits for its last part, and many streams may wait at once."""

from __future__ import annotations

from measurand.wire.errors import Busy

__all__ = ["PartRoom"]

MOST_BYTES = 1024 * 1024 * 1024


class PartRoom:
    """What all streams of a server share.

    Parameters
    ----------
    most_bytes : int
        Bytes of the chunks of which some parts have come and some have not.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._free = most_bytes

    def take(self, size: int) -> int:
        """Keep room for a whole chunk, and return its size. Raises Busy when there is none."""
        if size > self._free:
            raise Busy("too many large chunks are on their way to this server; try again soon", retry_seconds=0.5)
        self._free -= size
        return size

    def give_back(self, size: int) -> None:
        """The chunk is complete, or nobody waits for it any more."""
        self._free += size
