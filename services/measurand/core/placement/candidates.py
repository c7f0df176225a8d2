"""A container as placement sees it: where it is, how much it holds and could, how quick and how reliable it is."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Candidate"]

USUAL_FAILURE_RATE = 0.015
USUAL_BANDWIDTH = 100e6
UNKNOWN_BYTES = 1 << 40


@dataclass(frozen=True, slots=True)
class Candidate:
    """A container at one moment.

    Parameters
    ----------
    name : str
        The container's id.
    zone : str
        Site, room or rack; all without one are in one zone.
    labels : tuple of (str, str)
        By key.
    weight : float
        How much more than others it is to be used; 1 is usual.
    capacity_bytes : int
        Room in all; 0: not known, as of a bucket.
    free_bytes : int
        Room that is left, less what is to stay free. Counts only where the capacity is known.
    stored_bytes : int
        Bytes in parts.
    in_flight_bytes : int
        Bytes of parts that are being written and that the figures above do not count yet.
    max_bytes : int
        It is to hold this much and no more; 0: what there is.
    takes_blobs : bool
        It is up and takes new parts.
    state : str
        Why not, in a word for people, such as `draining`.
    annual_failure_rate : float
        Expected losses in a year, 0.015 for 1.5 %.
    write_bandwidth, read_bandwidth : float
        Bytes a second.
    popularity : float
        Reads that it serves, in any unit that all share.
    """

    name: str
    zone: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    weight: float = 1.0
    capacity_bytes: int = 0
    free_bytes: int = 0
    stored_bytes: int = 0
    in_flight_bytes: int = 0
    max_bytes: int = 0
    takes_blobs: bool = True
    state: str = "active"
    annual_failure_rate: float = USUAL_FAILURE_RATE
    write_bandwidth: float = USUAL_BANDWIDTH
    read_bandwidth: float = USUAL_BANDWIDTH
    popularity: float = 0.0

    @property
    def held_bytes(self) -> int:
        """What it holds when all that is being written has arrived."""
        return self.stored_bytes + self.in_flight_bytes

    @property
    def usable_bytes(self) -> int:
        """What it could hold in all: what it holds and what is free, or what it may hold of that.

        Less than its capacity where others use the place too. Where nobody knows, twice what it holds and at least
        1 TiB, so that it counts as half full at most.
        """
        if self.capacity_bytes:
            whole = min(self.capacity_bytes, self.stored_bytes + self.free_bytes)
        else:
            whole = max(UNKNOWN_BYTES, 2 * self.held_bytes)
        return min(whole, self.max_bytes) if self.max_bytes else whole

    @property
    def room_bytes(self) -> int:
        """What it can still take; never below 0."""
        room = self.free_bytes - self.in_flight_bytes if self.capacity_bytes else self.usable_bytes - self.held_bytes
        if self.max_bytes:
            room = min(room, self.max_bytes - self.held_bytes)
        return max(room, 0)

    def utilisation(self, more_bytes: float = 0) -> float:
        """Return what it would hold with so many bytes more, in parts of what it could hold times its weight."""
        whole = self.usable_bytes * self.weight
        return (self.held_bytes + more_bytes) / whole if whole > 0 else float("inf")
