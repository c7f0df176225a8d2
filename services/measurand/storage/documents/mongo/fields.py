"""Names of the fields in which MongoDB keeps values, one for each path of a view."""

from __future__ import annotations

import hashlib
from functools import lru_cache

__all__ = ["field_of"]

MAX_BYTES = 120
"""Longer names are cut: 20,000 paths of 1 KiB would be more than a document may have."""
_KEPT_BYTES = 80


@lru_cache(maxsize=16_384)
def field_of(path: str) -> str:
    """Return the name of the field for a path: no two have the same.

    MongoDB takes a dot in a name for a level, a name of digits for an index of a list, and a dollar in front for an
    operator. Segments are joined by `/` instead, and `~` with a figure stands for what may not be there.
    """
    name = path.replace("~", "~0").replace("/", "~1").replace(".", "/").replace("\0", "~2")
    if name.startswith("$"):
        name = "~3" + name[1:]
    elif name.isdecimal():
        name = "~4" + name
    if 4 * len(name) <= MAX_BYTES or len(name.encode()) <= MAX_BYTES:
        return name
    digest = hashlib.blake2b(path.encode(), digest_size=16).hexdigest()
    return f"{name.encode()[:_KEPT_BYTES].decode(errors='ignore')}~5{digest}"
