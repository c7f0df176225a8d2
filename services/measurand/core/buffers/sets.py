"""Parts that belong together: gathered until their set is complete or has waited long enough. No I/O.

A part that comes twice is one. A part that comes after its set was delivered without it is delivered by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from measurand.core.buffers.group_documents import Gathering, Group
from measurand.core.buffers.records import Part

__all__ = ["Whole", "due_sets", "gather", "hand_over", "look", "next_due"]

MOST_REMEMBERED = 500
"""So many sets that were delivered are remembered."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A set that is to be delivered now: sequences in the order of its parts, and which parts it lacks."""

    name: str
    sequences: tuple[int, ...]
    missing: tuple[int, ...] = ()


def gather(group: Group, sequence: int, time: int, part: Part) -> tuple[Group, bool]:
    """Return the group with one more part seen, and whether its set is to be delivered now.

    Parameters
    ----------
    time : int
        When the part was stored, in microseconds since 1970.
    """
    before = group.delivered.get(part.set, ())
    gathering = group.gathered.get(part.set) or Gathering(part.count, time, {})
    if part.index in before or part.index in gathering.parts:
        return group, False
    gathering = replace(gathering, parts={**gathering.parts, part.index: sequence})
    is_ready = bool(before) or _is_complete(gathering)
    return replace(group, gathered={**group.gathered, part.set: gathering}), is_ready


def due_sets(group: Group, now: int) -> list[str]:
    """Return the sets that are complete or have waited long enough, oldest first."""
    if not group.gathered:
        return []
    latest = now - _microseconds(group)
    return [
        name
        for name, gathering in group.gathered.items()
        if gathering.since <= latest or _is_complete(gathering) or name in group.delivered
    ]


def next_due(group: Group) -> int | None:
    """Return when the next set has waited long enough; None: there is none."""
    return min((one.since + _microseconds(group) for one in group.gathered.values()), default=None)


def look(group: Group, name: str) -> Whole:
    """Return a set as it would be delivered now."""
    gathering, before = group.gathered[name], group.delivered.get(name, ())
    missing = tuple(index for index in range(gathering.count) if index not in gathering.parts and index not in before)
    return Whole(name, tuple(gathering.parts[index] for index in sorted(gathering.parts)), missing)


def hand_over(group: Group, name: str) -> Group:
    """Return the group once a set was delivered."""
    parts = tuple(sorted({*group.delivered.get(name, ()), *group.gathered[name].parts}))
    delivered = {**_without(group.delivered, name), name: parts}
    for oldest in list(delivered)[: max(0, len(delivered) - MOST_REMEMBERED)]:
        del delivered[oldest]
    gathered = {other: gathering for other, gathering in group.gathered.items() if other != name}
    return replace(group, gathered=gathered, delivered=delivered)


def _is_complete(gathering: Gathering) -> bool:
    return len(gathering.parts) >= gathering.count


def _microseconds(group: Group) -> int:
    return round(group.settings.part_timeout.total_seconds() * 1_000_000)


def _without(delivered: Mapping[str, tuple[int, ...]], name: str) -> dict[str, tuple[int, ...]]:
    return {other: parts for other, parts in delivered.items() if other != name}
