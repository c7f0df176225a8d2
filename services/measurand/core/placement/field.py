"""The containers that a server knows, with the figures that placement goes by, kept between decisions.

A decision must not look at a thousand containers. So those that a policy lets in are kept as a pool, with their rooms
added up for drawing, and a pool changes only where a container does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate

from measurand.core.placement.candidates import Candidate
from measurand.core.placement.policies import Policy
from measurand.core.placement.subsets import Subsets

__all__ = ["Field", "Pool", "lets_in"]

MOST_POOLS = 64


def lets_in(policy: Policy, candidate: Candidate) -> bool:
    """Tell whether a container is where, and as, a policy wants it; whether it is up and has room is another matter."""
    if policy.containers and candidate.name not in policy.containers:
        return False
    if candidate.name in policy.exclude or (policy.zones and candidate.zone not in policy.zones):
        return False
    return not policy.container_labels or set(policy.container_labels) <= set(candidate.labels)


class Pool:
    """The containers that a policy lets in.

    Parameters
    ----------
    candidates : iterable of Candidate
        Also those that take no blobs now.
    """

    def __init__(self, candidates: Iterable[Candidate]) -> None:
        self.candidates: list[Candidate] = []
        self.up = 0
        """So many take blobs, and are meant to."""
        self.zones: dict[str, int] = {}
        """How many containers of each zone take blobs and have room."""
        self._position: dict[str, int] = {}
        self._weights: list[float] = []
        self._sums: list[float] | None = None
        for candidate in candidates:
            self._position[candidate.name] = len(self.candidates)
            self.candidates.append(candidate)
            self._weights.append(0.0)
            self._count(candidate, 1)

    def has(self, name: str) -> bool:
        """Tell whether a container is in the pool."""
        return name in self._position

    def weight(self, candidate: Candidate) -> float:
        """Return how likely a container is to be drawn: by its room and its weight; 0 when it takes no blobs."""
        return self._weights[self._position[candidate.name]]

    def sums(self) -> Sequence[float]:
        """Return the weights added up: the last one is that of all."""
        if self._sums is None:
            self._sums = list(accumulate(self._weights))
        return self._sums

    def roomy(self, part: float = 1) -> list[Candidate]:
        """Return those that take blobs and have room for a part of so many bytes."""
        pairs = zip(self.candidates, self._weights, strict=True)
        return [one for one, weight in pairs if weight > 0 and one.room_bytes >= part]

    def update(self, candidate: Candidate) -> None:
        """Take new figures of a container that is in the pool."""
        position = self._position[candidate.name]
        self._count(self.candidates[position], -1)
        self.candidates[position] = candidate
        self._count(candidate, 1)

    def _count(self, candidate: Candidate, number: int) -> None:
        position = self._position[candidate.name]
        weight = candidate.room_bytes * candidate.weight if candidate.takes_blobs else 0.0
        self._weights[position] = weight
        self._sums = None
        self.up += number if candidate.takes_blobs and candidate.weight > 0 else 0
        if weight > 0:
            left = self.zones.get(candidate.zone, 0) + number
            if left:
                self.zones[candidate.zone] = left
            else:
                del self.zones[candidate.zone]


class Field:
    """All containers by name, the pools of policies, and what is being written to them by this server."""

    def __init__(self, candidates: Iterable[Candidate] = ()) -> None:
        self._candidates: dict[str, Candidate] = {}
        self._pools: dict[tuple[object, ...], Pool] = {}
        self.subsets = Subsets()
        self.smallest_size = 0
        """Bytes of the smallest blob that was placed so far; 0: none yet."""
        for candidate in candidates:
            self.set(candidate)

    def __iter__(self) -> Iterator[Candidate]:
        return iter(self._candidates.values())

    def __len__(self) -> int:
        return len(self._candidates)

    def get(self, name: str) -> Candidate | None:
        """Return a container, or None."""
        return self._candidates.get(name)

    def set(self, candidate: Candidate) -> None:
        """Take a new container, or new figures of one. What this server is writing to it goes on being counted."""
        known = self._candidates.get(candidate.name)
        if known is None:
            self._candidates[candidate.name] = candidate
            self._pools.clear()
            return
        candidate = replace(candidate, in_flight_bytes=known.in_flight_bytes)
        if (known.zone, known.labels) != (candidate.zone, candidate.labels):
            self._pools.clear()
        self._change(candidate)

    def remove(self, name: str) -> None:
        """Forget a container. One that is not there changes nothing."""
        if self._candidates.pop(name, None) is not None:
            self._pools.clear()

    def begin(self, containers: Iterable[str], part_bytes: int, size: int | None = None) -> None:
        """Count parts of so many bytes as being written to these containers, for a blob of so many bytes."""
        if size:
            self.smallest_size = min(self.smallest_size or size, size)
        for name in containers:
            if (known := self._candidates.get(name)) is not None:
                self._change(replace(known, in_flight_bytes=known.in_flight_bytes + part_bytes))

    def end(self, container: str, part_bytes: int, written_bytes: int = 0) -> None:
        """Count a part as no longer being written: so many bytes of it are there now, 0 when it failed."""
        if (known := self._candidates.get(container)) is not None:
            self._change(
                replace(
                    known,
                    in_flight_bytes=max(known.in_flight_bytes - part_bytes, 0),
                    stored_bytes=known.stored_bytes + written_bytes,
                    free_bytes=max(known.free_bytes - written_bytes, 0),
                )
            )

    def pool(self, policy: Policy) -> Pool:
        """Return the containers that a policy lets in; kept for the next policy that asks for the same."""
        key = (policy.container_labels, policy.zones, policy.containers, policy.exclude)
        pool = self._pools.pop(key, None)
        if pool is None:
            pool = Pool(candidate for candidate in self if lets_in(policy, candidate))
            if len(self._pools) >= MOST_POOLS:
                del self._pools[next(iter(self._pools))]
        self._pools[key] = pool  # now the newest
        return pool

    def _change(self, candidate: Candidate) -> None:
        self._candidates[candidate.name] = candidate
        for pool in self._pools.values():
            if pool.has(candidate.name):
                pool.update(candidate)
