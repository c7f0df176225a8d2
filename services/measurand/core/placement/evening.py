"""Evening out: which parts move where after containers were added, with as few bytes as that takes.

What is computed first is how much each container has to give or to take so that all are nearly as full as one another.
Then the placements are gone through one by one, and whatever part helps moves. It can stop at any part: what is left is
computed anew from the figures of then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from measurand.core.placement.candidates import Candidate
from measurand.core.placement.field import Field, lets_in
from measurand.core.placement.policies import Policy
from measurand.core.placement.searching import is_reliable

__all__ = ["EVEN_ENOUGH", "Evening", "Shifts", "misplaced", "shifts"]

EVEN_ENOUGH = 0.05
"""Nothing is moved while the fullest and the emptiest differ by less."""
AIM = 0.04
"""What is moved brings them this near: each byte less that moves is a byte less that is at stake."""
STEPS = 60


@dataclass(frozen=True, slots=True)
class Shifts:
    """How many bytes have to leave containers, and how many others are to take.

    Parameters
    ----------
    give, take : mapping
        Bytes by container; as many in all, but for rounding.
    """

    give: Mapping[str, int]
    take: Mapping[str, int]

    @property
    def moved_bytes(self) -> int:
        """Bytes to move in all."""
        return sum(self.give.values())


def shifts(candidates: Iterable[Candidate], *, even_enough: float = EVEN_ENOUGH, aim: float = AIM) -> Shifts:
    """Return what has to move so that no two containers that take blobs differ by more than `aim` in how full they are.

    How full counts weights: a container of weight 0.5 is to hold half. The fullest give down to a common level and the
    emptiest take up to one that is `aim` below it, so no plan that ends as even moves fewer bytes.
    """
    taking = [one for one in candidates if one.takes_blobs and one.weight > 0 and one.usable_bytes > 0]
    fullness = [one.utilisation() for one in taking]
    if not taking or max(fullness) - min(fullness) <= even_enough:
        return Shifts({}, {})
    low, high = min(fullness), max(fullness)
    for _ in range(STEPS):
        level = (low + high) / 2
        if sum(_surplus(one, level + aim) for one in taking) > sum(_lack(one, level) for one in taking):
            low = level
        else:
            high = level
    give = {one.name: int(bytes_) for one in taking if (bytes_ := _surplus(one, high + aim)) >= 1}
    take = {one.name: int(bytes_) for one in taking if (bytes_ := _lack(one, high)) >= 1}
    return Shifts(give, take)


class Evening:
    """What is still to be moved, part by part.

    Parameters
    ----------
    field : Field
        The containers, by whose figures it is computed once; it is not changed.
    """

    def __init__(self, field: Field, *, even_enough: float = EVEN_ENOUGH, aim: float = AIM) -> None:
        planned = shifts(field, even_enough=even_enough, aim=aim)
        self._field = field
        self._give = dict(planned.give)
        self._take = dict(planned.take)
        self.planned_bytes = planned.moved_bytes
        self.moved_bytes = 0

    @property
    def is_done(self) -> bool:
        """Whether nothing more is to be moved."""
        return not self._give or not self._take

    def move(self, policy: Policy, holders: Sequence[str], part: int, size: int, data_parts: int) -> str | None:
        """Return the container that a part is to move to, counted as moved; None: it stays.

        Parameters
        ----------
        holders : sequence of str
            The containers of all parts of the blob, as they are now.
        part : int
            Which of them.
        size : int
            Bytes of the part.
        data_parts : int
            So many parts suffice to read.
        """
        source = self._field.get(holders[part])
        # Rounded to the nearest part, so that small remainders neither pile up nor stay.
        if source is None or 2 * self._give.get(source.name, 0) < size or policy.containers:
            return None
        others = [one for at, name in enumerate(holders) if at != part and (one := self._field.get(name)) is not None]
        zones = Counter(one.zone for one in [*others, source])
        goals = [
            goal
            for name, lack in self._take.items()
            if 2 * lack >= size
            and (goal := self._field.get(name)) is not None
            and goal.takes_blobs
            and name not in holders
            and lets_in(policy, goal)
            and (goal.zone == source.zone or zones[goal.zone] < zones[source.zone])
            and goal.room_bytes >= size
            and is_reliable(policy, [*others, goal], len(holders) - data_parts)
        ]
        if not goals:
            return None
        goal = max(goals, key=lambda one: self._take[one.name] / (one.usable_bytes * one.weight))
        self._count(self._give, source.name, size)
        self._count(self._take, goal.name, size)
        self.moved_bytes += size
        return goal.name

    @staticmethod
    def _count(left: dict[str, int], name: str, size: int) -> None:
        left[name] -= size
        if left[name] <= 0:
            del left[name]


def misplaced(policy: Policy, field: Field, holders: Sequence[str]) -> list[int]:
    """Return which parts lie where their policy does not let them, or beside another part of the same blob."""
    found, seen = [], set()
    for at, name in enumerate(holders):
        candidate = field.get(name)
        if name in seen or (candidate is not None and not lets_in(policy, candidate)):
            found.append(at)
        seen.add(name)
    return found


def _surplus(candidate: Candidate, level: float) -> float:
    return max(candidate.held_bytes - level * candidate.usable_bytes * candidate.weight, 0.0)


def _lack(candidate: Candidate, level: float) -> float:
    lack = level * candidate.usable_bytes * candidate.weight - candidate.held_bytes
    return max(min(lack, candidate.room_bytes), 0.0)
