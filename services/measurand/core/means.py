"""What core does not do itself: the time, chance, and fast hashes. Handed in by `server.compose`, or by a test."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

from measurand.core.ports import Buffer

__all__ = ["Hasher", "Means"]

Result = TypeVar("Result")


class Hasher(Protocol):
    """A running digest."""

    def update(self, data: Buffer, /) -> object:
        """Take the next bytes."""
        ...

    def hexdigest(self) -> str:
        """Return the digest of the bytes so far, in lower-case hexadecimal digits."""
        ...

    def copy(self) -> Hasher:
        """Return a hasher that goes on from here by itself."""
        ...


class Threads(Protocol):
    """Runs blocking work beside the event loop."""

    def __call__(self, work: Callable[..., Result], /, *args: object) -> Awaitable[Result]:
        """Return what `work(*args)` returns."""
        ...


@dataclass(frozen=True, slots=True)
class Means:
    """What core is given.

    Parameters
    ----------
    now : callable
        The time, aware and in UTC. Goes on while the machine sleeps.
    monotonic : callable
        Seconds that never go back, of this process's own running time.
    random_bytes : callable
        So many random bytes, fit for ids.
    crc32c : callable
        CRC-32C of the bytes, going on from an earlier one (0 at the start).
    combine_crc32c : callable
        CRC-32C of A followed by B, from that of A, that of B and the size of B.
    blake3 : callable
        A new BLAKE3 hasher.
    in_thread : callable
        Runs blocking work (hashing of large data, large documents) beside the event loop.
    """

    now: Callable[[], datetime]
    monotonic: Callable[[], float]
    random_bytes: Callable[[int], bytes]
    crc32c: Callable[[Buffer, int], int]
    combine_crc32c: Callable[[int, int, int], int]
    blake3: Callable[[], Hasher]
    in_thread: Threads
