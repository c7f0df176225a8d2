"""What a consumer gets and what becomes of what it settles: functions of a group, without I/O.

The group that is returned is stored under the condition that the one it was made from is still the newest; then, and
only then, the deliveries are made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from measurand.core.buffers.group_documents import GivenUp, Group, Held
from measurand.core.buffers.heads import Head
from measurand.core.buffers.pages import trimmed
from measurand.core.buffers.records import Part
from measurand.core.buffers.sets import due_sets, gather, hand_over, look, next_due

__all__ = ["Ask", "Claim", "Settled", "Settlement", "Sight", "candidates", "claim", "give_up", "next_time", "settle"]

SCANNED_PARTS = 1000
"""So many records are looked through for parts of sets at once."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What a consumer asks for: at most so many records and bytes, or only the newest record."""

    consumer: str
    most: int
    most_bytes: int
    newest: bool = False


@dataclass(frozen=True, slots=True)
class Sight:
    """What must be known of a record to deliver it; `time` is when it was stored."""

    size: int
    time: int
    part: Part | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """A record that is a consumer's until a deadline, in microseconds since 1970."""

    sequence: int
    attempt: int
    until: int
    missing: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Settlement:
    """What becomes of records that a consumer holds.

    Parameters
    ----------
    acknowledge : sequence of int
        Done: never deliver them again.
    give_back : sequence of int
        Deliver them again, after `delay`.
    extend : sequence of int
        Hold them for another `ack_deadline` from now.
    """

    acknowledge: Sequence[int] = ()
    give_back: Sequence[int] = ()
    extend: Sequence[int] = ()
    delay: timedelta = field(default_factory=timedelta)

    def __bool__(self) -> bool:
        return bool(self.acknowledge or self.give_back or self.extend)


@dataclass(frozen=True, slots=True)
class Settled:
    """Which of the records were settled, and which were no longer held by the consumer."""

    settled: tuple[int, ...] = ()
    not_held: tuple[int, ...] = ()


def candidates(group: Group, now: int, head: Head, most: int) -> list[int]:
    """Return the sequences of which a `Sight` is needed to claim so many records, in order."""
    again = sorted(sequence for sequence, held in group.held.items() if held.until <= now)
    parts = group.parts
    count = max(0, min(most, group.settings.room - len(group.held) - len(parts)))
    if group.settings.whole_sets and count:
        count = max(count, SCANNED_PARTS)
    fresh = range(group.next, min(group.next + count, head.next_sequence))
    wanted = {*again[:most], *parts, *fresh}
    return sorted(sequence for sequence in wanted if sequence >= head.first_sequence)


def claim(group: Group, ask: Ask, now: int, head: Head, seen: Mapping[int, Sight]) -> tuple[Group, list[Claim]]:
    """Return the group after a delivery, and what is delivered; nothing if there is nothing.

    Raises
    ------
    HistoryTrimmed
        HISTORY_TRIMMED: what would come next is gone.
    """
    group = give_up(group, now)
    if ask.newest:
        return _claim_newest(group, ask, now, head)
    again = sorted(sequence for sequence, held in group.held.items() if held.until <= now)
    if min([group.next, *again, *group.parts]) < head.first_sequence:
        raise trimmed(head)
    if group.settings.ordered and len(again) < len(group.held):
        return group, []
    turn = _Turn(group, ask, now, seen)
    if not turn.deliver_again(again):
        return turn.group, turn.claims
    if group.settings.whole_sets:
        turn.deliver_sets()
        turn.deliver_fresh_parts(head.next_sequence)
    else:
        turn.deliver_fresh(head.next_sequence)
    return turn.group, turn.claims


def give_up(group: Group, now: int) -> Group:
    """Return the group without the records that would have to be delivered once more than they may be."""
    most = group.settings.max_deliveries
    if not most:
        return group
    over = [sequence for sequence, held in group.held.items() if held.until <= now and held.attempt >= most]
    return _given_up(group, sorted(over), now) if over else group


def settle(group: Group, consumer: str, settlement: Settlement, now: int) -> tuple[Group, Settled]:
    """Return the group after a settlement, and what came of it.

    What was not delivered to somebody else since its deadline is still the consumer's.
    """
    held, most = dict(group.held), group.settings.max_deliveries
    settled: list[int] = []
    not_held: list[int] = []
    over: list[int] = []

    def mine(sequences: Iterable[int]) -> Iterable[tuple[int, Held]]:
        for sequence in dict.fromkeys(sequences):
            one = held.get(sequence)
            if one is None or one.consumer != consumer or one.is_returned:
                not_held.append(sequence)
            else:
                settled.append(sequence)
                yield sequence, one

    for sequence, _ in mine(settlement.acknowledge):
        del held[sequence]
    again = now + settlement.delay // timedelta(microseconds=1)
    for sequence, one in mine(settlement.give_back):
        held[sequence] = replace(one, until=again, is_returned=True)
        if most and one.attempt >= most:
            over.append(sequence)
    until = now + group.settings.ack_deadline // timedelta(microseconds=1)
    for sequence, one in mine(settlement.extend):
        held[sequence] = replace(one, until=until)
    if settled:
        group = _given_up(replace(group, held=held), over, now)
    return group, Settled(tuple(settled), tuple(dict.fromkeys(not_held)))


def next_time(group: Group, now: int) -> int | None:
    """Return when something can be delivered that cannot be now, without a record or a settlement; None: never."""
    times = [held.until for held in group.held.values() if held.until > now]
    due = next_due(group)
    if due is not None and due > now:
        times.append(due)
    return min(times, default=None)


def _given_up(group: Group, sequences: Sequence[int], now: int) -> Group:
    if not sequences:
        return group
    gone = tuple(
        GivenUp(sequence, group.held[sequence].attempt, now, group.held[sequence].consumer) for sequence in sequences
    )
    held = dict(group.held)
    for sequence in sequences:
        del held[sequence]
    return replace(group, held=held, giving_up=(*group.giving_up, *gone), given_up=group.given_up + len(gone))


def _claim_newest(group: Group, ask: Ask, now: int, head: Head) -> tuple[Group, list[Claim]]:
    newest = head.next_sequence - 1
    if newest < max(group.next, head.first_sequence) or len(group.held) >= group.settings.room:
        return group, []
    turn = _Turn(replace(group, next=newest + 1, gathered={}), ask, now, {})
    turn.take([newest], fresh=True)
    return turn.group, turn.claims


class _Turn:
    """One delivery on its way."""

    def __init__(self, group: Group, ask: Ask, now: int, seen: Mapping[int, Sight]) -> None:
        self._group = group
        self._ask = ask
        self._now = now
        self._seen = seen
        self._until = now + group.settings.ack_deadline // timedelta(microseconds=1)
        self._held = dict(group.held)
        self._bytes = 0
        self.claims: list[Claim] = []

    @property
    def group(self) -> Group:
        """The group as it is by now."""
        return replace(self._group, held=self._held) if self.claims else self._group

    def take(self, sequences: Sequence[int], *, fresh: bool, name: str = "", missing: tuple[int, ...] = ()) -> bool:
        """Claim records that come together, unless there is no room for them. There always is for the first."""
        weight = sum(self._seen[sequence].size if sequence in self._seen else 0 for sequence in sequences)
        if self.claims:
            if any(sequence not in self._seen for sequence in sequences):
                return False
            if len(self.claims) + len(sequences) > self._ask.most or self._bytes + weight > self._ask.most_bytes:
                return False
        self._bytes += weight if all(one in self._seen for one in sequences) else self._ask.most_bytes
        for sequence in sequences:
            attempt = 1 if fresh else self._held[sequence].attempt + 1
            self._held[sequence] = Held(self._ask.consumer, self._until, attempt, False, name, missing)
            self.claims.append(Claim(sequence, attempt, self._until, missing))
        return True

    def deliver_again(self, sequences: Sequence[int]) -> bool:
        """Deliver what was delivered before, parts of a set together again. Return whether there was room for all."""
        done: set[int] = set()
        for sequence in sequences:
            if sequence in done:
                continue
            held = self._held[sequence]
            together = [sequence]
            if held.set:
                together = [other for other in sequences if other not in done and self._is_with(other, held)]
            if not self.take(together, fresh=False, name=held.set, missing=held.missing):
                return False
            done.update(together)
        return True

    def deliver_fresh(self, end: int) -> None:
        """Deliver what nobody had yet."""
        room = self._group.settings.room
        position = self._group.next
        while position < end and len(self._held) < room and len(self.claims) < self._ask.most:
            if not self.take([position], fresh=True):
                break
            position += 1
        if position > self._group.next:
            self._group = replace(self._group, next=position)

    def deliver_sets(self) -> None:
        """Deliver the sets that are complete or have waited long enough."""
        for name in due_sets(self._group, self._now):
            if not self._deliver_set(name):
                return

    def deliver_fresh_parts(self, end: int) -> None:
        """Deliver what nobody had yet, and gather parts until their set is complete."""
        begin = position = self._group.next
        free = self._group.settings.room - len(self._held) - len(self._group.parts)
        while position < end and free > 0 and len(self.claims) < self._ask.most:
            sight = self._seen.get(position)
            if sight is None:
                # Beyond what was looked at; or, at the very beginning, what could not be read.
                position += position == begin and self.take([position], fresh=True)
                break
            if sight.part is None or sight.part.index >= sight.part.count:
                if not self.take([position], fresh=True):
                    break
                free -= 1
            else:
                before = self._group
                self._group, is_ready = gather(self._group, position, sight.time, sight.part)
                free -= self._group is not before
                if is_ready and not self._deliver_set(sight.part.set):
                    position += 1
                    break
            position += 1
        if position > self._group.next:
            self._group = replace(self._group, next=position)
        self.deliver_sets()

    def _is_with(self, sequence: int, held: Held) -> bool:
        other = self._held[sequence]
        return (other.set, other.missing) == (held.set, held.missing)

    def _deliver_set(self, name: str) -> bool:
        whole = look(self._group, name)
        if not self.take(whole.sequences, fresh=True, name=name, missing=whole.missing):
            return False
        self._group = hand_over(self._group, name)
        return True
