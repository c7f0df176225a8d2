"""How many parts an acknowledgement needs, and what is said when there are fewer."""

from __future__ import annotations

from collections.abc import Sequence

from measurand.core.containers.placements import Placement
from measurand.wire.errors import ContainersUnavailable, MeasurandError, StoreFull

__all__ = ["least_parts", "shortage"]


def least_parts(placement: Placement) -> int:
    """Return how many parts of each segment must be durable before an acknowledgement."""
    if placement.policy.acknowledge == "all":
        return placement.width
    return placement.data_parts + -(-placement.parity_parts // 2)


def shortage(errors: Sequence[MeasurandError], needed: int, available: int) -> MeasurandError:
    """Return the error that says that too few parts could be written."""
    full = [error for error in errors if isinstance(error, StoreFull)]
    if full:
        return StoreFull(
            f"{len(full)} containers have no room and no others could take their place; add containers, or remove what "
            "is not needed"
        )
    why = "; ".join(sorted({str(error) for error in errors}))
    return ContainersUnavailable(
        f"{needed} containers are needed and {available} took their part ({why}); bring others up, then try again",
        retry_seconds=5.0,
        needed=needed,
        available=available,
    )
