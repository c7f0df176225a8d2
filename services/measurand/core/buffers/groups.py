"""Consumer groups: made, found, moved and removed. Their records are fetched and settled by `consuming`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from measurand.core.blob_rules import closing
from measurand.core.buffers.delivering import give_up
from measurand.core.buffers.group_documents import (
    GIVEN_UP,
    GONE,
    GROUPS,
    MOST_OUTSTANDING,
    GivenUp,
    Group,
    Settings,
    given_up_of,
    given_up_prefix,
    gone_document,
    group_document,
    group_of,
    is_gone,
)
from measurand.core.buffers.heads import Head
from measurand.core.buffers.live import Board
from measurand.core.buffers.pages import begin_of, span_of
from measurand.core.buffers.reading import Records
from measurand.core.buffers.sharing import Scene, Sharing, missing_group
from measurand.core.filters.tree import And, Compare, Exists, Not
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.names import BufferName, GroupName
from measurand.core.paging import make_token, open_token, page_size
from measurand.core.ports import DocumentStore
from measurand.core.principal import Principal
from measurand.core.times import microseconds
from measurand.core.ulid import make_ulid
from measurand.core.view import Scalar
from measurand.wire.errors import AlreadyExists, Conflict, Contention, InvalidArgument, OutOfRange

__all__ = ["ConsumerGroup", "GivenUpPage", "GroupPage", "Groups", "Settings"]

TRIES = 60
AT_ONCE = 1000
REMEMBERED = timedelta(days=1)
"""How long a removed group leaves something in its place."""
LONGEST_DEADLINE = timedelta(hours=1)
LONGEST_PART_TIMEOUT = timedelta(hours=24)
MOST_DELIVERIES = 1_000_000


@dataclass(frozen=True, slots=True)
class ConsumerGroup:
    """A group, with its figures at one moment.

    Parameters
    ----------
    settled_sequence : int
        Every record up to this one is settled.
    outstanding, returned : int
        Records that are out with consumers, and that wait to be delivered again.
    lag : int
        Records that were never delivered yet.
    given_up : int
        Records that were given up after too many deliveries.
    unsettled : sequence of int
        Those that were delivered and not settled, oldest first, where asked for.
    """

    name: GroupName
    settings: Settings
    settled_sequence: int
    outstanding: int
    returned: int
    lag: int
    given_up: int
    etag: str
    create_time: datetime
    unsettled: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class GroupPage:
    """Some groups, by name, and the token of the next page; empty: this was the last."""

    groups: Sequence[ConsumerGroup]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class GivenUpPage:
    """Some records that were given up, by sequence, and the token of the next page; empty: this was the last."""

    records: Sequence[GivenUp]
    next_page_token: str


class Groups:
    """All consumer groups."""

    def __init__(self, documents: DocumentStore, records: Records, board: Board, means: Means, limits: Limits) -> None:
        self._documents = documents
        self._records = records
        self._board = board
        self._means = means
        self._limits = limits
        self.sharing = Sharing(documents, records, board, means)

    async def put(
        self, principal: Principal, name: GroupName, settings: Settings, *, after_sequence: int = 0
    ) -> ConsumerGroup:
        """Make a group, or change the settings of the one there is.

        Parameters
        ----------
        after_sequence : int
            A new group begins after this sequence; 0: at the oldest there is, -1: with the next record to come.

        Raises
        ------
        NotFound
            RESOURCE_NOT_FOUND: there is no such buffer.
        InvalidArgument, OutOfRange, HistoryTrimmed
            A setting, or the place to begin, is none.
        """
        settings = check_settings(settings)
        await self._records.require(principal, name.parent)
        for number in range(TRIES):
            head = await self._board.newest(name.parent)
            document = await self._documents.fetch(GROUPS, str(name))
            known = None if document is None or is_gone(document) else group_of(document)
            if known is not None and known.uid == head.uid:
                if known.settings == settings:
                    return self._shown(known, head)
                group = replace(known, settings=settings, version=known.version + 1)
            else:
                now = self._means.now()
                uid, begin = make_ulid(now, self._means.random_bytes).lower(), _begin(head, after_sequence)
                group = Group(name, head.uid, uid, now, settings, begin)
            try:
                if document is None:
                    await self._documents.insert(GROUPS, group_document(group))
                    return self._shown(group, head)
                if await self._documents.replace(GROUPS, group_document(group), expected_revision=document.revision):
                    self.sharing.forget(name)
                    return self._shown(group, head)
            except AlreadyExists:
                pass
            await self._pause(number)
        raise Contention(f"{name}: others keep changing it; try again", retry_seconds=0.1)

    async def get(self, principal: Principal, name: GroupName, *, with_unsettled: bool = False) -> ConsumerGroup:
        """Return a group. Raises NotFound."""
        await self._records.require(principal, name.parent)
        head = await self._board.newest(name.parent)
        document = await self._documents.fetch(GROUPS, str(name))
        if document is None or is_gone(document) or (group := group_of(document)).uid != head.uid:
            raise missing_group(name)
        return self._shown(group, head, with_unsettled=with_unsettled)

    async def page(self, principal: Principal, parent: BufferName, *, size: int = 0, page_token: str = "") -> GroupPage:
        """Return some groups of a buffer, by name. Raises NotFound for the buffer, PageTokenInvalid."""
        await self._records.require(principal, parent)
        head = await self._board.newest(parent)
        most, request = page_size(size, self._limits), ("groups", str(parent), head.uid)
        start = open_token(page_token, request=request, values=0, now=self._means.now())
        of_it = And((Compare("uid", "=", Scalar("s", head.uid)), Not(Exists(GONE))))
        found = await self._documents.find(
            GROUPS, scopes=[str(parent)], where=of_it, after=start.after, limit=most, with_text=False
        )
        groups = [self._shown(group_of(item.document), head) for item in found]
        is_full = len(found) == most
        return GroupPage(groups, make_token(found[-1].position, request=request, now=start.now) if is_full else "")

    async def seek(
        self,
        principal: Principal,
        name: GroupName,
        *,
        after_sequence: int = 0,
        time: datetime | None = None,
        etag: str = "",
    ) -> ConsumerGroup:
        """Move a group to another place and forget what is out with consumers. Durable when it returns.

        Parameters
        ----------
        after_sequence : int
            Go on after this sequence; 0: at the oldest there is, -1: with the next record to come.
        time : datetime, optional
            Go on with the first record that was stored then or later instead.
        etag : str
            Only if the group still has this one. Empty: whatever it has.

        Raises
        ------
        NotFound
            RESOURCE_NOT_FOUND.
        Conflict
            ETAG_MISMATCH.
        HistoryTrimmed, OutOfRange, InvalidArgument
            There is no such place.
        """
        if time is not None and after_sequence:
            raise InvalidArgument("time: not together with after_sequence; leave one of them out", field="time")
        await self._records.require(principal, name.parent)
        head = await self._board.newest(name.parent)
        begin = _begin(head, after_sequence) if time is None else await self._first_at(head, microseconds(time))

        def decide(group: Group, scene: Scene) -> tuple[Group, Group]:
            if group.uid != head.uid:
                raise missing_group(name)
            if etag and etag != group.etag:
                raise Conflict(
                    f"{name}: it has changed, its etag is {group.etag}; read it again and decide anew",
                    resource=name,
                    etag=group.etag,
                )
            moved = replace(group, next=begin, held={}, gathered={}, delivered={}, version=group.version + 1)
            return moved, moved

        return self._shown(await self.sharing.change(name, decide), head)

    async def delete(self, principal: Principal, name: GroupName) -> None:
        """Remove a group, with its list of records that were given up. Removing it again changes nothing."""
        await self._records.require(principal, name.parent)
        while (document := await self._documents.fetch(GROUPS, str(name))) is not None and not is_gone(document):
            group = group_of(document)
            gone = gone_document(group, self._means.now())
            if await self._documents.replace(GROUPS, gone, expected_revision=document.revision) is None:
                continue
            self.sharing.forget(name)
            while found := await self._documents.find(GIVEN_UP, key_prefix=given_up_prefix(group), limit=AT_ONCE):
                for item in found:
                    await self._documents.remove(GIVEN_UP, item.document.key)

    async def given_up(
        self, principal: Principal, name: GroupName, *, size: int = 0, page_token: str = ""
    ) -> GivenUpPage:
        """Return some records that a group has given up, by sequence. They are kept for 30 days. Raises NotFound."""
        await self._records.require(principal, name.parent)

        def decide(group: Group, scene: Scene) -> tuple[Group, Group]:
            changed = give_up(group, scene.now)
            return changed, changed

        group = await self.sharing.change(name, decide)
        await self.sharing.write_down(name)
        now = self._means.now()
        most, request = page_size(size, self._limits), ("given up", str(name), group.id)
        start = open_token(page_token, request=request, values=0, now=now)
        still = Compare("expires", ">", Scalar("t", microseconds(now)))
        found = await self._documents.find(
            GIVEN_UP, where=still, key_prefix=given_up_prefix(group), after=start.after, limit=most, with_text=False
        )
        token = make_token(found[-1].position, request=request, now=start.now) if len(found) == most else ""
        return GivenUpPage([given_up_of(item.document) for item in found], token)

    async def sweep(self) -> int:
        """Remove what is over, and return how much that was. For a background job.

        That is what was given up more than 30 days ago, and what removed groups have left behind for a day.
        """
        now = self._means.now()
        over = Compare("expires", "<=", Scalar("t", microseconds(now)))
        gone = Compare(GONE, "<=", Scalar("t", microseconds(now - REMEMBERED)))
        swept = 0
        for collection, where in ((GIVEN_UP, over), (GROUPS, gone)):
            while found := await self._documents.find(collection, where=where, limit=AT_ONCE, with_text=False):
                for item in found:
                    revision = item.document.revision
                    swept += await self._documents.remove(collection, item.document.key, expected_revision=revision)
        return swept

    async def close(self) -> None:
        """Return when everything that was asked for has been answered."""
        await self.sharing.close()

    # ---------------------------------------------------------------------------------------------------------- inside

    def _shown(self, group: Group, head: Head, *, with_unsettled: bool = False) -> ConsumerGroup:
        now = microseconds(self._means.now())
        outstanding = sum(not held.is_returned and held.until > now for held in group.held.values())
        return ConsumerGroup(
            group.name,
            group.settings,
            group.settled_sequence,
            outstanding,
            len(group.held) - outstanding,
            max(0, head.next_sequence - group.next) + len(group.parts),
            group.given_up,
            group.etag,
            group.create_time,
            sorted(group.held) if with_unsettled else (),
        )

    async def _first_at(self, head: Head, time: int) -> int:
        """Return the first sequence that was stored at a time or later."""
        first = head.next_sequence
        async with closing(self._records.segments.backwards(span_of(head), first)) as row:
            async for segment in row:
                if segment.time < time:
                    break
                first = max(segment.first, head.first_sequence)
        return first

    async def _pause(self, number: int) -> None:
        await asyncio.sleep(self._means.random_bytes(1)[0] / 255 * min(0.002 * (number + 1), 0.1))


def check_settings(settings: Settings) -> Settings:
    """Return the settings of a group, or raise InvalidArgument."""

    def require(holds: bool, name: str, rule: str) -> None:
        if not holds:
            raise InvalidArgument(f"group.{name}: {getattr(settings, name)} is not {rule}", field=f"group.{name}")

    zero = timedelta()
    require(zero < settings.ack_deadline <= LONGEST_DEADLINE, "ack_deadline", "above 0 and at most an hour")
    require(0 <= settings.max_deliveries <= MOST_DELIVERIES, "max_deliveries", f"within 0 and {MOST_DELIVERIES}")
    require(0 <= settings.max_outstanding <= MOST_OUTSTANDING, "max_outstanding", f"within 0 and {MOST_OUTSTANDING}")
    require(zero < settings.part_timeout <= LONGEST_PART_TIMEOUT, "part_timeout", "above 0 and at most 24 hours")
    if settings.ordered and settings.whole_sets:
        raise InvalidArgument(
            "group.whole_sets: not together with ordered; the parts of a set do not lie next to each other",
            field="group.whole_sets",
        )
    return settings


def _begin(head: Head, after_sequence: int) -> int:
    begin = begin_of(head, after_sequence, skip_trimmed=False)
    if begin > head.next_sequence:
        raise OutOfRange(
            f"after_sequence: {head.name} has no record {after_sequence} yet; -1 goes on with the next one to come",
            field="after_sequence",
            next_sequence=head.next_sequence,
        )
    return begin
