"""Records for consumers: fetched for a while, settled, delivered again when they were not settled in time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from measurand.core.buffers.delivering import Ask, Claim, Settled, Settlement, claim, next_time, settle
from measurand.core.buffers.group_documents import Group
from measurand.core.buffers.heads import Head, State
from measurand.core.buffers.live import Board
from measurand.core.buffers.pages import StoredRecord
from measurand.core.buffers.reading import Records
from measurand.core.buffers.sharing import Scene, Sharing
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.names import GroupName
from measurand.core.principal import Principal
from measurand.core.times import microseconds
from measurand.wire.errors import DataLoss, InvalidArgument, MeasurandError

__all__ = ["Consuming", "Delivery", "Fetched", "SettleAnswer", "Settlement"]

MOST_RECORDS = 1000
MAX_CONSUMER = 64
MOST_SETTLED = 10_000
LONGEST_DELAY = timedelta(hours=24)
POLL_SECONDS = 0.5
"""So often those who wait look for what was given back through another server."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A record as it goes to a consumer.

    Parameters
    ----------
    stored : StoredRecord
        With its bytes, unless those are more than a message holds together with the records before it.
    attempt : int
        How often it was delivered to the group, this time included.
    until : int
        Settle it before this time, in microseconds since 1970.
    missing_parts : tuple of int
        The parts that its set lacks, for one that was not complete in time.
    """

    stored: StoredRecord
    attempt: int
    until: int
    missing_parts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a consumer got, and what came of what it settled before.

    Parameters
    ----------
    head : Head
        Of the buffer, as it was then.
    has_ended : bool
        The buffer is finished and every record is settled: nothing will come any more.
    """

    deliveries: Sequence[Delivery]
    settled: tuple[int, ...]
    not_held: tuple[int, ...]
    head: Head
    has_ended: bool


@dataclass(frozen=True, slots=True)
class SettleAnswer:
    """What was settled, what the consumer no longer held, and up to where the group has settled everything."""

    settled: tuple[int, ...]
    not_held: tuple[int, ...]
    settled_sequence: int


@dataclass(frozen=True, slots=True)
class _Round:
    """What one look at a group gave."""

    claims: Sequence[Claim]
    settled: Settled
    head: Head
    next_time: int | None
    has_ended: bool


class Consuming:
    """Fetches records for groups and settles them."""

    def __init__(self, sharing: Sharing, records: Records, board: Board, means: Means, limits: Limits) -> None:
        self._sharing = sharing
        self._records = records
        self._board = board
        self._means = means
        self._limits = limits

    async def fetch(
        self,
        principal: Principal,
        name: GroupName,
        consumer: str,
        *,
        most: int = 0,
        most_bytes: int = 0,
        settlement: Settlement | None = None,
        newest: bool = False,
        wait: timedelta = timedelta(),
        until_end: bool = False,
        ending: asyncio.Event | None = None,
    ) -> Fetched:
        """Take the next records for a consumer: nobody else of the group gets them until their deadline has passed.

        Records that are to be delivered again come first.

        Parameters
        ----------
        consumer : str
            An id of the consumer within the group, 1 to 64 ASCII characters.
        most, most_bytes : int
            At most so many records, and bytes together. 0: one, and what a message holds. A set of parts always comes
            whole, and a larger record alone.
        settlement : Settlement, optional
            Settle these first, in the same write.
        newest : bool
            Only the newest record there is, unless the group has had it. What lies before it is passed over.
        wait : timedelta
            How long to wait for a record if there is none.
        until_end : bool
            Return at once when `has_ended`.
        ending : asyncio.Event, optional
            Set when the consumer goes: what comes after that is not taken for it.

        Raises
        ------
        NotFound
            RESOURCE_NOT_FOUND: there is no such group.
        HistoryTrimmed
            HISTORY_TRIMMED: what would come next is gone; seek.
        DataLoss
            STORED_DATA_CORRUPT: the only record that could be delivered is damaged. It comes again, as if it had not
            been settled.
        """
        check_consumer(consumer)
        if most < 0:
            raise InvalidArgument(f"max_records: {most} is negative; leave it out or say how many", field="max_records")
        ask = Ask(
            consumer,
            1 if newest else min(most or 1, MOST_RECORDS),
            min(most_bytes or self._limits.max_data_bytes, self._limits.max_data_bytes),
            newest,
        )
        first = check_settlement(settlement or Settlement())
        await self._records.require(principal, name.parent)
        settled = Settled()
        clock = asyncio.get_running_loop().time
        deadline = clock() + min(wait, self._limits.max_wait).total_seconds()
        while True:
            news = self._sharing.news(name)
            turn = await self._sharing.change(name, _fetching(ask, first), wants=ask.most)
            if first:
                settled, first = turn.settled, Settlement()
                news = self._sharing.news(name)
            if turn.claims or clock() >= deadline or (until_end and turn.has_ended):
                deliveries = await self._delivered(principal, name, consumer, turn)
                return Fetched(deliveries, settled.settled, settled.not_held, turn.head, turn.has_ended)
            await self._wait(turn, news, deadline - clock())
            if ending is not None and ending.is_set():
                return Fetched((), settled.settled, settled.not_held, turn.head, turn.has_ended)

    async def settle(
        self, principal: Principal, name: GroupName, consumer: str, settlement: Settlement
    ) -> SettleAnswer:
        """Settle records that a consumer holds. Durable when it returns; safe to repeat.

        Raises
        ------
        NotFound
            RESOURCE_NOT_FOUND: there is no such group.
        InvalidArgument
            FIELD_INVALID: too many records, or a delay that is none.
        """
        check_consumer(consumer)
        check_settlement(settlement)
        await self._records.require(principal, name.parent)

        def decide(group: Group, scene: Scene) -> tuple[Group, SettleAnswer]:
            changed, said = settle(group, consumer, settlement, scene.now)
            return changed, SettleAnswer(said.settled, said.not_held, changed.settled_sequence)

        return await self._sharing.change(name, decide)

    # ---------------------------------------------------------------------------------------------------------- inside

    async def _wait(self, turn: _Round, news: asyncio.Event, seconds: float) -> None:
        """Return when there may be something: a record, a change of the group, a deadline that has passed."""
        seconds = min(seconds, POLL_SECONDS)
        if turn.next_time is not None:
            seconds = min(seconds, max(0.001, (turn.next_time - microseconds(self._means.now())) / 1_000_000))
        changed = asyncio.ensure_future(news.wait())
        grown = asyncio.ensure_future(self._records.newer(turn.head, seconds))
        try:
            await asyncio.wait({changed, grown}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            changed.cancel()
            grown.cancel()
            await asyncio.gather(changed, grown, return_exceptions=True)

    async def _delivered(
        self, principal: Principal, name: GroupName, consumer: str, turn: _Round
    ) -> Sequence[Delivery]:
        """Return claimed records with their bytes. What cannot be read is given back."""
        claims = {one.sequence: one for one in turn.claims}
        if not claims:
            return ()
        try:
            try:
                stored = await self._records.take(turn.head, sorted(claims))
            except DataLoss:
                stored = await self._sound(turn.head, sorted(claims))
        except MeasurandError:
            with contextlib.suppress(MeasurandError):  # else they come again after their deadline
                await self.settle(principal, name, consumer, Settlement(give_back=sorted(claims)))
            raise
        found = {one.sequence: one for one in stored}
        return [
            Delivery(found[sequence], one.attempt, one.until, one.missing)
            for sequence, one in claims.items()
            if sequence in found
        ]

    async def _sound(self, head: Head, sequences: Sequence[int]) -> list[StoredRecord]:
        """Return those of the records that are not damaged; the others come again, until they are given up."""
        found: list[StoredRecord] = []
        damage: DataLoss | None = None
        for sequence in sequences:
            try:
                found += await self._records.take(head, [sequence])
            except DataLoss as error:
                damage = error
        if not found and damage is not None:
            raise damage
        return found


def _fetching(ask: Ask, first: Settlement) -> Callable[[Group, Scene], tuple[Group, _Round]]:
    def decide(group: Group, scene: Scene) -> tuple[Group, _Round]:
        head = scene.head
        assert head is not None
        settled = Settled()
        if first:
            group, settled = settle(group, ask.consumer, first, scene.now)
        group, claims = claim(group, ask, scene.now, head, scene.seen)
        has_ended = (
            head.state is State.FINISHED and group.next >= head.next_sequence and not group.held and not group.gathered
        )
        return group, _Round(claims, settled, head, next_time(group, scene.now), has_ended)

    return decide


def check_consumer(consumer: str) -> None:
    """Raise InvalidArgument unless this is the id of a consumer."""
    if not (1 <= len(consumer) <= MAX_CONSUMER and consumer.isascii() and consumer.isprintable()):
        raise InvalidArgument(
            f"consumer: {consumer[:MAX_CONSUMER]!a} is no id; use 1 to {MAX_CONSUMER} printable ASCII characters",
            field="consumer",
        )


def check_settlement(settlement: Settlement) -> Settlement:
    """Return a settlement, or raise InvalidArgument."""
    count = len(settlement.acknowledge) + len(settlement.give_back) + len(settlement.extend)
    if count > MOST_SETTLED:
        raise InvalidArgument(
            f"settlement: {count} records; the most is {MOST_SETTLED}; settle them in several calls", field="settlement"
        )
    if not timedelta() <= settlement.delay <= LONGEST_DELAY:
        raise InvalidArgument(
            f"settlement.give_back_delay: {settlement.delay} is not within 0 and 24 hours",
            field="settlement.give_back_delay",
        )
    return settlement
