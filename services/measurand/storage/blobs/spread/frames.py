"""Frames: what a part is a row of. Each has a header that says what it is, and its piece of the stripe.

Written down for everybody in `docs/part-format.md`; never changed but with a new version number.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

from measurand.core.containers.stripes import HEADER_BYTES, Stripe
from measurand.core.ports import Buffer

__all__ = ["Frames"]

MAGIC = b"MSPT"
VERSION = 1
_FACTS = struct.Struct("<4sBBBBQQIII16s")
_SUM = struct.Struct("<I")
assert _FACTS.size + 2 * _SUM.size <= HEADER_BYTES

Crc32c = Callable[[Buffer, int], int]


class Frames:
    """Makes and verifies the frames of one segment of a blob.

    Parameters
    ----------
    uid : str
        32 hexadecimal digits, of the blob.
    segment : int
        Which of its segments.
    begin : int
        Where in the blob it begins.
    """

    def __init__(
        self, uid: str, segment: int, begin: int, *, data_parts: int, parity_parts: int, crc32c: Crc32c
    ) -> None:
        self._uid = bytes.fromhex(uid)
        self._segment = segment
        self._begin = begin
        self._code = (data_parts, parity_parts)
        self._crc32c = crc32c

    def header(self, stripe: Stripe, row: int, piece: Sequence[Buffer]) -> bytes:
        """Return the header of a frame whose piece lies in these buffers."""
        crc = 0
        for chunk in piece:
            crc = self._crc32c(chunk, crc)
        head = self._facts(stripe, row) + _SUM.pack(crc)
        head = head.ljust(HEADER_BYTES - _SUM.size, b"\0")
        return head + _SUM.pack(self._crc32c(head, 0))

    def is_right(self, stripe: Stripe, row: int, frame: memoryview) -> bool:
        """Tell whether these bytes are the frame of this stripe in this part, and unharmed."""
        if len(frame) != HEADER_BYTES + stripe.piece_bytes:
            return False
        head = bytes(frame[:HEADER_BYTES])
        if not head.startswith(self._facts(stripe, row)) or not _is_whole(head, self._crc32c):
            return False
        crc = _SUM.pack(self._crc32c(frame[HEADER_BYTES:], 0))
        return head.startswith(crc, _FACTS.size)

    def stripe_of(self, header: bytes) -> tuple[int, int] | None:
        """Return the number and the size of the stripe that a header of this segment tells of; None: it is none."""
        if len(header) != HEADER_BYTES or not _is_whole(header, self._crc32c):
            return None
        magic, version, *code, _, number, _, segment, size, _, uid = _FACTS.unpack_from(header)
        is_ours = (magic, version, tuple(code), segment, uid) == (MAGIC, VERSION, self._code, self._segment, self._uid)
        return (number, size) if is_ours else None

    def _facts(self, stripe: Stripe, row: int) -> bytes:
        return _FACTS.pack(
            MAGIC,
            VERSION,
            *self._code,
            row,
            stripe.number,
            self._begin + stripe.offset,
            self._segment,
            stripe.size,
            stripe.piece_bytes,
            self._uid,
        )


def _is_whole(header: bytes, crc32c: Crc32c) -> bool:
    return header.endswith(_SUM.pack(crc32c(header[: -_SUM.size], 0)))
