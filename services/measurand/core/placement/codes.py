"""Into how many parts a blob is cut, and how large they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from measurand.core.placement.policies import USUAL_LOSSES, Policy

__all__ = ["Code", "codes", "part_bytes"]

MiB = 1 << 20
PIECE_BYTES = MiB
HEADER_BYTES = 64
SMALL_BYTES = 256 << 10
"""A blob below this is kept in copies where the server chooses: one round trip, no tiny parts."""
MOST_DATA_PARTS = 4
"""So many data parts at most where the server chooses."""


@dataclass(frozen=True, slots=True)
class Code:
    """Any `data_parts` of all parts suffice to read; one data part: whole copies."""

    data_parts: int
    parity_parts: int

    @property
    def parts(self) -> int:
        """Number of parts in all."""
        return self.data_parts + self.parity_parts


def codes(policy: Policy, size: int | None, up: int) -> Iterator[Code]:
    """Yield the codes that meet a policy which is not adaptive, the one to be tried first at the front.

    Parameters
    ----------
    size : int, optional
        Bytes of the blob. None: not known yet.
    up : int
        So many containers that the policy lets in are up; where it names them, so many are named.
    """
    if policy.replicas:
        yield Code(1, policy.replicas - 1)
        return
    if policy.data_parts:
        yield Code(policy.data_parts, policy.parity_parts)
        return
    losses = policy.losses or USUAL_LOSSES
    if size is None or size >= SMALL_BYTES:
        if policy.containers:
            yield Code(up - losses, losses)
            return
        # One container more than there are parts, for what a repair makes anew.
        for data_parts in range(min(MOST_DATA_PARTS, up - losses - 1), 1, -1):
            yield Code(data_parts, losses)
    yield Code(1, losses)


def part_bytes(size: int, data_parts: int) -> int:
    """Return how many bytes each part of a blob has at most, headers included."""
    stripes = -(-size // (data_parts * PIECE_BYTES)) or 1
    return -(-size // data_parts) + stripes * HEADER_BYTES
