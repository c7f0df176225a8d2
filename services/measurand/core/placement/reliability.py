"""How likely it is that enough parts outlive the time they are kept for, without repair.

Containers fail independently, each with a probability of its own; the number of failures follows the Poisson binomial
distribution, which is computed exactly by adding one container after the other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

__all__ = ["adding", "failure_counts", "failure_probability", "most_data_parts", "survival"]

NONE_YET = (1.0,)
"""The distribution of the number of failures among no containers."""


def failure_probability(annual_failure_rate: float, days: float) -> float:
    """Return how likely a container is lost within so many days.

    Losses come at a constant rate: 1 - exp(-rate * days / 365).
    """
    return 1.0 - math.exp(-annual_failure_rate * days / 365)


def adding(counts: Sequence[float], probability: float) -> list[float]:
    """Return the distribution of the number of failures after one more container has joined."""
    stays = 1.0 - probability
    more = [count * stays for count in counts]
    more.append(0.0)
    for number, count in enumerate(counts, 1):
        more[number] += count * probability
    return more


def failure_counts(probabilities: Iterable[float]) -> Sequence[float]:
    """Return how likely 0, 1, 2 … of the containers fail."""
    counts: Sequence[float] = NONE_YET
    for probability in probabilities:
        counts = adding(counts, probability)
    return counts


def survival(counts: Sequence[float], losses: int) -> float:
    """Return how likely at most so many containers fail."""
    return sum(counts[: losses + 1])


def most_data_parts(counts: Sequence[float], target: float, *, least: int = 1) -> int:
    """Return the largest number of data parts with which a set of containers reaches a target reliability.

    Parameters
    ----------
    counts : sequence of float
        The distribution of the number of failures among the N containers.
    target : float
        How likely it shall be that no more fail than there are parity parts.
    least : int
        The fewest data parts to think of: 2 leaves plain copies out.

    Returns
    -------
    int
        `least` to N - 1; 0 when none is reliable enough.
    """
    number = len(counts) - 1
    reached = 0.0
    for losses, count in enumerate(counts):
        reached += count
        if losses and reached >= target:
            data_parts = number - losses
            return data_parts if data_parts >= least else 0
    return 0
