"""What core does not do itself, made for a server: clocks, chance, hashes and threads."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TypeVar

from blake3 import blake3

from measurand.core.means import Means, Threads
from measurand.server.crc32c import combine_crc32c, make_crc32c

__all__ = ["cores", "in_threads", "make_means", "make_threads"]

Result = TypeVar("Result")


def make_means(threads: ThreadPoolExecutor) -> Means:
    """Return the means of a process; blocking work of core goes to `threads`."""
    return Means(
        now=lambda: datetime.now(UTC),
        monotonic=time.monotonic,
        random_bytes=os.urandom,
        crc32c=make_crc32c(),
        combine_crc32c=combine_crc32c,
        blake3=blake3,
        in_thread=in_threads(threads),
    )


def in_threads(threads: ThreadPoolExecutor) -> Threads:
    """Return what runs blocking work in some of these threads, and gives the event loop its result."""

    def in_thread(work: Callable[..., Result], /, *args: object) -> Awaitable[Result]:
        return asyncio.get_running_loop().run_in_executor(threads, work, *args)

    return in_thread


def make_threads(name: str, per_core: int = 1) -> ThreadPoolExecutor:
    """Return threads for one kind of work, a few more than there are cores for them.

    Hashing keeps a core busy, storing waits for the disk, so it wants more. Many more would gain nothing, and each
    keeps memory of its own. They are kept apart, so that a slow disk does not hold up what needs none.
    """
    return ThreadPoolExecutor(max_workers=per_core * cores() + 2, thread_name_prefix=name)


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
