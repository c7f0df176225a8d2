"""ULIDs: ids that sort by the time at which they were made (github.com/ulid/spec)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

__all__ = ["make_ulid"]

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def make_ulid(now: datetime, random_bytes: Callable[[int], bytes]) -> str:
    """Return a ULID: 48 bits of milliseconds since 1970 and 80 random bits, as 26 characters of Crockford's base 32."""
    number = int(now.timestamp() * 1000) << 80 | int.from_bytes(random_bytes(10), "big")
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))
