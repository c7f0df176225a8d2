"""Consumer groups as values, and as the one document that each is kept in.

A group is where it stands, and what is out: every record before `next` that is neither held nor gathered is settled. So
the document is as large as what is out, however long the buffer is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from measurand.core.names import GroupName, parse_group
from measurand.core.ports import Document, Json
from measurand.core.searchable import entries
from measurand.core.times import from_microseconds, microseconds
from measurand.core.view import View

__all__ = [
    "GIVEN_UP",
    "GIVEN_UP_KEPT",
    "GONE",
    "GROUPS",
    "MOST_OUTSTANDING",
    "Gathering",
    "GivenUp",
    "Group",
    "Held",
    "Settings",
    "given_up_document",
    "given_up_of",
    "given_up_prefix",
    "given_up_view",
    "gone_document",
    "group_document",
    "group_of",
    "is_gone",
]

GROUPS = "buffer_groups"
"""The collection of groups: key the group's name, scope the buffer's."""

GIVEN_UP = "buffer_given_up"
"""The collection of records that groups have given up: key the group's id and the sequence, scope the buffer's name."""

GONE = "gone"
"""The path in the view of what removed groups leave behind: when they were removed."""

GIVEN_UP_KEPT = timedelta(days=30)
MOST_OUTSTANDING = 10_000


@dataclass(frozen=True, slots=True)
class Settings:
    """How a group shares records.

    Parameters
    ----------
    ack_deadline : timedelta
        How long a consumer may hold a record without settling it.
    max_deliveries : int
        Give a record up after so many. 0: never.
    max_outstanding : int
        So many records may be out or wait to be delivered again. 0: `MOST_OUTSTANDING`.
    ordered : bool
        In the order of the sequence, one batch at a time, to one consumer at a time.
    whole_sets : bool
        The parts of a set are delivered together, to one consumer.
    part_timeout : timedelta
        A set that is not complete is delivered so long after its first part was stored.
    """

    ack_deadline: timedelta = timedelta(seconds=60)
    max_deliveries: int = 0
    max_outstanding: int = 0
    ordered: bool = False
    whole_sets: bool = False
    part_timeout: timedelta = timedelta(seconds=10)

    @property
    def room(self) -> int:
        """How many records may be held at once."""
        return self.max_outstanding or MOST_OUTSTANDING


@dataclass(frozen=True, slots=True)
class Held:
    """A record that was delivered and is not settled.

    Parameters
    ----------
    consumer : str
        The one who has it, or had it last.
    until : int
        Its deadline, or from when on it may be delivered again if it was given back; in microseconds since 1970.
    attempt : int
        How often it was delivered.
    set : str
        The set that it is delivered with. Empty: it is delivered by itself.
    missing : tuple of int
        The parts that its set lacked.
    """

    consumer: str
    until: int
    attempt: int
    is_returned: bool = False
    set: str = ""
    missing: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Gathering:
    """A set whose parts were seen and not yet delivered.

    Parameters
    ----------
    count : int
        How many parts it has.
    since : int
        When its first part was stored, in microseconds since 1970.
    parts : mapping of int to int
        Which part → its sequence.
    """

    count: int
    since: int
    parts: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A record that was delivered too often. `time` is in microseconds since 1970."""

    sequence: int
    attempts: int
    time: int
    consumer: str


@dataclass(frozen=True, slots=True)
class Group:
    """Consumers that share the records of a buffer.

    Parameters
    ----------
    uid : str
        Of the buffer.
    id : str
        A ULID in lower case, of this group and no other that has had or will have its name.
    next : int
        The first sequence that was neither delivered nor gathered yet.
    gathered : mapping of str to Gathering
        Sets on their way, by their id, oldest first.
    delivered : mapping of str to tuple of int
        Newest sets that were delivered: which parts of them. So a part that comes twice is one.
    giving_up : tuple of GivenUp
        What is still to be written down elsewhere, by whoever finds it.
    given_up : int
        How many there were.
    version : int
        Counts changes of settings, and seeks.
    """

    name: GroupName
    uid: str
    id: str
    create_time: datetime
    settings: Settings
    next: int
    held: Mapping[int, Held] = field(default_factory=dict)
    gathered: Mapping[str, Gathering] = field(default_factory=dict)
    delivered: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    giving_up: tuple[GivenUp, ...] = ()
    given_up: int = 0
    version: int = 1

    @property
    def etag(self) -> str:
        """Changes with settings and with seeks, not with deliveries."""
        return f"{self.id}-{self.version}"

    @property
    def parts(self) -> list[int]:
        """The sequences of the parts of sets that are gathered and not delivered."""
        return [sequence for gathering in self.gathered.values() for sequence in gathering.parts.values()]

    @property
    def settled_sequence(self) -> int:
        """Every record up to this one is settled."""
        return min([self.next, *self.held, *self.parts]) - 1


def group_document(group: Group) -> Document:
    """Return the document of a group."""
    settings = group.settings
    body: dict[str, Json] = {
        "uid": group.uid,
        "id": group.id,
        "created": microseconds(group.create_time),
        "settings": {
            "ack_deadline": settings.ack_deadline.total_seconds(),
            "max_deliveries": settings.max_deliveries,
            "max_outstanding": settings.max_outstanding,
            "ordered": settings.ordered,
            "whole_sets": settings.whole_sets,
            "part_timeout": settings.part_timeout.total_seconds(),
        },
        "next": group.next,
        "held": [
            [first, count, held.consumer, held.until, held.attempt, held.is_returned, held.set, list(held.missing)]
            for first, count, held in _runs(group.held)
        ],
        "gathered": [
            [name, gathering.count, gathering.since, [list(part) for part in gathering.parts.items()]]
            for name, gathering in group.gathered.items()
        ],
        "delivered": [[name, list(parts)] for name, parts in group.delivered.items()],
        "giving_up": [_given_up_to_json(one) for one in group.giving_up],
        "given_up": group.given_up,
        "version": group.version,
    }
    return Document(str(group.name), str(group.name.parent), body, view=entries(uid=group.uid))


def group_of(document: Document) -> Group:
    """Return the group that a document of `GROUPS` is."""
    body: Mapping[str, Any] = document.body
    settings = body["settings"]
    held: dict[int, Held] = {}
    for first, count, consumer, until, attempt, is_returned, name, missing in body["held"]:
        one = Held(consumer, until, attempt, is_returned, name, tuple(missing))
        held.update(dict.fromkeys(range(first, first + count), one))
    return Group(
        name=parse_group(document.key),
        uid=body["uid"],
        id=body["id"],
        create_time=from_microseconds(body["created"]),
        settings=Settings(
            timedelta(seconds=settings["ack_deadline"]),
            settings["max_deliveries"],
            settings["max_outstanding"],
            settings["ordered"],
            settings["whole_sets"],
            timedelta(seconds=settings["part_timeout"]),
        ),
        next=body["next"],
        held=held,
        gathered={name: Gathering(count, since, dict(parts)) for name, count, since, parts in body["gathered"]},
        delivered={name: tuple(parts) for name, parts in body["delivered"]},
        giving_up=tuple(GivenUp(*one) for one in body["giving_up"]),
        given_up=body["given_up"],
        version=body["version"],
    )


def gone_document(group: Group, now: datetime) -> Document:
    """Return what takes the place of a removed group for a day, so that its revisions do not begin anew meanwhile."""
    return Document(str(group.name), str(group.name.parent), {"gone": True}, view=entries(uid=group.uid, gone=now))


def is_gone(document: Document) -> bool:
    """Tell whether a document of `GROUPS` is only what a removed group has left behind."""
    return "gone" in document.body


def given_up_prefix(group: Group) -> str:
    """Return what the keys of all records begin with that a group has given up."""
    return f"{group.id}/"


def given_up_document(group: Group, one: GivenUp) -> Document:
    """Return the document of a record that was given up; those of one group sort by sequence."""
    return Document(
        f"{given_up_prefix(group)}{one.sequence:019d}-{one.time:019d}",
        str(group.name.parent),
        {"record": _given_up_to_json(one), "uid": group.uid},
        view=given_up_view(group.uid, one),
    )


def given_up_view(uid: str, one: GivenUp) -> View:
    """Return what a record of a buffer that was given up can be found by."""
    return entries(uid=uid, expires=from_microseconds(one.time) + GIVEN_UP_KEPT)


def given_up_of(document: Document) -> GivenUp:
    """Return the record that a document of `GIVEN_UP` tells of."""
    body: Mapping[str, Any] = document.body
    return GivenUp(*body["record"])


def _given_up_to_json(one: GivenUp) -> list[Json]:
    return [one.sequence, one.attempts, one.time, one.consumer]


def _runs(held: Mapping[int, Held]) -> Iterator[tuple[int, int, Held]]:
    """Yield what is held, with neighbours of which the same is known as one."""
    begin = end = 0
    last: Held | None = None
    for sequence in sorted(held):
        if last is not None and sequence == end and held[sequence] == last:
            end += 1
            continue
        if last is not None:
            yield begin, end - begin, last
        begin, end, last = sequence, sequence + 1, held[sequence]
    if last is not None:
        yield begin, end - begin, last
