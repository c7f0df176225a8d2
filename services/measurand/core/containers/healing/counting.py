"""What a repair has found and done, in numbers that a count from the folders would give as well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from measurand.core.containers.healing.looking import Seen
from measurand.core.ports import Json

__all__ = ["MOST_LISTED", "Tally"]

MOST_LISTED = 1000
MOST_CHARACTERS = 100_000
"""What is listed has to fit into a checkpoint."""


@dataclass(slots=True)
class Tally:
    """The fields of a RepairReport. Blobs are counted as they were found, before anything was mended."""

    checked_blobs: int = 0
    missing_parts: int = 0
    damaged_parts: int = 0
    repaired_parts: int = 0
    repaired_bytes: int = 0
    lost_resources: list[str] = field(default_factory=list)
    garbage_blobs: int = 0
    garbage_bytes: int = 0
    safe_blobs: int = 0
    degraded_blobs: int = 0
    at_risk_blobs: int = 0
    lost_blobs: int = 0
    remaining_losses: list[int] = field(default_factory=list)
    stuck_parts: int = 0
    read_bytes: int = 0
    garbage: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Tally:
        """Return the tally that `body` gave."""
        tally = cls()
        for one in fields(cls):
            value = body.get(one.name, getattr(tally, one.name))
            setattr(tally, one.name, list(value) if isinstance(value, list) else value)
        return tally

    def body(self) -> Mapping[str, Json]:
        """Return it as JSON, by the names of the contract."""
        return asdict(self)

    def count(self, seen: Seen) -> None:
        """Count a blob that was looked at. What cannot be reached counts among what is missing."""
        self.checked_blobs += 1
        self.damaged_parts += sum(health == "damaged" for health in seen.bad.values())
        self.missing_parts += sum(health != "damaged" for health in seen.bad.values())
        match seen.standing:
            case "safe":
                self.safe_blobs += 1
            case "degraded":
                self.degraded_blobs += 1
            case "at_risk":
                self.at_risk_blobs += 1
            case "lost":
                self.lost_blobs += 1
                return
        self.remaining_losses += [0] * (seen.margin + 1 - len(self.remaining_losses))
        self.remaining_losses[seen.margin] += 1

    def name_lost(self, resources: Sequence[str]) -> None:
        """Take what stands on a blob that is lost."""
        for name in resources:
            has_room = len(self.lost_resources) < MOST_LISTED and sum(map(len, self.lost_resources)) < MOST_CHARACTERS
            if has_room and name not in self.lost_resources:
                self.lost_resources.append(name)

    def name_garbage(self, name: str, size: int) -> None:
        """Take something that nobody names."""
        self.garbage_blobs += 1
        self.garbage_bytes += size
        if len(self.garbage) < MOST_LISTED:
            self.garbage.append(name)
