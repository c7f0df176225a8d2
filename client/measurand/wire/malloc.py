"""The setting of glibc's malloc that bulk streams want; a no-op wherever there is no glibc."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["SETTINGS", "tune"]

SETTINGS = (
    (-3, 32 << 20),  # M_MMAP_THRESHOLD: messages come from the heap, not from a fresh mapping that has to be zeroed
    (-1, (1 << 31) - 1),  # M_TRIM_THRESHOLD: what was freed is kept for the next message
    (-2, 64 << 20),  # M_TOP_PAD: the heap grows in large steps
)
"""The parameters of `mallopt` and their values. Setting one switches off glibc's own adjusting, hence all three."""


def tune() -> bool:
    """Set malloc up for messages of 1 to 2 MiB, and tell whether it could be done.

    Call it before gRPC is imported. Calling it again changes nothing.

    Notes
    -----
    By default glibc maps and unmaps every block above 128 KiB anew, and the kernel zeroes its pages each time, which
    costs more than the copying. `performance.md` has the figures.
    """
    if sys.platform != "linux":
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):  # musl and others have no mallopt
        return False
    return all([library.mallopt(parameter, value) == 1 for parameter, value in SETTINGS])  # noqa: C419  # try them all
