"""How a frame stands in a spool: where it belongs, then its elements."""

from __future__ import annotations

import struct
from dataclasses import dataclass

__all__ = ["SpooledHead"]


@dataclass(frozen=True, slots=True)
class SpooledHead:
    """What stands before a frame in a spool.

    Parameters
    ----------
    flat : int
        Number of the frame in its array.
    next : int
        Where the next frame without an index goes.
    is_again : bool
        The stream has had a frame for this place before: it has to be written even though the place is filled.
    durable : int
        All frames before this one were known to be durable.
    """

    flat: int
    next: int
    is_again: bool
    durable: int

    FORM = struct.Struct("<qq?q")

    def pack(self) -> bytes:
        """Return it as bytes."""
        return self.FORM.pack(self.flat, self.next, self.is_again, self.durable)

    @classmethod
    def of(cls, data: memoryview) -> SpooledHead:
        """Return the head of a record."""
        return cls(*cls.FORM.unpack_from(data))
