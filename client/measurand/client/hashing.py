"""What proves that bytes are the right bytes: CRC-32C of a chunk, BLAKE3 of a whole."""

from __future__ import annotations

import sys

import google_crc32c
from blake3 import blake3

__all__ = ["Bytes", "Digest", "crc32c", "digest"]

Bytes = bytes | bytearray | memoryview
"""Whatever holds bytes."""

Digest = blake3
"""A BLAKE3 of bytes that come one after the other: `update`, `hexdigest`."""


def crc32c(data: Bytes, before: int = 0) -> int:
    """Return the CRC-32C (Castagnoli) of the bytes, or of these behind others that have the one `before`."""
    if not isinstance(data, bytes):
        # The C function refuses memoryviews; numpy gives it one in another dress, and without numpy it costs a copy.
        numpy = sys.modules.get("numpy")
        data = numpy.frombuffer(data, "u1") if numpy is not None else bytes(data)
    return int(google_crc32c.extend(before, data))


def digest(data: Bytes) -> str:
    """Return the BLAKE3 of the bytes, 256 bits, in lower-case hexadecimal."""
    return blake3(data).hexdigest()
