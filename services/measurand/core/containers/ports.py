"""What spreading blobs over containers needs of others, and what those who heal need of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Literal, Protocol

from measurand.core.containers.placements import Placement
from measurand.core.placement.field import Field
from measurand.core.placement.policies import Policy
from measurand.core.ports import BlobStore, Buffer

__all__ = ["Coder", "Direction", "Health", "Parts", "Recodes", "Sites", "Tell"]

Direction = Literal["read", "write"]

Health = Literal["ok", "missing", "damaged", "unreachable"]
"""What a look at a part finds."""


class Sites(Protocol):
    """The containers as this process sees them."""

    @property
    def is_empty(self) -> bool:
        """There is no container but the home store."""
        ...

    @property
    def field(self) -> Field:
        """All containers with the figures that placement goes by, as they are now."""
        ...

    def store(self, name: str) -> BlobStore:
        """Return the store of a container.

        Raises
        ------
        Unavailable
            It is not there at present.
        NotFound
            It was removed.
        """
        ...

    def usual(self, name: str, direction: Direction) -> float:
        """Return how long a call of a container takes in 95 of 100 cases, in seconds; 0: nobody knows yet."""
        ...

    def is_avoided(self, name: str) -> bool:
        """Tell whether a container is down, or was slow or failing a while ago."""
        ...

    def note(self, name: str, direction: Direction, size: int, seconds: float, error: Exception | None) -> None:
        """Take what a call came to: bytes moved, and the error if it failed or was given up (TimeoutError)."""
        ...

    def in_flight(self, name: str, size: int) -> AbstractContextManager[object]:
        """Count so many bytes as held by a container for the time of the block."""
        ...


class Coder(Protocol):
    """The code that parity parts are made with."""

    def make(
        self, data_parts: int, parity_parts: int, have: Mapping[int, Buffer], want: Sequence[int]
    ) -> Sequence[Buffer]:
        """Return the pieces of the rows `want` from those of `data_parts` other rows, all of one size.

        Notes
        -----
        Systematic Reed-Solomon over GF(2^8) with the polynomial 0x11d: rows below `data_parts` are the data, row
        `data_parts + i` has at column j the inverse of `(data_parts + i) xor j`. With one data part all are copies.
        """
        ...


class Tell(Protocol):
    """Hears what a reader finds wrong, so that it is repaired."""

    def __call__(self, placement: Placement, index: int, health: Health) -> None:
        """Take that a part was found so."""
        ...


class Parts(Protocol):
    """Looks at single parts, and makes them anew. All of it is safe beside readers, and beside others who heal."""

    async def check(self, placement: Placement, index: int, *, verify_bytes: bool = True) -> Health:
        """Return how a part is found.

        Parameters
        ----------
        verify_bytes : bool
            False: only whether it is there in its size.
        """
        ...

    def read(self, placement: Placement, index: int) -> AsyncIterator[Buffer]:
        """Yield the bytes of a part, each frame after it was verified.

        Raises
        ------
        NotFound, DataLoss, Unavailable
            It is missing, damaged, or its container cannot be reached. What was yielded before is right.
        """
        ...

    async def rebuild(self, placement: Placement, indexes: Mapping[int, str]) -> Placement:
        """Make parts anew from others, put each into the container that `indexes` names, and return the new placement.

        The parts that were there before are removed where they can be reached.

        Raises
        ------
        ContainersUnavailable
            Too few parts can be reached at present, or a container (in the details) does not take its part.
        StoreFull
            A container has no room.
        DataLoss
            Too few of the others are left. The details name what is gone.
        Conflict
            ETAG_MISMATCH: the placement has changed meanwhile, or is gone; nothing else has.
        """
        ...

    async def move(self, placement: Placement, index: int, container: str) -> Placement:
        """Copy one part into another container, and return the new placement. As `rebuild`, if it cannot be read."""
        ...


class Recodes(Protocol):
    """Stores whole blobs under another policy. They can be read all the time, and nothing that names them changes."""

    async def recode(self, key: str, policy: Policy | None, *, is_dry: bool = False) -> int | None:
        """Store a finished blob as if it came new under a policy, and return its size; None: it is so already.

        Parameters
        ----------
        policy : Policy, optional
            None: as blobs without a policy are kept.
        is_dry : bool
            Only tell.

        Raises
        ------
        NotFound
            There is no such blob.
        Conflict
            ETAG_MISMATCH: its parts were moved meanwhile; nothing else has changed.
        ContainersUnavailable, StoreFull, DataLoss
            It cannot be read, or not be stored; it stays as it is.
        """
        ...
