"""How a blob is cut into the units that are fetched, kept and read back whole."""

from __future__ import annotations

from dataclasses import dataclass

from measurand.core.ports import Blob

__all__ = ["Cut", "Unit", "cut_of"]

_MOST_BYTES = 8 << 20
"""Size of the largest unit: a few of them are held in memory for each read."""


@dataclass(frozen=True, slots=True)
class Unit:
    """The bytes of a blob from `begin` to `end`, and what proves them.

    Parameters
    ----------
    crc : int, optional
        Their CRC-32C. None: nobody knows it.
    """

    begin: int
    end: int
    crc: int | None

    @property
    def size(self) -> int:
        return self.end - self.begin


@dataclass(frozen=True, slots=True)
class Cut:
    """Units of equal size, the last one excepted, from `start` to `stop`.

    Parameters
    ----------
    crcs : tuple of int, optional
        The CRC-32C that proves each unit. None: nobody can prove them.
    """

    start: int
    stop: int
    unit_bytes: int
    crcs: tuple[int, ...] | None

    def at(self, offset: int) -> int:
        """Return the number of the unit in which a byte lies."""
        return (offset - self.start) // self.unit_bytes

    def unit(self, number: int) -> Unit:
        begin = self.start + number * self.unit_bytes
        end = min(begin + self.unit_bytes, self.stop)
        return Unit(begin, end, None if self.crcs is None else self.crcs[number])


def cut_of(blob: Blob, offset: int, count: int) -> Cut | None:
    """Return the units in which these bytes lie; None where they would be too large.

    The blocks that `blob.checks` prove, so that a kept unit is held to the very sums that the reader brings. Without
    checks just the bytes that are asked for: they are small files in a pack, which come to be read again as they are,
    and whose neighbours nobody has asked for.
    """
    if blob.checks is None:
        return Cut(offset, offset + count, count, None) if count <= _MOST_BYTES else None
    block_bytes, crcs = blob.checks.block_bytes, blob.checks.crcs
    if block_bytes > _MOST_BYTES or len(crcs) != -(-blob.size // block_bytes):
        return None
    return Cut(0, blob.size, block_bytes, crcs)
