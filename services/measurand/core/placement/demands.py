"""What an adaptive placement is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from measurand.core.placement.candidates import Candidate
from measurand.core.placement.reliability import failure_probability

__all__ = ["Demand", "Plan", "by_room", "fits", "probabilities", "ranks", "spans"]


@dataclass(frozen=True, slots=True)
class Demand:
    """A blob to be placed so reliably.

    Parameters
    ----------
    size : float
        Bytes of the blob.
    target_reliability : float
        How likely it shall be that enough parts survive.
    retention_days : float
        For how long.
    min_zones : int
        The parts shall lie in at least so many zones.
    least_data_parts : int
        1 allows plain copies; the published algorithms begin at 2.
    most_parts : int
        Parts in all.
    smallest_size : float
        Bytes of the smallest blob so far; at most `size`. 0: `size`.
    outgoing_bandwidth : float
        Bytes a second that leave the server for all containers together.
    most_sets : int
        So many sets of containers are compared where all of them would be too many.
    """

    size: float
    target_reliability: float
    retention_days: float = 365.0
    min_zones: int = 1
    least_data_parts: int = 1
    most_parts: int = 24
    smallest_size: float = 0.0
    outgoing_bandwidth: float = 1.25e9
    most_sets: int = 1025


@dataclass(frozen=True, slots=True)
class Plan:
    """Into how many data parts a blob is cut, and which containers take the parts, data and parity."""

    data_parts: int
    members: tuple[Candidate, ...]


def by_room(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Return the candidates with the most room first; those with equal room stay in their order."""
    return sorted(candidates, key=lambda candidate: -candidate.room_bytes)


def ranks(candidates: Sequence[Candidate]) -> tuple[list[int], list[int]]:
    """Return the positions of the candidates in the order of `by_room`, and the place in that order of each."""
    ordered = sorted(range(len(candidates)), key=lambda at: -candidates[at].room_bytes)
    places = [0] * len(ordered)
    for place, at in enumerate(ordered):
        places[at] = place
    return ordered, places


def probabilities(candidates: Iterable[Candidate], demand: Demand) -> list[float]:
    """Return how likely each candidate is lost within the time of the demand."""
    return [failure_probability(candidate.annual_failure_rate, demand.retention_days) for candidate in candidates]


def fits(members: Iterable[Candidate], part: float) -> bool:
    """Tell whether a part of so many bytes fits into each of them."""
    return all(candidate.room_bytes >= part for candidate in members)


def spans(members: Sequence[Candidate], min_zones: int) -> bool:
    """Tell whether the members lie in at least so many zones."""
    return min_zones <= 1 or len({candidate.zone for candidate in members}) >= min_zones
