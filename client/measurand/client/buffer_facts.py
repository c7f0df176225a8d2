"""What is known of a buffer, a freeze, a batch and an entry of the log, without asking."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from measurand.client.results import time_of
from measurand.v1 import buffers_pb2

__all__ = ["BufferEvent", "Freeze", "GroupFacts", "Stats", "missing_of", "state_of"]


def state_of(state: buffers_pb2.BufferState.ValueType) -> str:
    """Return `ACTIVE`, `FROZEN` or `FINISHED`."""
    return buffers_pb2.BufferState.Name(state).removeprefix("BUFFER_STATE_")


@dataclass(frozen=True, slots=True)
class Stats:
    """Figures about a buffer, exact at the moment of the answer.

    Parameters
    ----------
    state : str
        `ACTIVE`, `FROZEN` or `FINISHED`.
    records, bytes : int
        In the newest window: those that no batch has yet. Bytes are data and metadata.
    window : int
        Number of the newest window, from 1.
    first_sequence, next_sequence : int
        The oldest that can be read; the one that the next record gets.
    window_first_sequence : int
        First of the newest window.
    first_time, last_time : datetime, optional
        When the first record of the newest window, and the newest record of all, were stored.
    records_per_second, bytes_per_second : float
        Over the last minute.
    active_writers : int
        Seen in the last minute.
    batches : int
        How many there are.
    owner : str
        Who froze it; `system`: its policy. Empty: nobody.
    since, until : datetime, optional
        When it was frozen, and when that ends by itself.
    next : str
        The buffer in which the stream goes on, once it is finished.
    """

    state: str
    records: int
    bytes: int
    window: int
    first_sequence: int
    next_sequence: int
    window_first_sequence: int
    first_time: datetime | None
    last_time: datetime | None
    records_per_second: float
    bytes_per_second: float
    active_writers: int
    batches: int
    owner: str
    since: datetime | None
    until: datetime | None
    next: str

    @classmethod
    def of(cls, message: buffers_pb2.Buffer) -> Stats:
        """Return the figures that a message tells of."""
        stats = message.stats
        return cls(
            state=state_of(message.state),
            records=stats.window_records,
            bytes=stats.window_bytes,
            window=message.window,
            first_sequence=stats.first_sequence,
            next_sequence=stats.next_sequence,
            window_first_sequence=stats.window_first_sequence,
            first_time=time_of(stats, "window_first_time"),
            last_time=time_of(stats, "last_append_time"),
            records_per_second=stats.records_per_second,
            bytes_per_second=stats.bytes_per_second,
            active_writers=stats.active_writers,
            batches=stats.batch_count,
            owner=message.freeze_owner,
            since=time_of(message, "freeze_time"),
            until=time_of(message, "freeze_expire_time"),
            next=message.next_buffer,
        )


@dataclass(frozen=True, slots=True)
class Freeze:
    """What came of freezing.

    Parameters
    ----------
    state : str
        `FROZEN`: nothing more gets into the window. `WAITING`: it is below its limits, and nothing has changed.
    records, bytes : int
        In the window; final once it is frozen.
    missing : int or float
        How much is left to the limit that is nearest: bytes, records or seconds, see `missing_of`. 0: nothing.
    missing_of : mapping
        The same for each limit.
    window : int
        Its number.
    owner : str
        Who froze it.
    since, until : datetime, optional
        When, and when it ends by itself.
    token : str
        Shows that the freeze is one's own. A secret; handles keep it by themselves.
    """

    state: str
    records: int
    bytes: int
    missing: float
    missing_of: Mapping[str, float]
    window: int
    owner: str
    since: datetime | None
    until: datetime | None
    token: str = field(default="", repr=False)

    @classmethod
    def of(cls, answer: buffers_pb2.FreezeBufferResponse, now: datetime) -> Freeze:
        """Return what an answer tells of."""
        message = answer.buffer
        stats = Stats.of(message)
        limits = missing_of(message, now) if answer.waiting else {}
        return cls(
            state="WAITING" if answer.waiting else "FROZEN",
            records=stats.records,
            bytes=stats.bytes,
            missing=min(limits.values(), key=lambda pair: pair[0] / pair[1])[0] if limits else 0,
            missing_of={key: left for key, (left, _) in limits.items()},
            window=stats.window,
            owner=stats.owner,
            since=stats.since,
            until=stats.until,
            token=answer.freeze_token,
        )


def missing_of(message: buffers_pb2.Buffer, now: datetime) -> dict[str, tuple[float, float]]:
    """Return how much is left to each limit of the policy, and the limit."""
    policy, stats = message.policy, message.stats
    left: dict[str, tuple[float, float]] = {}
    if policy.freeze_after_bytes:
        left["bytes"] = max(0, policy.freeze_after_bytes - stats.window_bytes), policy.freeze_after_bytes
    if policy.freeze_after_records:
        left["records"] = max(0, policy.freeze_after_records - stats.window_records), policy.freeze_after_records
    if policy.HasField("freeze_after_age"):
        limit = policy.freeze_after_age.ToTimedelta().total_seconds()
        first = time_of(stats, "window_first_time")
        left["seconds"] = limit if first is None else max(0.0, limit - (now - first).total_seconds()), limit
    return left


@dataclass(frozen=True, slots=True)
class BufferEvent:
    """An entry of the log of a buffer.

    Parameters
    ----------
    number : int
        1, 2, 3, … without gaps.
    kind : str
        Such as `created`, `frozen`, `sealed`, `refused`, `note`.
    time : datetime
        When.
    actor : str
        Who did it; `system`: the policy.
    window, next_sequence : int
        The window concerned, and the next sequence at that moment.
    message : str
        In words.
    dataset : str
        Name of the batch, for `sealed`.
    """

    number: int
    kind: str
    time: datetime | None
    actor: str
    window: int
    next_sequence: int
    message: str
    dataset: str

    @classmethod
    def of(cls, message: buffers_pb2.BufferEvent) -> BufferEvent:
        """Return the entry that a message tells of."""
        kind = buffers_pb2.BufferEventKind.Name(message.kind).removeprefix("BUFFER_EVENT_KIND_").lower()
        return cls(
            number=message.number,
            kind=kind,
            time=time_of(message, "create_time"),
            actor=message.actor,
            window=message.window,
            next_sequence=message.next_sequence,
            message=message.message,
            dataset=message.dataset,
        )


@dataclass(frozen=True, slots=True)
class GroupFacts:
    """Where a group of consumers stands.

    Parameters
    ----------
    name : str
        Its id.
    settled : int
        Every record up to this sequence is settled.
    outstanding, returned, undelivered, given_up : int
        Records that are out with consumers, wait to be delivered again, were never delivered, and were given up.
    unacknowledged : sequence of int
        The sequences that were delivered and not settled, where asked for.
    """

    name: str
    settled: int
    outstanding: int
    returned: int
    undelivered: int
    given_up: int
    unacknowledged: tuple[int, ...]

    @property
    def lag(self) -> int:
        """Records that are not acknowledged, as far as there are any."""
        return self.undelivered + self.outstanding + self.returned

    @classmethod
    def of(cls, message: buffers_pb2.ConsumerGroup) -> GroupFacts:
        """Return what a message tells of."""
        return cls(
            name=message.name.rpartition("/")[2],
            settled=message.settled_sequence,
            outstanding=message.outstanding,
            returned=message.returned,
            undelivered=message.lag,
            given_up=message.given_up,
            unacknowledged=tuple(message.unsettled),
        )
